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
    /// Tasks that were freed without the hook: lost.
    pub unseen_frees: u64,
    /// Ended tasks that there was no room to note: their frees are lost, and zombies unknown.
    pub unnoted: u64,
    /// Creations refused for want of something: EAGAIN, ENOMEM, ENOSPC, EUSERS.
    pub failed: u64,
    /// Creations refused for another reason: EINVAL, EPERM and so on. Not ENOSYS, with which container
    /// runtimes answer clone3 so that callers fall back to clone; not EINTR, of a task that is killed.
    pub rejected: u64,
    /// Failures of which no record was sent: over the rate limit, or the ring was full.
    pub suppressed: u64,
    /// Those of them that a short look told the kind of, by [`Suppressed`].
    pub suppressed_by: [u64; Suppressed::COUNT],
    /// `rejected` by error: [`REJECTIONS`], and any other at the end.
    pub rejected_by: [u64; REJECTIONS.len() + 1],
}

/// What a failure was by a short look, when no record of it was sent.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppressed {
    /// A cgroup's limit was full.
    PidsMax = 0,
    /// The user's limit was full.
    RlimitNproc = 1,
    /// `kernel.threads-max` was full.
    ThreadsMax = 2,
    /// A PID namespace has no free ID.
    Ids = 3,
    /// SCHED_DEADLINE is not inherited.
    Deadline = 4,
    /// A sibling execs.
    ExecInProgress = 5,
    /// ENOMEM.
    NoMemory = 6,
    /// ENOSPC.
    NoSpace = 7,
}

impl Suppressed {
    /// How many there are.
    pub const COUNT: usize = 8;
}

/// Errors of rejections that are counted each (include/uapi/asm-generic/errno-base.h): EPERM, EBADF,
/// EACCES, EBUSY, EINVAL.
pub const REJECTIONS: [u32; 5] = [1, 9, 13, 16, 22];

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
        unseen_frees: 0,
        unnoted: 0,
        failed: 0,
        rejected: 0,
        suppressed: 0,
        suppressed_by: [0; Suppressed::COUNT],
        rejected_by: [0; REJECTIONS.len() + 1],
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
    /// Counters that hardly ever move, by [`Rare`]: the line has room for them.
    pub rare: [u64; RARE],
}

/// Rare counters in a [`Shard`].
pub const RARE: usize = 4;

/// Counters that are not split over the shards, but lie in what those leave of their lines. By the index of the
/// first of each kind: the shard is the index by [`RARE`], the place in it what is left over.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rare {
    /// See [`Totals::suppressed_by`].
    SuppressedBy = 0,
    /// See [`Totals::rejected_by`].
    RejectedBy = Suppressed::COUNT as u32,
    /// See [`Totals::unseen_frees`].
    UnseenFrees = (Suppressed::COUNT + REJECTIONS.len() + 1) as u32,
    /// See [`Totals::unnoted`].
    Unnoted = (Suppressed::COUNT + REJECTIONS.len() + 2) as u32,
}

const _: () = assert!(Rare::Unnoted as usize == RARE * SHARDS - 1);

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
    /// The hot counters, whose sum counts, and the rare ones.
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
            rare: [0; RARE],
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
    /// A creation, exit or failure of a cgroup for which the map had no place, nor for any near one above it.
    CgroupMapFull = 3,
    /// A creation whose cgroup could not be found out.
    CreationUnresolved = 4,
    /// An ended task that there was no place to note: its free is not counted.
    PendingMapFull = 5,
    /// A free that the hook was not there for.
    FreeUnseen = 6,
    /// A creation, exit or failure of a cgroup for which the map had no place: counted in the nearest one above that has.
    CgroupFolded = 7,
}

impl Loss {
    /// Every loss, in the order of its index.
    pub const ALL: [Self; 8] = [
        Self::RingRate,
        Self::RingFailure,
        Self::RingCgroup,
        Self::CgroupMapFull,
        Self::CreationUnresolved,
        Self::PendingMapFull,
        Self::FreeUnseen,
        Self::CgroupFolded,
    ];
}

const _: () = assert!(size_of::<Totals>() == 216);
/// Bytes of the kernel's hash table element before the value: `struct htab_elem` and the key
/// (kernel/bpf/hashtab.c, 5.10 to 7.2). Elements lie one after the other from a page's begin.
const BEFORE_VALUE: usize = 48 + size_of::<u64>();
const _: () = assert!(size_of::<Shard>() == LINE);
const _: () = assert!((BEFORE_VALUE + core::mem::offset_of!(Cgroup, shards)).is_multiple_of(LINE));
const _: () = assert!((BEFORE_VALUE + size_of::<Cgroup>()).is_multiple_of(LINE));

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding.
unsafe impl aya::Pod for Cgroup {}
