//! Zombies are those that there are: beside any churn, in removed cgroups, and never a process that lives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::Recording;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(EVERYWHERE, churn_hides_no_zombie)
            .minutes(4)
            .slow(),
        scenario!(KERNELS, a_process_whose_main_thread_has_ended_is_no_zombie),
        scenario!(
            EVERYWHERE,
            zombies_of_a_removed_cgroup_are_those_of_the_one_above
        ),
        scenario!(
            KERNELS,
            many_that_are_not_reaped_from_the_start_are_all_freed
        )
        .minutes(4)
        .slow(),
        scenario!(
            KERNELS,
            an_exec_from_a_thread_beside_a_storm_frees_each_once
        )
        .minutes(4)
        .slow(),
        scenario!(KERNELS, old_zombies_are_never_told_as_none),
    ]
}

fn latest(seen: &Recording, id: u64) -> Option<u64> {
    seen.rates(id).next_back()?.number("/zombies")
}

/// Young frees are not subtracted from old ends.
fn churn_hides_no_zombie(env: &Env) -> Result<()> {
    const LASTS: Duration = Duration::from_secs(20);
    let mut pidwatch = Invocation::trace(env).start()?;
    let loads = [0, 2, 10, 200]
        .map(|beside| {
            let cgroup = Cgroup::new(&env.hierarchy, &format!("beside-{beside}"))?;
            let load = Load::new(env, "zombies").with("count", 60);
            let load = load.with("beside", beside).inside(&cgroup).start()?;
            Ok((cgroup, load))
        })
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for (cgroup, _) in &loads {
        pidwatch.wait(|seen| latest(seen, cgroup.id) == Some(60))?;
    }
    let since = pidwatch.seen().events.len();
    let until = Instant::now() + LASTS;
    pidwatch.wait_within(2 * LASTS, |_| Instant::now() >= until)?;
    for (cgroup, load) in loads {
        let seen = &pidwatch.seen().events[since..];
        let rates = seen
            .iter()
            .filter(|event| event.kind() == "rate" && event.cgroup() == Some(cgroup.id));
        let mut windows = 0;
        for rate in rates {
            // The load has one other child at a time. A parent that waits for the CPU for a second leaves it
            // unreaped so long: then it is a zombie, and charged beside the parent.
            let zombies = rate.number("/zombies").context("unknown")?;
            let tasks = rate.number("/tasks").context("unknown")?;
            let is_true = zombies == 60 || (zombies == 61 && tasks >= 62);
            assert!(is_true, "{}", rate.json);
            windows += 1;
        }
        println!("    60 in each of {windows} windows of {}", cgroup.path);
        let truth = load.finish()?;
        pidwatch.wait(|seen| latest(seen, cgroup.id) == Some(0))?;
        pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
        pidwatch
            .seen()
            .assert_freed(cgroup.id, truth.here.exited.sum());
    }
    pidwatch.stop()?.assert_nothing_missed(env);
    Ok(())
}

fn a_process_whose_main_thread_has_ended_is_no_zombie(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "headless")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "headless").with("processes", 20);
    let load = load.inside(&cgroup).start()?;
    pidwatch.wait(|seen| seen.total(cgroup.id).exited.processes == 20)?;
    // Longer than an ended task must last to be a zombie.
    let until = Instant::now() + Duration::from_secs(5);
    pidwatch.wait(|_| Instant::now() >= until)?;
    let truth = load.finish()?;
    pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    let recording = pidwatch.stop()?;
    for rate in recording.rates(cgroup.id) {
        assert_eq!(rate.number("/zombies"), Some(0), "{}", rate.json);
    }
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.exited, truth.here.exited);
    recording.assert_freed(cgroup.id, truth.here.exited.sum());
    Ok(())
}

fn zombies_of_a_removed_cgroup_are_those_of_the_one_above(env: &Env) -> Result<()> {
    let above = Cgroup::new(&env.hierarchy, "above")?;
    let below = above.child("below")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "zombies").with("count", 30);
    let mut load = load.at("within", &below.directory).start()?;
    load.ready()?;
    pidwatch.wait(|seen| latest(seen, below.id) == Some(30))?;
    below.remove()?;
    pidwatch.wait(|seen| latest(seen, above.id) == Some(30))?;
    let last = pidwatch.seen().rates(above.id).next_back();
    let last = last.context("no rate")?;
    assert_eq!(last.number("/tasks"), Some(30), "they are charged there");
    // One that starts now sees them there as well.
    let mut later = Invocation::trace(env).start()?;
    later.wait(|seen| latest(seen, above.id) == Some(30))?;
    later.stop()?;
    load.finish()?;
    pidwatch.wait(|seen| latest(seen, above.id) == Some(0))?;
    pidwatch.stop()?;
    Ok(())
}

/// More than once there was room for, within what RCU may take from the start on.
fn many_that_are_not_reaped_from_the_start_are_all_freed(env: &Env) -> Result<()> {
    let many = if env.guest { 4_500 } else { 6_500 };
    let cgroup = Cgroup::new(&env.hierarchy, "unreaped")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "zombies").with("count", many);
    let mut load = load.inside(&cgroup).start()?;
    load.ready()?;
    pidwatch.wait(|seen| latest(seen, cgroup.id) == Some(many))?;
    let truth = load.finish()?;
    pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    let recording = pidwatch.stop()?;
    recording.assert_nothing_missed(env);
    recording.assert_freed(cgroup.id, truth.here.exited.sum());
    Ok(())
}

/// Leaders that are freed as threads, and addresses that are used again at once.
fn an_exec_from_a_thread_beside_a_storm_frees_each_once(env: &Env) -> Result<()> {
    let execs = Cgroup::new(&env.hierarchy, "execs")?;
    let storm = Cgroup::new(&env.hierarchy, "storm")?;
    let unreaped = Cgroup::new(&env.hierarchy, "unreaped")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let mut kept = Load::new(env, "zombies")
        .with("count", 10)
        .inside(&unreaped)
        .start()?;
    kept.ready()?;
    let beside = Load::new(env, "forks").with("count", env.many() / 5);
    let beside = beside.inside(&storm).start()?;
    let load = Load::new(env, "exec-from-thread").with("count", 200);
    let exec = load.inside(&execs).run()?;
    let beside = beside.finish()?;
    pidwatch.wait(|seen| latest(seen, unreaped.id) == Some(10))?;
    let kept = kept.finish()?;
    let all = [(&execs, exec), (&storm, beside), (&unreaped, kept)];
    for (cgroup, truth) in &all {
        pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    }
    let recording = pidwatch.stop()?;
    recording.assert_nothing_missed(env);
    for (cgroup, truth) in &all {
        recording.assert_freed(cgroup.id, truth.here.exited.sum());
    }
    Ok(())
}

/// From the first word on: unknown is left out.
fn old_zombies_are_never_told_as_none(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "old")?;
    let load = Load::new(env, "zombies")
        .with("count", 50)
        .with("beside", 20);
    let load = load.inside(&cgroup).start()?;
    while cgroup.read("pids.current")? < 51 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut pidwatch = Invocation::trace(env).start()?;
    pidwatch.wait(|seen| seen.rates(cgroup.id).count() >= 10)?;
    for rate in pidwatch.seen().rates(cgroup.id) {
        let zombies = rate.number("/zombies");
        assert!(zombies.is_none_or(|zombies| zombies == 50), "{}", rate.json);
    }
    assert_eq!(latest(pidwatch.seen(), cgroup.id), Some(50));
    load.finish()?;
    pidwatch.stop()?;
    Ok(())
}
