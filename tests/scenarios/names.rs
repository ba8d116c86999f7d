//! Whose a cgroup is: what runtimes say, rightly and otherwise, and what comes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pidwatch_tests::agent::{Agent, Folder};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::fake_runtime::{FakeRuntime, Manner, id, pod, uid};
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::{Invocation, Pidwatch};
use pidwatch_tests::recording::{Event, Recording};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(KERNELS, who_creates_is_told_with_the_rate),
        // No kernel has a part in what a runtime says.
        scenario!(HOST, a_container_has_the_names_that_its_runtime_tells),
        scenario!(HOST, a_pods_workload_is_read_from_its_labels),
        scenario!(HOST, the_newer_of_two_owners_is_the_one),
        scenario!(HOST, a_runtime_that_comes_late_or_is_slow_is_heard),
        scenario!(
            HOST,
            a_runtime_that_fails_is_told_of_once_and_counting_goes_on
        )
        .slow(),
        scenario!(HOST, hostile_names_are_cut_and_escaped),
        scenario!(HOST, a_filter_by_pod_shows_that_pod_alone),
        scenario!(
            HOST,
            a_thousand_containers_come_and_go_and_each_has_its_names
        )
        .slow()
        .minutes(5),
    ]
}

/// Names as an event has them.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    image: &'a str,
}

fn names_in(event: &Event) -> Option<Named<'_>> {
    Some(Named {
        namespace: event.text("/k8s/namespace")?,
        pod: event.text("/k8s/podName")?,
        container: event.text("/k8s/containerName").unwrap_or_default(),
        image: event.text("/runtime/containerImage").unwrap_or_default(),
    })
}

fn traced(env: &Env, runtimes: &[&FakeRuntime]) -> Result<Pidwatch> {
    let sockets: Vec<String> = runtimes
        .iter()
        .map(|runtime| runtime.socket.display().to_string())
        .collect();
    Invocation::trace(env)
        .args(["--cri-socket", &sockets.join(",")])
        .start()
}

/// A cgroup as the kubelet makes them, of container number `n` of pod number `n`.
fn container(env: &Env, n: u64) -> Result<(Cgroup, Cgroup)> {
    let pods = Cgroup::new(&env.hierarchy, "kubepods")?;
    let class = pods.child("burstable")?;
    let pod = class.child(format!("pod{}", uid(n)))?;
    let container = pod.child(id(n))?;
    // Removed with what is in it.
    std::mem::forget((class, pod));
    Ok((pods, container))
}

/// Creations in a cgroup, and the last rate that tells of them.
fn count_in(env: &Env, cgroup: &Cgroup, pidwatch: &mut Pidwatch) -> Result<()> {
    let before = pidwatch.seen().total(cgroup.id).created.processes;
    Load::new(env, "forks")
        .with("count", 50)
        .inside(cgroup)
        .run()?;
    // The load itself came from elsewhere.
    pidwatch.wait(|seen| seen.total(cgroup.id).created.processes == before + 50)
}

fn last_rate(seen: &Recording, cgroup: u64) -> Result<&Event> {
    seen.rates(cgroup).next_back().context("no rate")
}

fn a_container_has_the_names_that_its_runtime_tells(env: &Env) -> Result<()> {
    let runtime = FakeRuntime::start("right", Manner::Right)?;
    runtime.add(&id(101), &id(1), pod("web-7f9c", &uid(1)), "app", 1);
    let mut pidwatch = traced(env, &[&runtime])?;
    let (pods, container) = container(env, 1)?;
    pidwatch.wait(|seen| {
        seen.of_type("cgroup")
            .any(|event| event.cgroup() == Some(container.id) && event.json["change"] == "named")
    })?;
    count_in(env, &container, &mut pidwatch)?;
    let expected = Named {
        namespace: "shop",
        pod: "web-7f9c",
        container: "app",
        image: "example/image:1",
    };
    let rate = last_rate(pidwatch.seen(), container.id)?;
    println!("    {}", rate.json);
    assert_eq!(names_in(rate), Some(expected));
    assert_eq!(rate.text("/k8s/podUid"), Some(&*uid(1)));
    assert_eq!(rate.text("/runtime/name"), Some("containerd"));
    assert_eq!(rate.text("/runtime/containerId"), Some(&*id(1)));
    drop(pods);
    let recording = pidwatch.stop()?;
    let removed = recording
        .of_type("cgroup")
        .find(|event| event.cgroup() == Some(container.id) && event.json["change"] == "removed");
    assert_eq!(
        removed.and_then(names_in).map(|names| names.container),
        Some("app")
    );
    // Once for the cgroups that were there, and for the pod's and the container's, perhaps again
    // for the pod of another class.
    println!("    the runtime was asked {} times", runtime.asked());
    assert!(runtime.asked() <= 20);
    Ok(())
}

