//! Who is meant: a container with all cgroups that it makes is one owner, and no name that it chooses, for a
//! cgroup, a program or an argument, makes it or anybody else another one.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::{Event, Recording};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            HOST,
            a_leak_spread_over_a_containers_own_cgroups_is_the_containers
        )
        .slow(),
        scenario!(HOST, a_leak_in_one_part_is_flagged_once_with_the_part).slow(),
        scenario!(HOST, a_crash_loop_at_one_path_is_one_incident),
        scenario!(
            HOST,
            who_calls_itself_a_runtime_in_a_container_speaks_for_nobody
        ),
    ]
}

/// Cgroups over which a leak is spread.
const PARTS: usize = 60;

/// Two pods under one limit, as the kubelet makes them.
struct Pods {
    top: Cgroup,
    leaker: Cgroup,
    victim: Cgroup,
    victim_pod: String,
    victim_id: String,
    /// Those in between.
    _between: Vec<Cgroup>,
}

impl Pods {
    fn new(env: &Env) -> Result<Self> {
        let top = Cgroup::new(&env.hierarchy, "owners")?;
        let class = top.child("kubepods")?;
        let [pod, victim_pod] = [1, 2].map(|n| format!("pod{n:08x}-9b40-4d1c-8a55-0c9e6f1b2d37"));
        let [id, victim_id] = ["c", "d"].map(|digit| digit.repeat(64));
        let pods = [class.child(&pod)?, class.child(&victim_pod)?];
        Ok(Self {
            leaker: pods[0].child(&id)?,
            victim: pods[1].child(&victim_id)?,
            top,
            victim_pod,
            victim_id,
            _between: [class].into_iter().chain(pods).collect(),
        })
    }
}

fn culprits(event: &Event) -> Vec<u64> {
    ids(event, "culprits")
}

fn ids(event: &Event, of: &str) -> Vec<u64> {
    let owners = event.json[of].as_array().into_iter().flatten();
    owners
        .filter_map(|owner| owner["cgroup"]["id"].as_u64())
        .collect()
}

fn about<'a>(seen: &'a Recording, limit: &'a Cgroup) -> impl DoubleEndedIterator<Item = &'a Event> {
    seen.of_type("incident")
        .filter(|event| event.text("/cgroup") == Some(limit.path.as_str()))
}

/// Some of its cgroups have the names of the other pod and its container.
fn a_leak_spread_over_a_containers_own_cgroups_is_the_containers(env: &Env) -> Result<()> {
    let pods = Pods::new(env)?;
    pods.top.set("pids.max", "1500")?;
    let Pods { leaker, victim, .. } = &pods;
    let class = leaker.child("kubepods")?;
    let pod = class.child(&pods.victim_pod)?;
    let mut parts = vec![
        pod.child(&pods.victim_id)?,
        leaker.child(format!("docker-{}.scope", pods.victim_id))?,
        leaker.child(&pods.victim_id)?,
    ];
    while parts.len() < PARTS {
        parts.push(leaker.child(format!("c{}", parts.len()))?);
    }
    let mut pidwatch = Invocation::trace(env).start()?;
    let probe = Load::new(env, "pace").with("per-second", 2);
    let probe = probe.inside(victim).start()?;
    let leaks = parts.iter().map(|part| {
        let leak = Load::new(env, "leak").with("per-second", 1);
        leak.inside(part).start()
    });
    let leaks = leaks.collect::<Result<Vec<_>>>()?;
    pidwatch.wait_within(Duration::from_mins(2), |seen| {
        about(seen, &pods.top).any(|event| ids(event, "victims") == [victim.id])
    })?;
    drop(probe);
    drop(leaks);
    let recording = pidwatch.stop()?;
    for event in about(&recording, &pods.top) {
        assert_eq!(culprits(event), [leaker.id], "{}", event.json);
        let victims = ids(event, "victims");
        assert!(victims.iter().all(|id| *id == victim.id), "{}", event.json);
    }
    let below = |event: &&Event| {
        let path = event.path().unwrap_or_default();
        path.starts_with(&pods.top.path)
    };
    for event in recording.of_type("state").filter(below) {
        if matches!(event.text("/to"), Some("leaking" | "saturated")) {
            assert_eq!(event.cgroup(), Some(leaker.id), "{}", event.json);
        }
    }
    let opened = about(&recording, &pods.top).next().context("no incident")?;
    println!("    {}", opened.json["summary"]);
    assert_eq!(opened.number("/failures"), Some(0), "before anything fails");
    // Whatever happens in a part bears the name of its container.
    let pod = leaker.path.rsplit('/').nth(1).context("no pod")?;
    let of_parts = recording.events.iter().filter(|event| {
        let path = event.path().unwrap_or_default();
        path.starts_with(&leaker.path)
    });
    let mut seen = 0;
    for event in of_parts {
        let uid = event.text("/k8s/podUid");
        assert_eq!(uid, pod.strip_prefix("pod"), "{}", event.json);
        assert_eq!(
            event.text("/runtime/containerId"),
            leaker.path.rsplit('/').next()
        );
        seen += 1;
    }
    assert!(seen > PARTS, "{seen}");
    Ok(())
}

