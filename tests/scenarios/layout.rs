//! Wherever the pids controller is: v1, hybrid or v2, at its usual place or another.

use anyhow::Result;
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::{Invocation, Pidwatch};
use pidwatch_tests::surroundings::{self, HOST_CGROUP, HOST_PROC};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(LAYOUTS, a_path_starts_at_the_root_of_the_pids_hierarchy),
        scenario!(LAYOUTS, the_hosts_trees_can_be_mounted_elsewhere),
        scenario!(LAYOUTS, a_pattern_chooses_cgroups),
    ]
}

/// Forks in a cgroup are counted there, and the path is the cgroup's.
fn assert_reports(env: &Env, mut pidwatch: Pidwatch, cgroup: &Cgroup) -> Result<()> {
    let truth = Load::new(env, "forks")
        .with("count", 50)
        .inside(cgroup)
        .run()?;
    pidwatch.wait(|seen| seen.total(cgroup.id).exited == truth.here.exited)?;
    let recording = pidwatch.stop()?;
    assert_eq!(recording.counts_of(cgroup.id)?.created, truth.here.created);
    for rate in recording.rates(cgroup.id) {
        assert_eq!(rate.path(), Some(cgroup.path.as_str()), "{rate:?}");
    }
    Ok(())
}

fn a_path_starts_at_the_root_of_the_pids_hierarchy(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "path")?;
    let deeper = cgroup.child("deeper")?;
    assert_reports(env, Invocation::trace(env).start()?, &deeper)
}

fn the_hosts_trees_can_be_mounted_elsewhere(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "elsewhere")?;
    let trace = Invocation::trace(env).within(surroundings::in_a_container);
    let trace = trace.args(["--proc-root", HOST_PROC, "--cgroup-root", HOST_CGROUP]);
    assert_reports(env, trace.start()?, &cgroup)
}

fn a_pattern_chooses_cgroups(env: &Env) -> Result<()> {
    let chosen = Cgroup::new(&env.hierarchy, "chosen")?;
    let other = Cgroup::new(&env.hierarchy, "other")?;
    let pattern = format!("{}/chosen-*", Cgroup::own_path());
    let mut pidwatch = Invocation::trace(env)
        .args(["--cgroup", &pattern])
        .start()?;
    Load::new(env, "forks")
        .with("count", 50)
        .inside(&other)
        .run()?;
    let truth = Load::new(env, "forks")
        .with("count", 50)
        .inside(&chosen)
        .run()?;
    pidwatch.wait(|seen| seen.total(chosen.id).exited == truth.here.exited)?;
    let recording = pidwatch.stop()?;
    assert_eq!(recording.counts_of(chosen.id)?.created, truth.here.created);
    for event in &recording.events {
        let about = event.cgroup();
        assert!(about.is_none() || about == Some(chosen.id), "{event:?}");
    }
    Ok(())
}
