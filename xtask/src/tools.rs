//! Programs from the crates registry, of pinned versions, in folders that belong to pidwatch alone,
//! so that a user's own installation of the same program is neither used nor changed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// A program that `cargo install` builds.
pub struct Tool {
    /// The name of both crate and program.
    pub name: &'static str,
    pub version: &'static str,
    /// Tells apart builds of one version, else empty.
    pub variant: String,
    /// More arguments for `cargo install`.
    pub args: Vec<String>,
    pub env: Vec<(&'static str, PathBuf)>,
}

impl Tool {
    /// Where the program is, or will be.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(self.folder()?.join("bin").join(self.name))
    }

    fn folder(&self) -> Result<PathBuf> {
        let folder = format!("{}-{}{}", self.name, self.version, self.variant);
        Ok(workspace::cache_dir()?.join("tools").join(folder))
    }

    /// Whether the program is there, runs, and is of the pinned version.
    pub fn check(&self) -> Result<()> {
        let path = self.path()?;
        let version = process::output(Command::new(&path).arg("--version"))?;
        if version.trim() != format!("{} {}", self.name, self.version) {
            bail!(
                "{} is {}, not {}",
                path.display(),
                version.trim(),
                self.version
            );
        }
        Ok(())
    }

    /// Builds the program if it is not there. `duration` tells a person how long to wait.
    pub fn ensure(&self, duration: &str) -> Result<PathBuf> {
        if self.check().is_err() {
            let folder = self.folder()?;
            eprintln!(
                "xtask: building {} {} into {} ({duration})",
                self.name,
                self.version,
                folder.display()
            );
            let mut install = process::cargo();
            install
                .args([
                    "install",
                    self.name,
                    "--version",
                    self.version,
                    "--locked",
                    "--force",
                ])
                .args(&self.args)
                .arg("--root")
                .arg(&folder)
                .envs(self.env.iter().map(|(name, value)| (name, value)))
                .env_remove("CARGO_TARGET_DIR");
            process::run(&mut install).with_context(|| format!("cannot build {}", self.name))?;
            self.check()?;
        }
        self.path()
    }
}
