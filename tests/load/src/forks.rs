//! Processes made one after the other, each reaped before the next.

use anyhow::{Result, ensure};
use pidwatch_load::truth::Truth;

use super::sys;

/// fork and wait.
pub fn forks(count: u64, truth: &mut Truth) -> Result<()> {
    repeat(count, truth, || sys::fork(|| Ok(())))
}

/// vfork and wait.
pub fn vforks(count: u64, truth: &mut Truth) -> Result<()> {
    repeat(count, truth, sys::vfork_that_ends)
}

fn repeat(
    count: u64,
    truth: &mut Truth,
    create: impl Fn() -> std::io::Result<libc::pid_t>,
) -> Result<()> {
    for _ in 0..count {
        ensure!(sys::reap(create()?)?, "a child failed");
        truth.here.created.processes += 1;
        truth.here.exited.processes += 1;
    }
    Ok(())
}
