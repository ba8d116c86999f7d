//! Counters that only ever grow, kept per cgroup in a kernel map.

/// A count of each kind of task: a thread group's leader, or any other task of the group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Thread-group leaders.
    pub processes: u64,
    /// Other tasks of a thread group.
    pub threads: u64,
}

/// What happened in one cgroup since pidwatch first saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tasks created, charged to the child's cgroup.
    pub created: Kinds,
    /// Tasks that ended (`sched_process_exit`), by what they were at that moment.
    pub exited: Kinds,
    /// Threads among `exited` that stay until someone reaps them: a tracer was attached.
    pub held_threads: u64,
    /// Tasks that gave their PID back: thread-group leaders, and those that were one when they
    /// ended (`processes`); threads counted in `held_threads` (`threads`). Any other thread is
    /// freed as it ends.
    pub freed: Kinds,
    /// Tasks that had ended but were not freed when pidwatch started.
    pub zombies_before: u64,
    /// Creations refused for want of something: EAGAIN, ENOMEM, ENOSPC, EUSERS.
    pub failed: u64,
    /// Creations refused for another reason: EINVAL, EPERM, ENOSYS and so on.
    pub rejected: u64,
    /// Failures of which no record was sent: over the rate limit, or the ring was full.
    pub suppressed: u64,
}

impl Totals {
    /// Nothing counted yet.
    pub const ZERO: Self = Self {
        created: Kinds {
            processes: 0,
            threads: 0,
        },
        exited: Kinds {
            processes: 0,
            threads: 0,
        },
        held_threads: 0,
        freed: Kinds {
            processes: 0,
            threads: 0,
        },
        zombies_before: 0,
        failed: 0,
        rejected: 0,
        suppressed: 0,
    };
}

/// The hot counters are kept this often, each CPU adding to its own share of them: two CPUs that
/// add to one cache line wait for each other. Not once per CPU, which would take 134 MB on 128
/// CPUs.
pub const SHARDS: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The hot counters' part of one CPU in [`SHARDS`], a cache line of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// See [`Totals::created`].
    pub created: Kinds,
    /// See [`Totals::exited`].
    pub exited: Kinds,
    /// Unused, 0.
    pub reserved: [u64; 4],
}

/// Value of [`crate::map::CGROUPS`]. Counters are written with atomic adds only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cgroup {
    /// `jiffies` when the last rate record of this cgroup was sent.
    pub told_at: u64,
    /// See [`Totals::held_threads`].
    pub held_threads: u64,
    /// See [`Totals::freed`].
    pub freed: Kinds,
    /// See [`Totals::zombies_before`].
    pub zombies_before: u64,
    /// See [`Totals::failed`].
    pub failed: u64,
    /// See [`Totals::rejected`].
    pub rejected: u64,
    /// See [`Totals::suppressed`].
    pub suppressed: u64,
    /// Low half of `jiffies` when the current window of failure records began.
    pub failures_since: u32,
    /// Failure records sent in that window.
    pub failures_told: u32,
    /// The hot counters; their sum counts.
    pub shards: [Shard; SHARDS],
}

impl Cgroup {
    /// A cgroup of which nothing was counted yet.
    pub const ZERO: Self = {
        const NONE: Kinds = Kinds {
            processes: 0,
            threads: 0,
        };
        const SHARD: Shard = Shard {
            created: NONE,
            exited: NONE,
            reserved: [0; 4],
        };
        Self {
            told_at: 0,
            held_threads: 0,
            freed: NONE,
            zombies_before: 0,
            failed: 0,
            rejected: 0,
            suppressed: 0,
            failures_since: 0,
            failures_told: 0,
            shards: [SHARD; SHARDS],
        }
    };
}

/// What can be lost, as index into the counters of [`crate::record::Losses`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A rate record did not fit into the ring: late, not uncounted (totals are in the map).
    RingRate = 0,
    /// A failure record did not fit into the ring: counted in `failed` and `suppressed`.
    RingFailure = 1,
    /// A record of a cgroup's coming or going did not fit into the ring.
    RingCgroup = 2,
    /// A creation, exit, free or failure of a cgroup for which the map had no place.
    CgroupMapFull = 3,
    /// A creation whose cgroup could not be found out.
    CreationUnresolved = 4,
    /// An ended task that there was no place to note: zombies may be off by it.
    HeldMapFull = 5,
}

impl Loss {
    /// Every loss, in the order of its index.
    pub const ALL: [Self; 6] = [
        Self::RingRate,
        Self::RingFailure,
        Self::RingCgroup,
        Self::CgroupMapFull,
        Self::CreationUnresolved,
        Self::HeldMapFull,
    ];
}

/// How the kernel side treats frees.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Tasks that ended before the exit hook was there may still be freed: every end of a
    /// process is remembered, so that such a free can be told from one whose end was counted.
    Starting = 0,
    /// Every free belongs to a counted end or to the baseline.
    Running = 1,
}

const _: () = assert!(size_of::<Totals>() == 88);
/// Bytes of the kernel's hash table element before the value: `struct htab_elem` and the key
/// (kernel/bpf/hashtab.c, 5.10 to 7.2). Elements lie one after the other from a page's begin.
const BEFORE_VALUE: usize = 48 + size_of::<u64>();
const _: () = assert!(size_of::<Shard>() == LINE);
const _: () = assert!((BEFORE_VALUE + core::mem::offset_of!(Cgroup, shards)).is_multiple_of(LINE));
const _: () = assert!((BEFORE_VALUE + size_of::<Cgroup>()).is_multiple_of(LINE));

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding.
unsafe impl aya::Pod for Cgroup {}
