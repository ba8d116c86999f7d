//! Ends: `sched_process_exit`, raised in `do_exit` when the task is still in its cgroup and the
//! running one. Ending tasks never move (`cgroup_migrate` skips `PF_EXITING`).
//!
//! `void sched_process_exit(struct task_struct *task[, bool group_dead])` (the second from 6.17)
//!
//! A thread that ends is freed without anyone's doing, unless it is traced; a leader waits to be
//! reaped. So `free` looks only at leaders, and at the few tasks that are noted here as held:
//! traced threads, and leaders that end before their group, because a thread that execs takes over
//! the leader's ids (`de_thread`, fs/exec.c) and the old leader is then freed as a thread.

use aya_ebpf::{
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use pidwatch_common::totals::{Loss, Phase};

use crate::{
    cgroup::{Owner, add, count},
    emit::{self, lose},
    maps::{HELD, HELD_COUNT, PHASE},
    task::Task,
};

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    exited(Task(ctx.arg(0)));
    0
}

/// The same from the classic tracepoint: the ending task is the running one.
#[tracepoint]
pub fn sched_process_exit_classic(_ctx: TracePointContext) -> u32 {
    exited(Task::current());
    0
}

#[inline(always)]
fn exited(task: Task) {
    let owner = Owner::of(task);
    let Some(entry) = owner.entry() else { return };
    // SAFETY: an entry of the map.
    unsafe {
        if task.is_leader() {
            count(&raw mut (*entry).totals.exited.processes);
            if task.group_lives() || starting() {
                hold(task);
            }
        } else {
            count(&raw mut (*entry).totals.exited.threads);
            if task.is_traced() && hold(task) {
                count(&raw mut (*entry).totals.held_threads);
            }
        }
    }
    emit::rate_if_due(owner, entry);
}

/// Whether tasks that ended before pidwatch was there may still be freed.
#[inline(always)]
pub fn starting() -> bool {
    PHASE.get(0).is_some_and(|phase| *phase == Phase::Starting as u32)
}

/// Notes a task so that its free is looked at; false (and told as lost) when there is no room.
#[inline(never)]
pub fn hold(task: Task) -> bool {
    if HELD.insert(task.address(), 0, 0).is_err() {
        lose(Loss::HeldMapFull);
        return false;
    }
    count(HELD_COUNT.as_ptr());
    true
}

/// Forgets a task; whether it was noted.
#[inline(never)]
pub fn release(task: Task) -> bool {
    let held = HELD.remove(task.address()).is_ok();
    if held {
        add(HELD_COUNT.as_ptr(), u64::MAX);
    }
    held
}
