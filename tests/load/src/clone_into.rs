//! Children that are born in another cgroup (clone3 with CLONE_INTO_CGROUP).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pidwatch_load::truth::{Failure, Truth};

use super::{fail, shared, sys};

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

/// Tries to create so many children in `target`, keeps those that it may, and ends them at the end.
pub fn fill(count: u64, target: &Path, truth: &mut Truth) -> Result<()> {
    let directory =
        File::open(target).with_context(|| format!("cannot open {}", target.display()))?;
    let mut children = Vec::new();
    for _ in 0..count {
        match sys::clone3(Some(directory.as_raw_fd())) {
            Ok(0) => {
                sys::end_with_parent();
                sys::pause_for_ever();
            }
            Ok(child) => children.push(child),
            Err(error) => truth.failures.push(Failure {
                syscall: "clone3".to_owned(),
                ..fail::now(error.raw_os_error().unwrap_or(0))
            }),
        }
    }
    shared::keep();
    sys::kill_all(&children)?;
    let there = truth
        .elsewhere
        .entry(target.display().to_string())
        .or_default();
    there.created.processes += children.len() as u64;
    there.exited.processes += children.len() as u64;
    Ok(())
}
