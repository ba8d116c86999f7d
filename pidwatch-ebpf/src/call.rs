//! The system call by which the running task creates: which one, its flags, and the cgroup that it asks
//! for, from the registers that the task saved as it came into the kernel. So every mechanism sees the
//! same, and sees it when the kernel's own copy of the arguments is gone.

use aya_ebpf::helpers::{
    bpf_probe_read_user,
    generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
};
use pidwatch_common::{evidence::CLONE_VM, record::Syscall};

use crate::{
    maps::{offset, setting},
    task::{CLONE_INTO_CGROUP, PF_KTHREAD, probe},
};

/// `CLONE_VFORK` of include/uapi/linux/sched.h.
const CLONE_VFORK: u64 = 0x4000;
/// Where a `struct clone_args` (include/uapi/linux/sched.h) has its flags, and its cgroup's descriptor.
const ARGS_FLAGS: usize = 0;
const ARGS_CGROUP: usize = 80;

#[inline(always)]
fn registers(task: *const u8) -> Option<*const u8> {
    let above = setting!(pt_regs_above_stack);
    if above == 0 {
        // SAFETY: the running task, typed.
        return Some(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8 });
    }
    let stack: *const u8 = probe(task, offset!(task_stack))?;
    Some(stack.wrapping_add(above as usize))
}

/// Which syscall the running task is in. Numbers of x86-64 (of i386 where a 32-bit caller creates) or
/// arm64; none of them means another creation elsewhere.
#[inline(always)]
pub fn syscall(task: *const u8) -> Syscall {
    if probe::<u32>(task, offset!(task_flags)).is_some_and(|flags| flags & PF_KTHREAD != 0) {
        return Syscall::Kernel;
    }
    let Some(registers) = registers(task) else {
        return Syscall::Unknown;
    };
    match probe::<i32>(registers, offset!(pt_regs_syscall)) {
        #[cfg(not(bpf_target_arch = "aarch64"))]
        Some(56) => Syscall::Clone,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        Some(57) => Syscall::Fork,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        Some(58) => Syscall::Vfork,
        #[cfg(bpf_target_arch = "aarch64")]
        Some(220) => Syscall::Clone,
        Some(435) => Syscall::Clone3,
        Some(120) => Syscall::Clone,
        Some(2) => Syscall::Fork,
        Some(190) => Syscall::Vfork,
        _ => Syscall::Unknown,
    }
}

/// The flags that the child was asked for with.
#[inline(always)]
pub fn flags(task: *const u8, syscall: Syscall) -> Option<u64> {
    match syscall {
        Syscall::Fork => Some(0),
        Syscall::Vfork => Some(CLONE_VM | CLONE_VFORK),
        Syscall::Clone => first_argument(task),
        Syscall::Clone3 => of_args(first_argument(task)?, ARGS_FLAGS),
        _ => None,
    }
}

/// The `struct cgroup` that a clone3 asks for its child to be born in, by the descriptor's inode.
#[inline(always)]
pub fn target(task: *const u8) -> Option<*const u8> {
    let target = clone3_target();
    (target != 0 && !task.is_null()).then_some(target as *const u8)
}

/// An exported function, so that the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn clone3_target() -> u64 {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    find_target(task).map_or(0, |cgroup| cgroup as u64)
}

#[inline(always)]
fn find_target(task: *const u8) -> Option<*const u8> {
    if offset!(task_files) == 0 {
        return None;
    }
    let args = first_argument(task)?;
    if of_args(args, ARGS_FLAGS)? & CLONE_INTO_CGROUP == 0 {
        return None;
    }
    let descriptor = of_args(args, ARGS_CGROUP)?;
    let files: *const u8 = probe(task, offset!(task_files))?;
    let table: *const u8 = probe(files, offset!(files_table))?;
    if descriptor >= u64::from(probe::<u32>(table, offset!(table_size))?) {
        return None;
    }
    let files: *const u8 = probe(table, offset!(table_files))?;
    let file: *const u8 = probe(files.wrapping_add(descriptor as usize * 8), 0)?;
    let inode: *const u8 = probe(file, offset!(file_inode))?;
    // A file of another kind has something else there: then neither number nor pointer leads back.
    let node: *const u8 = probe(inode, offset!(inode_private))?;
    if probe::<u64>(node, offset!(kernfs_node_id))? != probe(inode, offset!(inode_number))? {
        return None;
    }
    let cgroup: *const u8 = probe(node, offset!(kernfs_node_priv))?;
    (probe::<*const u8>(cgroup, offset!(cgroup_kn))? == node).then_some(cgroup)
}

#[inline(always)]
fn first_argument(task: *const u8) -> Option<u64> {
    if offset!(pt_regs_first) == 0 && !cfg!(bpf_target_arch = "aarch64") {
        return None;
    }
    probe(registers(task)?, offset!(pt_regs_first))
}

#[inline(always)]
fn of_args(args: u64, at: usize) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user((args as *const u8).wrapping_add(at).cast::<u64>()).ok() }
}
