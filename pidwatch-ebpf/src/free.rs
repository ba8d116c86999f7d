//! Frees: `sched_process_free`, raised by RCU some time after a task was reaped and its PID given
//! back (`delayed_put_task_struct`). The task keeps its `css_set` until then.
//!
//! `void sched_process_free(struct task_struct *task)`
//!
//! Always a BTF tracepoint: the classic one has no pointer to the task, and as the program runs
//! in RCU callbacks only, with bottom halves off, it cannot be preempted by itself, so that the
//! guard that makes 7.x lose events elsewhere has nothing to skip here.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pidwatch_common::{record::Cause, totals::Loss};

use crate::{cgroup::Owner, counter::count, emit, loss::lose, maps::CGROUPS, pending, task::Task};

#[btf_tracepoint(function = "sched_process_free")]
pub fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(0));
    // The usual thread was counted as freed when it ended; and what ended before the exit hook was
    // there, and is in no count.
    let Some((cgroup, is_process)) = pending::take(task) else {
        return 0;
    };
    // Only looked up: the end made the entry, and a cgroup that was forgotten stays so.
    let Some(entry) = CGROUPS.get_ptr_mut(cgroup) else {
        lose(Loss::FreeUnseen);
        return 0;
    };
    // SAFETY: an entry of the map.
    unsafe {
        count(if is_process {
            &raw mut (*entry).freed.processes
        } else {
            &raw mut (*entry).freed.threads
        });
    }
    emit::rate_if_due(Owner::of(task), entry, Cause::Counted);
    0
}
