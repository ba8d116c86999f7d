//! The agent: what it serves is the truth, and nobody who asks, or does not read, disturbs it.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Agent, Folder, eventually};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(KERNELS, metrics_have_the_exact_counts),
        scenario!(LAYOUTS, a_limit_is_the_smallest_up_to_the_root),
        scenario!(LAYOUTS, a_task_that_moves_away_is_missed_by_nobody)
            .slow()
            .minutes(4),
        scenario!(HOST, both_formats_are_served_as_asked_for),
        scenario!(HOST, the_snapshot_has_every_owner),
        scenario!(HOST, events_begin_with_the_state_and_go_on_live),
        scenario!(HOST, nothing_can_be_changed_over_http),
        scenario!(HOST, systemd_is_told_when_it_is_ready_and_that_it_lives),
        scenario!(HOST, a_report_can_be_had_from_a_running_agent),
    ]
}

const CREATED: &str = "pidwatch_container_created_total";
const EXITED: &str = "pidwatch_container_exited_total";
const TASKS: &str = "pidwatch_container_tasks";

fn metrics_have_the_exact_counts(env: &Env) -> Result<()> {
    let folder = Folder::new("exact")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let cgroup = Cgroup::new(&env.hierarchy, "agent")?;
    let truth = Load::new(env, "forks")
        .with("count", 500)
        .inside(&cgroup)
        .run()?;
    agent.eventually("all exits are counted", || {
        let exited = agent
            .metrics()?
            .of(EXITED, &cgroup.path, "kind=\"process\"");
        Ok(exited == Some(truth.here.exited.processes as f64))
    })?;
    let metrics = agent.metrics()?;
    for (kind, created, exited) in [
        (
            "process",
            truth.here.created.processes,
            truth.here.exited.processes,
        ),
        (
            "thread",
            truth.here.created.threads,
            truth.here.exited.threads,
        ),
    ] {
        let label = format!("kind=\"{kind}\"");
        let of = |name| metrics.of(name, &cgroup.path, &label);
        assert_eq!(of(CREATED), Some(created as f64), "created {kind}");
        assert_eq!(of(EXITED), Some(exited as f64), "exited {kind}");
    }
    assert_eq!(metrics.of(TASKS, &cgroup.path, ""), Some(0.0));
    let state = metrics.of("pidwatch_container_state", &cgroup.path, "");
    assert_eq!(state, Some(1.0));
    let attached = metrics.value("pidwatch_probe_attached", &["probe=\"task_newtask\""]);
    assert_eq!(attached, Some(1.0));
    let version = metrics.value("pidwatch_build_info", &["kernel=\""]);
    assert_eq!(version, Some(1.0));
    agent.pidwatch.stop()?;
    Ok(())
}

fn a_limit_is_the_smallest_up_to_the_root(env: &Env) -> Result<()> {
    let folder = Folder::new("limit")?;
    let above = Cgroup::new(&env.hierarchy, "above")?;
    let below = above.child("below")?;
    above.set("pids.max", "70")?;
    below.set("pids.max", "90")?;
    let mut load = Load::new(env, "hold")
        .with("processes", 3)
        .inside(&below)
        .start()?;
    load.ready()?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let metrics = agent.metrics()?;
    let limit = metrics.of("pidwatch_container_tasks_limit", &below.path, "");
    assert_eq!(limit, Some(70.0));
    let tasks = below.read("pids.current")? as f64;
    assert_eq!(metrics.of(TASKS, &below.path, ""), Some(tasks));
    load.finish()?;
    agent.pidwatch.stop()?;
    Ok(())
}

