//! `pidwatch check`: what it says of limits that were set for it, on the real kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::surroundings;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // The files of a cgroup and of /proc are not the same in all kernels and layouts.
        scenario!(EVERYWHERE, a_full_cgroup_is_told_with_its_limit),
        scenario!(KERNELS, a_parent_that_does_not_reap_is_named),
        // PID namespaces have a pid_max of their own from 6.14 on.
        scenario!(KERNELS, a_pid_namespace_near_its_own_limit_is_found).since((6, 14)),
        // From then on RLIMIT_NPROC counts by user namespace.
        scenario!(KERNELS, tasks_in_user_namespaces_count_for_who_made_them).since((5, 14)),
        scenario!(LAYOUTS, it_needs_no_root_and_says_what_it_cannot_see),
        scenario!(LAYOUTS, it_reads_the_host_from_a_container),
        scenario!(LAYOUTS, a_limit_that_may_not_be_read_is_unknown),
        scenario!(LAYOUTS, cgroups_may_vanish_while_it_looks),
        scenario!(EVERYWHERE, absurd_limits_are_shown_as_they_are),
        scenario!(GUESTS, a_node_near_its_limit_gets_a_brake_that_works),
        scenario!(HOST, the_exit_status_says_how_bad_it_is),
        scenario!(HOST, without_a_proc_it_says_where_to_look),
    ]
}

fn check(env: &Env) -> Invocation {
    Invocation::new(env).args(["check", "-o", "json"])
}

fn page(run: Invocation) -> Result<Value> {
    let run = run.finish()?;
    ensure!(run.status.success(), "{run:?}");
    ensure!(run.stderr.is_empty(), "{}", run.stderr);
    serde_json::from_slice(&run.stdout).context("not JSON")
}

fn limit<'a>(page: &'a Value, name: &str, scope: &str) -> Option<&'a Value> {
    page["limits"]
        .as_array()?
        .iter()
        .find(|row| row["name"] == name && row["scope"] == scope)
}

fn finding<'a>(page: &'a Value, id: &str, object: &str) -> Option<&'a Value> {
    page["findings"]
        .as_array()?
        .iter()
        .find(|finding| finding["id"] == id && finding["object"] == object)
}

fn a_full_cgroup_is_told_with_its_limit(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "check-full")?;
    cgroup.set("pids.max", "20")?;
    let mut load = Load::new(env, "hold")
        .with("processes", 3)
        .with("threads", 5)
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    let seen = page(check(env))?;
    let row = limit(&seen, "pids.max", &cgroup.path).context("no row")?;
    assert_eq!((&row["value"], &row["usage"]), (&20.into(), &19.into()));
    assert_eq!(row["binding"], true);
    let found = finding(&seen, "cgroup-limit-usage", &cgroup.path).context("no finding")?;
    assert_eq!(found["severity"], "warning", "{found}");
    let node = limit(&seen, "kernel.pid_max", "node").context("no pid_max")?;
    let pid_max: u64 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    assert_eq!(node["value"], pid_max, "{node}");
    assert!(node["usage"].as_u64() > Some(19), "{node}");
    load.finish()?;
    cgroup.set("pids.max", "max")?;
    let seen = page(check(env))?;
    assert_eq!(
        limit(&seen, "pids.max", &cgroup.path),
        None,
        "max is no limit"
    );
    Ok(())
}

fn the_exit_status_says_how_bad_it_is(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "check-status")?;
    cgroup.set("pids.max", "4")?;
    let mut load = Load::new(env, "hold")
        .with("processes", 3)
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    for (fail_on, expected) in [
        (&["--fail-on", "critical"][..], 3),
        (&["--fail-on", "warning"], 3),
        (&["--fail-on", "info"], 3),
        (&[], 0),
    ] {
        let run = Invocation::new(env)
            .args(["check"])
            .args(fail_on)
            .finish()?;
        assert_eq!(run.status.code(), Some(expected), "{fail_on:?}");
        let text = String::from_utf8(run.stdout)?;
        assert!(text.contains("CRITICAL  cgroup-limit-usage"), "{text}");
    }
    load.finish()?;
    Ok(())
}

