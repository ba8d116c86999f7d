//! Ended tasks that are not freed yet: an entry of the map [`crate::map::PENDING`], and what a look at
//! its task says about it. Pure, so that the same rules run in the kernel and in tests.
//!
//! An entry is made when a task that somebody has to reap ends, and removed by that task's free. So
//! an end is freed at most once, a free without an entry is nobody's, and what is still there is
//! exactly what ended and is not freed.

/// Value of [`crate::map::PENDING`]; the key is the address of the task.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Where its end was counted.
    pub cgroup: u64,
    /// `task_struct.start_time`: tells the task from a later one at the same address.
    pub start_time: u64,
    /// `jiffies` at its end; 0 for one that had ended when pidwatch started. Stands still in suspend.
    pub ended_at: u64,
    /// `jiffies` when a scan first saw that it is reaped; 0 before that.
    pub reaped_at: u64,
    /// 1: a thread-group leader when it ended; 0: a thread that its tracer must reap.
    pub is_process: u64,
}

/// What is found at the address of an entry's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// `task_struct.start_time`; 0, which is nobody's, when the address cannot be read. No `Option`: 5.10's
    /// verifier refuses to copy what one leaves unwritten.
    pub start_time: u64,
    /// `task_struct.exit_state`.
    pub exit_state: u32,
    /// Whether other tasks of its thread group live.
    pub group_lives: bool,
}

/// What has become of a pending task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingState {
    /// Neither: still on its way to its end, young, a leader whose threads live, a thread that waits
    /// for its tracer, or reaped and waiting for RCU.
    Waiting,
    /// A zombie.
    Zombie,
    /// Freed without the hook: the address is another task's, or RCU had more time than it takes.
    Stale,
}

/// `EXIT_DEAD` of include/linux/sched.h: somebody reaps it, or has.
pub const EXIT_DEAD: u32 = 0x10;
/// `EXIT_ZOMBIE` of include/linux/sched.h.
pub const EXIT_ZOMBIE: u32 = 0x20;

impl Pending {
    /// Whether the task at the entry's address is the one that ended.
    #[inline(always)]
    pub fn is_of(&self, start_time: u64) -> bool {
        self.start_time == start_time
    }

    /// Judges the entry, and notes since when it is reaped. `lasting` and `longest_free` in jiffies.
    #[inline(always)]
    pub fn judge(&mut self, look: Look, now: u64, lasting: u64, longest_free: u64) -> PendingState {
        if !self.is_of(look.start_time) {
            return PendingState::Stale;
        }
        if look.exit_state & EXIT_DEAD != 0 {
            if self.reaped_at == 0 {
                self.reaped_at = now;
            } else if now.wrapping_sub(self.reaped_at) > longest_free {
                return PendingState::Stale;
            }
            return PendingState::Waiting;
        }
        let is_old = now.wrapping_sub(self.ended_at) >= lasting;
        if look.exit_state & EXIT_ZOMBIE != 0 && self.is_process != 0 && !look.group_lives && is_old
        {
            return PendingState::Zombie;
        }
        PendingState::Waiting
    }
}

/// What a scan of the map writes for an entry that is not [`PendingState::Waiting`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// A [`ScannedKind`].
    pub kind: u64,
    /// The cgroup of a zombie, or the address of a stale entry.
    pub value: u64,
}

/// Kind of a [`Scanned`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScannedKind {
    /// A zombie; `value` is its cgroup, or the nearest one above that is not removed.
    Zombie = 1,
    /// A stale entry; `value` is its address.
    Stale = 2,
}

const _: () = assert!(size_of::<Pending>() == 40);
const _: () = assert!(size_of::<Scanned>() == 16);

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding.
unsafe impl aya::Pod for Pending {}
