//! Records of the ring buffer. Each begins with a [`Header`] whose `kind` says which one it is.

use crate::{
    evidence::{LimitEvidence, PID_LEVELS, PidLevel},
    totals::{Loss, Totals},
};

/// Which record follows.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Rate`].
    Rate = 1,
    /// A [`CloneFailed`].
    CloneFailed = 2,
    /// A [`CgroupChange`], followed by the path.
    CgroupAdded = 3,
    /// A [`CgroupChange`], followed by the path.
    CgroupRemoved = 4,
    /// A [`CgroupChange`] followed by the new path (v1 only).
    CgroupRenamed = 5,
    /// A [`Losses`].
    Losses = 6,
    /// A [`PidNamespaces`].
    PidNamespaces = 7,
}

/// Begin of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u32,
    /// Unused, 0.
    pub reserved: u32,
    /// Boot-time clock (`ktime_get_boottime`), nanoseconds.
    pub time_ns: u64,
    /// The cgroup's id: its kernfs node's.
    pub cgroup: u64,
}

/// The charge that a rate record carries.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeScope {
    /// Could not be read; `charge` is 0.
    Unknown = 0,
    /// The cgroup has no children: its charge is its own.
    Own = 1,
    /// Includes the charge of descendants.
    Subtree = 2,
}

/// Totals of one cgroup at one moment. Sent about once per cgroup and window.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// What and when.
    pub header: Header,
    /// The counters.
    pub totals: Totals,
    /// The pids controller's count (`pids_cgroup.counter`), as `charge_scope` says.
    pub charge: i64,
    /// A [`ChargeScope`].
    pub charge_scope: u32,
    /// A [`Cause`].
    pub cause: u32,
    /// Who, in the initial PID namespace: of [`Cause::Created`] the creator's thread group, of
    /// [`Cause::Entered`] the task that was moved in; otherwise 0.
    pub pid: u32,
    /// Unused, 0.
    pub reserved: u32,
    /// Name of the running task: of [`Cause::Created`] the creator's, of [`Cause::Entered`] that of
    /// whoever moved the task; as `TASK_COMM_LEN` bytes ended by NUL.
    pub comm: [u8; 16],
    /// Of [`Cause::Entered`] the id of the cgroup of whoever moved the task, and of a task that moved
    /// itself that of its parent; otherwise 0.
    pub mover: u64,
}

/// Why a rate record was sent.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Something other than a creation was counted, and the last record was a window ago.
    Counted = 0,
    /// A task was moved into the cgroup, so another one's charge fell unseen.
    Entered = 1,
    /// User space asked.
    Asked = 2,
    /// A creation was counted, and the last record was a window ago.
    Created = 3,
}

/// How a creation was asked for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// Not known.
    Unknown = 0,
    /// `clone(2)`.
    Clone = 1,
    /// `clone3(2)`.
    Clone3 = 2,
    /// `fork(2)`.
    Fork = 3,
    /// `vfork(2)`.
    Vfork = 4,
    /// `execve(2)` or `execveat(2)`.
    Execve = 5,
    /// The kernel itself, for a kernel thread or a user-mode helper.
    Kernel = 6,
}

/// One creation that failed for want of something.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CloneFailed {
    /// What and when; the cgroup is where the child was to be born: the caller's, or the one that it asked
    /// for (`CLONE_INTO_CGROUP`).
    pub header: Header,
    /// The counters after this failure.
    pub totals: Totals,
    /// The error, positive.
    pub errno: u32,
    /// A [`Syscall`].
    pub syscall: u32,
    /// The caller's thread-group id, in the initial PID namespace.
    pub pid: u32,
    /// The caller's thread id, in the initial PID namespace.
    pub tid: u32,
    /// The caller's real user id, in the initial user namespace.
    pub uid: u32,
    /// The caller's parent (`real_parent`), its thread group; 0 when not known.
    pub parent: u32,
    /// The caller's name, as `TASK_COMM_LEN` bytes ended by NUL.
    pub comm: [u8; 16],
    /// The parent's name, likewise.
    pub parent_comm: [u8; 16],
    /// The first of the caller and its ancestors, the nearest first, whose parent is in another
    /// cgroup: whatever came into this one from outside. 0 when there is none nearby.
    pub origin: u32,
    /// Unused, 0.
    pub reserved: u32,
    /// The limits around it.
    pub evidence: LimitEvidence,
}

/// What was lost since the start.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    /// What and when; no cgroup.
    pub header: Header,
    /// By [`Loss`].
    pub counts: [u64; Loss::ALL.len()],
}

/// The PID namespaces in which a task's children get their IDs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PidNamespaces {
    /// What and when; the cgroup is the task's.
    pub header: Header,
    /// The task, in the initial PID namespace.
    pub pid: u32,
    /// Levels in `levels`; 0 when there are more than can be read.
    pub count: u32,
    /// By level, the innermost first, the initial namespace last.
    pub levels: [PidLevel; PID_LEVELS],
}

/// A cgroup of the pids hierarchy came, went or got another name. `path_len` bytes of path
/// follow: from the hierarchy's root, without the ending NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupChange {
    /// What and when.
    pub header: Header,
    /// Bytes of path that follow.
    pub path_len: u32,
    /// Unused, 0.
    pub reserved: u32,
}

/// Longest path that a [`CgroupChange`] can carry, its NUL included. A longer one arrives cut;
/// user space asks the cgroup file system then.
pub const PATH_MAX: usize = 1024;

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(size_of::<Rate>() == 24 + 216 + 48);
const _: () = assert!(size_of::<CloneFailed>() == 24 + 216 + 24 + 40 + size_of::<LimitEvidence>());
const _: () = assert!(size_of::<Losses>() == 24 + 64);
const _: () = assert!(size_of::<PidNamespaces>() == 24 + 8 + PID_LEVELS * 16);
const _: () = assert!(size_of::<CgroupChange>() == 24 + 8);
