//! Where the programs are and what machine this is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cgroup::{Hierarchy, Layout};

/// A kernel's version, as far as tests tell kernels apart.
pub type Kernel = (u32, u32);

/// The machine and the programs under test.
#[derive(Debug, Clone)]
pub struct Env {
    /// `PIDWATCH_BIN`, else `pidwatch` where cargo leaves programs.
    pub pidwatch: PathBuf,
    /// `PIDWATCH_LOAD`, else `pidwatch-load` beside it.
    pub load: PathBuf,
    /// In a QEMU guest (`PIDWATCH_GUEST=1`): limits of the whole machine may be lowered there.
    pub guest: bool,
    /// In a guest whose first process is systemd: units may be installed there (sd_booted(3)).
    pub systemd: bool,
    /// The running kernel.
    pub kernel: Kernel,
    /// Where tasks are counted.
    pub hierarchy: Hierarchy,
}

impl Env {
    /// Reads the environment.
    pub fn detect() -> Result<Self> {
        let pidwatch = program("PIDWATCH_BIN", "pidwatch")?;
        let load = program("PIDWATCH_LOAD", "pidwatch-load")?;
        let guest = std::env::var_os("PIDWATCH_GUEST").is_some_and(|value| value == "1");
        Ok(Self {
            pidwatch,
            load,
            guest,
            systemd: guest && Path::new("/run/systemd/system").is_dir(),
            kernel: kernel()?,
            hierarchy: Hierarchy::find()?,
        })
    }

    /// Fails with a hint when a program is not there or the tests may not do what they need.
    pub fn ensure_complete(&self) -> Result<()> {
        for program in [&self.pidwatch, &self.load] {
            ensure!(
                program.exists(),
                "no {}: build pidwatch and pidwatch-load, or name them by PIDWATCH_BIN and PIDWATCH_LOAD",
                program.display()
            );
        }
        // SAFETY: geteuid has no preconditions.
        let user = unsafe { libc::geteuid() };
        ensure!(user == 0, "the scenarios need root: run them with sudo");
        Ok(())
    }

    /// With a pidwatch that every user may run.
    pub fn for_everyone(&self) -> Result<ForEveryone> {
        let directory = std::env::temp_dir().join(format!("pidwatch-test-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut env = self.clone();
        env.pidwatch = directory.join("pidwatch");
        fs::copy(&self.pidwatch, &env.pidwatch).context("cannot copy pidwatch")?;
        Ok(ForEveryone { env, directory })
    }

    /// Tasks that each worker of the exact scenario creates: a guest is emulated, and slower.
    pub fn many(&self) -> u64 {
        if self.guest { 20_000 } else { 100_000 }
    }

    /// Whether the pids controller is in cgroup v2 here.
    pub fn unified(&self) -> bool {
        self.hierarchy.layout == Layout::V2
    }
}

/// Other users may not be able to reach the build directory: a copy elsewhere, for as long as this
/// lives.
#[derive(Debug)]
pub struct ForEveryone {
    /// Names the copy.
    pub env: Env,
    directory: PathBuf,
}

impl Drop for ForEveryone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program that a variable names, else the one that cargo built beside this one.
fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    // Test programs are a folder below the others.
    let own = std::env::current_exe()?;
    let mut folders = own.ancestors().skip(1);
    let folder = folders.find(|folder| !folder.ends_with("deps"));
    Ok(folder.context("no folder")?.join(name))
}

fn kernel() -> Result<Kernel> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-', '\n']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => None.with_context(|| format!("cannot read the kernel version {release:?}")),
    }
}