/// A container with a limit of its own around the cgroup that leaks.
fn a_leak_in_one_part_is_flagged_once_with_the_part(env: &Env) -> Result<()> {
    let pods = Pods::new(env)?;
    let Pods { leaker, .. } = &pods;
    leaker.set("pids.max", "900")?;
    let part = leaker.child("docker-in-docker")?;
    let beside = leaker.child("init")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let steady = Load::new(env, "pace").with("per-second", 3);
    let steady = steady.inside(&beside).start()?;
    let leak = Load::new(env, "leak").with("per-second", 40);
    let leak = leak.inside(&part).start()?;
    let of_leaker = |seen: &Recording| {
        let events = seen.of_type("state");
        let below = events.filter(|event| {
            let path = event.path().unwrap_or_default();
            path.starts_with(&pods.top.path)
        });
        below.map(|event| event.json.clone()).collect::<Vec<_>>()
    };
    pidwatch.wait_within(Duration::from_secs(90), |seen| {
        of_leaker(seen)
            .iter()
            .any(|event| event["to"] == "saturated")
    })?;
    leak.finish()?;
    pidwatch.wait_within(Duration::from_secs(90), |seen| {
        let all = of_leaker(seen);
        all.last().is_some_and(|event| event["to"] == "ok")
    })?;
    steady.finish()?;
    let events = of_leaker(&pidwatch.stop()?);
    let to = |event: &serde_json::Value| event["to"].as_str().unwrap_or_default().to_owned();
    let states: Vec<_> = events.iter().map(to).collect();
    assert_eq!(
        states,
        ["growing", "leaking", "saturated", "ok"],
        "{events:?}"
    );
    for event in &events {
        assert_eq!(event["cgroup"]["id"], leaker.id, "{event}");
    }
    for event in &events[..3] {
        assert_eq!(event["inside"], part.path.as_str(), "{event}");
    }
    Ok(())
}

fn a_crash_loop_at_one_path_is_one_incident(env: &Env) -> Result<()> {
    const ROUNDS: u64 = 12;
    let top = Cgroup::new(&env.hierarchy, "loop")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let mut refused = 0;
    let mut path = String::new();
    for round in 0..ROUNDS {
        let cgroup = top.child("app")?;
        cgroup.set("pids.max", "5")?;
        let truth = Load::new(env, "fail").with("count", 10 + round);
        refused += truth.inside(&cgroup).run()?.failures.len() as u64;
        path.clone_from(&cgroup.path);
        cgroup.remove()?;
    }
    assert!(refused > ROUNDS);
    let incidents = |seen: &Recording| {
        let events = seen.of_type("incident");
        events
            .filter(|event| event.text("/cgroup") == Some(path.as_str()))
            .map(|event| event.json.clone())
            .collect::<Vec<_>>()
    };
    pidwatch.wait_within(Duration::from_mins(1), |seen| {
        let all = incidents(seen);
        all.last().is_some_and(|last| last["failures"] == refused)
    })?;
    let all = incidents(&pidwatch.stop()?);
    let last = all.last().context("no incident")?;
    println!("    {}", last["summary"]);
    assert!(all.iter().all(|event| event["id"] == last["id"]), "{all:?}");
    let parties = ["culprits", "victims"].map(|of| last[of].as_array().map_or(0, Vec::len));
    assert_eq!(parties.iter().sum::<usize>(), 1, "{last}");
    Ok(())
}

/// It is a shell of that name, with another container's id among its arguments.
fn who_calls_itself_a_runtime_in_a_container_speaks_for_nobody(env: &Env) -> Result<()> {
    let pods = Pods::new(env)?;
    pods.leaker.set("pids.max", "3")?;
    let folder = tempfile::tempdir()?;
    let runc = folder.path().join("runc:[2:INIT]");
    fs::copy("/bin/sh", &runc).context("cannot copy /bin/sh")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let script = "echo $$ > \"$1\"/cgroup.procs; (sleep 9 & sleep 9 & sleep 9 & sleep 9 & wait)";
    let mut shell = Command::new(&runc)
        .args(["-c", script, "exec"])
        .arg(&pods.leaker.directory)
        .arg(&pods.victim_id)
        .stderr(Stdio::null())
        .spawn()?;
    pidwatch.wait(|seen| seen.failures(pods.leaker.id).next().is_some())?;
    let recording = pidwatch.stop()?;
    drop(pods.top);
    shell.wait()?;
    let failed = recording.failures(pods.leaker.id).next();
    let failed = failed.context("no clone_failed event")?;
    assert_eq!(failed.text("/proc/comm"), Some("runc:[2:INIT]"));
    assert!(failed.json.get("on_behalf_of").is_none(), "{}", failed.json);
    for event in recording.of_type("incident") {
        assert!(
            !ids(event, "victims").contains(&pods.victim.id),
            "{}",
            event.json
        );
    }
    Ok(())
}
