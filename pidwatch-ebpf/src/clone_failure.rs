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
    helpers::generated::bpf_get_current_task,
    macros::{fexit, kretprobe, tracepoint},
    programs::{FExitContext, RetProbeContext, TracePointContext},
};
use pidwatch_common::{
    record::{Cause, Syscall},
    totals::{REJECTIONS, Rare, Suppressed},
};

use crate::{
    call,
    cgroup::{Owner, rare},
    counter::count,
    emit,
    evidence::{Attempt, UNKNOWN_FLAGS},
    maps::{offset, setting},
    suspect,
    task::probe,
};

/// Errors that say that something was wanting (include/uapi/asm-generic/errno*.h).
const EAGAIN: i64 = 11;
const ENOMEM: i64 = 12;
const ENOSPC: i64 = 28;
const EUSERS: i64 = 87;
/// A task that is killed while it creates (`copy_process`): nobody is left to be refused.
const EINTR: i64 = 4;
/// How container runtimes' seccomp filters answer clone3, and kernels before 5.3: the caller then takes
/// clone, so nobody is refused.
const ENOSYS: i64 = 38;
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
    let Some((owner, entry)) = owner.entry() else {
        return 0;
    };
    // SAFETY: an entry of the map.
    count(unsafe { &raw mut (*entry).failed });
    if emit::may_send_failure(entry) {
        emit::exec_failure(owner, entry, EAGAIN as u32);
    } else {
        emit::suppress(entry, suspect::of_exec(task));
    }
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
    if (ERESTARTSYS..=ERESTART_RESTARTBLOCK).contains(&errno) || matches!(errno, EINTR | ENOSYS) {
        return 0;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let Some(owner) = Owner::probe(task) else {
        return 0;
    };
    if matches!(errno, EAGAIN | ENOMEM | ENOSPC | EUSERS) {
        wanted(
            owner,
            errno as u32,
            syscall.unwrap_or_else(|| call::syscall(task)),
        );
        return 0;
    }
    let Some((owner, entry)) = owner.entry() else {
        return 0;
    };
    let place = REJECTIONS
        .iter()
        .position(|&known| i64::from(known) == errno);
    let place = place.unwrap_or(REJECTIONS.len());
    count(rare(entry, Rare::RejectedBy, place));
    // SAFETY: an entry of the map.
    count(unsafe { &raw mut (*entry).rejected });
    emit::rate_if_due(owner, entry, Cause::Counted);
    0
}

/// A creation that failed for want of something. It is counted where the child was to be born.
#[inline(never)]
fn wanted(caller: Owner, errno: u32, syscall: Syscall) -> u32 {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let target = if syscall as u32 == Syscall::Clone3 as u32 && setting!(unified) != 0 {
        call::target(task)
    } else {
        None
    };
    let owner = match target.and_then(Owner::of_cgroup) {
        Some(id) => Owner { id, ..caller },
        None => caller,
    };
    let Some((owner, entry)) = owner.entry() else {
        return 0;
    };
    let pids = match target {
        Some(cgroup) => Owner::pids_of_cgroup(cgroup),
        None => probe(caller.css_set, offset!(css_set_pids)),
    };
    let pids = pids.unwrap_or(core::ptr::null());
    // SAFETY: an entry of the map.
    count(unsafe { &raw mut (*entry).failed });
    if emit::may_send_failure(entry) {
        let attempt = Attempt {
            task,
            owner,
            pids,
            errno,
            syscall,
            flags: call::flags(task, syscall).unwrap_or(UNKNOWN_FLAGS),
        };
        emit::failure(entry, &attempt);
    } else {
        let kind = match i64::from(errno) {
            EAGAIN => suspect::of_creation(task, pids),
            ENOMEM => Some(Suppressed::NoMemory as u32),
            ENOSPC => Some(Suppressed::NoSpace as u32),
            _ => None,
        };
        emit::suppress(entry, kind);
    }
    // The caller's charge is not that of a cgroup that the child was to be born in: user space asks.
    if owner.id == caller.id {
        emit::rate_if_due(owner, entry, Cause::Counted);
    }
    0
}
