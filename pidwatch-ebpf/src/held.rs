//! Ended tasks whose free must be looked at closely. Noted at their end, forgotten at their free:
//!
//! - Traced threads: someone reaps them, as if they were leaders.
//! - Leaders that end before their group: a thread that execs takes over the leader's ids
//!   (`de_thread`, fs/exec.c), and the old leader is then freed as a thread.
//! - While pidwatch starts, every leader: one that is freed without having been noted ended before
//!   the exit hook was there.

use core::sync::atomic::AtomicU64;

use pidwatch_common::totals::{Loss, Phase};

use crate::{
    cgroup::{add, count},
    emit::lose,
    maps::{HELD, HELD_COUNT, HELD_THREADS, PHASE},
    task::Task,
};

/// Added, takes one away.
const MINUS_ONE: u64 = u64::MAX;

/// What a held task may be when it is freed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum As {
    Leader = 0,
    Either = 1,
}

/// Whether tasks that ended before pidwatch was there may still be freed.
#[inline(always)]
pub fn starting() -> bool {
    PHASE
        .get(0)
        .is_some_and(|phase| *phase == Phase::Starting as u32)
}

/// Whether any task is noted that could be freed as what it is now.
#[inline(always)]
pub fn any(leader: bool) -> bool {
    is_positive(if leader { &HELD_COUNT } else { &HELD_THREADS })
}

#[inline(always)]
fn is_positive(counter: &AtomicU64) -> bool {
    // SAFETY: a plain integer of a static.
    unsafe { counter.as_ptr().read_volatile() != 0 }
}

/// Notes a task so that its free is looked at; false (and told as lost) when there is no room.
#[inline(never)]
pub fn hold(task: Task, may_be: As) -> bool {
    if HELD.insert(task.address(), may_be as u8, 0).is_err() {
        lose(Loss::HeldMapFull);
        return false;
    }
    count(HELD_COUNT.as_ptr());
    if may_be == As::Either {
        count(HELD_THREADS.as_ptr());
    }
    true
}

/// Whether a task is noted.
#[inline(always)]
pub fn is_held(task: Task) -> bool {
    HELD.get_ptr(task.address()).is_some()
}

/// Forgets a task; whether it was noted.
#[inline(never)]
pub fn release(task: Task) -> bool {
    let Some(may_be) = HELD.get_ptr(task.address()) else {
        return false;
    };
    // SAFETY: an entry of the map; only its own task's free takes it out.
    let may_be = unsafe { may_be.read_volatile() };
    let _ = HELD.remove(task.address());
    add(HELD_COUNT.as_ptr(), MINUS_ONE);
    if may_be == As::Either as u8 {
        add(HELD_THREADS.as_ptr(), MINUS_ONE);
    }
    true
}
