//! `cargo xtask COMMAND`: everything that is done with this workspace, one file a command.
//!
//! This file only parses and dispatches. In: the command line. Out: an exit status, which for
//! `run` is that of pidwatch itself.

mod apt;
mod bench;
mod build;
mod cache;
mod capture;
mod demo;
mod deploy;
mod dist;
mod eval;
mod fresh;
mod libtest;
mod linker;
mod lint;
mod packages;
mod process;
mod programs;
mod python;
mod run;
mod scenarios;
mod setup;
mod test;
mod toolchain;
mod tools;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up, builds, runs, checks and tests pidwatch.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what compiles for BPF, and note it for pidwatch's build script
    Setup,
    /// Build target/release/pidwatch, the kernel side embedded
    Build,
    /// Build pidwatch and run it as root, with the given arguments
    Run(run::Options),
    /// Play the incident that pidwatch is for in small, safely, with pidwatch watching
    Demo(demo::Options),
    /// Make the picture of `top` in the README from a run of the demo
    Capture(capture::Options),
    /// Check format, lints, documentation, licences and the workspace's own rules
    Lint,
    /// Run all tests: unit tests, scenarios on this host, scenarios in guests of other kernels
    Test(test::Options),
    /// Run the README's commands on a machine as it ships: a root of Debian's packages
    Fresh(fresh::Options),
    /// Run the scenarios in guests of other kernels
    Vm(vm::Options),
    /// Measure what pidwatch costs, next to the least possible and to other tracers
    Bench(bench::Options),
    /// Make what is given to others: binaries, image, chart, list of what is linked in, checksums
    Dist(dist::Options),
    /// Score the detector on the labelled corpus, beside the rules in use today
    Eval(eval::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::report().map(|()| ExitCode::SUCCESS),
        Command::Build => build::build().map(|_| ExitCode::SUCCESS),
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Capture(options) => capture::capture(&options),
        Command::Lint => lint::lint(),
        Command::Test(options) => test::test(&options),
        Command::Fresh(options) => fresh::fresh(&options),
        Command::Vm(options) => vm::vm(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Dist(options) => dist::dist(&options),
        Command::Eval(options) => eval::eval(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
