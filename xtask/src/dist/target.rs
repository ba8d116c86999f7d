//! How a static binary is built for each CPU architecture.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{arch::Arch, cross};
use crate::{process, workspace};

/// Builds the program so that it needs no other file; where it is.
pub fn build(arch: Arch) -> Result<PathBuf> {
    let mut build = cargo(arch, "build")?;
    build.args(["--package", "pidwatch"]);
    process::run(&mut build).with_context(|| format!("cannot build for {}", arch.name()))?;
    Ok(folder(arch).join("pidwatch"))
}

/// A cargo command that builds static programs, optimised, with the kernel side.
pub fn cargo(arch: Arch, verb: &str) -> Result<Command> {
    let triple = arch.triple();
    let mut flags = String::from("-Ctarget-feature=+crt-static");
    let mut cargo = process::cargo();
    cargo
        .args([verb, "--release", "--target", triple])
        .env_remove("PIDWATCH_BPF_STUB");
    if arch != Arch::of_host()? {
        cross::prepare(arch, &mut cargo, &mut flags)?;
    }
    let variable = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        triple.to_uppercase().replace('-', "_")
    );
    cargo.env(variable, flags);
    Ok(cargo)
}

/// Where such a command leaves programs.
pub fn folder(arch: Arch) -> PathBuf {
    workspace::target_dir().join(arch.triple()).join("release")
}
