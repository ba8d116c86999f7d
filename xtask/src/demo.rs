//! `cargo xtask demo [-- ARGS]`: the incident in small, on this machine, with pidwatch watching.
//!
//! In: arguments for the pidwatch that watches; without any it traces the demo's cgroups. Out: what
//! pidwatch prints, and in `target/demo/` a recording and the reports made of it.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::{build, process, workspace};

/// What follows `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Options {
    /// Arguments for pidwatch
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds everything, and plays as root.
pub fn demo(options: &Options) -> Result<ExitCode> {
    let pidwatch = build::build()?;
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "pidwatch-tests"]);
    cargo.args(["--package", "pidwatch-load"]);
    cargo.args(["--bin", "pidwatch-demo", "--bin", "pidwatch-load"]);
    process::run(&mut cargo)?;
    let folder = pidwatch.parent().context("the build has no folder")?;
    let variables = [
        ("PIDWATCH_BIN".to_owned(), pidwatch.display().to_string()),
        (
            "PIDWATCH_LOAD".to_owned(),
            folder.join("pidwatch-load").display().to_string(),
        ),
    ];
    let mut demo = process::as_root(folder.join("pidwatch-demo"), &variables)?;
    demo.arg("--folder")
        .arg(workspace::target_dir().join("demo"))
        .arg("--")
        .args(&options.args)
        .stdin(Stdio::null());
    let status = demo
        .status()
        .with_context(|| format!("cannot start {}", process::shown(&demo)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
