//! The load-time constants: where the running kernel keeps what the hooks read.
//!
//! In: BTF, the classic tracepoints' formats. Out: [`Offsets`], or the name of what is missing.

use pidwatch_common::globals::Offsets;

use super::{
    btf::{Btf, BtfError},
    tracefs::Tracefs,
};

/// Bytes of a kernel stack on x86-64 (`THREAD_SIZE`, 4 pages, without KASAN) and on arm64 with
/// 4 KiB pages.
const THREAD_SIZE: u32 = 16 * 1024;

/// Looks every offset up.
///
/// # Errors
/// When a member that the counting hooks read is not there; the rest is left 0 and the hooks that
/// need it are not attached.
pub fn find(btf: &Btf, has_pids: bool) -> Result<Offsets, BtfError> {
    let at = |path: &str| btf.offset_of(path);
    let pointer = size_of::<usize>() as u32;
    let (css_set_pids, pids_counter) = if has_pids {
        let index = btf.enumerator("pids_cgrp_id")?;
        (
            at("css_set.subsys")? + index * pointer,
            at("pids_cgroup.counter")?,
        )
    } else {
        (0, 0)
    };
    // What is needed to name the syscall of a failure, or to find a child by its PID on 7.x, may
    // be missing: the hooks read nothing useful then and say so.
    let optional = |path: &str| at(path).unwrap_or(0);
    Ok(Offsets {
        task_pid: at("task_struct.pid")?,
        task_tgid: at("task_struct.tgid")?,
        task_cgroups: at("task_struct.cgroups")?,
        task_exit_state: at("task_struct.exit_state")?,
        task_ptrace: at("task_struct.ptrace")?,
        task_signal: at("task_struct.signal")?,
        task_flags: at("task_struct.flags")?,
        task_stack: at("task_struct.stack")?,
        task_thread_pid: at("task_struct.thread_pid")?,
        task_group_leader: at("task_struct.group_leader")?,
        task_real_parent: at("task_struct.real_parent")?,
        task_comm: at("task_struct.comm")?,
        task_start_time: at("task_struct.start_time")?,
        task_last_arrival: optional("task_struct.sched_info.last_arrival"),
        task_pid_links: at("task_struct.pid_links")?,
        signal_live: at("signal_struct.live")?,
        css_set_pids,
        css_set_dfl_cgrp: at("css_set.dfl_cgrp")?,
        css_cgroup: at("cgroup_subsys_state.cgroup")?,
        css_parent: at("cgroup_subsys_state.parent")?,
        css_flags: at("cgroup_subsys_state.flags")?,
        cgroup_self: at("cgroup.self")?,
        pids_counter,
        cgroup_kn: at("cgroup.kn")?,
        cgroup_root: at("cgroup.root")?,
        cgroup_nr_descendants: at("cgroup.nr_descendants")?,
        cgroup_root_hierarchy_id: at("cgroup_root.hierarchy_id")?,
        kernfs_node_id: at("kernfs_node.id")?,
        pid_init_ns: optional("pid.numbers.ns"),
        pid_tasks: optional("pid.tasks"),
        pid_ns_xa_head: optional("pid_namespace.idr.idr_rt.xa_head"),
        xa_node_shift: optional("xa_node.shift"),
        xa_node_slots: optional("xa_node.slots"),
        pt_regs_cs: optional("pt_regs.cs"),
        pt_regs_syscall: at("pt_regs.orig_ax")
            .or_else(|_| at("pt_regs.syscallno"))
            .unwrap_or(0),
        newtask_pid: 0,
        newtask_clone_flags: 0,
        ..Offsets::ZERO
    })
}

/// `RLIMIT_NPROC` of include/uapi/asm-generic/resource.h, and the size of a `struct rlimit`.
const RLIMIT_NPROC: u32 = 6;
const RLIMIT_SIZE: u32 = 16;

/// Adds what a failing creation reads of the limits around it.
///
/// # Errors
/// When a member is not there; the offsets are as they were then.
pub fn add_evidence(
    offsets: &mut Offsets,
    btf: &Btf,
    has_pids: bool,
    events_at_forker: bool,
) -> Result<(), BtfError> {
    let at = |path: &str| btf.offset_of(path);
    let either = |path: &str, before: &str| at(path).or_else(|_| at(before));
    let pids = |path: &str, before: &str| {
        if has_pids {
            either(path, before)
        } else {
            Ok(0)
        }
    };
    let mut added = Offsets {
        task_cred: at("task_struct.real_cred")?,
        task_nsproxy: at("task_struct.nsproxy")?,
        task_policy: at("task_struct.policy")?,
        signal_nproc: at("signal_struct.rlim")? + RLIMIT_NPROC * RLIMIT_SIZE,
        cred_uid: at("cred.uid")?,
        cred_cap_effective: at("cred.cap_effective")?,
        cred_user_ns: at("cred.user_ns")?,
        cred_user: at("cred.user")?,
        user_ns_level: at("user_namespace.level")?,
        nsproxy_pid_ns: at("nsproxy.pid_ns_for_children")?,
        pid_ns_allocated: at("pid_namespace.pid_allocated")?,
        pid_ns_parent: at("pid_namespace.parent")?,
        pid_ns_cursor: at("pid_namespace.idr.idr_next")?,
        pid_ns_inum: at("pid_namespace.ns.inum")?,
        pid_ns_pid_max: at("pid_namespace.pid_max").unwrap_or(0),
        xa_node_tags: at("xa_node.tags")?,
        pids_limit: pids("pids_cgroup.limit", "pids_cgroup.limit")?,
        pids_events: pids("pids_cgroup.events_local", "pids_cgroup.events_limit")?
            + if has_local_events(btf) && events_at_forker {
                PIDCG_FORKFAIL * size_of::<u64>() as u32
            } else {
                0
            },
        ..*offsets
    };
    // Counted per user namespace from 5.14 on.
    if let Ok(ucounts) = at("cred.ucounts") {
        let index = btf.enumerator("UCOUNT_RLIMIT_NPROC")? * size_of::<usize>() as u32;
        added.cred_ucounts = ucounts;
        added.ucounts_nproc = either("ucounts.rlimit", "ucounts.ucount")? + index;
        added.ucounts_ns = at("ucounts.ns")?;
        added.ucounts_uid = at("ucounts.uid")?;
        added.user_ns_ucounts = at("user_namespace.ucounts")?;
        added.user_ns_nproc_max =
            either("user_namespace.rlimit_max", "user_namespace.ucount_max")? + index;
    } else {
        added.user_processes = at("user_struct.processes")?;
    }
    add_optional(&mut added, btf, has_pids);
    *offsets = added;
    Ok(())
}

