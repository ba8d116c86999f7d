//! `cargo xtask eval`: how well the detector does on the labelled corpus, beside the rules in use
//! today.
//!
//! In: seeds; no machine but this one's processor matters. Out: the tables of docs/detection.md,
//! and failure when a hard target is missed.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::dist::{arch::Arch, target};
use crate::process;

/// What of the corpus.
#[derive(Args)]
pub struct Options {
    /// One case of each kind
    #[arg(long)]
    quick: bool,
    /// Another corpus, of the same kinds
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only kinds with this in their name; tells each flag
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Only cases that the detector may be tuned by
    #[arg(long)]
    seen: bool,
    /// Nothing but how long the detector takes and how much memory
    #[arg(long)]
    bench: bool,
}

/// Builds the program and runs it.
pub fn eval(options: &Options) -> Result<ExitCode> {
    let mut eval = Command::new(program()?);
    eval.args(["--seed", &options.seed.to_string()]);
    for (flag, is_set) in [
        ("--quick", options.quick),
        ("--seen", options.seen),
        ("--bench", options.bench),
    ] {
        if is_set {
            eval.arg(flag);
        }
    }
    if let Some(only) = &options.only {
        eval.args(["--only", only]);
    }
    is_met(&mut eval)
}

/// One case of each kind, for the tests.
pub fn quick() -> Result<ExitCode> {
    is_met(Command::new(program()?).arg("--quick"))
}

fn is_met(eval: &mut Command) -> Result<ExitCode> {
    let status = eval
        .status()
        .with_context(|| format!("cannot start {}", process::shown(eval)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Optimised, because it plays a year of seconds; built as the program is, whose library it is.
fn program() -> Result<PathBuf> {
    let arch = Arch::of_host()?;
    let mut build = target::cargo(arch, "build")?;
    process::run(build.args(["--package", "pidwatch-eval"]))?;
    Ok(target::folder(arch).join("pidwatch-eval"))
}

/// A command that runs the unit tests of the corpus.
pub fn tests() -> Result<Command> {
    let mut tests = target::cargo(Arch::of_host()?, "test")?;
    tests.args(["--package", "pidwatch-eval", "--no-fail-fast"]);
    Ok(tests)
}
