//! Ends: `sched_process_exit`, raised in `do_exit` when the task is still in its cgroup and the
//! running one. Ending tasks never move (`cgroup_migrate` skips `PF_EXITING`).
//!
//! `void sched_process_exit(struct task_struct *task[, bool group_dead])` (the second from 6.17)
//!
//! A thread that ends is freed without anyone's doing, unless it is traced; a leader waits to be
//! reaped. So `free` counts leaders and traced threads, which are noted here.

use aya_ebpf::{
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use pidwatch_common::record::Cause;

use crate::{
    cgroup::{Owner, own_shard},
    counter::count,
    emit,
    pending::note,
    task::{Task, jiffies},
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
    let leader = task.is_leader();
    let owner = Owner::of(task);
    let Some((owner, entry)) = owner.entry() else {
        return;
    };
    // SAFETY: an entry of the map.
    unsafe {
        if leader {
            count(&raw mut (*own_shard(entry)).exited.processes);
            note(task, owner.id, entry, true, jiffies());
        } else {
            // Before its end: a reader in between must not take it for freed.
            if task.is_traced() && note(task, owner.id, entry, false, jiffies()) {
                count(&raw mut (*entry).held_threads);
            }
            count(&raw mut (*own_shard(entry)).exited.threads);
        }
    }
    emit::rate_if_due(owner, entry, Cause::Counted);
}
