//! A machine that is used up: limits of the whole node are lowered, so that nobody can create anything, and
//! pidwatch still reports what was refused and why.

use std::fs;

use anyhow::Result;
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::sysctl::{Lowered, tasks_of_node};

use crate::failures::{all_is_seen, assert_failed, assert_limit};
use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(GUESTS, a_node_without_a_free_pid_is_reported_all_the_while),
        scenario!(GUESTS, ids_pinned_by_dead_leaders_use_pid_max_up),
        scenario!(GUESTS, of_two_exhausted_limits_the_kernels_first_is_told),
        scenario!(GUESTS, clones_beyond_threads_max_add_up),
    ]
}

/// At its lowest. pidwatch goes on reporting while the node has no free PID, without a new task.
fn a_node_without_a_free_pid_is_reported_all_the_while(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "pid-max")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let tasks = format!("/proc/{}/task", pidwatch.id());
    let count_tasks = || fs::read_dir(&tasks).map(Iterator::count);
    let before = count_tasks()?;
    let load = Load::new(env, "fail")
        .with("count", 100)
        .with("interval-us", 10_000);
    let lowered = Lowered::to("/proc/sys/kernel/pid_max", 301)?;
    let mut load = load.flag("hold").inside(&cgroup).start()?;
    load.ready()?;
    // All that follows is printed while the load keeps every PID.
    pidwatch.wait(|seen| seen.total(cgroup.id).failures() >= 101)?;
    assert_eq!(count_tasks()?, before, "tasks of pidwatch");
    assert!(
        pidwatch.seen().failures(cgroup.id).count() > 0,
        "no clone_failed event"
    );
    drop(lowered);
    let truth = load.finish()?;
    pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    assert_eq!(count_tasks()?, before, "tasks of pidwatch");
    assert_failed(&pidwatch.stop()?, &cgroup, &truth, "pid_max", "EAGAIN")
}

/// Every other child ends as the leader of a group that lives on: half as many tasks as PIDs.
fn ids_pinned_by_dead_leaders_use_pid_max_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "pinned")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "fail").with("count", 20).flag("pin");
    let lowered = Lowered::to("/proc/sys/kernel/pid_max", 1000)?;
    let mut load = load.flag("hold").inside(&cgroup).start()?;
    load.ready()?;
    println!("    {} tasks on the node", tasks_of_node()?);
    assert!(tasks_of_node()? < 700, "tasks are as many as PIDs");
    pidwatch.wait(|seen| seen.total(cgroup.id).failures() >= 21)?;
    drop(lowered);
    let truth = load.finish()?;
    pidwatch.wait(|seen| all_is_seen(seen, &cgroup, &truth))?;
    let recording = pidwatch.stop()?;
    assert_failed(&recording, &cgroup, &truth, "pid_max", "EAGAIN")?;
    assert_limit(&recording, &cgroup, "kernel.pid_max", 1000);
    Ok(())
}

/// pid_max and the cgroup's pids.max are both exhausted from some moment on.
fn of_two_exhausted_limits_the_kernels_first_is_told(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "both")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "fail")
        .with("count", 200)
        .with("interval-us", 10_000);
    let lowered = Lowered::to("/proc/sys/kernel/pid_max", 301)?;
    let load = load.inside(&cgroup).start()?;
    pidwatch.wait(|seen| seen.failures(cgroup.id).count() >= 5)?;
    let full = fs::read_to_string(cgroup.directory.join("pids.current"))?;
    cgroup.set("pids.max", full.trim())?;
    let since = pidwatch.seen().failures(cgroup.id).count();
    pidwatch.wait(|seen| seen.failures(cgroup.id).count() >= since + 50)?;
    let truth = load.finish()?;
    drop(lowered);
    pidwatch.wait(|seen| all_is_seen(seen, &cgroup, &truth))?;
    let recording = pidwatch.stop()?;
    assert_failed(&recording, &cgroup, &truth, "pid_max", "EAGAIN")?;
    assert_limit(&recording, &cgroup, "kernel.pid_max", 301);
    Ok(())
}

fn clones_beyond_threads_max_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "threads-max")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let limit = tasks_of_node()? + 60;
    let load = Load::new(env, "fail")
        .with("count", 100)
        .flag("hold")
        .inside(&cgroup);
    let lowered = Lowered::to("/proc/sys/kernel/threads-max", limit)?;
    let mut load = load.start()?;
    load.ready()?;
    drop(lowered);
    let truth = load.finish()?;
    pidwatch.wait(|seen| all_is_seen(seen, &cgroup, &truth))?;
    let recording = pidwatch.stop()?;
    assert_failed(&recording, &cgroup, &truth, "threads_max", "EAGAIN")?;
    assert_limit(&recording, &cgroup, "kernel.threads-max", limit);
    Ok(())
}
