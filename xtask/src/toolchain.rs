//! What compiles for BPF on this machine, and the record of it that pidwatch's build script reads.
//!
//! The record is a text file of `key=value` lines:
//!
//! | key | value |
//! |---|---|
//! | `rustc` | the compiler |
//! | `cargo` | only when the outer cargo cannot drive that compiler |
//! | `linker` | a bpf-linker with the compiler's LLVM |
//! | `build_std` | `1` when `core` has to be compiled for the target, else `0` |
//! | `llvm` | the LLVM major version that compiler and linker share |
//!
//! Invariant: a record is written whole or not at all, and only after its tools have run.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{linker, process, workspace};

/// A compiler and a linker that share an LLVM.
#[derive(Clone, Debug, PartialEq)]
pub struct Toolchain {
    pub rustc: PathBuf,
    pub cargo: Option<PathBuf>,
    pub linker: PathBuf,
    pub build_std: bool,
    pub llvm: u32,
}

impl Toolchain {
    /// The same rule as `record_path` in pidwatch's build script.
    pub fn record_path() -> Result<PathBuf> {
        match env::var_os("PIDWATCH_BPF_TOOLCHAIN") {
            Some(path) => Ok(path.into()),
            None => Ok(workspace::cache_dir()?.join("bpf-toolchain")),
        }
    }

    /// The record of an earlier set-up, if there is one that can be read.
    pub fn recorded() -> Option<Self> {
        Self::parse(&fs::read_to_string(Self::record_path().ok()?).ok()?)
    }

    /// Whether the tools are there and still belong together. Costs a few tens of milliseconds.
    pub fn check(&self) -> Result<()> {
        for tool in [Some(&self.rustc), self.cargo.as_ref(), Some(&self.linker)] {
            if let Some(tool) = tool.filter(|tool| !tool.is_file()) {
                bail!("{} is gone", tool.display());
            }
        }
        let llvm = llvm_of(&self.rustc)?;
        if llvm != self.llvm {
            bail!(
                "{} has LLVM {llvm} now, its linker {}",
                self.rustc.display(),
                self.llvm
            );
        }
        // The linker loads LLVM at start, so that running it tells whether that is still there.
        linker::tool(llvm, None).check()
    }

    /// Puts the record in place of any earlier one.
    pub fn write(&self) -> Result<()> {
        let path = Self::record_path()?;
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let partial = path.with_extension(format!("partial-{}", std::process::id()));
            fs::write(&partial, self.format())?;
            fs::rename(&partial, &path)
        };
        write().with_context(|| format!("cannot write the toolchain's record {}", path.display()))
    }

    fn format(&self) -> String {
        let mut record = format!("rustc={}\n", self.rustc.display());
        if let Some(cargo) = &self.cargo {
            let _ = writeln!(record, "cargo={}", cargo.display());
        }
        let _ = writeln!(record, "linker={}", self.linker.display());
        let _ = writeln!(record, "build_std={}", u8::from(self.build_std));
        let _ = writeln!(record, "llvm={}", self.llvm);
        record
    }

    fn parse(record: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = record.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        Some(Self {
            rustc: value("rustc")?.into(),
            cargo: value("cargo").map(PathBuf::from),
            linker: value("linker")?.into(),
            build_std: value("build_std")? == "1",
            llvm: value("llvm")?.parse().ok()?,
        })
    }
}

/// The LLVM major version of a compiler.
pub fn llvm_of(rustc: &Path) -> Result<u32> {
    let version = process::output(Command::new(rustc).arg("-vV"))?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    llvm.and_then(|llvm| llvm.split('.').next()?.parse().ok())
        .with_context(|| format!("`{} -vV` names no LLVM version", rustc.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let nightly = Toolchain {
            rustc: "/toolchains/nightly/bin/rustc".into(),
            cargo: Some("/toolchains/nightly/bin/cargo".into()),
            linker: "/tools/bpf-linker".into(),
            build_std: true,
            llvm: 22,
        };
        let packaged = Toolchain {
            cargo: None,
            build_std: false,
            ..nightly.clone()
        };
        for toolchain in [nightly, packaged] {
            assert_eq!(Toolchain::parse(&toolchain.format()), Some(toolchain));
        }
    }

    #[test]
    fn a_record_without_a_linker_is_none() {
        assert_eq!(
            Toolchain::parse("rustc=/usr/bin/rustc\nbuild_std=0\nllvm=22\n"),
            None
        );
    }
}
