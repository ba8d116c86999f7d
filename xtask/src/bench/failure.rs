//! What a failing creation costs with pidwatch over what it costs without: in a storm, in which most
//! failures are only counted, and at a pace at which each is told with its reason.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::inputs::{Options, Programs};
use super::statistics::{Estimate, estimate, median};
use super::storm::children_cpu_micros;
use super::tracer::Tracer;

/// A user that owns nothing, bounded to few tasks.
const USER: [&str; 4] = ["--uid", "54399", "--rlimit-nproc", "12"];

/// Failures and the pause between two of them, microseconds. At most 10 in 100 ms are told.
const CASES: [(&str, u64, u64); 2] = [("in a storm", 20_000, 0), ("100 a second", 200, 10_000)];

/// Measures and prints the table.
pub fn measure(programs: &Programs, options: &Options) -> Result<()> {
    println!("## A failing creation\n");
    println!(
        "A user at RLIMIT_NPROC; user and system time of the load per failure, by getrusage(2), \
         traced less untraced in alternating pairs.\n"
    );
    println!("| | pairs | untraced, median | more with pidwatch, median (95 %) |");
    println!("|---|---|---|---|");
    for (name, count, interval) in CASES {
        // A slow case takes seconds.
        let pairs = if interval == 0 {
            options.pairs
        } else {
            options.pairs.min(5)
        };
        let mut untraced = Vec::new();
        let mut differences = Vec::new();
        for pair in 0..pairs {
            let (without, with) = if pair % 2 == 0 {
                let without = failures(programs, count, interval)?;
                (without, traced(programs, count, interval)?)
            } else {
                let with = traced(programs, count, interval)?;
                (failures(programs, count, interval)?, with)
            };
            untraced.push(without);
            differences.push(with - without);
        }
        let Estimate {
            median: more,
            low,
            high,
        } = estimate(&differences);
        println!(
            "| {name} | {pairs} | {:.2} us | {more:+.2} us ({low:+.2} to {high:+.2}) |",
            median(untraced)
        );
    }
    println!();
    Ok(())
}

fn traced(programs: &Programs, count: u64, interval: u64) -> Result<f64> {
    let _running = Tracer::Pidwatch.start(programs)?;
    failures(programs, count, interval)
}

fn failures(programs: &Programs, count: u64, interval: u64) -> Result<f64> {
    let before = children_cpu_micros();
    let status = Command::new(&programs.load)
        .args(["fail", "--count", &count.to_string()])
        .args(["--interval-us", &interval.to_string()])
        .args(USER)
        .stdout(Stdio::null())
        .status()
        .context("cannot start the load")?;
    if !status.success() {
        bail!("the load failed ({status})");
    }
    Ok((children_cpu_micros() - before) / count as f64)
}
