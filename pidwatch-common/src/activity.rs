//! What a pass over the tasks of chosen cgroups writes: one [`TaskActivity`] a task of theirs, and one byte 0
//! for every other task, so that a read is full, and over, after a bounded number of tasks.

/// Name of the program.
pub const PROGRAM: &str = "activity";

/// Most cgroups that one pass can be about: entries of the map of the watched.
pub const MAX_WATCHED: u32 = 1024;

/// A task of a watched cgroup, in the moment in which the pass came to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskActivity {
    /// [`MARK`]: tells a record from the byte 0 of a task that is passed over.
    pub mark: u64,
    /// Its cgroup.
    pub cgroup: u64,
    /// `task_struct.start_time`: nanoseconds of CLOCK_MONOTONIC.
    pub start_time: u64,
    /// Nanoseconds since it last got a CPU, by the clock of the run queues, which may differ between CPUs
    /// by a little; [`UNKNOWN_IDLE`] where the kernel keeps no such account.
    pub idle_ns: u64,
    /// Jiffies since its end; 0 for one that lives or whose end no hook saw.
    pub ended_jiffies: u64,
    /// Its process.
    pub tgid: u32,
    /// Itself.
    pub tid: u32,
    /// Its process's parent.
    pub parent: u32,
    /// 1: a zombie; 0: it lives.
    pub is_zombie: u32,
    /// The system call that it is in, by the number of its CPU's architecture; [`NO_SYSCALL`] where that
    /// cannot be read.
    pub syscall: i32,
    /// Whether the call's first argument, taken for a descriptor, is a socket's: one of [`NO_SOCKET`],
    /// [`SOCKET`], [`UNKNOWN_SOCKET`].
    pub socket: u32,
    /// Its name.
    pub comm: [u8; 16],
}

/// First byte of a record, and all of [`TaskActivity::mark`].
pub const MARK: u64 = 1;
/// Value of [`TaskActivity::idle_ns`].
pub const UNKNOWN_IDLE: u64 = u64::MAX;
/// Value of [`TaskActivity::syscall`]. The kernel itself has -1 for a task that is in none.
pub const NO_SYSCALL: i32 = i32::MIN;
/// Value of [`TaskActivity::socket`].
pub const NO_SOCKET: u32 = 0;
/// Value of [`TaskActivity::socket`].
pub const SOCKET: u32 = 1;
/// Value of [`TaskActivity::socket`]: it is no open descriptor, or cannot be read.
pub const UNKNOWN_SOCKET: u32 = 2;

const _: () = assert!(size_of::<TaskActivity>() == 80);
