//! Short-lived cgroups: each is made, used by a few processes, and removed at once.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pidwatch_load::truth::{Ends, Truth};

use super::{shared, sys};

/// How many, and how used.
#[derive(clap::Args)]
pub struct Options {
    /// The cgroup under which they are made
    #[arg(long)]
    parent: PathBuf,
    /// Cgroups
    #[arg(long)]
    count: u64,
    /// Children of the process that lives in each
    #[arg(long, default_value_t = 1)]
    forks: u64,
    /// Born there (CLONE_INTO_CGROUP, cgroup v2 only) instead of moved there
    #[arg(long)]
    into: bool,
    /// Do not remove them
    #[arg(long)]
    keep: bool,
}

/// Makes, uses and removes the cgroups; the truth about them is told as one sum, under the
/// parent's directory, with the id of each.
pub fn run(options: &Options, truth: &mut Truth) -> Result<()> {
    let mut there = Ends::default();
    for number in 0..options.count {
        let cgroup = options.parent.join(format!("churn-{number}"));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        truth.cgroups.push(fs::metadata(&cgroup)?.ino());
        let resident = if options.into {
            born(&cgroup, options)
        } else {
            moved(&cgroup, options)
        }?;
        ensure!(
            sys::reap(resident)?,
            "the process of {} failed",
            cgroup.display()
        );
        if options.into {
            there.created.processes += 1;
        } else {
            truth.here.created.processes += 1;
        }
        there.created.processes += options.forks;
        there.exited.processes += options.forks + 1;
        if !options.keep {
            remove(&cgroup)?;
        }
    }
    truth
        .elsewhere
        .insert(options.parent.display().to_string(), there);
    Ok(())
}

fn born(cgroup: &Path, options: &Options) -> Result<libc::pid_t> {
    let directory = File::open(cgroup)?;
    match sys::clone3(Some(directory.as_raw_fd()))? {
        0 => sys::end(i32::from(live(options.forks).is_err())),
        child => Ok(child),
    }
}

fn moved(cgroup: &Path, options: &Options) -> Result<libc::pid_t> {
    Ok(sys::fork(|| {
        shared::join(cgroup)?;
        live(options.forks)
    })?)
}

fn live(forks: u64) -> Result<()> {
    for _ in 0..forks {
        ensure!(sys::reap(sys::fork(|| Ok(()))?)?, "a child failed");
    }
    Ok(())
}

/// A reaped process can still be leaving its cgroup (the kernel finishes that in the context of
/// the switch away from it), hence EBUSY for a moment.
fn remove(cgroup: &Path) -> Result<()> {
    loop {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::yield_now(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot remove {}", cgroup.display()));
            }
        }
    }
}
