//! What the tasks of owners that grow do: leaks are flagged by it long before they outgrow a pool, and a
//! pool at work that grows as much is not.

use std::time::Duration;

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::Recording;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    // The iterator, and what it reads of a task, differ by kernel.
    vec![scenario!(KERNELS, leaks_are_flagged_by_what_their_tasks_do).slow()]
}

/// An emulated guest is slow, and a pass over its tasks takes its time.
const LONG: Duration = Duration::from_mins(3);
/// Far from half of it is flagged by the tasks alone.
const PIDS_MAX: u64 = 4000;
/// Ages for people who do not wait for minutes.
const SOON: &str = "stale_age=10s,stale_idle=6s,zombie_age=4s,zombie_time=15s,evidence_time=10s";

/// The kinds of evidence in the event by which an owner is called a leak, and its tasks then.
fn flagged(seen: &Recording, cgroup: &Cgroup) -> Option<(Vec<String>, u64)> {
    let event = seen
        .of_type("state")
        .find(|event| event.cgroup() == Some(cgroup.id) && event.text("/to") == Some("leaking"))?;
    let evidence = event.json["evidence"].as_array()?;
    let kinds = evidence.iter().filter_map(|it| it["kind"].as_str());
    Some((kinds.map(str::to_owned).collect(), event.number("/tasks")?))
}

fn leaks_are_flagged_by_what_their_tasks_do(env: &Env) -> Result<()> {
    let owner = |name: &str| -> Result<Cgroup> {
        let cgroup = Cgroup::new(&env.hierarchy, name)?;
        cgroup.set("pids.max", &PIDS_MAX.to_string())?;
        Ok(cgroup)
    };
    let (stale, zombies, pool) = (owner("stale")?, owner("zombies")?, owner("pool")?);
    let mut pidwatch = Invocation::trace(env).args(["--detect", SOON]).start()?;
    let load = |name: &str| Load::new(env, name).with("per-second", 10);
    let loads = [
        load("leak").inside(&stale).start()?,
        load("leak-zombies").inside(&zombies).start()?,
        load("leak").flag("works").inside(&pool).start()?,
    ];
    let tasks = |seen: &Recording, cgroup: &Cgroup| {
        let mut rates = seen
            .of_type("rate")
            .filter(|rate| rate.cgroup() == Some(cgroup.id));
        rates.next_back().and_then(|rate| rate.number("/tasks"))
    };
    pidwatch.wait_within(LONG, |seen| {
        let both = [&stale, &zombies].map(|cgroup| flagged(seen, cgroup));
        let [Some((_, one)), Some((_, other))] = both else {
            return false;
        };
        // It has grown as much as they had.
        tasks(seen, &pool) >= Some(one.max(other))
    })?;
    for load in loads {
        load.finish()?;
    }
    let recording = pidwatch.stop()?;
    for (cgroup, kind) in [(&stale, "stale"), (&zombies, "zombies")] {
        let (kinds, tasks) = flagged(&recording, cgroup).context("not flagged")?;
        println!("    {kind}: {tasks} tasks");
        assert!(kinds.iter().any(|known| known == kind), "{kinds:?}");
    }
    assert_eq!(flagged(&recording, &pool), None);
    Ok(())
}