/// Nobody announces it: the owner is read once a minute.
fn a_task_that_moves_away_is_missed_by_nobody(env: &Env) -> Result<()> {
    let folder = Folder::new("moves")?;
    let from = Cgroup::new(&env.hierarchy, "from")?;
    let to = Cgroup::new(&env.hierarchy, "to")?;
    let mut load = Load::new(env, "hold")
        .with("processes", 0)
        .inside(&from)
        .start()?;
    load.ready()?;
    let agent = Agent::start(env, folder.path(), &[])?;
    assert_eq!(agent.metrics()?.of(TASKS, &from.path, ""), Some(1.0));
    to.set("cgroup.procs", &load.id().to_string())?;
    for _ in 0..3 {
        let moved = || Ok(agent.metrics()?.of(TASKS, &from.path, "") == Some(0.0));
        if eventually("it moved", moved).is_ok() {
            break;
        }
    }
    assert_eq!(agent.metrics()?.of(TASKS, &from.path, ""), Some(0.0));
    assert_eq!(agent.metrics()?.of(TASKS, &to.path, ""), Some(1.0));
    load.finish()?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn both_formats_are_served_as_asked_for(env: &Env) -> Result<()> {
    let folder = Folder::new("formats")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let classic = agent.get("/metrics", "")?;
    assert_eq!(
        classic.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(!classic.body.contains("# EOF"));
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let open = agent.get("/metrics", prometheus)?;
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.body.ends_with("\n# EOF\n"));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool (Debian: prometheus)")?;
    let mut stdin = promtool.stdin.take().context("no standard input")?;
    stdin.write_all(classic.body.as_bytes())?;
    drop(stdin);
    let checked = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");
    agent.pidwatch.stop()?;
    Ok(())
}

fn the_snapshot_has_every_owner(env: &Env) -> Result<()> {
    let folder = Folder::new("snapshot")?;
    let quiet = Cgroup::new(&env.hierarchy, "quiet")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let snapshot = agent.get("/api/v1/snapshot", "")?.json()?;
    for (pointer, is_so) in [
        ("/time", snapshot["time"].is_string()),
        ("/node", snapshot["node"].is_string()),
        ("/started/probes", snapshot["started"]["probes"].is_array()),
        ("/window/tasks", snapshot["window"]["tasks"].is_u64()),
        ("/incidents", snapshot["incidents"].is_array()),
    ] {
        assert!(is_so, "{pointer} of {snapshot}");
    }
    let owners = snapshot["owners"].as_array().context("no owners")?;
    let found = owners
        .iter()
        .find(|owner| owner["cgroup"]["path"] == quiet.path.as_str())
        .with_context(|| format!("no {}", quiet.path))?;
    assert_eq!(found["tasks"], 0);
    assert_eq!(found["cgroup"]["id"], quiet.id);
    let incidents = agent.get("/api/v1/incidents", "")?.json()?;
    assert!(incidents["open"].is_array() && incidents["closed"].is_array());
    agent.pidwatch.stop()?;
    Ok(())
}

/// Reads events until one fulfils a condition; all of them.
fn events_until(
    agent: &Agent,
    mut fulfilled: impl FnMut(&str, &Value) -> bool,
) -> Result<Vec<(String, Value)>> {
    let mut stream = agent.connect()?;
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )?;
    let mut events = Vec::new();
    let mut kind = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if let Some(name) = line.strip_prefix("event: ") {
            kind = name.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(data)?;
            ensure!(event["type"] == kind.as_str(), "{kind}: {event}");
            let is_last = fulfilled(&kind, &event);
            events.push((kind.clone(), event));
            if is_last {
                return Ok(events);
            }
        }
    }
    anyhow::bail!("the events ended: {:?}", events.last())
}

