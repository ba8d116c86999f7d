//! What a failing creation left behind: every limit that could have refused it, read by the failing
//! program itself. User space decides from it, in the order in which the kernel checks
//! (`copy_process`, kernel/fork.c).

/// Levels of cgroups that are read, the task's own first.
pub const CGROUP_LEVELS: usize = 12;
/// Levels of PID namespaces that are read, the one that the child would be born in first.
pub const PID_LEVELS: usize = 4;
/// Levels of user namespaces that are read, the task's own first.
pub const USER_LEVELS: usize = 4;
/// `RESERVED_PIDS` of kernel/pid.c: once the search has passed them, lower IDs are not
/// given out.
pub const RESERVED_PIDS: u32 = 300;
/// `PIDNS_ADDING` of include/linux/pid_namespace.h, a bit of `pid_namespace.pid_allocated`: gone
/// once the namespace's init is.
pub const PIDNS_ADDING: u32 = 1 << 31;

/// Bits of [`Evidence::known`].
pub mod known {
    /// The task's user, its tasks and limits.
    pub const USER: u32 = 1;
    /// `nr_threads` and `max_threads`.
    pub const THREADS: u32 = 1 << 1;
    /// PID namespaces, from the innermost to the initial one.
    pub const PIDS: u32 = 1 << 2;
    /// The pids controller's counts, from the task's cgroup to the root.
    pub const CGROUPS: u32 = 1 << 3;
    /// `pid_max`; before 6.14 it is a variable whose address may be hidden.
    pub const PID_MAX: u32 = 1 << 4;
}

/// One cgroup's count by the pids controller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLevel {
    /// Its id.
    pub cgroup: u64,
    /// `pids_cgroup.counter`: tasks, descendants' included.
    pub usage: i64,
    /// `pids_cgroup.limit`; `PID_MAX_LIMIT` + 1 (4,194,305) for `max`.
    pub limit: i64,
    /// How often it refused: `events_local[PIDCG_MAX]` (6.11), before that `events_limit`, counted at
    /// the cgroup that forked.
    pub events: u64,
}

/// One PID namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidLevel {
    /// `pid_namespace.pid_allocated`, its [`PIDNS_ADDING`] bit included.
    pub allocated: u32,
    /// Its `pid_max` (6.14), before that the node's.
    pub pid_max: u32,
    /// Its inode number (`ns.inum`).
    pub inum: u32,
    /// The first free ID of those that are searched, in the order of their numbers; 0 when it was not
    /// looked for, since there are more than enough.
    pub first_free: u32,
}

/// One user's tasks, in one user namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserLevel {
    /// Tasks (`ucounts.rlimit[UCOUNT_RLIMIT_NPROC]` from 5.14, `user_struct.processes` before).
    pub usage: i64,
    /// How many there may be: the task's RLIMIT_NPROC at the first level, the limit that the user
    /// namespace was made with above.
    pub limit: u64,
    /// The user, in the initial user namespace.
    pub uid: u32,
    /// Unused, 0.
    pub reserved: u32,
}

/// The limits around a failing creation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Bits of [`known`]: what could be read.
    pub known: u32,
    /// 1: RLIMIT_NPROC does not hold for the task (the root user, CAP_SYS_RESOURCE or
    /// CAP_SYS_ADMIN in the initial user namespace).
    pub nproc_exempt: u32,
    /// 1: the task is scheduled by SCHED_DEADLINE, and its children would be.
    pub deadline: u32,
    /// Levels in `cgroups`.
    pub cgroup_levels: u32,
    /// Levels in `pids`.
    pub pid_levels: u32,
    /// Levels in `users`.
    pub user_levels: u32,
    /// `nr_threads`.
    pub nr_threads: i32,
    /// `max_threads`.
    pub max_threads: i32,
    /// By level, the task's own first.
    pub cgroups: [CgroupLevel; CGROUP_LEVELS],
    /// By level, the innermost first.
    pub pids: [PidLevel; PID_LEVELS],
    /// By level, the innermost first.
    pub users: [UserLevel; USER_LEVELS],
}

const _: () = assert!(size_of::<CgroupLevel>() == 32);
const _: () = assert!(size_of::<PidLevel>() == 16);
const _: () = assert!(size_of::<UserLevel>() == 24);
const _: () =
    assert!(size_of::<Evidence>() == 32 + CGROUP_LEVELS * 32 + PID_LEVELS * 16 + USER_LEVELS * 24);

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding; any bytes are a value.
unsafe impl aya::Pod for Evidence {}
