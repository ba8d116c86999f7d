//! The unit of deploy/, installed as docs/install.md says, under a real systemd: closed as it is, it
//! takes nothing from what pidwatch sees, and pidwatch is there again whatever happens to it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Metrics, assert_counts, eventually, eventually_within, get};
use pidwatch_tests::env::Env;
use pidwatch_tests::systemd::{Unit, done};
use pidwatch_tests::truth::Truth;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(UNDER_SYSTEMD, its_unit_is_sound_and_as_closed_as_documented),
        scenario!(UNDER_SYSTEMD, its_unit_leaves_nothing_out),
        scenario!(UNDER_SYSTEMD, a_unit_that_its_tasks_max_stops_is_named),
        scenario!(UNDER_SYSTEMD, its_settings_come_from_its_file),
        scenario!(UNDER_SYSTEMD, wrong_settings_are_told_once),
        scenario!(UNDER_SYSTEMD, killed_or_hanging_it_is_started_again),
        scenario!(
            UNDER_SYSTEMD,
            with_its_drop_in_it_brakes_until_it_is_stopped
        )
        .minutes(5),
    ]
}

const UNIT: &str = include_str!("../../deploy/systemd/pidwatch.service");
const DROP_IN: &str = include_str!("../../deploy/systemd/brake.conf");
const NAME: &str = "pidwatch.service";
const PROGRAM: &str = "/usr/local/bin/pidwatch";
const SETTINGS: &str = "/etc/default/pidwatch";
const STATE: &str = "/var/lib/pidwatch";

/// What `systemd-analyze security` calls the unit, in tenths; docs/install.md says it.
const EXPOSURE: &str = "24";

/// Where it listens if nothing else is said.
fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9757))
}

fn installed(env: &Env) -> Result<Unit> {
    fs::create_dir_all("/usr/local/bin")?;
    // Whoever runs it keeps the file from being written to: a new one.
    let _ = fs::remove_file(PROGRAM);
    fs::copy(&env.pidwatch, PROGRAM).context("cannot install pidwatch")?;
    Unit::install(NAME, UNIT)
}

fn its_unit_is_sound_and_as_closed_as_documented(env: &Env) -> Result<()> {
    let _unit = installed(env)?;
    let mut verify = Command::new("systemd-analyze");
    let said = done(verify.args(["verify", "--man=no", NAME]))?;
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
    let mut security = Command::new("systemd-analyze");
    done(security.args(["security", "--no-pager", "--threshold", EXPOSURE, NAME]))?;
    Ok(())
}

/// `systemctl start` comes back when the node is watched, by all probes, with nothing to complain of.
fn its_unit_leaves_nothing_out(env: &Env) -> Result<()> {
    if env.kernel >= (7, 0) {
        // As docs/install.md says: Debian's kernels have 3.
        fs::write("/proc/sys/kernel/perf_event_paranoid", "2")?;
    }
    let unit = installed(env)?;
    unit.control("start")?;
    assert_eq!(get(address(), "/readyz", "")?.status, 200);
    let status = unit.property("StatusText")?;
    ensure!(status.starts_with("watching "), "{status:?}");
    for (name, value) in [("ActiveState", "active"), ("NRestarts", "0")] {
        assert_eq!(unit.property(name)?, value, "{name}");
    }
    assert_counts(address(), env)?;
    assert_eq!(unit.property("TasksCurrent")?, "1");

    let journal = unit.journal()?;
    let started = journal
        .lines()
        .find_map(|line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["type"] == "started").then_some(event)
        })
        .with_context(|| format!("it told no start: {journal}"))?;
    for probe in started["probes"].as_array().context("no probes")? {
        assert_eq!(probe["state"], "attached", "{probe}");
        // The best mechanisms, fexit and kretprobe, see nothing of what seccomp refuses.
        let error = probe["error"].as_str();
        assert!(
            error.is_none_or(|error| error.starts_with("seccomp's refusals are not seen")),
            "{probe}"
        );
    }
    let complaints: Vec<_> = journal
        .lines()
        .filter(|line| !line.contains("\"type\":\"started\""))
        .filter(|line| line.contains("warning") || line.contains("error"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");

    unit.control("stop")?;
    for (name, value) in [("Result", "success"), ("ExecMainStatus", "0")] {
        assert_eq!(unit.property(name)?, value, "{name}");
    }
    let is_kept = fs::read_dir(STATE)?.count() > 0;
    assert!(is_kept, "{STATE} is empty");
    Ok(())
}

fn a_unit_that_its_tasks_max_stops_is_named(env: &Env) -> Result<()> {
    const TOLD: &str = "/run/pidwatch-noisy.json";
    let unit = installed(env)?;
    unit.control("start")?;
    // Fewer than a cgroup may have told one by one: beyond that the reason is not measured.
    let noisy = Unit::install(
        "noisy.service",
        &format!(
            "[Service]\nType=oneshot\nTasksMax=20\nStandardOutput=truncate:{TOLD}\n\
             ExecStart={} fail --count 8\n",
            env.load.display()
        ),
    )?;
    noisy.control("start")?;
    let truth: Truth = serde_json::from_str(&fs::read_to_string(TOLD)?)?;
    fs::remove_file(TOLD)?;
    ensure!(!truth.failures.is_empty(), "nothing was refused");
    let labels = ["unit=\"noisy.service\"", "reason=\"pids_max\""];
    eventually("all refusals are counted, with their reason", || {
        let told = Metrics::at(address())?.value("pidwatch_clone_failures_total", &labels);
        Ok(told == Some(truth.failures.len() as f64))
    })
}

fn its_settings_come_from_its_file(env: &Env) -> Result<()> {
    let mut unit = installed(env)?;
    fs::create_dir_all("/etc/default")?;
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9876));
    unit.file(
        Path::new(SETTINGS),
        &format!("PIDWATCH_LISTEN={elsewhere}\n"),
    )?;
    unit.control("start")?;
    assert_eq!(get(elsewhere, "/readyz", "")?.status, 200);
    assert!(get(address(), "/readyz", "").is_err());
    Ok(())
}