fn a_pods_workload_is_read_from_its_labels(env: &Env) -> Result<()> {
    let runtime = FakeRuntime::start("workload", Manner::Right)?;
    for n in 1..=2 {
        let name = format!("cart-7d9f8b6c5-x2k4{n}").replace('1', "p");
        runtime.add(&id(100 + n), &id(n), pod(&name, &uid(n)), "app", 1);
    }
    runtime.label_pods("pod-template-hash", "7d9f8b6c5");
    runtime.label_pods("app", &"x".repeat(1024 * 1024));
    let folder = Folder::new("workload")?;
    let socket = runtime.socket.display().to_string();
    let agent = Agent::start(env, folder.path(), &["--cri-socket", &socket])?;
    let (_first, first) = container(env, 1)?;
    let (_second, second) = container(env, 2)?;
    let holds = |cgroup: &Cgroup, n: u64| -> Result<_> {
        let load = Load::new(env, "hold").with("processes", n);
        let mut load = load.inside(cgroup).start()?;
        load.ready()?;
        Ok(load)
    };
    let loads = [holds(&first, 3)?, holds(&second, 5)?];
    let labels = [
        "namespace=\"shop\"",
        "workload_kind=\"Deployment\"",
        "workload=\"cart\"",
    ];
    agent.eventually("the tasks of both", || {
        let tasks = agent.metrics()?.value("pidwatch_workload_tasks", &labels);
        // Each load has a process that waits for the others.
        Ok(tasks == Some(10.0))
    })?;
    let snapshot = agent.get("/api/v1/snapshot", "")?.json()?;
    let owners = snapshot["owners"].as_array().context("no owners")?;
    let mut of_first = owners
        .iter()
        .filter(|owner| owner["cgroup"]["id"] == first.id);
    let workload = &of_first.next().context("no owner")?["k8s"]["workload"];
    assert_eq!(workload["kind"], "Deployment");
    assert_eq!(workload["name"], "cart");
    for load in loads {
        load.finish()?;
    }
    Ok(())
}

fn a_runtime_that_comes_late_or_is_slow_is_heard(env: &Env) -> Result<()> {
    let mut runtime = FakeRuntime::start("late", Manner::Late(Duration::from_millis(700)))?;
    runtime.add(&id(101), &id(1), pod("web", &uid(1)), "app", 1);
    runtime.vanish();
    let mut pidwatch = traced(env, &[&runtime])?;
    let (_pods, container) = container(env, 1)?;
    count_in(env, &container, &mut pidwatch)?;
    assert_eq!(names_in(last_rate(pidwatch.seen(), container.id)?), None);
    runtime.appear()?;
    pidwatch.wait(|seen| {
        seen.of_type("cgroup").any(|event| {
            event.cgroup() == Some(container.id)
                && event.json["change"] == "named"
                && names_in(event).is_some_and(|names| names.container == "app")
        })
    })?;
    let recording = pidwatch.stop()?;
    assert_eq!(told(&recording), 1, "{}", recording.stderr);
    Ok(())
}

/// How often the log tells of a runtime that fails.
fn told(recording: &Recording) -> usize {
    recording.stderr.matches("does not answer").count()
}