fn a_pid_namespace_near_its_own_limit_is_found(env: &Env) -> Result<()> {
    let mut load = Load::new(env, "hold-in-pid-namespace")
        .with("threads", 330)
        .with("pid-max", 400)
        .start()?;
    load.ready()?;
    let seen = page(check(env))?;
    let rows = seen["limits"].as_array().context("no limits")?;
    let row = rows.iter().find(|row| {
        let scope = row["scope"].as_str().unwrap_or_default();
        scope.starts_with("pid_namespace:") && row["value"] == 400
    });
    let row = row.with_context(|| format!("no row: {seen}"))?;
    assert_eq!(
        (&row["name"], &row["usage"]),
        (&"kernel.pid_max".into(), &331.into())
    );
    assert_eq!(row["binding"], true);
    let scope = row["scope"].as_str().unwrap_or_default();
    let object = scope.replace("pid_namespace:", "PID namespace ");
    let found = finding(&seen, "pid-namespace-usage", &object).context("no finding")?;
    assert_eq!(found["severity"], "warning", "{found}");
    // The node has room, and its own limit is not this one.
    let node = limit(&seen, "kernel.pid_max", "node").context("no pid_max")?;
    assert!(node["value"].as_u64() > Some(400), "{node}");
    load.finish()?;
    Ok(())
}

fn tasks_in_user_namespaces_count_for_who_made_them(env: &Env) -> Result<()> {
    const UID: u64 = 54_321;
    let mut load = Load::new(env, "hold-in-user-namespaces")
        .with("uid", UID)
        .with("outside", 3)
        .with("inside", 4)
        .with("limit", 10)
        .start()?;
    load.ready()?;
    let seen = page(check(env))?;
    let row = limit(&seen, "RLIMIT_NPROC", &format!("user:{UID}")).context("no row")?;
    assert_eq!(
        (&row["value"], &row["usage"]),
        (&10.into(), &7.into()),
        "{row}"
    );
    load.finish()?;
    Ok(())
}

fn a_parent_that_does_not_reap_is_named(env: &Env) -> Result<()> {
    let mut load = Load::new(env, "zombies").with("count", 30).start()?;
    load.ready()?;
    let seen = page(check(env))?;
    let parent = format!("pidwatch-load[{}]", load.id());
    let found = finding(&seen, "unreaped-zombies", &parent).context("not named")?;
    assert!(
        found["message"]
            .as_str()
            .is_some_and(|text| text.contains("30 children")),
        "{found}"
    );
    load.finish()?;
    Ok(())
}

fn it_reads_the_host_from_a_container(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "check-container")?;
    cgroup.set("pids.max", "77")?;
    let run = check(env)
        .args(["--proc-root", surroundings::HOST_PROC])
        .args(["--cgroup-root", surroundings::HOST_CGROUP])
        .within(surroundings::in_a_container);
    let seen = page(run)?;
    let row = limit(&seen, "pids.max", &cgroup.path).context("no row")?;
    assert_eq!(row["value"], 77, "{row}");
    let node = limit(&seen, "kernel.pid_max", "node").context("no pid_max")?;
    assert!(node["usage"].as_u64() > Some(1), "{node}");
    Ok(())
}

fn a_limit_that_may_not_be_read_is_unknown(env: &Env) -> Result<()> {
    let everyone = env.for_everyone()?;
    let cgroup = Cgroup::new(&env.hierarchy, "check-denied")?;
    cgroup.set("pids.max", "77")?;
    let file = cgroup.directory.join("pids.max");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let seen = page(check(&everyone.env).within(surroundings::without_root))?;
    assert_eq!(
        limit(&seen, "pids.max", &cgroup.path),
        None,
        "shown as known"
    );
    let unseen = seen["unseen"].to_string();
    assert!(unseen.contains("pids.max of 1 cgroups"), "{unseen}");
    Ok(())
}

