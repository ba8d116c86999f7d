//! Processes that create and join threads: the incident's load, at full speed.

use std::ptr;

use anyhow::{Context, Result, ensure};
use libc::c_void;
use pidwatch_load::truth::Truth;

use super::sys;

extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
    ptr::null_mut()
}

/// Forks `processes` workers that run side by side; each creates and joins `count` threads.
pub fn run(processes: u64, count: u64, truth: &mut Truth) -> Result<()> {
    let mut workers = Vec::new();
    for _ in 0..processes {
        workers.push(sys::fork(|| work(count))?);
    }
    for worker in workers {
        ensure!(
            sys::reap(worker)?,
            "a worker could not create all its threads"
        );
        truth.here.created.processes += 1;
        truth.here.created.threads += count;
        truth.here.exited.processes += 1;
        truth.here.exited.threads += count;
    }
    Ok(())
}

fn work(count: u64) -> Result<()> {
    sys::end_with_parent();
    for number in 0..count {
        let thread = sys::thread(nothing).with_context(|| format!("thread {number}"))?;
        sys::join(thread)?;
    }
    Ok(())
}
