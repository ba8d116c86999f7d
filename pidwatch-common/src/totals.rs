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

/// Value of [`crate::map::CGROUPS`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cgroup {
    /// The counters. Written with atomic adds only.
    pub totals: Totals,
    /// `jiffies` when the last rate record of this cgroup was sent.
    pub told_at: u64,
    /// `jiffies` when the current window of failure records began.
    pub failures_since: u64,
    /// Failure records sent in that window.
    pub failures_told: u64,
}

impl Cgroup {
    /// A cgroup of which nothing was told yet.
    pub const ZERO: Self = Self {
        totals: Totals::ZERO,
        told_at: 0,
        failures_since: 0,
        failures_told: 0,
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
const _: () = assert!(size_of::<Cgroup>() == 112);

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding.
unsafe impl aya::Pod for Cgroup {}
