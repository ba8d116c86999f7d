//! Verdicts and advice on the limits that people run into: small forms of what was reported in public.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::{Event, Recording};
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, a_limit_of_zero_is_named_and_accuses_nobody),
        scenario!(HOST, tasks_moved_in_past_a_limit_are_no_leak),
        scenario!(HOST, threads_without_room_for_a_stack_are_found_by_check),
        scenario!(HOST, a_limit_too_low_for_an_honest_load_is_no_leak).slow(),
        scenario!(
            HOST,
            a_leaker_below_a_shared_limit_is_the_culprit_and_not_its_victim
        )
        .minutes(3)
        .slow(),
        scenario!(HOST, limits_that_sum_up_to_more_than_the_node_are_found),
        scenario!(
            HOST,
            the_brakes_second_line_gives_back_the_limit_that_was_there
        )
        .minutes(3)
        .slow(),
    ]
}

/// How long a leak and its incident may take.
const LONG: Duration = Duration::from_secs(90);

fn check(env: &Env) -> Result<Value> {
    let run = Invocation::new(env)
        .args(["check", "-o", "json"])
        .finish()?;
    ensure!(run.status.success(), "{run:?}");
    serde_json::from_slice(&run.stdout).context("not JSON")
}

fn findings<'a>(page: &'a Value, id: &str) -> impl Iterator<Item = &'a Value> {
    let all = page["findings"].as_array().into_iter().flatten();
    all.filter(move |finding| finding["id"] == id)
}

fn finding<'a>(page: &'a Value, id: &str, object: &str) -> Result<&'a Value> {
    let found = findings(page, id).find(|finding| finding["object"] == object);
    found.with_context(|| format!("no {id} of {object}: {}", page["findings"]))
}

fn row<'a>(page: &'a Value, scope: &str) -> Result<&'a Value> {
    let rows = page["limits"].as_array().context("no limits")?;
    let row = rows.iter().find(|row| row["scope"] == scope);
    row.with_context(|| format!("no limit of {scope}"))
}

/// Incidents about the limit of a cgroup.
fn incidents<'a>(seen: &'a Recording, of: &Cgroup) -> impl DoubleEndedIterator<Item = &'a Event> {
    let path = of.path.clone();
    seen.of_type("incident")
        .filter(move |event| event.text("/cgroup") == Some(path.as_str()))
}

/// Nobody is a culprit of the limit of a cgroup, and nobody below it leaks.
fn assert_nobody_accused(seen: &Recording, of: &Cgroup) {
    for incident in incidents(seen, of) {
        let culprits = incident.json["culprits"].as_array();
        assert!(culprits.is_none_or(Vec::is_empty), "{}", incident.json);
    }
    for state in seen.of_type("state") {
        let is_it = state.path().is_some_and(|path| path.starts_with(&of.path));
        let is_bad = matches!(state.text("/to"), Some("leaking" | "saturated"));
        assert!(!(is_it && is_bad), "{}", state.json);
    }
}

/// The report of a recording as JSON; of one incident, that about the limit of a cgroup.
fn case(env: &Env, file: &str, of: &Cgroup) -> Result<Value> {
    let run = Invocation::new(env)
        .args(["report", file, "-o", "json"])
        .finish()?;
    ensure!(run.status.success(), "{run:?}");
    let report: Value = serde_json::from_slice(&run.stdout)?;
    let cases = report["incidents"].as_array().context("no incidents")?;
    let case = cases
        .iter()
        .find(|case| case["limit"]["cgroup"] == of.path.as_str());
    case.cloned().context("no incident of this limit")
}

fn ids(case: &Value, of: &str) -> Vec<String> {
    let all = case[of].as_array().into_iter().flatten();
    let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
    all.map(id).collect()
}

fn action<'a>(case: &'a Value, id: &str) -> Result<&'a Value> {
    let mut actions = case["actions"].as_array().into_iter().flatten();
    let action = actions.find(|action| action["id"] == id);
    action.with_context(|| format!("no {id}: {:?}", ids(case, "actions")))
}

