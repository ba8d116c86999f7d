//! Creations: `task_newtask`, raised at the end of `copy_process` for every new task, io_uring and
//! vhost workers included, when the child is in its cgroup already. `sched_process_fork` misses
//! such workers (they call `copy_process` directly) and stands in only where the other is not to
//! be had.
//!
//! `void task_newtask(struct task_struct *task, u64 clone_flags)`
//! `void sched_process_fork(struct task_struct *parent, struct task_struct *child)`

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_current_task,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use pidwatch_common::{record::Cause, totals::Loss};

use crate::{
    cgroup::{Owner, own_shard},
    counter::count,
    emit, idr,
    loss::lose,
    maps::offset,
    task::{CLONE_INTO_CGROUP, CLONE_THREAD, Task, probe},
};

#[btf_tracepoint(function = "task_newtask")]
pub fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(0));
    // Idle tasks of CPUs coming up have pid 0, hold no PID and never end.
    if task.pid() != 0 {
        created(Owner::of(task), ctx.arg::<u64>(1) & CLONE_THREAD != 0);
    }
    0
}

#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let child = Task(ctx.arg(1));
    created(Owner::of(child), !child.is_leader());
    0
}

/// The same from the classic tracepoint, for kernels on which BTF tracepoint programs can be
/// preempted and then skip others' events (7.0). Its record has no pointer to the child: a child
/// is in its creator's cgroup, unless it asked for another one.
#[tracepoint]
pub fn task_newtask_classic(ctx: TracePointContext) -> u32 {
    let record: *const u8 = ctx.as_ptr().cast_const().cast();
    let flags: Option<u64> = probe(record, offset!(newtask_clone_flags));
    let pid: Option<u32> = probe(record, offset!(newtask_pid));
    let (Some(flags), Some(pid)) = (flags, pid) else {
        lose(Loss::CreationUnresolved);
        return 0;
    };
    if pid == 0 {
        return 0;
    }
    let owner = if flags & CLONE_INTO_CGROUP == 0 {
        Some(Owner::of(Task::current()))
    } else {
        task_by_pid(pid).and_then(Owner::probe)
    };
    match owner {
        Some(owner) => created(owner, flags & CLONE_THREAD != 0),
        None => lose(Loss::CreationUnresolved),
    }
    0
}

#[inline(always)]
fn created(owner: Owner, thread: bool) {
    let Some((owner, entry)) = owner.entry() else {
        return;
    };
    // SAFETY: an entry of the map.
    unsafe {
        let created = &raw mut (*own_shard(entry)).created;
        count(if thread {
            &raw mut (*created).threads
        } else {
            &raw mut (*created).processes
        });
    }
    emit::rate_if_due(owner, entry, Cause::Created);
}

/// The task that a PID of the initial namespace belongs to. The caller runs under RCU, as every
/// tracepoint does.
#[inline(never)]
pub fn task_by_pid(pid: u32) -> Option<*const u8> {
    // Not as a typed pointer: `control` asks on every kernel, and `bpf_get_current_task_btf` needs 5.11.
    // SAFETY: no arguments.
    let current = unsafe { bpf_get_current_task() } as *const u8;
    // Level 0 of any task's struct pid is the initial namespace.
    let own: *const u8 = probe(current, offset!(task_thread_pid))?;
    let namespace: *const u8 = probe(own, offset!(pid_init_ns))?;
    let pid_struct = idr::find(namespace, pid)?;
    let first: *const u8 = probe(pid_struct, offset!(pid_tasks))?;
    if first.is_null() {
        return None;
    }
    let task = first.wrapping_sub(offset!(task_pid_links) as usize);
    // A table that changed under the walk may have led elsewhere.
    (probe::<u32>(task, offset!(task_pid))? == pid).then_some(task)
}
