//! A leak, seen by the agent, scraped by a real Prometheus with the deployed rules, arrives at a real
//! Alertmanager with the culprit's name.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Agent, Folder};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::monitoring::Monitoring;
use serde_json::{Value, json};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, a_leak_arrives_at_alertmanager_with_the_culprits_name)
            .slow()
            .minutes(5),
    ]
}

/// From the flag to the alert; what people are promised.
const PROMISED: Duration = Duration::from_secs(30);
/// For what has no promise.
const PATIENCE: Duration = Duration::from_mins(2);

fn wait(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<Instant> {
    let until = Instant::now() + limit;
    while !is_so()? {
        ensure!(Instant::now() < until, "not so within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Instant::now())
}

fn a_leak_arrives_at_alertmanager_with_the_culprits_name(env: &Env) -> Result<()> {
    let folder = Folder::new("alerting")?;
    let agent = Agent::start(env, folder.path(), &["--window", "1s"])?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/files/alerts.yaml");
    let monitoring = Monitoring::start(agent.address, &rules.canonicalize()?)?;

    let above = Cgroup::new(&env.hierarchy, "alerting")?;
    let (leaky, calm) = (above.child("leaky")?, above.child("calm")?);
    above.set("pids.max", "2500")?;
    let mut beside = Load::new(env, "pace")
        .with("per-second", 5)
        .inside(&calm)
        .start()?;
    beside.ready()?;
    let mut leak = Load::new(env, "leak")
        .with("per-second", 40)
        .inside(&leaky)
        .start()?;
    leak.ready()?;

    let flag = "state=\"leaking\"";
    let flagged = wait("it is flagged", PATIENCE, || {
        let metrics = agent.metrics()?;
        Ok(metrics.of("pidwatch_container_state", &leaky.path, flag) == Some(1.0))
    })?;
    let ours = |labels: &Value, cgroup: &Cgroup| labels["id"] == *cgroup.path;
    let told = wait("the leak is an alert", PROMISED, || {
        let alerts = monitoring.alerts("PidwatchLeak")?;
        Ok(alerts.iter().any(|labels| ours(labels, &leaky)))
    })?;
    println!(
        "    {:.1} s from the flag to the alert",
        (told - flagged).as_secs_f64()
    );
    let alerts = monitoring.alerts("PidwatchLeak")?;
    let labels = alerts
        .iter()
        .find(|labels| ours(labels, &leaky))
        .context("gone")?;
    // Labels without a value are none to Prometheus.
    let expected = json!({
        "alertname": "PidwatchLeak", "severity": "critical", "instance": "node-1", "id": leaky.path,
    });
    assert_eq!(*labels, expected);
    assert!(!alerts.iter().any(|labels| ours(labels, &calm)));

    // It is full: from then on whoever forks below the limit is refused, and is told from the culprit.
    wait("refusals are an alert", PATIENCE, || {
        let alerts = monitoring.alerts("PidwatchCreationsRefused")?;
        Ok(alerts.iter().any(|labels| ours(labels, &calm)))
    })?;
    let refused = monitoring.alerts("PidwatchCreationsRefused")?;
    println!("    {}", json!(refused));
    let victim = refused.iter().filter(|labels| ours(labels, &calm));
    assert!(victim.clone().any(|labels| labels["reason"] == "pids_max"));
    let leakers = monitoring.alerts("PidwatchLeak")?;
    assert!(!leakers.iter().any(|labels| ours(labels, &calm)));

    for rule in monitoring.rules()? {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    leak.finish()?;
    beside.finish()?;
    agent.pidwatch.stop()?;
    Ok(())
}