fn events_begin_with_the_state_and_go_on_live(env: &Env) -> Result<()> {
    let folder = Folder::new("events")?;
    let quiet = Cgroup::new(&env.hierarchy, "quiet")?;
    let before = env.hierarchy.paths()?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let mut nodes = 0;
    let events = events_until(&agent, |kind, _| {
        nodes += u32::from(kind == "node");
        nodes == 3
    })?;
    assert_eq!(events[0].0, "started");
    let first_node = events.iter().position(|(kind, _)| kind == "node");
    let first = &events[..first_node.context("no node")?];
    let is_quiet = |(kind, event): &(String, Value)| {
        kind == "rate" && event["cgroup"]["path"] == quiet.path.as_str()
    };
    assert_eq!(first.iter().filter(|event| is_quiet(event)).count(), 1);
    let told: Vec<_> = first
        .iter()
        .filter(|(kind, _)| kind == "rate")
        .filter_map(|(_, event)| event["cgroup"]["path"].as_str())
        .collect();
    let once: HashSet<_> = told.iter().copied().collect();
    assert_eq!(once.len(), told.len(), "an owner is told twice");
    // Whoever was there all the while; others come and go on a machine.
    let mut lasting = env.hierarchy.paths()?;
    lasting.retain(|path| before.contains(path));
    let missing = lasting.iter().filter(|path| !once.contains(path.as_str()));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
    println!("    {} owners", lasting.len());

    let live = Cgroup::new(&env.hierarchy, "live")?;
    let loaded = Load::new(env, "forks")
        .with("count", 50)
        .inside(&live)
        .start()?;
    let path = live.path.clone();
    events_until(&agent, |kind, event| {
        kind == "rate"
            && event["cgroup"]["path"] == path.as_str()
            && event["total"]["created"]["processes"] == 50
    })?;
    loaded.finish()?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn nothing_can_be_changed_over_http(env: &Env) -> Result<()> {
    let folder = Folder::new("methods")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for path in ["/metrics", "/api/v1/incidents", "/"] {
            let mut stream = agent.connect()?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            )?;
            let answer = pidwatch_tests::agent::read(&mut stream)?;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(agent.get("/nowhere", "")?.status, 404);
    assert_eq!(agent.get("/api/v1/incidents/none/report", "")?.status, 404);
    assert_eq!(agent.get("/healthz", "")?.status, 200);
    agent.pidwatch.stop()?;
    Ok(())
}

fn systemd_is_told_when_it_is_ready_and_that_it_lives(env: &Env) -> Result<()> {
    let folder = Folder::new("notify")?;
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path)?;
    systemd.set_read_timeout(Some(Duration::from_secs(30)))?;
    let pidwatch = Invocation::new(env)
        .args(["agent", "--listen", "127.0.0.1:0", "--cri-socket", "none"])
        .args(["--window", "200ms"])
        .args(["--state-dir".as_ref(), folder.path().as_os_str()])
        .within(|command| {
            command
                .env("NOTIFY_SOCKET", &path)
                .env("WATCHDOG_USEC", "1000000");
        })
        .start()?;
    let told = || -> Result<String> {
        let mut message = [0; 1024];
        let read = systemd.recv(&mut message).context("nothing is told")?;
        Ok(String::from_utf8_lossy(&message[..read]).into_owned())
    };
    let parts = ["READY=1", "WATCHDOG=1", "STATUS=watching ", " tasks"];
    let mut first = String::new();
    while !parts.iter().all(|part| first.contains(part)) {
        first += &told()?;
        first.push('\n');
    }
    println!("    {first:?}");
    let agent = Agent::of(pidwatch)?;
    for _ in 0..3 {
        let next = told()?;
        assert!(
            next.contains("WATCHDOG=1") && !next.contains("READY"),
            "{next:?}"
        );
    }
    agent.pidwatch.stop()?;
    systemd.set_nonblocking(true)?;
    let mut last = String::new();
    while let Ok(next) = told() {
        last = next;
    }
    assert!(last.contains("STOPPING=1"), "{last:?}");
    Ok(())
}

fn a_report_can_be_had_from_a_running_agent(env: &Env) -> Result<()> {
    let folder = Folder::new("report")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let address = agent.address.to_string();
    let report = |address: &str, more: &[&str]| {
        Invocation::new(env)
            .args(["report", "--connect", address])
            .args(more)
            .finish()
    };
    let text = report(&address, &[])?;
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    assert!(!text.stdout.is_empty());
    let json = report(&format!("http://{address}"), &["-o", "json"])?;
    let json: Value = serde_json::from_slice(&json.stdout)?;
    assert!(json["incidents"].is_array(), "{json}");
    for none in ["none", "a b/c?d%20"] {
        let words = format!("no incident `{none}`");
        report(&address, &["--incident", none])?.assert_refused(1, &[&address, "404", &words]);
    }
    agent.pidwatch.stop()?;
    report(&address, &[])?.assert_refused(1, &[&address, "pidwatch agent"]);
    let both = report(&address, &["file"])?;
    both.assert_refused(2, &["--connect"]);
    Ok(())
}
