//! `cargo xtask vm`: the scenarios in guests of other kernels, as many at a time as there are CPUs.
//!
//! In: which kernels and cgroup layouts. Out: one line a guest on standard output, consoles in
//! `target/vm/`, the failing scenarios' own words on standard error.

mod accelerator;
mod cpio;
mod guest;
mod initramfs;
mod kernels;
mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::libtest::Counts;
use crate::scenarios::Scenarios;
use crate::{dist, programs, workspace};
use accelerator::Accelerator;
use guest::{Guest, Layout, Outcome};
use kernels::Kernel;

/// Two to three times what the slowest guest takes on two CPUs.
const TIME_LIMIT_S: u64 = 1500;

/// What follows `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernel series, by comma; without it all of them, one more guest with cgroup v1, and the
    /// oldest and the newest under systemd
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
    #[arg(long, value_name = "SECONDS", default_value_t = TIME_LIMIT_S)]
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
            time_limit: TIME_LIMIT_S,
            args: Vec::new(),
        }
    }

    fn guests(&self) -> Vec<(String, Layout)> {
        let layout = self.layout.unwrap_or(Layout::V2);
        let with = |layout| kernels::all().map(move |series| (series.to_owned(), layout));
        if !self.kernel.is_empty() {
            let asked_for = self.kernel.iter();
            return asked_for.map(|series| (series.clone(), layout)).collect();
        }
        if self.layout.is_some() {
            return with(layout).collect();
        }
        // The longest first: the last of those that run side by side is then a short one.
        let mut guests: Vec<_> = with(Layout::V2).collect();
        // The newest series that distributions with v1 still run.
        guests.push(("6.12".into(), Layout::V1));
        // What the unit allows matters most to the oldest and the newest.
        let under_systemd: Vec<_> = with(Layout::Systemd).collect();
        guests.extend(under_systemd.first().cloned());
        guests.extend(under_systemd.last().cloned());
        guests
    }
}

/// One guest's line of the summary.
pub struct Report {
    pub line: String,
    pub counts: Counts,
    /// Whether there was nothing to boot, so that nothing ran.
    pub is_left_out: bool,
}

/// Runs the guests asked for.
pub fn vm(options: &Options) -> Result<ExitCode> {
    prepare()?;
    let scenarios = Scenarios::build()?;
    // A shell needs no image, which takes minutes.
    if options.shell {
        return shell(options, &scenarios).map(|()| ExitCode::SUCCESS);
    }
    let image = dist::image(&dist::for_host()?);
    let reports = Guests::new(options, &scenarios, Some(&image))?.run()?;
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
    programs::ensure(
        &["qemu-system-x86_64", "busybox"],
        "guests of other kernels",
    )?;
    programs::ensure(&programs::CONTAINERS, "guests with real containers")
}

/// Guests with all that they boot, which takes neither cargo nor the network any more.
pub struct Guests {
    guests: Vec<(Result<Kernel>, String, Layout)>,
    archives: BTreeMap<Layout, Result<PathBuf>>,
    folder: PathBuf,
    accelerator: Accelerator,
    limit: Duration,
}

impl Guests {
    /// Fetches and makes what the guests asked for take. Those with v2 have a container runtime and get
    /// the image, to run that on every kernel.
    pub fn new(options: &Options, scenarios: &Scenarios, image: Option<&Path>) -> Result<Self> {
        let folder = folder()?;
        let mut archives = BTreeMap::new();
        // Packages are unpacked one at a time.
        let guests: Vec<_> = options
            .guests()
            .into_iter()
            .map(|(series, layout)| {
                let image = image.filter(|_| layout == Layout::V2);
                archives
                    .entry(layout)
                    .or_insert_with(|| write_initramfs(layout, options, scenarios, image));
                (kernels::ensure(&series), series, layout)
            })
            .collect();
        let mut kernels = guests.iter().filter_map(|guest| guest.0.as_ref().ok());
        let accelerator = kernels.next().map_or(Accelerator::Emulation, |kernel| {
            Accelerator::of_this_host(kernel, &folder)
        });
        Ok(Self {
            guests,
            archives,
            folder,
            accelerator,
            limit: Duration::from_secs(options.time_limit),
        })
    }

    /// Runs them, one a host CPU at a time: each is emulated by one thread.
    pub fn run(&self) -> Result<Vec<Report>> {
        let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let reports = in_order(&self.guests, at_once, |guest| self.boot(guest));
        reports.into_iter().collect()
    }

