//! `cargo xtask run [-- ARGS]`: builds pidwatch and becomes it, as root.
//!
//! In: the arguments for pidwatch; without any, its own default command runs. Out: pidwatch's
//! standard output and exit status, nothing added: what the build says goes to standard error.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{build, process};

/// What follows `cargo xtask run`.
#[derive(clap::Args)]
pub struct Options {
    /// Arguments for pidwatch
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Returns only when pidwatch could not be started.
pub fn run(options: &Options) -> Result<ExitCode> {
    let binary = build::build()?;
    let settings: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("PIDWATCH_") && !name.starts_with("PIDWATCH_BPF_"))
        .collect();
    let mut pidwatch = process::as_root(&binary, &settings)?;
    // Becoming pidwatch, not starting it: signals and the exit status need no passing on.
    let error = pidwatch.args(&options.args).exec();
    Err(error).with_context(|| format!("cannot start {}", process::shown(&pidwatch)))
}
