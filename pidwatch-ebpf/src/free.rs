//! Frees: `sched_process_free`, raised by RCU some time after a task was reaped and its PID given
//! back (`delayed_put_task_struct`). The task keeps its `css_set` until then.
//!
//! `void sched_process_free(struct task_struct *task)`
//!
//! Always a BTF tracepoint: the classic one has no pointer to the task, and as the program runs
//! in RCU callbacks only, with bottom halves off, it cannot be preempted by itself, so that the
//! guard that makes 7.x lose events elsewhere has nothing to skip here.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pidwatch_common::record::Cause;

use crate::{
    cgroup::{Owner, count},
    emit,
    held::{any, release, starting},
    maps::CGROUPS,
    task::Task,
};

#[btf_tracepoint(function = "sched_process_free")]
pub fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(0));
    let leader = task.is_leader();
    let held = any(leader) && release(task);
    // The usual thread was counted as freed when it ended.
    if !leader && !held {
        return 0;
    }
    // Ended before the exit hook was there.
    let is_from_before = leader && !held && starting();
    let owner = Owner::of(task);
    // Only looked up: the end made the entry, and a cgroup that was forgotten stays so.
    let Some(entry) = CGROUPS.get_ptr_mut(owner.id) else {
        return 0;
    };
    // SAFETY: an entry of the map.
    unsafe {
        if leader {
            count(&raw mut (*entry).freed.processes);
            if is_from_before {
                count(&raw mut (*entry).zombies_before);
            }
        } else {
            count(&raw mut (*entry).freed.threads);
        }
    }
    emit::rate_if_due(owner, entry, Cause::Counted);
    0
}
