//! Failed creations: their error, who asked, in which cgroup, and what limits there were.
//!
//! `pid_t kernel_clone(struct kernel_clone_args *args)` by fexit: only creations pay, and every
//! caller is seen. Where the kernel refuses fexit, or (7.0) may skip it: the tracepoints
//! `syscalls/sys_exit_{clone,clone3,fork,vfork}`, which make every syscall of the machine a little
//! dearer and miss 32-bit callers and the kernel's own. Never `copy_process`: compilers split and
//! rename it.
//!
//! Nothing here runs for a creation that succeeds beyond the look at its return value.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
    macros::{fexit, kretprobe, tracepoint},
    programs::{FExitContext, RetProbeContext, TracePointContext},
};
use pidwatch_common::record::{Cause, Syscall};

use crate::{
    cgroup::{Owner, count},
    emit,
    maps::{offset, setting},
    task::{PF_KTHREAD, probe},
};

/// Errors that say that something was wanting (include/uapi/asm-generic/errno*.h).
const EAGAIN: i64 = 11;
const ENOMEM: i64 = 12;
const ENOSPC: i64 = 28;
const EUSERS: i64 = 87;
/// First and last of the codes by which the kernel restarts a syscall after a signal
/// (include/linux/errno.h): no failure, the caller never sees them.
const ERESTARTSYS: i64 = 512;
const ERESTART_RESTARTBLOCK: i64 = 516;

#[fexit(function = "kernel_clone")]
pub fn kernel_clone(ctx: FExitContext) -> i32 {
    // The return value stands behind the one argument; `bpf_get_func_ret` needs 5.17.
    returned(i64::from(ctx.arg::<i32>(1)), None);
    0
}

#[kretprobe]
pub fn kernel_clone_return(ctx: RetProbeContext) -> u32 {
    returned(i64::from(ctx.ret::<i32>()), None);
    0
}

#[tracepoint]
pub fn sys_exit_clone(ctx: TracePointContext) -> u32 {
    sys_exit(&ctx, Syscall::Clone)
}

#[tracepoint]
pub fn sys_exit_clone3(ctx: TracePointContext) -> u32 {
    sys_exit(&ctx, Syscall::Clone3)
}

#[tracepoint]
pub fn sys_exit_fork(ctx: TracePointContext) -> u32 {
    sys_exit(&ctx, Syscall::Fork)
}

#[tracepoint]
pub fn sys_exit_vfork(ctx: TracePointContext) -> u32 {
    sys_exit(&ctx, Syscall::Vfork)
}

/// execve of a user over RLIMIT_NPROC, after setuid(2), fails like a creation and with the same words
/// (`do_execveat_common`, fs/exec.c: `PF_NPROC_EXCEEDED`). Its other errors are nobody's limit.
/// `long __x64_sys_execve(const struct pt_regs *regs)`, `__arm64_` alike.
#[fexit(function = "__x64_sys_execve")]
pub fn execve(ctx: FExitContext) -> i32 {
    exec_returned(ctx.arg::<i64>(1));
    0
}

#[fexit(function = "__x64_sys_execveat")]
pub fn execveat(ctx: FExitContext) -> i32 {
    exec_returned(ctx.arg::<i64>(1));
    0
}

#[tracepoint]
pub fn sys_exit_execve(ctx: TracePointContext) -> u32 {
    exec_returned(result_of(&ctx));
    0
}

#[tracepoint]
pub fn sys_exit_execveat(ctx: TracePointContext) -> u32 {
    exec_returned(result_of(&ctx));
    0
}

#[inline(always)]
fn exec_returned(result: i64) {
    if result == -EAGAIN {
        exec_failed();
    }
}

#[inline(never)]
fn exec_failed() -> u32 {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let Some(owner) = Owner::probe(task) else {
        return 0;
    };
    let Some(entry) = owner.entry() else { return 0 };
    // SAFETY: an entry of the map.
    count(unsafe { &raw mut (*entry).failed });
    emit::exec_failure(owner, entry, EAGAIN as u32);
    emit::rate_if_due(owner, entry, Cause::Counted);
    0
}

/// `struct syscall_trace_exit { struct trace_entry ent; int nr; long ret; }`: an interface that
/// BPF reads at fixed places (kernel/trace/trace_syscalls.c builds it for BPF: 8 bytes, nr, ret).
const SYS_EXIT_RET: usize = 16;

#[inline(always)]
fn sys_exit(ctx: &TracePointContext, syscall: Syscall) -> u32 {
    returned(result_of(ctx), Some(syscall));
    0
}

#[inline(always)]
fn result_of(ctx: &TracePointContext) -> i64 {
    // SAFETY: a member of the context at a fixed place, which the verifier checks.
    unsafe {
        ctx.as_ptr()
            .cast::<u8>()
            .add(SYS_EXIT_RET)
            .cast::<i64>()
            .read_volatile()
    }
}

#[inline(always)]
fn returned(result: i64, syscall: Option<Syscall>) {
    if result < 0 {
        failed(-result, syscall);
    }
}

#[inline(never)]
fn failed(errno: i64, syscall: Option<Syscall>) -> u32 {
    if (ERESTARTSYS..=ERESTART_RESTARTBLOCK).contains(&errno) {
        return 0;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let Some(owner) = Owner::probe(task) else {
        return 0;
    };
    let Some(entry) = owner.entry() else { return 0 };
    // SAFETY: an entry of the map.
    unsafe {
        if matches!(errno, EAGAIN | ENOMEM | ENOSPC | EUSERS) {
            count(&raw mut (*entry).failed);
            let syscall = syscall.unwrap_or_else(|| syscall_of(task));
            emit::failure(owner, entry, errno as u32, syscall);
        } else {
            count(&raw mut (*entry).rejected);
        }
    }
    emit::rate_if_due(owner, entry, Cause::Counted);
    0
}

/// Which syscall the running task is in, from its saved registers. Numbers of x86-64 (of i386
/// where a 32-bit caller creates) or arm64; none of them means another creation elsewhere.
#[inline(always)]
fn syscall_of(task: *const u8) -> Syscall {
    if probe::<u32>(task, offset!(task_flags)).is_some_and(|flags| flags & PF_KTHREAD != 0) {
        return Syscall::Kernel;
    }
    let above = setting!(pt_regs_above_stack);
    let registers = if above == 0 {
        // SAFETY: the running task, typed.
        unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8 }
    } else {
        match probe::<*const u8>(task, offset!(task_stack)) {
            Some(stack) => stack.wrapping_add(above as usize),
            None => return Syscall::Unknown,
        }
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