fn a_runtime_that_fails_is_told_of_once_and_counting_goes_on(env: &Env) -> Result<()> {
    for manner in [
        Manner::Silent,
        Manner::Noise,
        Manner::Garbage,
        Manner::Endless,
        Manner::Unimplemented,
        Manner::Late(Duration::from_hours(1)),
    ] {
        let mut runtime = FakeRuntime::start("fails", manner)?;
        let mut pidwatch = traced(env, &[&runtime])?;
        for n in 1..=5 {
            let (_pods, container) = container(env, n)?;
            let began = Instant::now();
            count_in(env, &container, &mut pidwatch)?;
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "{manner:?} delayed the counts by {:?}",
                began.elapsed()
            );
            if n == 4 {
                runtime.vanish();
            }
        }
        // Long enough for a call to be given up.
        let until = Instant::now() + Duration::from_millis(2500);
        let _ = pidwatch.wait_within(until - Instant::now(), |_| false);
        let recording = pidwatch.stop()?;
        println!("    {manner:?}: {}", recording.stderr.trim());
        assert_eq!(told(&recording), 1, "{manner:?}: {}", recording.stderr);
        assert!(!recording.stderr.contains('\u{1b}'));
        recording.assert_nothing_missed(env);
    }
    Ok(())
}

fn hostile_names_are_cut_and_escaped(env: &Env) -> Result<()> {
    let runtime = FakeRuntime::start("hostile", Manner::Right)?;
    let hostile = "\u{1b}[2J\u{202e}\n\"}{\u{0}".to_owned() + &"\u{fc}".repeat(1_000_000);
    runtime.add(&id(101), &id(1), pod(&hostile, &uid(1)), &hostile, 1);
    runtime.label("label", &"x".repeat(8 * 1024 * 1024));
    let mut pidwatch = traced(env, &[&runtime])?;
    let (pods, container) = container(env, 1)?;
    pidwatch.wait(|seen| {
        seen.of_type("cgroup")
            .any(|event| event.cgroup() == Some(container.id) && event.json["change"] == "named")
    })?;
    count_in(env, &container, &mut pidwatch)?;
    let rate = last_rate(pidwatch.seen(), container.id)?;
    let names = names_in(rate).context("no names")?;
    assert!(names.pod.len() <= 256 && names.container.len() <= 256);
    assert!(hostile.starts_with(names.pod) && names.pod.len() > 250);
    let line = rate.json.to_string();
    assert!(!line.chars().any(char::is_control), "{line}");
    drop(pods);
    pidwatch.stop()?;
    Ok(())
}

fn the_newer_of_two_owners_is_the_one(env: &Env) -> Result<()> {
    let older = FakeRuntime::start("older", Manner::Right)?;
    let newer = FakeRuntime::start("newer", Manner::Late(Duration::from_millis(300)))?;
    older.add(&id(101), &id(1), pod("older", &uid(1)), "app", 1);
    newer.add(&id(102), &id(1), pod("newer", &uid(1)), "app", 2);
    let mut pidwatch = traced(env, &[&older, &newer])?;
    let (_pods, container) = container(env, 1)?;
    for expected in ["older", "newer"] {
        pidwatch.wait(|seen| {
            seen.of_type("cgroup").any(|event| {
                event.cgroup() == Some(container.id)
                    && names_in(event).is_some_and(|names| names.pod == expected)
            })
        })?;
    }
    count_in(env, &container, &mut pidwatch)?;
    let rate = last_rate(pidwatch.seen(), container.id)?;
    assert_eq!(names_in(rate).map(|names| names.pod), Some("newer"));
    pidwatch.stop()?;
    Ok(())
}

fn a_filter_by_pod_shows_that_pod_alone(env: &Env) -> Result<()> {
    let runtime = FakeRuntime::start("filter", Manner::Right)?;
    runtime.add(&id(101), &id(1), pod("web-1", &uid(1)), "app", 1);
    runtime.add(&id(102), &id(2), pod("db-1", &uid(2)), "app", 1);
    let socket = runtime.socket.display().to_string();
    let mut pidwatch = Invocation::trace(env)
        .args([
            "--cri-socket",
            &socket,
            "--namespace",
            "sh*",
            "--pod",
            "web-*",
        ])
        .start()?;
    let (_others, other) = container(env, 2)?;
    let (_pods, container) = container(env, 1)?;
    pidwatch.wait(|seen| {
        seen.of_type("cgroup")
            .any(|event| event.cgroup() == Some(container.id) && event.json["change"] == "named")
    })?;
    Load::new(env, "forks")
        .with("count", 50)
        .inside(&other)
        .run()?;
    count_in(env, &container, &mut pidwatch)?;
    let recording = pidwatch.stop()?;
    for event in recording
        .events
        .iter()
        .filter(|event| event.cgroup().is_some())
    {
        assert_eq!(event.text("/k8s/podName"), Some("web-1"), "{}", event.json);
    }
    Ok(())
}

