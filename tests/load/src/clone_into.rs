//! Children that are born in another cgroup (clone3 with CLONE_INTO_CGROUP).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pidwatch_load::truth::Truth;

use super::sys;

/// Creates the children in `target` and reaps each.
pub fn run(count: u64, target: &Path, truth: &mut Truth) -> Result<()> {
    let directory =
        File::open(target).with_context(|| format!("cannot open {}", target.display()))?;
    let there = truth
        .elsewhere
        .entry(target.display().to_string())
        .or_default();
    for _ in 0..count {
        let child = match sys::clone3(Some(directory.as_raw_fd()))? {
            0 => sys::end(0),
            child => child,
        };
        ensure!(sys::reap(child)?, "a child failed");
        there.created.processes += 1;
        there.exited.processes += 1;
    }
    Ok(())
}