    fn boot(&self, (kernel, series, layout): &(Result<Kernel>, String, Layout)) -> Result<Report> {
        match (kernel, &self.archives[layout]) {
            (Ok(kernel), Ok(initramfs)) => {
                let guest = Guest {
                    kernel,
                    initramfs,
                    layout: *layout,
                    accelerator: self.accelerator,
                };
                report(&guest, &self.folder, self.limit)
            }
            (Err(error), _) | (_, Err(error)) => {
                let line = format!("{series} {}: left out: {error:#}", layout.name());
                eprintln!("xtask: {line}");
                Ok(Report {
                    line,
                    counts: Counts {
                        passed: 0,
                        failed: 1,
                    },
                    is_left_out: true,
                })
            }
        }
    }
}

/// What `work` makes of each item, in the items' order, with `at_once` of them worked on at a time.
fn in_order<T: Sync, R: Send>(
    items: &[T],
    at_once: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a guest's thread panicked"))
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs one guest and says how it went.
fn report(guest: &Guest, folder: &Path, limit: Duration) -> Result<Report> {
    eprintln!("xtask: booting {}", guest.name());
    let outcome = guest.run(folder, limit)?;
    let took = outcome.took.as_secs();
    let line = format!("{}: {} in {took} s", guest.name(), outcome.counts);
    eprintln!("xtask: {line}");
    if outcome.counts.failed > 0 {
        show_failure(&outcome);
    }
    Ok(Report {
        line,
        counts: outcome.counts,
        is_left_out: false,
    })
}

fn shell(options: &Options, scenarios: &Scenarios) -> Result<()> {
    let newest = kernels::all().last().map(str::to_owned);
    let series = options
        .kernel
        .last()
        .cloned()
        .or(newest)
        .context("no kernel is known")?;
    let layout = options.layout.unwrap_or(Layout::V2);
    let kernel = kernels::ensure(&series)?;
    let initramfs = write_initramfs(layout, options, scenarios, None)?;
    Guest {
        kernel: &kernel,
        initramfs: &initramfs,
        layout,
        accelerator: Accelerator::of_this_host(&kernel, &folder()?),
    }
    .shell()
}

/// What a guest boots into: the scenarios, and what stands around them.
fn archive(
    layout: Layout,
    options: &Options,
    scenarios: &Scenarios,
    image: Option<&Path>,
) -> Result<Vec<u8>> {
    // The kernel unpacks one archive after the other.
    let mut archive = match layout {
        Layout::Systemd => systemd::archive()?,
        Layout::V2 | Layout::V1 | Layout::Hybrid => Vec::new(),
    };
    archive.extend(initramfs::build(scenarios, &arguments(options))?);
    if let Some(image) = image {
        archive.extend(initramfs::container_runtime(image)?);
    }
    Ok(archive)
}

/// Those of the scenarios' runner.
fn arguments(options: &Options) -> Vec<String> {
    // Scenarios measure one node: two at a time would count each other.
    let mut arguments = vec!["--test-threads=1".to_owned()];
    arguments.extend(options.filter.clone());
    arguments.extend(options.args.iter().cloned());
    arguments
}

fn write_initramfs(
    layout: Layout,
    options: &Options,
    scenarios: &Scenarios,
    image: Option<&Path>,
) -> Result<PathBuf> {
    let archive = archive(layout, options, scenarios, image)?;
    let path = folder()?.join(format!("initramfs-{}.cpio", layout.name()));
    fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Where archives and consoles are left.
fn folder() -> Result<PathBuf> {
    let folder = workspace::target_dir().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
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
    fn without_options_every_series_runs_with_v2_one_with_v1_and_two_under_systemd() {
        let guests = Options::all().guests();
        let with = |wanted| {
            guests
                .iter()
                .filter(|(_, layout)| *layout == wanted)
                .count()
        };
        assert_eq!(
            [Layout::V2, Layout::Systemd, Layout::V1].map(with),
            [4, 2, 1]
        );
        assert_eq!(guests[4], ("6.12".to_owned(), Layout::V1));
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..7).rev().collect();
        let results = in_order(&items, 3, |item| {
            thread::sleep(Duration::from_millis(*item));
            item * 2
        });
        assert_eq!(results, [12, 10, 8, 6, 4, 2, 0]);
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
