//! exec at its corners: from a thread that does not lead, and refused for RLIMIT_NPROC.

use std::ffi::CString;
use std::ptr;

use anyhow::{Result, ensure};
use libc::c_void;
use pidwatch_load::truth::{Failure, Truth};

use super::{fail, sys};

/// Replaces the program by its own `noop`; returns only when that is refused.
fn exec_noop() -> std::io::Error {
    let Ok(program) = std::env::current_exe() else {
        return std::io::Error::last_os_error();
    };
    let program = CString::new(program.into_os_string().into_encoded_bytes()).unwrap_or_default();
    let arguments = [program.as_ptr(), c"noop".as_ptr(), ptr::null()];
    // SAFETY: both arrays end with a null pointer and outlive the call.
    unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
    std::io::Error::last_os_error()
}

extern "C" fn exec(_: *mut c_void) -> *mut c_void {
    exec_noop();
    sys::end(1)
}

/// Each child starts a thread that execs and so takes the leader's place.
pub fn from_thread(count: u64, truth: &mut Truth) -> Result<()> {
    for _ in 0..count {
        let child = sys::fork(|| {
            sys::end_with_parent();
            sys::thread(exec)?;
            sys::pause_for_ever()
        })?;
        ensure!(sys::reap(child)?, "exec from a thread failed");
        truth.here.created.processes += 1;
        truth.here.created.threads += 1;
        // The first leader ends and so does the thread, by then the leader.
        truth.here.exited.processes += 2;
    }
    Ok(())
}

/// Becomes a user who is over RLIMIT_NPROC, and execs in vain. The kernel looks whether the user is
/// over it before this process counts as theirs, so another process of theirs is needed.
pub fn over_nproc(count: u64, uid: u32, truth: &mut Truth) -> Result<()> {
    let (mut reader, writer) = std::io::pipe()?;
    let other = sys::fork(|| {
        sys::become_user(uid, 1)?;
        sys::end_with_parent();
        std::io::Write::write_all(&mut &writer, b".")?;
        sys::pause_for_ever()
    })?;
    drop(writer);
    std::io::Read::read_exact(&mut reader, &mut [0])?;
    sys::become_user(uid, 0)?;
    for _ in 0..count {
        let error = exec_noop();
        let errno = error.raw_os_error().unwrap_or(0);
        ensure!(errno == libc::EAGAIN, "execve: {error}");
        truth.failures.push(Failure {
            syscall: "execve".to_owned(),
            ..fail::now(errno)
        });
    }
    sys::kill_all(&[other])?;
    truth.here.created.processes += 1;
    truth.here.exited.processes += 1;
    Ok(())
}
