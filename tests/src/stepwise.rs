//! Kills a program at a step of its choice: after its Nth system call that changes a file, a lock or a process.

use std::io::Error;
use std::mem::{size_of, zeroed};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

use anyhow::{Result, bail, ensure};

/// Runs it and kills it with SIGKILL after its Nth step (from 1); whether there was one.
pub fn killed_after(mut command: Command, nth: usize) -> Result<bool> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: one system call, which is fit for a forked child.
    unsafe { command.pre_exec(|| check(request(libc::PTRACE_TRACEME, 0, 0, ptr::null_mut()))) };
    let child = command.spawn()?;
    let process = libc::pid_t::try_from(child.id())?;
    // It is waited for here.
    std::mem::forget(child);
    // The trap of execve.
    ensure!(is_stopped(wait(process)?), "it ended at once");
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    check(request(
        libc::PTRACE_SETOPTIONS,
        process,
        0,
        options as *mut _,
    ))?;
    let (mut steps, mut is_step, mut signal) = (0, false, 0);
    loop {
        check(request(libc::PTRACE_SYSCALL, process, 0, signal as *mut _))?;
        let status = wait(process)?;
        if libc::WIFEXITED(status) {
            return Ok(false);
        }
        if !is_stopped(status) {
            bail!("killed by signal {}", libc::WTERMSIG(status));
        }
        signal = libc::WSTOPSIG(status) as usize;
        if signal != (libc::SIGTRAP | 0x80) as usize {
            continue;
        }
        signal = 0;
        // SAFETY: plain data, for which zeros are valid.
        let mut info: libc::ptrace_syscall_info = unsafe { zeroed() };
        let size = size_of::<libc::ptrace_syscall_info>();
        let into = (&raw mut info).cast();
        if request(libc::PTRACE_GET_SYSCALL_INFO, process, size, into) < 0 {
            return Err(Error::last_os_error().into());
        }
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: `op` says which part of the union is filled.
            let entry = unsafe { info.u.entry };
            is_step = changes_something(entry.nr as libc::c_long, &entry.args);
        } else if std::mem::take(&mut is_step) {
            steps += 1;
            if steps == nth {
                // SAFETY: a system call on a process that this one traces.
                check(unsafe { libc::kill(process, libc::SIGKILL) }.into())?;
                while is_stopped(wait(process)?) {}
                return Ok(true);
            }
        }
    }
}

fn changes_something(call: libc::c_long, args: &[u64; 6]) -> bool {
    const WRITES: u64 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT) as u64;
    match call {
        libc::SYS_openat => args[2] & WRITES != 0,
        libc::SYS_write
        | libc::SYS_fsync
        | libc::SYS_flock
        | libc::SYS_mkdirat
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_unlinkat
        | libc::SYS_clone
        | libc::SYS_clone3
        | libc::SYS_close => true,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => args[1] & WRITES != 0,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir
        | libc::SYS_rename
        | libc::SYS_unlink
        | libc::SYS_fork
        | libc::SYS_vfork => true,
        _ => false,
    }
}

fn request(
    what: libc::c_uint,
    process: libc::pid_t,
    address: usize,
    data: *mut libc::c_void,
) -> libc::c_long {
    // SAFETY: the callers pass what each request takes; what `data` points to outlives the call.
    unsafe { libc::ptrace(what, process, address, data) }
}

fn check(result: libc::c_long) -> std::io::Result<()> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

fn wait(process: libc::pid_t) -> Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(process, &raw mut status, libc::__WALL) };
    check(waited.into())?;
    Ok(status)
}

fn is_stopped(status: libc::c_int) -> bool {
    libc::WIFSTOPPED(status)
}
