//! Events in Kubernetes: what the owner of a pod reads, and what the agent does while the API server
//! refuses, hangs or is away.

use std::collections::HashSet;
use std::process::Command;

use anyhow::{Context, Result};
use pidwatch_tests::agent::{Agent, Folder, eventually};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::fake_api::{FakeApi, Manner};
use pidwatch_tests::fake_runtime::{self, FakeRuntime, id, pod, uid};
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::surroundings;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, the_owner_of_a_pod_reads_of_its_leak_and_of_refusals)
            .slow()
            .minutes(5),
        scenario!(
            HOST,
            an_api_server_that_is_away_is_waited_for_and_disturbs_nothing
        ),
        scenario!(HOST, an_api_server_that_refuses_or_hangs_is_told_of_once)
            .slow()
            .minutes(3),
        scenario!(HOST, where_there_is_no_api_server_it_says_so_and_watches_on),
    ]
}

/// Pods as a kubelet makes them, a runtime that names them, and an agent that is one of them.
struct Cluster {
    api: FakeApi,
    runtime: FakeRuntime,
    pods: Cgroup,
    account: Folder,
    state: Folder,
}

impl Cluster {
    fn new(env: &Env, label: &str) -> Result<Self> {
        let (api, account) = (FakeApi::start()?, Folder::new(&format!("{label}-account"))?);
        api.write_account(account.path())?;
        Ok(Self {
            api,
            runtime: FakeRuntime::start(label, fake_runtime::Manner::Right)?,
            pods: Cgroup::new(&env.hierarchy, "kubepods")?,
            account,
            state: Folder::new(label)?,
        })
    }

    /// The container `app` of the pod `shop/NAME`.
    fn container(&self, n: u64, name: &str) -> Result<Cgroup> {
        self.runtime
            .add(&id(100 + n), &id(n), pod(name, &uid(n)), "app", 1);
        let pod = self.pods.child(format!("pod{}", uid(n)))?;
        let container = pod.child(id(n))?;
        // Removed with what is in it.
        std::mem::forget(pod);
        Ok(container)
    }

    fn agent(&self, env: &Env, host: &str) -> Result<Agent> {
        let invocation = Invocation::new(env)
            .args(["agent", "--listen", "127.0.0.1:0", "--window", "200ms"])
            .args(["--kubernetes-events", "--state-dir"])
            .args([self.state.path()])
            .args(["--cri-socket".as_ref(), self.runtime.socket.as_os_str()])
            .within(|command| surroundings::in_a_pod(command, self.account.path()))
            .within(|command: &mut Command| {
                command
                    .env("KUBERNETES_SERVICE_HOST", host)
                    .env("KUBERNETES_SERVICE_PORT", self.api.port.to_string())
                    .env("NODE_NAME", "node-1");
            });
        Agent::of(invocation.start()?)
    }

    /// The events of a kind about an object, as they are now.
    fn events(&self, reason: &str, about: &str) -> Vec<Value> {
        let mut events = self.api.events();
        events.retain(|event| event["reason"] == reason && event["regarding"]["name"] == about);
        events
    }

