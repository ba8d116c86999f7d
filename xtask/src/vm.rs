//! `cargo xtask vm`: the scenarios in guests of other kernels, one guest after the other.
//!
//! In: which kernels and cgroup layouts. Out: one line a guest on standard output, consoles in
//! `target/vm/`, the failing scenarios' own words on standard error.

mod cpio;
mod guest;
mod initramfs;
mod kernels;
mod mirror;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::libtest::Counts;
use crate::scenarios::Scenarios;
use crate::{packages, workspace};
use guest::{Guest, Layout, Outcome};

/// What follows `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernel series, by comma; without it all of them, and one more guest with cgroup v1
    #[arg(long, value_delimiter = ',', value_name = "SERIES")]
    kernel: Vec<String>,
    /// How cgroups are mounted in the guest [default: v2]
    #[arg(long)]
    layout: Option<Layout>,
    /// Run only scenarios whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Open a shell in a guest with the last of the kernels, and run nothing
    #[arg(long)]
    shell: bool,
    /// Seconds after which a guest is taken for hanging and killed
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    time_limit: u64,
    /// More arguments for the scenarios' runner
    #[arg(last = true)]
    args: Vec<String>,
}

impl Options {
    /// What `cargo xtask test` runs.
    pub fn all() -> Self {
        Self {
            kernel: Vec::new(),
            layout: None,
            filter: None,
            shell: false,
            time_limit: 600,
            args: Vec::new(),
        }
    }

    fn guests(&self) -> Vec<(String, Layout)> {
        let layout = self.layout.unwrap_or(Layout::V2);
        if !self.kernel.is_empty() {
            return self
                .kernel
                .iter()
                .map(|series| (series.clone(), layout))
                .collect();
        }
        let mut guests: Vec<_> = kernels::all()
            .map(|series| (series.to_owned(), layout))
            .collect();
        if self.layout.is_none() {
            // The newest series that distributions with v1 still run.
            guests.push(("6.12".into(), Layout::V1));
        }
        guests
    }
}

/// One guest's line of the summary.
pub struct Report {
    pub line: String,
    pub counts: Counts,
    /// Whether there was no kernel to boot, so that nothing ran.
    pub is_left_out: bool,
}

/// Runs the guests asked for.
pub fn vm(options: &Options) -> Result<ExitCode> {
    prepare()?;
    let scenarios = Scenarios::build()?;
    if options.shell {
        return shell(options, &scenarios).map(|()| ExitCode::SUCCESS);
    }
    let reports = run(options, &scenarios)?;
    for report in &reports {
        println!("{}", report.line);
    }
    let all_passed = reports.iter().all(|report| report.counts.failed == 0);
    Ok(if all_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Makes sure that guests can run here at all.
pub fn prepare() -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("guests have this host's CPU architecture, and their kernels are for x86_64 alone");
    }
    let programs = [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
    ];
    packages::ensure_programs(&programs, "guests of other kernels")
}

/// Runs the guests one after the other: each has as many CPUs as a small host.
pub fn run(options: &Options, scenarios: &Scenarios) -> Result<Vec<Report>> {
    let folder = workspace::target_dir().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let initramfs = write_initramfs(options, scenarios)?;
    let mut reports = Vec::new();
    for (series, layout) in options.guests() {
        let kernel = match kernels::ensure(&series) {
            Ok(kernel) => kernel,
            Err(error) => {
                let line = format!("{series} {}: left out: {error:#}", layout.name());
                eprintln!("xtask: {line}");
                let counts = Counts {
                    passed: 0,
                    failed: 1,
                };
                reports.push(Report {
                    line,
                    counts,
                    is_left_out: true,
                });
                continue;
            }
        };
        let guest = Guest {
            kernel: &kernel,
            initramfs: &initramfs,
            layout,
        };
        eprintln!("xtask: booting {}", guest.name());
        let outcome = guest.run(&folder, Duration::from_secs(options.time_limit))?;
        let took = outcome.took.as_secs();
        let line = format!("{}: {} in {took} s", guest.name(), outcome.counts);
        eprintln!("xtask: {line}");
        if outcome.counts.failed > 0 {
            show_failure(&outcome);
        }
        reports.push(Report {
            line,
            counts: outcome.counts,
            is_left_out: false,
        });
    }
    Ok(reports)
}

fn shell(options: &Options, scenarios: &Scenarios) -> Result<()> {
    let initramfs = write_initramfs(options, scenarios)?;
    let newest = kernels::all().last().map(str::to_owned);
    let series = options
        .kernel
        .last()
        .cloned()
        .or(newest)
        .context("no kernel is known")?;
    let layout = options.layout.unwrap_or(Layout::V2);
    let kernel = kernels::ensure(&series)?;
    Guest {
        kernel: &kernel,
        initramfs: &initramfs,
        layout,
    }
    .shell()
}

fn write_initramfs(options: &Options, scenarios: &Scenarios) -> Result<std::path::PathBuf> {
    let folder = workspace::target_dir().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Scenarios measure one node: two at a time would count each other.
    let mut args = vec!["--test-threads=1".to_owned()];
    args.extend(options.filter.clone());
    args.extend(options.args.iter().cloned());
    let path = folder.join("initramfs.cpio");
    fs::write(&path, initramfs::build(scenarios, &args)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The failing scenarios' own output, or the end of the console when there is none.
fn show_failure(outcome: &Outcome) {
    const TAIL: usize = 40;
    let failures = outcome
        .console
        .iter()
        .position(|line| line.trim() == "failures:");
    let start = match failures {
        Some(start) if outcome.broke_off.is_none() => start,
        _ => outcome.console.len().saturating_sub(TAIL),
    };
    for line in &outcome.console[start..] {
        eprintln!("    {line}");
    }
    if let Some(reason) = &outcome.broke_off {
        eprintln!("    {reason}");
    }
    eprintln!("    (the whole console: {})", outcome.log.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_every_series_runs_with_v2_and_one_with_v1() {
        let guests = Options::all().guests();
        assert_eq!(
            guests
                .iter()
                .filter(|(_, layout)| *layout == Layout::V2)
                .count(),
            4
        );
        assert_eq!(guests.last(), Some(&("6.12".to_owned(), Layout::V1)));
    }

    #[test]
    fn a_layout_asked_for_goes_to_every_kernel_asked_for() {
        let options = Options {
            kernel: vec!["5.10".into(), "6.1".into()],
            layout: Some(Layout::Hybrid),
            ..Options::all()
        };
        assert!(
            options
                .guests()
                .iter()
                .all(|(_, layout)| *layout == Layout::Hybrid)
        );
        assert_eq!(options.guests().len(), 2);
    }
}