fn it_needs_no_root_and_says_what_it_cannot_see(env: &Env) -> Result<()> {
    let everyone = env.for_everyone()?;
    let plain = page(check(&everyone.env).within(surroundings::without_root))?;
    let hidden = page(check(&everyone.env).within(surroundings::with_hidden_processes))?;
    for seen in [&plain, &hidden] {
        let node = limit(seen, "kernel.pid_max", "node").context("no pid_max")?;
        assert!(node["value"].is_u64() && node["usage"].is_u64(), "{node}");
    }
    let unseen = hidden["unseen"].to_string();
    println!("    {unseen}");
    assert!(unseen.contains("hidepid"), "{unseen}");
    Ok(())
}

fn without_a_proc_it_says_where_to_look(env: &Env) -> Result<()> {
    let run = check(env).args(["--proc-root", "/nonexistent"]).finish()?;
    run.assert_refused(1, &["/nonexistent", "--proc-root"]);
    Ok(())
}

fn cgroups_may_vanish_while_it_looks(env: &Env) -> Result<()> {
    let parent = Cgroup::new(&env.hierarchy, "check-churn")?;
    let churn = Load::new(env, "churn-cgroups")
        .with("count", 1000)
        .at("parent", &parent.directory)
        .start()?;
    // An emulated guest takes a second for each.
    for _ in 0..if env.guest { 10 } else { 30 } {
        page(check(env))?;
    }
    churn.finish()?;
    Ok(())
}

fn absurd_limits_are_shown_as_they_are(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "check-absurd")?;
    for (max, value) in [("0", 0), ("1", 1), ("4194304", 4_194_304)] {
        cgroup.set("pids.max", max)?;
        let seen = page(check(env))?;
        let row = limit(&seen, "pids.max", &cgroup.path).context("no row")?;
        assert_eq!(row["value"], value, "{row}");
        assert_eq!(row["usage"], 0, "{row}");
    }
    Ok(())
}

/// The incident in small: one cgroup holds nearly all PIDs. The line that is advised caps it.
fn a_node_near_its_limit_gets_a_brake_that_works(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "check-threat")?;
    let load = Load::new(env, "hold")
        .with("processes", 2)
        .with("threads", 400);
    let mut load = load.inside(&cgroup).start()?;
    load.ready()?;
    let tasks: u64 = fs::read_to_string("/proc/loadavg")?
        .split(['/', ' '])
        .nth(4)
        .context("no task count")?
        .parse()?;
    let before = fs::read_to_string("/proc/sys/kernel/pid_max")?;
    fs::write("/proc/sys/kernel/pid_max", (tasks + 30).to_string())?;
    let seen = page(check(env));
    fs::write("/proc/sys/kernel/pid_max", before.trim())?;
    let seen = seen?;
    let node = finding(&seen, "node-limit-usage", "kernel.pid_max").context("not told")?;
    assert_eq!(node["severity"], "critical", "{node}");
    let threat = finding(&seen, "owner-threatens-node", &cgroup.path).context("not named")?;
    let advice = threat["advice"].as_str().context("no advice")?;
    let brake = advice
        .split_once("echo ")
        .and_then(|(_, rest)| rest.split_once(" (lift"))
        .context("no brake")?
        .0;
    println!("    echo {brake}");
    let status = Command::new("/bin/sh")
        .args(["-c", &format!("echo {brake}")])
        .status()
        .context("no shell")?;
    ensure!(status.success(), "the brake failed");
    let max = fs::read_to_string(cgroup.directory.join("pids.max"))?;
    assert_eq!(max.trim(), "803", "one load, two processes of 401 tasks");
    load.finish()?;
    Ok(())
}