    fn assert_well_asked(&self) {
        let wrong = self.api.wrong();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// Something in the cgroup cannot fork.
fn refuse(env: &Env, cgroup: &Cgroup) -> Result<()> {
    cgroup.set("pids.max", "5")?;
    let truth = Load::new(env, "fail")
        .with("count", 20)
        .inside(cgroup)
        .run()?;
    assert!(!truth.failures.is_empty(), "nothing was refused");
    Ok(())
}

/// A node without a free PID has none to give.
fn assert_one_thread(agent: &Agent) -> Result<()> {
    assert_eq!(agent.pidwatch.status("Threads")?, 1);
    Ok(())
}

fn lost(agent: &Agent) -> Result<Option<f64>> {
    let place = ["where=\"kubernetes_events\""];
    Ok(agent.metrics()?.value("pidwatch_lost_total", &place))
}

fn note(event: &Value) -> &str {
    event["note"].as_str().unwrap_or_default()
}

fn the_owner_of_a_pod_reads_of_its_leak_and_of_refusals(env: &Env) -> Result<()> {
    let cluster = Cluster::new(env, "events")?;
    let leaky = cluster.container(1, "cart-7d9f")?;
    let calm = cluster.container(2, "calico-node")?;
    cluster.pods.set("pids.max", "1500")?;
    // By a name, which must be looked up before there is anything to write.
    let agent = cluster.agent(env, "localhost")?;
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

    // Before anybody is to blame there may be one that blames nobody.
    let wait = |reason: &str, about: &str| -> Result<Value> {
        let mut found = None;
        eventually(&format!("{reason} of {about}"), || {
            let mut events = cluster.events(reason, about);
            events.retain(|event| note(event).contains("cart-7d9f"));
            found = events.pop();
            Ok(found.is_some())
        })?;
        let event = found.context("gone")?;
        println!("    {reason} of {about}: {}", note(&event));
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["reportingController"], "pidwatch");
        assert_eq!(event["reportingInstance"], "node-1");
        Ok(event)
    };
    let of_pod = wait("PidLeakDetected", "cart-7d9f")?;
    let of_node = wait("PidLeakDetected", "node-1")?;
    for event in [&of_pod, &of_node] {
        assert!(note(event).contains("shop/cart-7d9f/app leaks tasks: "));
        assert_eq!(event["action"], "leaking");
    }
    let regarding = &of_pod["regarding"];
    assert_eq!(regarding["uid"], uid(1));
    assert_eq!(regarding["namespace"], "shop");
    assert_eq!(regarding["fieldPath"], "spec.containers{app}");
    assert_eq!(of_node["regarding"]["kind"], "Node");
    assert_eq!(of_node["related"]["name"], "cart-7d9f");

    // Then the pods' limit is used up.
    let of_victim = wait("CloneFailed", "calico-node")?;
    assert_eq!(of_victim["action"], "pids_max");
    let text = note(&of_victim);
    for words in ["1500 of 1500", "shop/cart-7d9f/app grows by "] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    assert_eq!(of_victim["related"]["name"], "cart-7d9f");
    let of_node = wait("CloneFailed", "node-1")?;
    assert_eq!(of_node["action"], "pids.max");
    assert_eq!(of_node["related"]["name"], "cart-7d9f");
    leak.finish()?;
    beside.finish()?;

    // What goes on for seconds is one event.
    let events = cluster.api.events();
    let kinds = events.iter().map(|event| {
        let parts = ["reason", "action", "regarding", "related"];
        parts.map(|part| event[part].to_string())
    });
    let kinds: HashSet<_> = kinds.collect();
    assert_eq!(kinds.len(), events.len(), "{events:#?}");
    cluster.assert_well_asked();
    assert_eq!(lost(&agent)?, Some(0.0));
    assert_one_thread(&agent)?;
    let said = agent.pidwatch.said();
    assert!(!said.contains("Kubernetes"), "{said}");
    agent.pidwatch.stop()?;
    Ok(())
}

fn an_api_server_that_is_away_is_waited_for_and_disturbs_nothing(env: &Env) -> Result<()> {
    const PODS: u64 = 40;
    let mut cluster = Cluster::new(env, "away")?;
    cluster.api.vanish();
    let agent = cluster.agent(env, "127.0.0.1")?;
    let mut containers = Vec::new();
    for n in 0..PODS {
        let container = cluster.container(n, &format!("web-{n}"))?;
        refuse(env, &container)?;
        containers.push(container);
    }
    agent.assert_counts(env)?;
    eventually("it is said", || {
        Ok(agent
            .pidwatch
            .said()
            .contains("cannot write Kubernetes events"))
    })?;
    let said = agent.pidwatch.said();
    println!("    said: {}", said.trim_end());
    let times = said.matches("cannot write Kubernetes events").count();
    assert_eq!(times, 1, "{said}");
    assert_one_thread(&agent)?;
    cluster.api.appear()?;
    // More than may come at once are left out and counted; what is told has found its way.
    eventually("what waited is written", || {
        let written = cluster.api.events().len() as f64;
        Ok(written >= 25.0 && written + lost(&agent)?.unwrap_or(0.0) >= PODS as f64)
    })?;
    let said = agent.pidwatch.said();
    assert!(said.contains("events are written again"), "{said}");
    cluster.assert_well_asked();
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn an_api_server_that_refuses_or_hangs_is_told_of_once(env: &Env) -> Result<()> {
    let cluster = Cluster::new(env, "refusing")?;
    cluster.api.set(Manner::Forbids);
    let agent = cluster.agent(env, "127.0.0.1")?;
    let mut n = 0;
    let mut next = || -> Result<String> {
        n += 1;
        let name = format!("web-{n}");
        let container = cluster.container(n, &name)?;
        let mut load = Load::new(env, "hold")
            .with("processes", 0)
            .inside(&container)
            .start()?;
        load.ready()?;
        // Its names come first.
        eventually("it is named", || Ok(agent.metrics()?.0.contains(&name)))?;
        load.finish()?;
        refuse(env, &container)?;
        std::mem::forget(container);
        Ok(name)
    };
    // Refused for good: counted as lost, and said with the way out. Others on this machine may leak and
    // be refused as well, of which the node is told.
    for _ in 0..2 {
        let name = next()?;
        eventually("it is lost", || {
            let forbidden = cluster.api.forbidden();
            let is_ours = forbidden.iter().any(|sent| sent.contains(&name));
            Ok(is_ours && lost(&agent)? == Some(forbidden.len() as f64))
        })?;
    }
    let said = agent.pidwatch.said();
    println!("    said: {}", said.trim_end());
    assert_eq!(said.matches("refuses a Kubernetes event").count(), 1);
    for word in ["403", "forbidden", "docs/kubernetes.md"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    for (manner, word) in [
        (Manner::Overloaded, "503"),
        (Manner::Garbage, "invalid HTTP"),
        (Manner::Silent, "no answer within"),
    ] {
        cluster.api.set(manner);
        let before = agent.pidwatch.said().len();
        let asked = cluster.api.asked();
        let name = next()?;
        eventually("it is said", || {
            Ok(agent.pidwatch.said()[before..].contains(word))
        })?;
        assert!(cluster.api.asked() > asked);
        assert!(cluster.events("CloneFailed", &name).is_empty());
        agent.assert_counts(env)?;
        cluster.api.set(Manner::Right);
        eventually("it is written", || {
            Ok(!cluster.events("CloneFailed", &name).is_empty())
        })?;
        assert_one_thread(&agent)?;
    }
    let forbidden = cluster.api.forbidden().len() as f64;
    assert_eq!(lost(&agent)?, Some(forbidden), "what was late was not lost");
    cluster.assert_well_asked();
    agent.pidwatch.stop()?;
    Ok(())
}

fn where_there_is_no_api_server_it_says_so_and_watches_on(env: &Env) -> Result<()> {
    let folder = Folder::new("no-api")?;
    let agent = Agent::start(env, folder.path(), &["--kubernetes-events"])?;
    let said = agent.pidwatch.said();
    println!("    said: {}", said.trim_end());
    for word in [
        "no Kubernetes events",
        "KUBERNETES_SERVICE",
        "kubernetesEvents.enabled",
    ] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}