/// A runtime that writes `pids_limit: 0` as it is.
fn a_limit_of_zero_is_named_and_accuses_nobody(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "zero")?;
    cgroup.set("pids.max", "0")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let mut load = Load::new(env, "fail")
        .with("count", 5)
        .flag("hold")
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    let page = check(env)?;
    pidwatch.wait(|seen| incidents(seen, &cgroup).next().is_some())?;
    load.finish()?;
    let recording = pidwatch.stop()?;
    let failed = recording.failures(cgroup.id).next().context("no failure")?;
    assert_eq!(failed.text("/reason"), Some("pids_max"));
    assert_eq!(failed.number("/limit/value"), Some(0), "{}", failed.json);
    assert_eq!(failed.number("/limit/usage"), Some(1), "{}", failed.json);
    assert_nobody_accused(&recording, &cgroup);
    let found = finding(&page, "cgroup-limit-usage", &cgroup.path)?;
    assert_eq!(found["severity"], "critical");
    let text = format!("{} {}", found["message"], found["advice"]);
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(!text.contains("echo 0 "), "{text}");
    assert!(text.contains("pids.max is 0"), "{text}");
    assert!(row(&page, &cgroup.path)?["ratio"].is_null());
    Ok(())
}

/// `docker exec` moves processes in past the limit.
fn tasks_moved_in_past_a_limit_are_no_leak(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "over")?;
    cgroup.set("pids.max", "5")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let noop = || Load::new(env, "hold").with("processes", 0).inside(&cgroup);
    let mut moved = Vec::new();
    for _ in 0..9 {
        let mut load = noop().start()?;
        load.ready()?;
        moved.push(load);
    }
    let mut load = Load::new(env, "fail")
        .with("count", 3)
        .flag("hold")
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    assert_eq!(cgroup.read("pids.current")?, 10);
    let page = check(env)?;
    pidwatch.wait(|seen| incidents(seen, &cgroup).next().is_some())?;
    load.finish()?;
    for load in moved {
        load.finish()?;
    }
    let recording = pidwatch.stop()?;
    let failed = recording.failures(cgroup.id).next().context("no failure")?;
    assert_eq!(failed.number("/limit/value"), Some(5), "{}", failed.json);
    assert_eq!(failed.number("/limit/usage"), Some(10), "{}", failed.json);
    assert_nobody_accused(&recording, &cgroup);
    let row = row(&page, &cgroup.path)?;
    assert_eq!((&row["value"], &row["usage"]), (&5.into(), &10.into()));
    assert_eq!(row["ratio"], 2.0);
    let found = finding(&page, "cgroup-limit-usage", &cgroup.path)?;
    assert_eq!(found["severity"], "critical");
    Ok(())
}

/// pthread_create says EAGAIN, and no clone was made.
fn threads_without_room_for_a_stack_are_found_by_check(env: &Env) -> Result<()> {
    for (room, id) in [
        ("space", "address-space-usage"),
        ("mappings", "max-map-count-usage"),
    ] {
        let cgroup = Cgroup::new(&env.hierarchy, room)?;
        let pidwatch = Invocation::trace(env).start()?;
        let load = Load::new(env, "without-room").choose("room", room);
        let mut load = load.inside(&cgroup).start()?;
        load.ready()?;
        let page = check(env)?;
        let object = format!("pidwatch-load[{}]", load.id());
        let truth = load.finish()?;
        let recording = pidwatch.stop()?;
        assert_eq!(recording.failures(cgroup.id).count(), 0, "{room}");
        let counts = recording.counts_of(cgroup.id)?;
        assert_eq!(counts.created, truth.here.created, "{room}");
        let found = finding(&page, id, &object)?;
        assert_eq!(found["severity"], "critical", "{found}");
    }
    Ok(())
}

