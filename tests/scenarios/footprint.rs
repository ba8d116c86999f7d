//! pidwatch is small, and stays it.

use std::fs;

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(KERNELS, kernel_maps_fit_into_12_mib),
        scenario!(HOST, no_task_is_created_after_start_up),
        scenario!(HOST, a_thousand_cgroups_fit_into_20_mib).minutes(4),
    ]
}

fn a_thousand_cgroups_fit_into_20_mib(env: &Env) -> Result<()> {
    let parent = Cgroup::new(&env.hierarchy, "thousand")?;
    drop(parent.child("first")?);
    // A thousand rows a window are kept here until the end: long windows, or a slow guest has no room.
    let mut pidwatch = Invocation::new(env)
        .args(["trace", "-o", "json", "--window", "2s", "--all"])
        .start()?;
    let load = Load::new(env, "churn-cgroups")
        .with("count", 1_000)
        .with("forks", 2)
        .flag("keep");
    let truth = load.at("parent", &parent.directory).run()?;
    assert_eq!(truth.cgroups.len(), 1_000);
    let last = truth.cgroups.last().copied().unwrap_or_default();
    pidwatch.wait(|seen| seen.total(last).exited.sum() == 3)?;
    let kib = pidwatch.status("VmRSS")?;
    println!("    resident: {:.1} MiB", kib as f64 / 1024.0);
    assert!(kib < 20 * 1024, "{kib} KiB");
    let counts = pidwatch.stop()?.counts()?;
    let counted = truth
        .cgroups
        .iter()
        .filter(|id| counts.contains_key(id))
        .count();
    assert_eq!(counted, 1_000, "cgroups with counts");
    Ok(())
}

/// The kernel tells what each map takes in the descriptor's `fdinfo`.
fn kernel_maps_fit_into_12_mib(env: &Env) -> Result<()> {
    let pidwatch = Invocation::trace(env).start()?;
    let mut bytes = 0;
    let mut ids = std::collections::BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", pidwatch.id()))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse::<u64>().ok()
        };
        // A map can have more than one descriptor; programs have no map_type.
        if field("map_type").is_some() && field("map_id").is_none_or(|id| ids.insert(id)) {
            bytes += field("memlock").context("no memlock")?;
        }
    }
    println!(
        "    {} maps: {:.2} MiB",
        ids.len(),
        bytes as f64 / f64::from(1 << 20)
    );
    assert!(bytes > 0, "no map found");
    assert!(bytes < 12 << 20, "{bytes} bytes");
    pidwatch.stop()?;
    Ok(())
}

/// Asked twice: of `/proc`, and of pidwatch itself, which would see a task of its own be born.
fn no_task_is_created_after_start_up(env: &Env) -> Result<()> {
    let own = Cgroup::new(&env.hierarchy, "own")?;
    let busy = Cgroup::new(&env.hierarchy, "busy")?;
    let mut pidwatch = Invocation::trace(env).args(["--all"]).start()?;
    assert_eq!(pidwatch.status("Threads")?, 1, "tasks at start");
    own.set("cgroup.procs", &pidwatch.id().to_string())?;
    for _ in 0..5 {
        let gone = Cgroup::new(&env.hierarchy, "gone")?;
        let truth = Load::new(env, "forks")
            .with("count", 100)
            .inside(&busy)
            .run()?;
        let before = pidwatch.seen().total(busy.id).exited.sum();
        pidwatch
            .wait(|seen| seen.total(busy.id).exited.sum() >= before + truth.here.exited.sum())?;
        gone.remove()?;
        assert_eq!(pidwatch.status("Threads")?, 1, "tasks");
    }
    let counts = pidwatch.stop()?.counts_of(own.id)?;
    assert_eq!(counts.created.sum(), 0, "created by pidwatch");
    Ok(())
}