/// `PIDCG_FORKFAIL` of kernel/cgroup/pids.c.
const PIDCG_FORKFAIL: u32 = 1;

/// Whether the pids controller counts refusals apart by whose limit it was and who forked (6.11).
pub fn has_local_events(btf: &Btf) -> bool {
    btf.offset_of("pids_cgroup.events_local").is_ok()
}

/// What says more about some failures, and may be missing: 0 then.
fn add_optional(offsets: &mut Offsets, btf: &Btf, has_pids: bool) {
    let at = |path: &str| btf.offset_of(path).unwrap_or(0);
    let pointer = size_of::<usize>() as u32;
    let of_controller = |array: &str, id: &str| {
        let index = btf.enumerator(id).ok()?;
        Some(btf.offset_of(array).ok()? + index * pointer)
    };
    let (byte, bit) = btf
        .bit_of("task_struct.sched_reset_on_fork")
        .unwrap_or_default();
    *offsets = Offsets {
        css_set_memory: of_controller("css_set.subsys", "memory_cgrp_id").unwrap_or(0),
        memory_counter: at("mem_cgroup.memory"),
        counter_usage: at("page_counter.usage"),
        counter_max: at("page_counter.max"),
        task_mm: at("task_struct.mm"),
        mm_data: at("mm_struct.data_vm"),
        task_fs: at("task_struct.fs"),
        fs_in_exec: at("fs_struct.in_exec"),
        task_reset_on_fork: byte,
        task_reset_on_fork_bit: bit,
        ucounts_namespaces: at("ucounts.ucount"),
        user_ns_namespaces_max: at("user_namespace.ucount_max"),
        pt_regs_first: btf
            .offset_of("pt_regs.di")
            .unwrap_or_else(|_| at("pt_regs.orig_x0")),
        task_files: at("task_struct.files"),
        files_table: at("files_struct.fdt"),
        table_files: at("fdtable.fd"),
        table_size: at("fdtable.max_fds"),
        file_inode: at("file.f_inode"),
        inode_private: at("inode.i_private"),
        inode_number: at("inode.i_ino"),
        inode_mode: at("inode.i_mode"),
        kernfs_node_priv: at("kernfs_node.priv"),
        cgroup_pids: if has_pids {
            of_controller("cgroup.subsys", "pids_cgrp_id").unwrap_or(0)
        } else {
            0
        },
        ..*offsets
    };
}

/// Where a task's registers lie above its stack's begin: at the very end (`task_pt_regs`, without
/// the padding that FRED brought in 6.9, long after `bpf_task_pt_regs`).
///
/// # Errors
/// When BTF has no `pt_regs`.
pub fn pt_regs_above_stack(btf: &Btf) -> Result<u32, BtfError> {
    Ok(THREAD_SIZE - btf.size_of("pt_regs")?)
}

/// Adds what only the classic tracepoints' formats tell; layouts change (`sched_process_fork` lost
/// its fixed-size names in 6.16).
///
/// # Errors
/// When tracefs cannot be read or a field is gone.
pub fn add_classic(offsets: &mut Offsets, tracefs: &Tracefs) -> Result<(), String> {
    let format = tracefs.format("task", "task_newtask")?;
    offsets.newtask_pid = field_offset(&format, "pid")?;
    offsets.newtask_clone_flags = field_offset(&format, "clone_flags")?;
    Ok(())
}

/// Offset of a field in a tracefs `format` file: `\tfield:pid_t pid;\toffset:8;\tsize:4;...`.
fn field_offset(format: &str, name: &str) -> Result<u32, String> {
    format
        .lines()
        .filter_map(|line| line.trim().strip_prefix("field:"))
        .find_map(|line| {
            let mut parts = line.split(';').map(str::trim);
            let declaration = parts.next()?;
            let field = declaration.rsplit([' ', '*']).next()?.split('[').next()?;
            let offset = parts.find_map(|part| part.strip_prefix("offset:"))?;
            (field == name).then(|| offset.parse().ok())?
        })
        .ok_or_else(|| format!("the tracepoint's format has no field {name}"))
}

#[cfg(test)]
mod tests {
    use super::field_offset;

    const FORMAT: &str = "name: task_newtask\nID: 205\nformat:\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;\n\
        \tfield:char comm[16];\toffset:12;\tsize:16;\tsigned:0;\n\
        \tfield:u64 clone_flags;\toffset:32;\tsize:8;\tsigned:0;\n";

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(field_offset(FORMAT, "pid"), Ok(8));
        assert_eq!(field_offset(FORMAT, "comm"), Ok(12));
        assert_eq!(field_offset(FORMAT, "clone_flags"), Ok(32));
        assert!(field_offset(FORMAT, "flags").unwrap_err().contains("flags"));
    }
}