/// Trying again would not make them right.
fn wrong_settings_are_told_once(env: &Env) -> Result<()> {
    let mut unit = installed(env)?;
    fs::create_dir_all("/etc/default")?;
    unit.file(Path::new(SETTINGS), "PIDWATCH_LISTEN=nowhere\n")?;
    assert!(unit.control("start").is_err());
    for (name, value) in [
        ("ActiveState", "failed"),
        ("ExecMainStatus", "2"),
        ("NRestarts", "0"),
    ] {
        assert_eq!(unit.property(name)?, value, "{name}");
    }
    let journal = unit.journal()?;
    ensure!(journal.contains("nowhere"), "{journal}");
    Ok(())
}

fn killed_or_hanging_it_is_started_again(env: &Env) -> Result<()> {
    let mut unit = installed(env)?;
    unit.edit("[Service]\nWatchdogSec=3\n")?;
    unit.control("start")?;
    for (count, signal) in [("1", "KILL"), ("2", "STOP")] {
        let before = unit.property("MainPID")?;
        unit.signal(signal)?;
        eventually("it is started again", || {
            Ok(unit.property("NRestarts")? == count && unit.property("ActiveState")? == "active")
        })?;
        assert_ne!(unit.property("MainPID")?, before, "after SIG{signal}");
        assert_counts(address(), env)?;
    }
    let journal = unit.journal()?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    Ok(())
}

fn with_its_drop_in_it_brakes_until_it_is_stopped(env: &Env) -> Result<()> {
    const SOON: &str = "PIDWATCH_DETECT=stale_age=10s,stale_idle=6s,evidence_time=10s\n";
    let mut unit = installed(env)?;
    unit.edit(DROP_IN)?;
    fs::create_dir_all("/etc/default")?;
    unit.file(Path::new(SETTINGS), SOON)?;
    unit.control("start")?;
    let _slice = Unit::install("braked.slice", "[Slice]\nTasksMax=2000\n")?;
    let leak = Unit::install(
        "leak.service",
        &format!(
            "[Service]\nSlice=braked.slice\nTasksMax=infinity\n\
             ExecStart=/bin/sh -c 'sleep 600 | {} leak --per-second 20'\n",
            env.load.display()
        ),
    )?;
    leak.control("start")?;
    let cgroup = leak.property("ControlGroup")?;
    let limit = Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/'));
    let limit = || -> Result<String> {
        Ok(fs::read_to_string(limit.join("pids.max"))?
            .trim()
            .to_owned())
    };
    eventually_within(Duration::from_mins(3), "the leak is braked", || {
        Ok(limit()? != "max")
    })?;
    println!("    braked at {} of 2000", limit()?);
    unit.control("stop")?;
    assert_eq!(limit()?, "max");
    Ok(())
}
