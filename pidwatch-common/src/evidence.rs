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

/// Bits of [`LimitEvidence::known`].
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
    /// [`super::CgroupLevel::events`] are counted at the cgroup that forks, whichever limit it was:
    /// before 6.11, and later off the default hierarchy or with `pids_localevents` (`pids_event`,
    /// kernel/cgroup/pids.c). Otherwise at the cgroup whose limit it was.
    pub const EVENTS_AT_FORKER: u32 = 1 << 5;
    /// [`super::LimitEvidence::clone_flags`].
    pub const CLONE_FLAGS: u32 = 1 << 6;
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
    /// How often it refused: `events_local` (6.11), before that `events_limit`. See
    /// [`known::EVENTS_AT_FORKER`].
    pub events: u64,
}

/// A memory cgroup that has no room for what a creation needs; all 0 when none is so full.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLevel {
    /// Its id, in the hierarchy of the memory controller.
    pub cgroup: u64,
    /// Pages that it uses (`mem_cgroup.memory.usage`), descendants' included.
    pub usage: u64,
    /// Pages that it may use (`mem_cgroup.memory.max`).
    pub limit: u64,
    /// Levels above the task's own memory cgroup.
    pub height: u32,
    /// Unused, 0.
    pub reserved: u32,
}

/// A kind of namespace of which a user has as many as there may be; all 0 when there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceLevel {
    /// Its place in [`NAMESPACES`], from 1.
    pub kind: u32,
    /// The user, in the initial user namespace.
    pub uid: u32,
    /// How many the user has (`ucounts.ucount`).
    pub usage: i64,
    /// How many there may be (`user_namespace.ucount_max`).
    pub limit: i64,
}

/// The flag of clone that makes a namespace, and the limit on how many there may be, in the order of the
/// kernel's counters (`enum ucount_type`, include/linux/user_namespace.h).
pub const NAMESPACES: [(u64, &str); 8] = [
    (0x1000_0000, "user.max_user_namespaces"),
    (0x2000_0000, "user.max_pid_namespaces"),
    (0x0400_0000, "user.max_uts_namespaces"),
    (0x0800_0000, "user.max_ipc_namespaces"),
    (0x4000_0000, "user.max_net_namespaces"),
    (0x0002_0000, "user.max_mnt_namespaces"),
    (0x0200_0000, "user.max_cgroup_namespaces"),
    (0x0000_0080, "user.max_time_namespaces"),
];

/// `CLONE_VM` of include/uapi/linux/sched.h: without it the child gets a copy of the memory.
pub const CLONE_VM: u64 = 0x100;
/// Pages that a charge of memory asks for at once (`MEMCG_CHARGE_BATCH`, mm/memcontrol.c): a memory cgroup
/// with less room than that refuses, or reclaims first.
pub const CHARGE_BATCH: u64 = 64;

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
pub struct LimitEvidence {
    /// Bits of [`known`]: what could be read.
    pub known: u32,
    /// 1: RLIMIT_NPROC does not hold for the task (the root user, CAP_SYS_RESOURCE or
    /// CAP_SYS_ADMIN in the initial user namespace).
    pub nproc_exempt: u32,
    /// 1: the task is scheduled by SCHED_DEADLINE, and its children would be (not with
    /// `SCHED_FLAG_RESET_ON_FORK`).
    pub deadline: u32,
    /// 1: a task that shares its `fs_struct` execs (`fs_struct.in_exec`).
    pub in_exec: u32,
    /// 1: the user was over RLIMIT_NPROC at setuid(2), and execve is to check (`PF_NPROC_EXCEEDED`).
    pub nproc_exceeded: u32,
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
    /// The flags of the creation, see [`known::CLONE_FLAGS`].
    pub clone_flags: u64,
    /// Private writable pages of the task (`mm_struct.data_vm`); 0 when not known.
    pub data_pages: u64,
    /// Of ENOMEM: the first memory cgroup from the task's up that is full.
    pub memory: MemoryLevel,
    /// Of ENOSPC: the first kind of namespace that the creation asks for and that is used up.
    pub namespaces: NamespaceLevel,
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
const _: () = assert!(
    size_of::<LimitEvidence>() == 112 + CGROUP_LEVELS * 32 + PID_LEVELS * 16 + USER_LEVELS * 24
);

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding; any bytes are a value.
unsafe impl aya::Pod for LimitEvidence {}
