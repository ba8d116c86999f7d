//! `cargo xtask test`: unit tests, the detector on its corpus, what is in deploy/, scenarios on this
//! host, scenarios in guests of other kernels.
//!
//! In: the sources and the machine. Out: a line for each part and at the very end the sum, `N
//! passed, N failed`. What cannot run here is named with the way to get it; with `CI=true` it
//! counts as a failure, so that a green run has run everything.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::libtest::{Counts, Tally};
use crate::scenarios::{self, Scenarios};
use crate::vm::Guests;
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

/// What follows `cargo xtask test`.
#[derive(clap::Args)]
pub struct Options {
    /// What takes minutes is left out: guests, and scenarios of this host that wait for long
    #[arg(long)]
    quick: bool,
}

/// Runs everything, whatever fails on the way.
pub fn test(options: &Options) -> Result<ExitCode> {
    setup::setup()?;
    // Everything is built once and before anything boots: guests take no turn at cargo's lock then.
    let scenarios = Scenarios::build();
    let dist = dist::for_host();
    let parts = match (&scenarios, &dist) {
        (Ok(scenarios), Ok(dist)) if options.quick => {
            let mut parts = on_compiler(dist);
            parts.push(on_host(scenarios, dist, true));
            parts
        }
        (Ok(scenarios), Ok(dist)) => everything(scenarios, dist),
        (Err(error), _) | (_, Err(error)) => vec![unit(), Part::failed("scenarios", error)],
    };

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

/// Guests wait about as long as they compute, and so do the scenarios of this host: they run side by
/// side. No scenario minds what else the machine does.
fn everything(scenarios: &Scenarios, dist: &Path) -> Vec<Part> {
    let guests = vm::prepare()
        .and_then(|()| Guests::new(&vm::Options::all(), scenarios, Some(&dist::image(dist))));
    thread::scope(|scope| {
        let guests = scope.spawn(|| in_guests(&guests));
        let mut parts = on_compiler(dist);
        parts.push(on_host(scenarios, dist, false));
        parts.extend(guests.join().expect("the guests' thread panicked"));
        parts
    })
}

/// What takes no kernel of a certain state.
fn on_compiler(dist: &Path) -> Vec<Part> {
    vec![unit(), detector(), deployment(dist)]
}

/// Tests that need nothing but a compiler: of the members, and of the tests' own harness.
fn unit() -> Part {
    let run = || -> Result<Counts> {
        let mut members = process::cargo();
        members
            .args(["test", "--no-fail-fast", "--workspace"])
            .args([
                "--exclude=pidwatch-ebpf",
                "--exclude=pidwatch-eval",
                "--exclude=pidwatch-load",
                "--exclude=pidwatch-tests",
            ]);
        // As it comes from a machine without a BPF toolchain, of which there are tests too; the others
        // load nothing into the kernel.
        members.env("PIDWATCH_BPF_STUB", "1");
        let mut sum = tallied(&mut members)?;
        // As the scenarios are built, which need the same.
        let mut harness = process::cargo();
        harness
            .args(["test", "--no-fail-fast", "--profile", scenarios::PROFILE])
            .args(["--lib", "--bins"])
            .args(["--package=pidwatch-tests", "--package=pidwatch-load"]);
        sum += tallied(&mut harness)?;
        sum += tallied(&mut eval::tests()?)?;
        Ok(sum)
    };
    match run() {
        Ok(counts) => Part::ran("unit", counts),
        Err(error) => Part::failed("unit", &error),
    }
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
fn deployment(dist: &Path) -> Part {
    let name = "deploy";
    match deploy::tests(dist) {
        Ok(mut tests) => match tallied(&mut tests) {
            Ok(counts) => Part::ran(name, counts),
            Err(error) => Part::failed(name, &error),
        },
        Err(reason) => Part::left_out(name, &reason),
    }
}

/// The scenarios of this host; `quick` leaves out those that wait for long.
fn on_host(scenarios: &Scenarios, dist: &Path, quick: bool) -> Part {
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
        let image = dist::image(dist).display().to_string();
        variables.push(("PIDWATCH_IMAGE".into(), image));
        if quick {
            variables.push(("PIDWATCH_TEST_QUICK".into(), "1".into()));
        }
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

fn in_guests(guests: &Result<Guests>) -> Vec<Part> {
    let name = "scenarios in guests";
    let guests = match guests {
        Ok(guests) => guests,
        Err(reason) => return vec![Part::left_out(name, reason)],
    };
    match guests.run() {
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
