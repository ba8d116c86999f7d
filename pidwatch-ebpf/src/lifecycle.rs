//! Cgroups that come, go, get another name or get tasks from elsewhere.
//!
//! `void cgroup_mkdir(struct cgroup *cgrp, const char *path)`, `cgroup_rmdir` and `cgroup_rename`
//! alike, `void cgroup_attach_task(struct cgroup *dst_cgrp, const char *path,
//! struct task_struct *task, bool threadgroup)`: raised with interrupts off under one lock, so
//! that they neither overlap nor are preempted. Every hierarchy raises them; only the one that
//! counts tasks matters.

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{bpf_get_current_task, bpf_probe_read_kernel_str_bytes},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use pidwatch_common::{
    record::{CgroupChange, Kind, PATH_MAX},
    totals::Loss,
};

use crate::{
    cgroup::Owner,
    emit::{self, header},
    loss::lose,
    maps::{PATH_SCRATCH, RING, offset, setting},
    task::{Task, load, probe},
};

#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, Kind::CgroupAdded)
}

#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, Kind::CgroupRemoved)
}

#[btf_tracepoint(function = "cgroup_rename")]
pub fn cgroup_rename(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, Kind::CgroupRenamed)
}

/// Tasks were moved in: their charge came along, so user space must hear of it.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    if !counts_tasks(ctx.arg(0)) {
        return 0;
    }
    let task = Task(ctx.arg(2));
    let owner = Owner::of(task);
    if let Some((owner, entry)) = owner.entry() {
        emit::entered(owner, entry, task.pid(), mover(task));
    }
    0
}

/// The cgroup of whoever moves a task. One that moves itself is where it went by now; its parent is where
/// it came from.
#[inline(always)]
fn mover(task: Task) -> u64 {
    // SAFETY: no arguments.
    let current = unsafe { bpf_get_current_task() } as *const u8;
    let mover = if probe::<u32>(current, offset!(task_pid)) == Some(task.pid()) {
        probe(current, offset!(task_real_parent))
    } else {
        Some(current)
    };
    mover.and_then(Owner::probe).map_or(0, |owner| owner.id)
}

/// Whether a cgroup belongs to the hierarchy that counts tasks.
#[inline(always)]
fn counts_tasks(cgroup: *const u8) -> bool {
    // SAFETY: typed pointers.
    unsafe {
        let root: *const u8 = load(cgroup, offset!(cgroup_root));
        load::<u32>(root, offset!(cgroup_root_hierarchy_id)) == setting!(hierarchy_id)
    }
}

#[inline(always)]
fn changed(ctx: &BtfTracePointContext, kind: Kind) -> i32 {
    let cgroup: *const u8 = ctx.arg(0);
    let path: *const u8 = ctx.arg(1);
    if !counts_tasks(cgroup) {
        return 0;
    }
    // SAFETY: typed pointers.
    let id = unsafe {
        let node: *const u8 = load(cgroup, offset!(cgroup_kn));
        load(node, offset!(kernfs_node_id))
    };
    let Some(scratch) = PATH_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a value of the map, for which the caller's lock makes this CPU the only writer.
    unsafe {
        let room = &mut (*scratch).path;
        let len = bpf_probe_read_kernel_str_bytes(path, room).map_or(0, <[u8]>::len);
        (*scratch).change = CgroupChange {
            header: header(kind, id),
            path_len: len as u32,
            reserved: 0,
        };
        // The mask says to the verifier what the length says already.
        let size = size_of::<CgroupChange>() + (len & (PATH_MAX - 1));
        let bytes = core::slice::from_raw_parts(scratch.cast::<u8>(), size);
        if RING
            .output::<[u8]>(bytes, u64::from(BPF_RB_FORCE_WAKEUP))
            .is_err()
        {
            lose(Loss::RingCgroup);
        }
    }
    0
}
