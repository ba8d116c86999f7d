//! `cargo xtask test`: unit tests, the detector on its corpus, what is in deploy/, scenarios on this
//! host, scenarios in guests of other kernels.
//!
//! In: the sources and the machine. Out: a line for each part and at the very end the sum, `N
//! passed, N failed`. What cannot run here is named with the way to get it; with `CI=true` it
//! counts as a failure, so that a green run has run everything.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, anyhow};

use crate::libtest::{Counts, Tally};
use crate::scenarios::Scenarios;
use crate::{deploy, dist, eval, process, programs, setup, vm, workspace};

/// A part of the tests, as the summary shows it.
struct Part {
    line: String,
    counts: Counts,
}

impl Part {
    fn ran(name: &str, counts: Counts) -> Self {
        Self {
            line: format!("{name}: {counts}"),
            counts,
        }
    }

    /// A part that did not run, for a reason that says how to get it.
    fn left_out(name: &str, reason: &anyhow::Error) -> Self {
        let failed = usize::from(workspace::is_ci());
        Self {
            line: format!("{name}: left out: {reason:#}"),
            counts: Counts { passed: 0, failed },
        }
    }

    fn failed(name: &str, reason: &anyhow::Error) -> Self {
        Self {
            line: format!("{name}: {reason:#}"),
            counts: Counts {
                passed: 0,
                failed: 1,
            },
        }
    }
}

/// Runs everything, whatever fails on the way.
pub fn test() -> Result<ExitCode> {
    setup::setup()?;
    let mut parts = vec![unit(), detector(), deployment()];
    match Scenarios::build() {
        Ok(scenarios) => {
            parts.push(on_host(&scenarios));
            parts.extend(in_guests(&scenarios));
        }
        Err(error) => parts.push(Part::failed("scenarios", &error)),
    }

    println!();
    let mut sum = Counts::default();
    for part in parts {
        println!("{}", part.line);
        sum += part.counts;
    }
    println!("{sum}");
    Ok(if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Tests that need nothing but a compiler: of the members, and of the tests' own harness.
fn unit() -> Part {
    let members = [
        "--workspace",
        "--exclude",
        "pidwatch-ebpf",
        "--exclude",
        "pidwatch-tests",
    ];
    // Built as the scenarios are, which need the same harness.
    let harness = [
        "--release",
        "--package",
        "pidwatch-tests",
        "--lib",
        "--bins",
        "--features",
        "eval",
    ];
    // A binary without the kernel side, as it comes from a machine without a BPF toolchain.
    let stub = ["--package", "pidwatch", "--test", "stub"];
    let mut sum = Counts::default();
    for (selection, is_stub) in [
        (&stub[..], true),
        (&members[..], false),
        (&harness[..], false),
    ] {
        let mut cargo = process::cargo();
        cargo.args(["test", "--no-fail-fast"]).args(selection);
        if is_stub {
            cargo.env("PIDWATCH_BPF_STUB", "1");
        }
        match tallied(&mut cargo) {
            Ok(counts) => sum += counts,
            Err(error) => return Part::failed("unit", &error),
        }
    }
    Part::ran("unit", sum)
}

/// One case of each kind of the detector's corpus: each leak found, nobody else accused.
fn detector() -> Part {
    let name = "detector on its corpus, one case of each kind";
    match eval::quick() {
        Ok(code) if code == ExitCode::SUCCESS => Part::ran(
            name,
            Counts {
                passed: 1,
                failed: 0,
            },
        ),
        Ok(_) => Part::failed(name, &anyhow!("missed a target, see above")),
        Err(error) => Part::failed(name, &error),
    }
}

/// Image, chart, rules and dashboard, with the tools that will read them.
fn deployment() -> Part {
    let name = "deploy";
    match deploy::tests() {
        Ok(mut tests) => match tallied(&mut tests) {
            Ok(counts) => Part::ran(name, counts),
            Err(error) => Part::failed(name, &error),
        },
        Err(reason) => Part::left_out(name, &reason),
    }
}

fn on_host(scenarios: &Scenarios) -> Part {
    let name = "scenarios on this host";
    let run = || -> Result<Part> {
        programs::ensure(&["bpftrace", "forkstat"], "comparing with other tracers")?;
        programs::ensure(&programs::CONTAINERS, "tests with real containers")?;
        let prometheus = ["prometheus", "promtool"];
        programs::ensure(&prometheus, "a Prometheus that scrapes the agent")?;
        programs::ensure(&["prometheus-alertmanager"], "alerts that arrive")?;
        programs::ensure(&["tmux"], "tests on a real terminal")?;
        programs::ensure(&["javac", "java"], "a JVM that leaks threads")?;
        let mut variables = scenarios.variables(None);
        let image = dist::image(&dist::for_host()?);
        variables.push(("PIDWATCH_IMAGE".into(), image.display().to_string()));
        variables.push(("PATH".into(), programs::path()?.to_string_lossy().into()));
        let mut runner = process::as_root(&scenarios.runner, &variables)?;
        // Scenarios measure one node: two at a time would count each other.
        runner
            .arg("--test-threads=1")
            .current_dir(workspace::root().join("tests"));
        Ok(match tallied(&mut runner) {
            Ok(counts) => Part::ran(name, counts),
            Err(error) => Part::failed(name, &error),
        })
    };
    run().unwrap_or_else(|reason| Part::left_out(name, &reason))
}

fn in_guests(scenarios: &Scenarios) -> Vec<Part> {
    let name = "scenarios in guests";
    if let Err(reason) = vm::prepare() {
        return vec![Part::left_out(name, &reason)];
    }
    match vm::run(&vm::Options::all(), scenarios) {
        Ok(reports) => reports
            .into_iter()
            .map(|report| Part {
                line: report.line,
                // Whoever has no network cannot do better; CI must not miss it.
                counts: if report.is_left_out && !workspace::is_ci() {
                    Counts::default()
                } else {
                    report.counts
                },
            })
            .collect(),
        Err(error) => vec![Part::failed(name, &error)],
    }
}

/// Runs a test program, shows its output as it comes, and counts.
fn tallied(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", process::shown(command)))?;
    let stdout = child
        .stdout
        .take()
        .context("a test program has no standard output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read a test program's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.line(&line);
    }
    let status = child.wait().context("cannot wait for a test program")?;
    Ok(tally.counts(status.success()))
}