fn who_creates_is_told_with_the_rate(env: &Env) -> Result<()> {
    let mut pidwatch = Invocation::trace(env)
        .args(["--cri-socket", "none"])
        .start()?;
    let cgroup = Cgroup::new(&env.hierarchy, "creator")?;
    let load = Load::new(env, "forks")
        .with("count", 3_000)
        .inside(&cgroup)
        .start()?;
    let pid = u64::from(load.id());
    let truth = load.finish()?;
    pidwatch.wait(|seen| seen.total(cgroup.id).created == truth.here.created)?;
    let recording = pidwatch.stop()?;
    let rate = recording.rates(cgroup.id).next().context("no rate")?;
    println!("    {}", rate.json["creators"]);
    assert_eq!(rate.number("/creators/0/pid"), Some(pid), "{}", rate.json);
    assert_eq!(rate.text("/creators/0/comm"), Some("pidwatch-load"));
    assert!(rate.json["creators"][0]["share"].as_f64() > Some(0.9));
    Ok(())
}

fn a_thousand_containers_come_and_go_and_each_has_its_names(env: &Env) -> Result<()> {
    const CONTAINERS: u64 = 1000;
    /// By then buffers have grown to what they need.
    const WARM: u64 = 300;
    let runtime = FakeRuntime::start("churn", Manner::Right)?;
    let mut pidwatch = traced(env, &[&runtime])?;
    let pods = Cgroup::new(&env.hierarchy, "kubepods")?;
    let class = pods.child("burstable")?;
    let began = Instant::now();
    let mut names = std::collections::HashMap::new();
    let mut warm = 0;
    for n in 0..CONTAINERS {
        // A thousand a minute.
        let due = began + Duration::from_millis(60 * n);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let name = format!("web-{n}");
        runtime.add(&id(5000 + n), &id(n), pod(&name, &uid(n)), "app", n as i64);
        let pod = class.child(format!("pod{}", uid(n)))?;
        let container = pod.child(id(n))?;
        names.insert(container.id, name);
        Load::new(env, "forks")
            .with("count", 3)
            .inside(&container)
            .run()?;
        container.remove()?;
        pod.remove()?;
        // Runtimes list what has ended for a while.
        if let Some(ended) = n.checked_sub(50) {
            runtime.remove(&id(ended));
        }
        if n == WARM {
            warm = resident_kib(pidwatch.id())?;
        }
    }
    let took = began.elapsed();
    let named = |seen: &Recording| {
        let events = seen
            .of_type("cgroup")
            .filter(|event| event.json["change"] == "named");
        let cgroups: std::collections::HashSet<_> = events.filter_map(Event::cgroup).collect();
        names.keys().filter(|id| cgroups.contains(id)).count()
    };
    pidwatch.wait(|seen| {
        names
            .keys()
            .all(|&id| seen.total(id).created.processes == 3)
            && named(seen) == names.len()
    })?;
    let after = resident_kib(pidwatch.id())?;
    let asked = runtime.asked();
    let recording = pidwatch.stop()?;
    let mut rates = (0, 0);
    for event in &recording.events {
        if let Some(expected) = event.cgroup().and_then(|id| names.get(&id)) {
            if let Some(name) = event.text("/k8s/podName") {
                assert_eq!(name, expected, "{}", event.json);
            }
            if event.kind() == "rate" {
                rates.0 += 1;
                rates.1 += usize::from(event.text("/k8s/containerName") == Some("app"));
            }
        }
    }
    println!(
        "    {CONTAINERS} pods and containers in {took:.1?}; {} of {} rates named; the runtime was asked \
         {asked} times; {warm} KiB of its own after {WARM}, {after} KiB at the end",
        rates.1, rates.0
    );
    assert!(asked <= 2 * CONTAINERS, "asked {asked} times");
    assert!(after < warm + 1024, "{warm} KiB grew to {after} KiB");
    recording.assert_nothing_missed(env);
    Ok(())
}

/// Memory of its own: pages of the program's file come and go as the kernel likes.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no RssAnon")?.parse()?)
}