/// Bursts of children below a limit that has room for fewer, and nothing stays.
fn a_limit_too_low_for_an_honest_load_is_no_leak(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "burst")?;
    cgroup.set("pids.max", "40")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("burst.pidwatch");
    let file = file.to_str().context("no UTF-8")?;
    let mut recorder = Invocation::new(env)
        .args(["record", file, "--window", "200ms"])
        .spawn()?;
    recorder.wait_for("kernel")?;
    for _ in 0..3 {
        let load = Load::new(env, "fail").with("count", 20).inside(&cgroup);
        ensure!(load.run()?.failures.len() == 21, "one found the limit");
    }
    recorder.wait_for_line(&["INCIDENT", &cgroup.path])?;
    recorder.signal(libc::SIGINT);
    ensure!(recorder.finish()?.status.success());
    let case = case(env, file, &cgroup)?;
    println!(
        "    {:?} {:?}",
        ids(&case, "findings"),
        ids(&case, "actions")
    );
    assert_eq!(case["culprits"], Value::Array(Vec::new()));
    assert!(ids(&case, "findings").contains(&"limit-too-low".to_owned()));
    assert!(!ids(&case, "actions").contains(&"brake".to_owned()));
    let raise = action(&case, "raise-limit")?;
    let command = raise["commands"][0].as_str().unwrap_or_default();
    let value = command.split_whitespace().nth(1).context("no value")?;
    // All three at once would be 63 more than 40; half as much again.
    let value: u64 = value.parse()?;
    assert!((80..=160).contains(&value), "{command}");
    Ok(())
}

/// Pods as the kubelet makes them, below a limit that they share.
struct Pods {
    leaker: Cgroup,
    steady: Cgroup,
    _pods: [Cgroup; 2],
    top: Cgroup,
    _own: Cgroup,
}

impl Pods {
    fn new(env: &Env, limit: u64) -> Result<Self> {
        let own = Cgroup::new(&env.hierarchy, "shared")?;
        let top = own.child("kubepods")?;
        top.set("pids.max", &limit.to_string())?;
        let uid = |n: u32| format!("pod{n:08x}-1111-1111-1111-111111111111");
        let pods = [top.child(uid(1))?, top.child(uid(2))?];
        Ok(Self {
            leaker: pods[0].child("a".repeat(64))?,
            steady: pods[1].child("b".repeat(64))?,
            _pods: pods,
            top,
            _own: own,
        })
    }
}

fn a_leaker_below_a_shared_limit_is_the_culprit_and_not_its_victim(env: &Env) -> Result<()> {
    let pods = Pods::new(env, 300)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shared.pidwatch");
    let file = file.to_str().context("no UTF-8")?;
    let mut recorder = Invocation::new(env)
        .args(["record", file, "--window", "200ms"])
        .spawn()?;
    recorder.wait_for("kernel")?;
    let mut held = Load::new(env, "hold")
        .with("processes", 19)
        .inside(&pods.steady)
        .start()?;
    held.ready()?;
    let probe = Load::new(env, "pace").with("per-second", 2);
    let probe = probe.inside(&pods.steady).start()?;
    let leak = Load::new(env, "leak").with("per-second", 12);
    let leak = leak.inside(&pods.leaker).start()?;
    recorder.wait_for_line_within(LONG, &["INCIDENT", "victims:", &pods.top.path])?;
    let page = check(env)?;
    recorder.signal(libc::SIGINT);
    ensure!(recorder.finish()?.status.success());
    probe.finish()?;
    leak.finish()?;
    held.finish()?;
    let case = case(env, file, &pods.top)?;
    let party = |of: &str| case[of][0]["cgroup"]["id"].as_u64();
    assert_eq!(
        party("culprits"),
        Some(pods.leaker.id),
        "{}",
        case["summary"]
    );
    assert_eq!(
        party("victims"),
        Some(pods.steady.id),
        "{}",
        case["summary"]
    );
    assert!(ids(&case, "findings").contains(&"limit-shared".to_owned()));
    let kubelet = action(&case, "pod-pids-limit")?;
    let config = kubelet["config"].as_str().unwrap_or_default();
    let value = config
        .lines()
        .find_map(|line| line.strip_prefix("podPidsLimit: "));
    let value: u64 = value.context("no value")?.parse()?;
    assert!(value > 21 && value < 300, "{value}");
    let found = finding(&page, "cgroup-limit-usage", &pods.top.path)?;
    let message = found["message"].as_str().unwrap_or_default();
    assert!(message.contains(&pods.leaker.path), "{message}");
    Ok(())
}

