//! `cargo xtask bench`: what pidwatch costs, next to the least possible and to what people use
//! today, alternating in one run.
//!
//! Tables: run time of all hooks over a task's life (the kernel's run-time stats) against the
//! minimal pair; CPU time per create-and-join of a thread storm untraced and under each tracer; what a
//! failing creation costs; how long `check` takes.
//! The machine may be noisy: figures are medians of pairs, with a 95 % interval (bootstrap).

mod check;
mod failure;
mod hooks;
mod inputs;
mod statistics;
mod storm;
mod tracer;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

pub use self::inputs::Options;
use self::inputs::Programs;
use crate::scenarios::Scenarios;
use crate::toolchain::Toolchain;
use crate::{process, programs, workspace};

/// Measures and prints the tables as Markdown.
pub fn bench(options: &Options) -> Result<ExitCode> {
    if !process::is_root() {
        bail!("the measurements load programs into the kernel: run them as root");
    }
    programs::ensure(&["bpftrace", "forkstat", "bpftool"], "the comparison")?;
    let scenarios = Scenarios::build()?;
    let programs = Programs {
        pidwatch: scenarios.pidwatch,
        load: scenarios.load,
        minimal: minimal_pair()?,
    };
    println!("Machine: {}\n", machine());
    hooks::measure(&programs, options)?;
    storm::measure(&programs, options)?;
    failure::measure(&programs, options)?;
    check::measure(&programs)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the minimal pair with the toolchain that builds pidwatch's kernel side.
fn minimal_pair() -> Result<(PathBuf, PathBuf)> {
    let toolchain = Toolchain::recorded().context("no BPF toolchain; run `cargo xtask setup`")?;
    let arch = std::env::consts::ARCH;
    let target_dir = workspace::target_dir().join(format!("bpf-{arch}"));
    let mut cargo = toolchain
        .cargo
        .as_ref()
        .map_or_else(process::cargo, Command::new);
    cargo
        .current_dir(workspace::root())
        .args(["build", "--release", "--package", "pidwatch-ebpf"])
        .args(["--bin", "minimal", "--features", "minimal"])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env(
            "RUSTFLAGS",
            format!("--cfg bpf_target_arch=\"{arch}\" -Cdebuginfo=2 -Clink-arg=--btf"),
        );
    if toolchain.build_std {
        cargo.args(["-Z", "build-std=core"]);
    }
    process::run(&mut cargo)?;
    process::run(
        process::cargo()
            .args(["build", "--release", "--package", "pidwatch-tests"])
            .args(["--bin", "minimal-pair", "--features", "minimal-pair"]),
    )?;
    Ok((
        workspace::target_dir().join("release").join("minimal-pair"),
        target_dir
            .join("bpfel-unknown-none")
            .join("release")
            .join("minimal"),
    ))
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(':')?
                    .1
                    .trim()
                    .to_owned(),
            )
        })
        .unwrap_or_else(|| "unknown CPU".into());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{model}, {cpus} CPUs, Linux {}",
        read("/proc/sys/kernel/osrelease").trim()
    )
}
