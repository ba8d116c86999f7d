//! Compatibility: every version reads what 0.1.0 wrote, and its outputs have every field of 0.1.0's.
//!
//! The files in `tests/fixtures/0.1.0` were written by the released binary while `cargo xtask demo`
//! ran. Values that belong to one run are compared only where this version reads the old file;
//! elsewhere the shape counts: each path of keys, each metric with its type and its labels.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Agent, Folder};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/0.1.0/", $name))
    };
}

pub fn scenarios() -> Vec<Scenario> {
    // The files and their readers are the same on every kernel.
    vec![
        scenario!(HOST, replay_prints_an_old_recording_unchanged),
        scenario!(HOST, a_report_of_an_old_recording_has_the_same_facts),
        scenario!(HOST, an_old_open_incident_continues),
        scenario!(HOST, outputs_have_every_field_of_the_old_ones).slow(),
    ]
}

fn recording(folder: &Folder) -> Result<std::path::PathBuf> {
    let path = folder.path().join("demo.pidwatch");
    fs::write(&path, fixture!("demo.pidwatch"))?;
    Ok(path)
}

fn output(env: &Env, arguments: &[&str], file: &Path) -> Result<String> {
    let finished = Invocation::new(env).args(arguments).args([file]).finish()?;
    ensure!(
        finished.status.success(),
        "{arguments:?}: {}",
        finished.stderr
    );
    Ok(String::from_utf8(finished.stdout)?)
}

/// The fixture has the first 30 lines of each frequent type and all lines of the others.
fn replay_prints_an_old_recording_unchanged(env: &Env) -> Result<()> {
    let folder = Folder::new("compatibility-replay")?;
    let replay = ["replay", "-o", "json", "--speed", "max"];
    let printed = output(env, &replay, &recording(&folder)?)?;
    let mut printed = printed.lines();
    for old in str::from_utf8(fixture!("events.jsonl"))?.lines() {
        let old: Value = serde_json::from_str(old)?;
        // Both are in the order of the recording.
        let is_there = printed
            .any(|new| serde_json::from_str(new).is_ok_and(|new: Value| has_all_of(&new, &old)));
        assert!(is_there, "not printed any more, or changed: {old}");
    }
    let text = output(env, &["replay", "--speed", "max"], &recording(&folder)?)?;
    assert!(
        text.contains("LEAKING") && text.contains("INCIDENT closed"),
        "{text}"
    );
    Ok(())
}

fn a_report_of_an_old_recording_has_the_same_facts(env: &Env) -> Result<()> {
    let folder = Folder::new("compatibility-report")?;
    let new = output(env, &["report", "-o", "json"], &recording(&folder)?)?;
    let new: Value = serde_json::from_str(&new)?;
    let old: Value = serde_json::from_slice(fixture!("report.json"))?;
    for fact in [
        "/from",
        "/to",
        "/node",
        "/kernel",
        "/incidents/0/id",
        "/incidents/0/limit",
        "/incidents/0/value",
        "/incidents/0/failures",
        "/incidents/0/culprits/0/cgroup",
        "/incidents/0/victims/0/cgroup",
        "/incidents/0/victims/0/failures",
        "/incidents/0/durations",
    ] {
        assert_eq!(new.pointer(fact), old.pointer(fact), "{fact}");
        assert!(new.pointer(fact).is_some(), "{fact}");
    }
    Ok(())
}