/// Each fits into the node, and two together do not.
fn limits_that_sum_up_to_more_than_the_node_are_found(env: &Env) -> Result<()> {
    let pid_max: u64 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    let top = Cgroup::new(&env.hierarchy, "sum")?;
    let slice = top.child("user.slice")?;
    let mut users = Vec::new();
    let mut loads = Vec::new();
    for uid in 0..4 {
        let user = slice.child(format!("user-{uid}.slice"))?;
        user.set("pids.max", &(pid_max / 2 + 1).to_string())?;
        let session = user.child("session-1.scope")?;
        let mut load = Load::new(env, "hold")
            .with("processes", 1)
            .inside(&session)
            .start()?;
        load.ready()?;
        loads.push(load);
        users.push((session, user));
    }
    let page = check(env)?;
    let found = finding(&page, "limits-exceed-node", &slice.path)?;
    assert_eq!(found["severity"], "warning", "{found}");
    // Not each of them by itself.
    for (_, user) in &users {
        let alone = findings(&page, "owner-can-exhaust-node");
        for other in alone {
            let text = other.to_string();
            assert!(!text.contains(&user.path), "{text}");
        }
    }
    slice.set("pids.max", &(pid_max / 4).to_string())?;
    let page = check(env)?;
    assert!(finding(&page, "limits-exceed-node", &slice.path).is_err());
    for load in loads {
        load.finish()?;
    }
    // The sessions first.
    let (sessions, users): (Vec<_>, Vec<_>) = users.into_iter().unzip();
    drop(sessions);
    drop(users);
    Ok(())
}

/// A leak with a limit of its own, below a lower one that it shares.
fn the_brakes_second_line_gives_back_the_limit_that_was_there(env: &Env) -> Result<()> {
    let top = Cgroup::new(&env.hierarchy, "lift")?;
    top.set("pids.max", "500")?;
    let app = top.child("app")?;
    app.set("pids.max", "700")?;
    let beside = top.child("other")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lift.pidwatch");
    let file = file.to_str().context("no UTF-8")?;
    let mut recorder = Invocation::new(env)
        .args(["record", file, "--window", "200ms"])
        .spawn()?;
    recorder.wait_for("kernel")?;
    let probe = Load::new(env, "pace").with("per-second", 2);
    let probe = probe.inside(&beside).start()?;
    let leak = Load::new(env, "leak").with("per-second", 25);
    let leak = leak.inside(&app).start()?;
    recorder.wait_for_line_within(LONG, &["INCIDENT", &top.path])?;
    recorder.signal(libc::SIGINT);
    ensure!(recorder.finish()?.status.success());
    let case = case(env, file, &top)?;
    let brake = action(&case, "brake")?;
    let commands = brake["commands"].as_array().context("no commands")?;
    let mut values = vec![app.read("pids.max")?];
    for command in commands {
        let command = command.as_str().unwrap_or_default();
        println!("    {command}");
        let status = Command::new("sh").args(["-c", command]).status()?;
        ensure!(status.success(), "{command}: {status}");
        values.push(app.read("pids.max")?);
    }
    probe.finish()?;
    leak.finish()?;
    assert_eq!(
        (values.first(), values.last()),
        (Some(&700), Some(&700)),
        "{values:?}"
    );
    assert!(values[1] < 500, "{values:?}");
    Ok(())
}
