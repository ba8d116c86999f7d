//! Tasks that stay: running ones, and zombies.

use std::ptr;

use anyhow::{Result, ensure};
use libc::c_void;
use pidwatch_load::truth::Truth;

use super::sys;

extern "C" fn sleep(_: *mut c_void) -> *mut c_void {
    sys::pause_for_ever()
}

/// Keeps `processes` processes of `1 + threads` tasks until told to let go.
pub fn hold(processes: u64, threads: u64, truth: &mut Truth) -> Result<()> {
    let mut children = Vec::new();
    let (reader, writer) = std::io::pipe()?;
    for _ in 0..processes {
        children.push(sys::fork(|| {
            sys::end_with_parent();
            for _ in 0..threads {
                sys::thread(sleep)?;
            }
            std::io::Write::write_all(&mut &writer, b".")?;
            sys::pause_for_ever()
        })?);
    }
    let mut ready = vec![0; children.len()];
    drop(writer);
    std::io::Read::read_exact(&mut &reader, &mut ready)?;
    super::keep();
    sys::kill_all(&children)?;
    for kinds in [&mut truth.here.created, &mut truth.here.exited] {
        kinds.processes += processes;
        kinds.threads += processes * threads;
    }
    Ok(())
}

/// Keeps children that have ended; they are reaped when told to let go.
pub fn zombies(count: u64, truth: &mut Truth) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..count {
        children.push(sys::fork(|| Ok(()))?);
    }
    for &child in &children {
        wait_until_ended(child)?;
    }
    super::keep();
    for child in children {
        ensure!(sys::reap(child)?, "a child failed");
    }
    truth.here.created.processes += count;
    truth.here.exited.processes += count;
    Ok(())
}

/// Waits for the end of a child and leaves it unreaped.
fn wait_until_ended(child: libc::pid_t) -> Result<()> {
    let options = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: a null siginfo is allowed; WNOWAIT leaves the child waitable.
    let result =
        unsafe { libc::waitid(libc::P_PID, child as libc::id_t, ptr::null_mut(), options) };
    ensure!(result == 0, "waitid: {}", std::io::Error::last_os_error());
    Ok(())
}
