//! Creations refused by a PID namespace: its own pid_max (6.14), or its init gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pidwatch_load::truth::{Failure, Truth};

use super::{fail, pace, shared, sys};

fn unshare() -> Result<()> {
    // SAFETY: unshare of the PID namespace only concerns children to come.
    let result = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    let error = std::io::Error::last_os_error();
    ensure!(result == 0, "cannot unshare the PID namespace: {error}");
    Ok(())
}

/// Fills a namespace from within; its init tells the truth, since it knows it.
pub fn full(count: u64, pid_max: u32, truth: &mut Truth) -> Result<()> {
    unshare()?;
    truth.here.created.processes += 1;
    truth.here.exited.processes += 1;
    let init = sys::fork(|| {
        sys::end_with_parent();
        // The file is that of the namespace of whoever opens it.
        std::fs::write("/proc/sys/kernel/pid_max", pid_max.to_string())
            .context("cannot set the namespace's pid_max")?;
        fail::fill_and_fail(count, Duration::ZERO, false, false, truth)?;
        shared::tell(truth)
    })?;
    ensure!(sys::reap(init)?, "the namespace's init failed");
    Ok(())
}

/// Threads that stay, at a pace, in a namespace with a limit of its own; its init starts them.
pub fn leak(per_second: f64, pid_max: u32, truth: &mut Truth) -> Result<()> {
    unshare()?;
    truth.here.created.processes += 1;
    truth.here.exited.processes += 1;
    let init = sys::fork(|| {
        sys::end_with_parent();
        std::fs::write("/proc/sys/kernel/pid_max", pid_max.to_string())
            .context("cannot set the namespace's pid_max")?;
        pace::leak(per_second, false, truth)?;
        shared::tell(truth)
    })?;
    ensure!(sys::reap(init)?, "the namespace's init failed");
    Ok(())
}

/// An init with threads that stay until told to let go.
pub fn hold(threads: u64, pid_max: u32, truth: &mut Truth) -> Result<()> {
    unshare()?;
    truth.here.created.processes += 1;
    truth.here.exited.processes += 1;
    let init = sys::fork(|| {
        sys::end_with_parent();
        std::fs::write("/proc/sys/kernel/pid_max", pid_max.to_string())
            .context("cannot set the namespace's pid_max")?;
        for _ in 0..threads {
            sys::thread(pace::sleep)?;
        }
        shared::keep();
        for kinds in [&mut truth.here.created, &mut truth.here.exited] {
            kinds.threads += threads;
        }
        shared::tell(truth)
    })?;
    ensure!(sys::reap(init)?, "the namespace's init failed");
    Ok(())
}

/// Lets the namespace's init end; whoever forks into it afterwards gets ENOMEM.
pub fn dying(count: u64, truth: &mut Truth) -> Result<()> {
    unshare()?;
    ensure!(
        sys::reap(sys::fork(|| Ok(()))?)?,
        "the namespace's init failed"
    );
    truth.here.created.processes += 1;
    truth.here.exited.processes += 1;
    for _ in 0..count {
        match sys::clone() {
            Ok(0) => sys::end(0),
            Ok(_) => anyhow::bail!("a dead namespace took a process"),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                truth.failures.push(Failure {
                    syscall: "clone".to_owned(),
                    ..fail::now(errno)
                });
            }
        }
    }
    Ok(())
}
