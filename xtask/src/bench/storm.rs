//! CPU time of a storm of threads, untraced and under each tracer.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::inputs::{Options, Programs};
use super::statistics::{Estimate, estimate, median};
use super::tracer::Tracer;

/// Processes of a storm: one for each core of the smallest machine.
pub const PROCESSES: u64 = 2;

/// Pairs for tracers that pidwatch is only compared with.
const COMPARISON_PAIRS: usize = 10;

/// Measures and prints the table.
pub fn measure(programs: &Programs, options: &Options) -> Result<()> {
    println!("## CPU time per create-and-join\n");
    println!(
        "{PROCESSES} processes that each create and join {} threads; user and system time of the \
         load, by getrusage(2), traced over untraced in alternating pairs.\n",
        options.threads
    );
    println!("| | pairs | CPU time per thread, median | over untraced, median (95 %) |");
    println!("|---|---|---|---|");
    // Warm: page cache, stacks, and the CPU's clock.
    storm(programs, options.threads)?;
    let mut untraced = Vec::new();
    let mut rows = Vec::new();
    for (tracer, pairs) in [
        (Tracer::Pidwatch, options.pairs),
        (Tracer::Minimal, options.pairs),
        (Tracer::Bpftrace, options.pairs.min(COMPARISON_PAIRS)),
        (Tracer::Forkstat, options.pairs.min(COMPARISON_PAIRS)),
    ] {
        let mut traced = Vec::new();
        let mut ratios = Vec::new();
        for pair in 0..pairs {
            // Each order as often as the other: what drifts falls out.
            let (without, with) = if pair % 2 == 0 {
                let without = storm(programs, options.threads)?;
                (without, traced_storm(programs, options.threads, tracer)?)
            } else {
                let with = traced_storm(programs, options.threads, tracer)?;
                (storm(programs, options.threads)?, with)
            };
            untraced.push(without);
            traced.push(with);
            ratios.push(with / without);
        }
        rows.push((tracer, pairs, median(traced), estimate(&ratios)));
    }
    println!(
        "| untraced | {} | {:.2} us | |",
        untraced.len(),
        median(untraced)
    );
    for (tracer, pairs, micros, Estimate { median, low, high }) in rows {
        let percent = |ratio: f64| (ratio - 1.0) * 100.0;
        println!(
            "| {} | {pairs} | {micros:.2} us | {:+.1} % ({:+.1} to {:+.1}) |",
            tracer.name(),
            percent(median),
            percent(low),
            percent(high),
        );
    }
    println!();
    Ok(())
}

fn traced_storm(programs: &Programs, threads: u64, tracer: Tracer) -> Result<f64> {
    let _running = tracer.start(programs)?;
    storm(programs, threads)
}

/// Runs a storm; microseconds of CPU time per thread.
pub fn storm(programs: &Programs, threads: u64) -> Result<f64> {
    let before = children_cpu_micros();
    let status = Command::new(&programs.load)
        .args(["threads", "--processes", &PROCESSES.to_string()])
        .args(["--count", &threads.to_string()])
        .stdout(Stdio::null())
        .status()
        .context("cannot start the load")?;
    if !status.success() {
        bail!("the load failed ({status})");
    }
    // A tracer is waited for only after this, so its own time is not in here.
    Ok((children_cpu_micros() - before) / (PROCESSES * threads) as f64)
}

/// CPU time of the children waited for so far.
pub fn children_cpu_micros() -> f64 {
    // SAFETY: plain old data, written by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}
