//! Processes that are born in one cgroup and end in another.

use std::path::Path;

use anyhow::{Result, ensure};
use pidwatch_load::truth::Truth;

use super::{shared, sys};

/// A parent in `from` forks; each child moves itself to `to` and ends there. The parent itself is
/// moved into `from` and ends there.
pub fn run(count: u64, from: &Path, to: &Path, truth: &mut Truth) -> Result<()> {
    let parent = sys::fork(|| {
        sys::end_with_parent();
        shared::join(from)?;
        for _ in 0..count {
            ensure!(
                sys::reap(sys::fork(|| shared::join(to))?)?,
                "a child could not move"
            );
        }
        Ok(())
    })?;
    truth.here.created.processes += 1;
    ensure!(sys::reap(parent)?, "the parent failed");
    let there = truth
        .elsewhere
        .entry(from.display().to_string())
        .or_default();
    there.created.processes += count;
    there.exited.processes += 1;
    let there = truth.elsewhere.entry(to.display().to_string()).or_default();
    there.exited.processes += count;
    Ok(())
}
