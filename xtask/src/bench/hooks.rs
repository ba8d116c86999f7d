//! Run time of all hooks over a task's life, creation to free, by the kernel's run-time stats
//! (`kernel.bpf_stats_enabled`), against the minimal pair.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::inputs::{Options, Programs};
use super::statistics::{Estimate, estimate, median};
use super::storm::{PROCESSES, storm};
use super::tracer::Tracer;
use crate::{process, programs};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Pairs for this table: run time varies less than CPU time.
const PAIRS: usize = 10;

/// Measures and prints the table.
pub fn measure(programs: &Programs, options: &Options) -> Result<()> {
    let _stats = Stats::on()?;
    println!("## Run time of the hooks over a task's life\n");
    println!(
        "{PROCESSES} processes that each create and join {} threads, {} alternating pairs; \
         nanoseconds of run-time stats per task. The stats themselves cost some 25 to 45 ns a run.\n",
        options.threads, PAIRS
    );
    let mut per_program: BTreeMap<(&str, String), Vec<f64>> = BTreeMap::new();
    let mut sums = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let mut pair = [0.0; 2];
        for (i, tracer) in [Tracer::Pidwatch, Tracer::Minimal].into_iter().enumerate() {
            let running = tracer.start(programs)?;
            let before = run_times()?;
            storm(programs, options.threads)?;
            // Frees come late, through RCU.
            std::thread::sleep(std::time::Duration::from_millis(300));
            let after = run_times()?;
            drop(running);
            for (id, (name, time)) in after {
                let time = time - before.get(&id).map_or(0.0, |(_, time)| *time);
                let time = time / (PROCESSES * options.threads) as f64;
                if time > 0.5 {
                    per_program
                        .entry((tracer.name(), name))
                        .or_default()
                        .push(time);
                    pair[i] += time;
                }
            }
            sums[i].push(pair[i]);
        }
        ratios.push(pair[0] / pair[1]);
    }
    println!("| | program | ns per task, median |");
    println!("|---|---|---|");
    for ((tracer, program), times) in per_program {
        println!("| {tracer} | {program} | {:.0} |", median(times));
    }
    let [pidwatch, minimal] = sums.map(median);
    println!("| pidwatch | all | {pidwatch:.0} |");
    println!("| minimal pair | all | {minimal:.0} |");
    let Estimate { median, low, high } = estimate(&ratios);
    println!("\npidwatch / minimal pair: {median:.2} (95 %: {low:.2} to {high:.2})\n");
    Ok(())
}

/// Nanoseconds that each loaded program has run, by its id.
fn run_times() -> Result<BTreeMap<u64, (String, f64)>> {
    let text = process::output(
        programs::find("bpftool")?
            .command()
            .args(["prog", "show", "-j"]),
    )?;
    let programs: Vec<Value> = serde_json::from_str(&text).context("bpftool's JSON")?;
    Ok(programs
        .iter()
        .filter_map(|program| {
            let id = program["id"].as_u64()?;
            let name = program["name"].as_str().unwrap_or("?").to_owned();
            Some((id, (name, program["run_time_ns"].as_f64()?)))
        })
        .collect())
}

/// Run-time stats while this lives.
struct Stats(String);

impl Stats {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self(before))
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.0);
    }
}