fn an_old_open_incident_continues(env: &Env) -> Result<()> {
    let folder = Folder::new("compatibility-state")?;
    let mut state: Value = serde_json::from_slice(fixture!("state.json"))?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    state["boot_id"] = boot_id.trim().into();
    fs::write(folder.path().join("state.json"), state.to_string())?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let answer = agent.get("/api/v1/incidents", "")?.json()?;
    let old = &state["incidents"][0];
    let continued = items(&answer["open"])
        .find(|incident| incident["id"] == old["id"])
        .with_context(|| format!("{} is not open: {answer}", old["id"]))?;
    for field in ["limit", "cgroup", "failures", "peak", "culprits", "victims"] {
        assert_eq!(continued[field], old[field], "{field}");
    }
    agent.pidwatch.stop()?;
    Ok(())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A small incident, so that there is something of everything.
fn outputs_have_every_field_of_the_old_ones(env: &Env) -> Result<()> {
    let folder = Folder::new("compatibility-outputs")?;
    let agent = Agent::start(env, folder.path(), &["--window", "1s"])?;
    let above = Cgroup::new(&env.hierarchy, "compatibility")?;
    let [cart, web] = ["cart", "web"].map(|name| above.child(name));
    let (cart, web) = (cart?, web?);
    above.set("pids.max", "650")?;
    let web_load = Load::new(env, "pace").with("per-second", 20).inside(&web);
    let _web = web_load.start()?;
    let leak = Load::new(env, "leak").with("per-second", 30).inside(&cart);
    let _leak = leak.start()?;
    // What a limit of its own stops is no danger to the node: its forecast is about this one, which
    // has none, and a thousand tasks at most while this scenario lasts.
    let free = Cgroup::new(&env.hierarchy, "compatibility-free")?;
    let leak = Load::new(env, "leak").with("per-second", 20).inside(&free);
    let _free = leak.start()?;

    let snapshot = || agent.get("/api/v1/snapshot", "")?.json();
    agent.eventually("web is a victim, and the node has a forecast", || {
        let now = snapshot()?;
        let has_victim = items(&now["incidents"]).any(|incident| {
            incident["cgroup"] == above.path.as_str() && items(&incident["victims"]).count() > 0
        });
        Ok(has_victim && now["window"]["exhaustion"].is_object())
    })?;
    let classic = agent.get("/metrics", "")?.body;
    let open_metrics = "application/openmetrics-text;version=1.0.0";
    let metrics = agent.get("/metrics", open_metrics)?.body;
    assert!(!classic.contains("# EOF") && metrics.ends_with("# EOF\n"));

    let check = Invocation::new(env)
        .args(["check", "-o", "json"])
        .finish()?;
    let check: Value = serde_json::from_slice(&check.stdout)?;
    for (what, new, old) in [
        ("snapshot", &snapshot()?, &fixture!("snapshot.json")[..]),
        ("check", &check, fixture!("check.json")),
    ] {
        let old = shape(&serde_json::from_slice(old)?);
        // What could not be seen depends on the machine: nothing, on some.
        assert!(what != "check" || new["unseen"].is_array());
        let new = shape(new);
        let missing = old.difference(&new);
        let missing: Vec<_> = missing
            .filter(|field| *field != ".unseen[] string")
            .collect();
        assert!(missing.is_empty(), "{what} has no {missing:?}");
    }
    let old = series(str::from_utf8(fixture!("metrics.om"))?);
    let new = series(&metrics);
    let missing: Vec<_> = old.difference(&new).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
    agent.pidwatch.stop()?;
    Ok(())
}

/// Whether `new` has each field of `old` with the same value; it may have more.
fn has_all_of(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old
            .iter()
            .all(|(key, old)| new.get(key).is_some_and(|new| has_all_of(new, old))),
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| has_all_of(new, old))
        }
        _ => new == old,
    }
}

/// Each path of keys to a value, with the value's JSON type: `owners[].tasks number`.
fn shape(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, shape: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                // These two are keyed by what occurred.
                let is_key_data = path.ends_with(".comms") || path.ends_with(".failed");
                let key = if is_key_data { "*" } else { key };
                walk(value, &format!("{path}.{key}"), shape);
            }),
            Value::Array(items) => items
                .iter()
                .for_each(|item| walk(item, &format!("{path}[]"), shape)),
            Value::Bool(_) => drop(shape.insert(format!("{path} boolean"))),
            Value::Number(_) => drop(shape.insert(format!("{path} number"))),
            Value::String(_) => drop(shape.insert(format!("{path} string"))),
            Value::Null => drop(shape.insert(format!("{path} null"))),
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

/// Each metric's type, and each sample's name with the names of its labels.
fn series(text: &str) -> BTreeSet<String> {
    let of_line = |line: &str| {
        if line.starts_with('#') {
            return line.starts_with("# TYPE ").then(|| line.to_owned());
        }
        let (name, rest) = line.split_once(['{', ' '])?;
        let labels = rest.rsplit_once('}').map_or("", |(labels, _)| labels);
        let names: Vec<_> = labels
            .split("\",")
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        Some(format!("{name}{{{}}}", names.join(",")))
    };
    text.lines().filter_map(of_line).collect()
}
