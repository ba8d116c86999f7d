//! `cargo xtask lint`: all that can be said of the sources without running them.
//!
//! In: the sources. Out: success, or the names of the checks that failed, after their own output;
//! one failing check does not hide the next.

mod cycles;
mod imports;
mod licences;
mod modules;
mod rules;
mod twins;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{process, workspace};

type Check = fn() -> Result<()>;

const CHECKS: [(&str, Check); 8] = [
    ("format", format),
    ("clippy", clippy),
    ("clippy of the kernel side", clippy_kernel_side),
    ("documentation", documentation),
    ("licences and sources", licences::check),
    ("rules of the workspace", rules::check),
    ("imports point one way", imports::check),
    ("one fact, one type", twins::check),
];

/// Runs every check.
pub fn lint() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        eprintln!("xtask: {name}");
        if let Err(error) = check() {
            eprintln!("error: {name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} checks failed: {}",
            failed.len(),
            CHECKS.len(),
            failed.join(", ")
        );
    }
    eprintln!("xtask: all {} checks passed", CHECKS.len());
    Ok(ExitCode::SUCCESS)
}

fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut clippy = process::cargo();
    clippy.args([
        "clippy",
        "--workspace",
        "--exclude",
        "pidwatch-ebpf",
        "--all-targets",
    ]);
    // As the unit tests are built; the kernel side has a check of its own.
    clippy.env("PIDWATCH_BPF_STUB", "1");
    process::run(clippy.args(["--", "--deny", "warnings"]))
}

/// Clippy comes with a rustup toolchain, which has no `core` for the BPF target. What it checks is
/// the same for the host, as long as nothing has to be linked.
fn clippy_kernel_side() -> Result<()> {
    let mut clippy = process::cargo();
    clippy
        .args(["clippy", "--package", "pidwatch-ebpf", "--target-dir"])
        // Apart, because build scripts of shared dependencies run again whenever this variable
        // comes or goes.
        .arg(workspace::target_dir().join("lint-ebpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        // Without std there is nothing to unwind with.
        .env("CARGO_PROFILE_DEV_PANIC", "abort")
        .env(
            "RUSTFLAGS",
            format!("--cfg bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        );
    process::run(clippy.args(["--", "--deny", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut doc = process::cargo();
    doc.args(["doc", "--no-deps", "--lib", "--document-private-items"])
        .args(["--package", "pidwatch", "--package", "pidwatch-core"])
        .args(["--package", "pidwatch-common"]);
    doc.env("PIDWATCH_BPF_STUB", "1");
    process::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}
