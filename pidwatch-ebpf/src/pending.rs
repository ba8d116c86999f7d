//! Ended tasks until they are freed: every thread-group leader, and threads that a tracer must reap.
//!
//! Noted at their end, forgotten at their free. What is noted and not forgotten is what ended and is
//! not freed; a scan looks at each of those and finds the zombies among them (`zombies`).

use core::sync::atomic::AtomicU64;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use pidwatch_common::{
    pending::{Look, Pending, PendingState},
    totals::{Cgroup, Loss, Rare},
};

use crate::{
    cgroup::rare,
    counter::{add, count},
    loss::lose,
    maps::{CGROUPS, PENDING, offset, setting},
    task::{Task, jiffies, probe},
};

/// Slots of [`FILTER`], by their binary logarithm. With 4,096 of them the usual free takes twice as
/// long: they are not in the CPU's nearest cache.
const FILTER_BITS: u32 = 9;
/// How many entries there are by a hash of the task's start: 0 spares most frees the look at the map. Not by
/// its address, with which the verifier allows no arithmetic.
static FILTER: [AtomicU64; 1 << FILTER_BITS] = [const { AtomicU64::new(0) }; 1 << FILTER_BITS];

/// Added, takes one away.
const MINUS_ONE: u64 = u64::MAX;

#[inline(always)]
fn slot(start_time: u64) -> *mut u64 {
    // Fibonacci hashing.
    let hash = start_time.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - FILTER_BITS);
    FILTER[hash as usize & ((1 << FILTER_BITS) - 1)].as_ptr()
}

/// Notes a task that ends in `cgroup`; false when there is no room (which is counted), and where frees are
/// not seen.
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value the entry would be copied on a stack of 512 bytes"
)]
#[inline(never)]
pub fn note(task: Task, cgroup: u64, entry: *mut Cgroup, is_process: bool, ended_at: u64) -> bool {
    if setting!(frees) == 0 {
        return false;
    }
    let key = task.address();
    let pending = Pending {
        cgroup,
        start_time: task.start_time(),
        ended_at,
        reaped_at: 0,
        is_process: u64::from(is_process),
    };
    if PENDING
        .insert(key, &pending, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        count(slot(pending.start_time));
        return true;
    }
    // One whose free no hook saw: its address is this task's now.
    if let Some(stale) = PENDING.get_ptr(key) {
        // SAFETY: an entry of the map.
        let stale = unsafe { &*stale };
        let (former, start_time) = (stale.cgroup, stale.start_time);
        if PENDING.insert(key, &pending, u64::from(BPF_ANY)).is_ok() {
            if start_time != pending.start_time {
                add(slot(start_time), MINUS_ONE);
                count(slot(pending.start_time));
                unseen(former);
            }
            return true;
        }
    }
    lose(Loss::PendingMapFull);
    count(rare(entry, Rare::Unnoted, 0));
    false
}

/// Whether a task is noted.
#[inline(always)]
pub fn is_noted(task: Task) -> bool {
    PENDING.get_ptr(task.address()).is_some()
}

/// Takes a task's entry out: the cgroup in which it ended, and whether it was a process.
#[inline(always)]
pub fn take(task: Task) -> Option<(u64, bool)> {
    let key = task.address();
    let own = task.start_time();
    // SAFETY: a plain integer of a static.
    if unsafe { slot(own).read_volatile() } == 0 {
        return None;
    }
    let (cgroup, is_process, start_time) = {
        // SAFETY: an entry of the map.
        let pending = unsafe { &*PENDING.get_ptr(key)? };
        (pending.cgroup, pending.is_process != 0, pending.start_time)
    };
    // If it cannot be taken out (the map's lock is this CPU's), a scan finds and settles it.
    if PENDING.remove(key).is_err() {
        return None;
    }
    add(slot(start_time), MINUS_ONE);
    if start_time == own {
        return Some((cgroup, is_process));
    }
    unseen(cgroup);
    None
}

/// Takes an entry out if it is stale; its cgroup then.
#[inline(always)]
pub fn settle(key: u64) -> Option<u64> {
    let entry = PENDING.get_ptr_mut(key)?;
    // SAFETY: an entry of the map.
    let mut pending = unsafe { *entry };
    if judge(&mut pending, key) != PendingState::Stale || PENDING.remove(key).is_err() {
        return None;
    }
    add(slot(pending.start_time), MINUS_ONE);
    unseen(pending.cgroup);
    Some(pending.cgroup)
}

/// What an entry is by now.
#[inline(always)]
pub fn judge(pending: &mut Pending, address: u64) -> PendingState {
    let task = address as *const u8;
    let exit_state = probe(task, offset!(task_exit_state)).unwrap_or(0);
    let signal: Option<*const u8> = probe(task, offset!(task_signal));
    let live: Option<u32> = signal.and_then(|signal| probe(signal, offset!(signal_live)));
    let look = Look {
        // Last: if it is still the same task, so was what was read before.
        start_time: probe(task, offset!(task_start_time)).unwrap_or(0),
        exit_state,
        group_lives: live.is_none_or(|live| live != 0),
    };
    pending.judge(
        look,
        jiffies(),
        setting!(lasting_jiffies),
        setting!(longest_free_jiffies),
    )
}

/// A free that no hook saw.
#[inline(always)]
fn unseen(cgroup: u64) {
    lose(Loss::FreeUnseen);
    if let Some(entry) = CGROUPS.get_ptr_mut(cgroup) {
        count(rare(entry, Rare::UnseenFrees, 0));
    }
}
