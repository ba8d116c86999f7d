//! Load-time globals: user space finds these values in the running kernel and writes them into the
//! object's read-only data before load. The verifier sees constants, so a load through
//! `pointer + offset` is checked at load time and costs one instruction at run time.
//!
//! Rust cannot emit CO-RE relocations; this is what stands in their place.

/// Name of the [`Offsets`] symbol.
pub const OFFSETS: &str = "OFFSETS";
/// Name of the [`Settings`] symbol.
pub const SETTINGS: &str = "SETTINGS";

/// Byte offsets of struct members in the running kernel, from its BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Offsets {
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `task_struct.exit_state`
    pub task_exit_state: u32,
    /// `task_struct.ptrace`
    pub task_ptrace: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `task_struct.stack`
    pub task_stack: u32,
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.start_time`
    pub task_start_time: u32,
    /// `task_struct.pid_links[PIDTYPE_PID]`
    pub task_pid_links: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `css_set.subsys[pids_cgrp_id]`
    pub css_set_pids: u32,
    /// `css_set.dfl_cgrp`
    pub css_set_dfl_cgrp: u32,
    /// `cgroup_subsys_state.cgroup`
    pub css_cgroup: u32,
    /// `cgroup_subsys_state.parent`
    pub css_parent: u32,
    /// `cgroup_subsys_state.flags`
    pub css_flags: u32,
    /// `cgroup.self`
    pub cgroup_self: u32,
    /// `pids_cgroup.counter`
    pub pids_counter: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `cgroup.root`
    pub cgroup_root: u32,
    /// `cgroup.nr_descendants`
    pub cgroup_nr_descendants: u32,
    /// `cgroup_root.hierarchy_id`
    pub cgroup_root_hierarchy_id: u32,
    /// `kernfs_node.id`
    pub kernfs_node_id: u32,
    /// `pid.numbers[0].ns`
    pub pid_init_ns: u32,
    /// `pid.tasks[PIDTYPE_PID].first`
    pub pid_tasks: u32,
    /// `pid_namespace.idr.idr_rt.xa_head`
    pub pid_ns_xa_head: u32,
    /// `xa_node.shift`
    pub xa_node_shift: u32,
    /// `xa_node.slots`
    pub xa_node_slots: u32,
    /// `pt_regs.orig_ax` (x86-64) or `pt_regs.syscallno` (arm64)
    pub pt_regs_syscall: u32,
    /// Where the child's pid stands in the classic `task_newtask` record (tracefs `format`).
    pub newtask_pid: u32,
    /// Where `clone_flags` stands in the same record.
    pub newtask_clone_flags: u32,
    /// `task_struct.real_cred`
    pub task_cred: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `task_struct.policy`
    pub task_policy: u32,
    /// `signal_struct.rlim[RLIMIT_NPROC].rlim_cur`
    pub signal_nproc: u32,
    /// `cred.uid`
    pub cred_uid: u32,
    /// `cred.cap_effective`
    pub cred_cap_effective: u32,
    /// `cred.user_ns`
    pub cred_user_ns: u32,
    /// `cred.user`
    pub cred_user: u32,
    /// `cred.ucounts` (5.14; 0 before)
    pub cred_ucounts: u32,
    /// `user_struct.processes` (before 5.14; otherwise 0)
    pub user_processes: u32,
    /// `ucounts.rlimit[UCOUNT_RLIMIT_NPROC]` (`ucounts.ucount[...]` before 5.19)
    pub ucounts_nproc: u32,
    /// `ucounts.ns`
    pub ucounts_ns: u32,
    /// `ucounts.uid`
    pub ucounts_uid: u32,
    /// `user_namespace.ucounts`
    pub user_ns_ucounts: u32,
    /// `user_namespace.level`
    pub user_ns_level: u32,
    /// `user_namespace.rlimit_max[UCOUNT_RLIMIT_NPROC]` (`ucount_max[...]` before 5.19)
    pub user_ns_nproc_max: u32,
    /// `nsproxy.pid_ns_for_children`
    pub nsproxy_pid_ns: u32,
    /// `pid_namespace.pid_allocated`
    pub pid_ns_allocated: u32,
    /// `pid_namespace.parent`
    pub pid_ns_parent: u32,
    /// `pid_namespace.idr.idr_next`
    pub pid_ns_cursor: u32,
    /// `pid_namespace.ns.inum`
    pub pid_ns_inum: u32,
    /// `pid_namespace.pid_max` (6.14; 0 before)
    pub pid_ns_pid_max: u32,
    /// `xa_node.tags`
    pub xa_node_tags: u32,
    /// `pids_cgroup.limit`
    pub pids_limit: u32,
    /// `pids_cgroup.events_local[PIDCG_MAX]` or `[PIDCG_FORKFAIL]` (6.11), else `pids_cgroup.events_limit`
    pub pids_events: u32,
    /// `css_set.subsys[memory_cgrp_id]` (0: no memory controller)
    pub css_set_memory: u32,
    /// `mem_cgroup.memory`
    pub memory_counter: u32,
    /// `page_counter.usage`
    pub counter_usage: u32,
    /// `page_counter.max`
    pub counter_max: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `mm_struct.data_vm`
    pub mm_data: u32,
    /// `task_struct.fs`
    pub task_fs: u32,
    /// `fs_struct.in_exec`
    pub fs_in_exec: u32,
    /// The byte of `task_struct.sched_reset_on_fork`
    pub task_reset_on_fork: u32,
    /// Its bit in that byte
    pub task_reset_on_fork_bit: u32,
    /// `ucounts.ucount`
    pub ucounts_namespaces: u32,
    /// `user_namespace.ucount_max`
    pub user_ns_namespaces_max: u32,
    /// `pt_regs.di` (x86-64) or `pt_regs.orig_x0` (arm64): a system call's first argument
    pub pt_regs_first: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_table: u32,
    /// `fdtable.fd`
    pub table_files: u32,
    /// `fdtable.max_fds`
    pub table_size: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `inode.i_private`
    pub inode_private: u32,
    /// `inode.i_ino`
    pub inode_number: u32,
    /// `kernfs_node.priv`
    pub kernfs_node_priv: u32,
    /// `cgroup.subsys[pids_cgrp_id]`
    pub cgroup_pids: u32,
    /// `task_struct.sched_info.last_arrival`; 0 where the kernel keeps no such account.
    pub task_last_arrival: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `pt_regs.cs` (x86-64); 0 elsewhere.
    pub pt_regs_cs: u32,
}

impl Offsets {
    /// Before user space has written them.
    pub const ZERO: Self = Self {
        task_pid: 0,
        task_tgid: 0,
        task_cgroups: 0,
        task_exit_state: 0,
        task_ptrace: 0,
        task_signal: 0,
        task_flags: 0,
        task_stack: 0,
        task_thread_pid: 0,
        task_group_leader: 0,
        task_real_parent: 0,
        task_comm: 0,
        task_start_time: 0,
        task_pid_links: 0,
        signal_live: 0,
        css_set_pids: 0,
        css_set_dfl_cgrp: 0,
        css_cgroup: 0,
        css_parent: 0,
        css_flags: 0,
        cgroup_self: 0,
        pids_counter: 0,
        cgroup_kn: 0,
        cgroup_root: 0,
        cgroup_nr_descendants: 0,
        cgroup_root_hierarchy_id: 0,
        kernfs_node_id: 0,
        pid_init_ns: 0,
        pid_tasks: 0,
        pid_ns_xa_head: 0,
        xa_node_shift: 0,
        xa_node_slots: 0,
        pt_regs_syscall: 0,
        newtask_pid: 0,
        newtask_clone_flags: 0,
        task_cred: 0,
        task_nsproxy: 0,
        task_policy: 0,
        signal_nproc: 0,
        cred_uid: 0,
        cred_cap_effective: 0,
        cred_user_ns: 0,
        cred_user: 0,
        cred_ucounts: 0,
        user_processes: 0,
        ucounts_nproc: 0,
        ucounts_ns: 0,
        ucounts_uid: 0,
        user_ns_ucounts: 0,
        user_ns_level: 0,
        user_ns_nproc_max: 0,
        nsproxy_pid_ns: 0,
        pid_ns_allocated: 0,
        pid_ns_parent: 0,
        pid_ns_cursor: 0,
        pid_ns_inum: 0,
        pid_ns_pid_max: 0,
        xa_node_tags: 0,
        pids_limit: 0,
        pids_events: 0,
        css_set_memory: 0,
        memory_counter: 0,
        counter_usage: 0,
        counter_max: 0,
        task_mm: 0,
        mm_data: 0,
        task_fs: 0,
        fs_in_exec: 0,
        task_reset_on_fork: 0,
        task_reset_on_fork_bit: 0,
        ucounts_namespaces: 0,
        user_ns_namespaces_max: 0,
        pt_regs_first: 0,
        task_files: 0,
        files_table: 0,
        table_files: 0,
        table_size: 0,
        file_inode: 0,
        inode_private: 0,
        inode_number: 0,
        kernfs_node_priv: 0,
        cgroup_pids: 0,
        task_last_arrival: 0,
        inode_mode: 0,
        pt_regs_cs: 0,
    };
}

/// What user space decided.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Least time between two rate records of a cgroup, in jiffies.
    pub window_jiffies: u64,
    /// Most failure records of one cgroup in one window.
    pub failures_per_window: u64,
    /// After so many jiffies an ended task that nobody reaps is a zombie.
    pub lasting_jiffies: u64,
    /// In so many jiffies RCU frees a reaped task.
    pub longest_free_jiffies: u64,
    /// The hierarchy that counts tasks: 0 for cgroup v2, otherwise the v1 hierarchy's number.
    pub hierarchy_id: u32,
    /// 1: a task's cgroup is its css_set's default cgroup (v2); 0: the pids controller's (v1).
    pub unified: u32,
    /// 1: the pids controller is there, so charges can be read.
    pub has_pids: u32,
    /// Where a task's `pt_regs` lie above `task_struct.stack`, for kernels without
    /// `bpf_task_pt_regs` (before 5.15); 0: call that.
    pub pt_regs_above_stack: u32,
    /// 1: a failing creation sends the limits around it.
    pub evidence: u32,
    /// 1: the pids controller counts refusals at the cgroup that forks.
    pub events_at_forker: u32,
    /// 1: frees are seen, so ended tasks are noted until theirs.
    pub frees: u32,
    /// Unused, 0.
    pub reserved: u32,
    /// Address of `nr_threads`, 0 when hidden.
    pub nr_threads: u64,
    /// Address of `max_threads`, 0 when hidden.
    pub max_threads: u64,
    /// Address of `pid_max` (before 6.14), 0 when hidden or gone.
    pub pid_max: u64,
}

impl Settings {
    /// Before user space has written them.
    pub const ZERO: Self = Self {
        window_jiffies: 0,
        failures_per_window: 0,
        lasting_jiffies: 0,
        longest_free_jiffies: 0,
        hierarchy_id: 0,
        unified: 0,
        has_pids: 0,
        pt_regs_above_stack: 0,
        evidence: 0,
        events_at_forker: 0,
        frees: 0,
        reserved: 0,
        nr_threads: 0,
        max_threads: 0,
        pid_max: 0,
    };
}

const _: () = assert!(size_of::<Offsets>() == 85 * 4);
const _: () = assert!(size_of::<Settings>() == 88);

#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding.
unsafe impl aya::Pod for Offsets {}
#[cfg(feature = "user")]
// SAFETY: repr(C), only integers, no padding.
unsafe impl aya::Pod for Settings {}
