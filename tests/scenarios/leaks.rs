//! Leaks: the flag comes before the first failure and on nobody else, culprit, victim and limit are
//! the right ones, and a recording of it tells the same afterwards.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::containerd::Containerd;
use pidwatch_tests::deadline::Process;
use pidwatch_tests::env::Env;
use pidwatch_tests::fake_runtime::uid;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::{Event, Recording};
use pidwatch_tests::sysctl::Lowered;

use crate::recordings::File;
use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            LAYOUTS,
            a_leak_below_a_pods_limit_is_flagged_before_it_is_full
        )
        .slow(),
        // PID namespaces have a pid_max of their own from 6.14 on.
        scenario!(
            KERNELS,
            a_leak_below_a_namespaces_pid_max_is_forecast_against_it
        )
        .slow()
        .since((6, 14))
        .slow(),
        // The limit of the whole machine is lowered where nothing else runs.
        scenario!(GUESTS, the_incident_in_small).minutes(4),
        scenario!(GUEST_WITH_CONTAINERS, the_incident_in_real_containers).minutes(6),
        // What follows depends on no kernel.
        scenario!(HOST, a_jvm_that_leaks_threads_is_told_with_their_names).slow(),
        scenario!(HOST, zombies_that_nobody_reaps_are_a_leak).slow(),
        scenario!(HOST, a_runtime_that_forks_and_moves_is_not_accused).slow(),
        scenario!(HOST, a_leaker_that_vanishes_is_gone).slow(),
        scenario!(HOST, an_incident_outlives_a_killed_pidwatch).slow(),
        scenario!(HOST, a_state_file_that_is_not_ours_is_refused),
    ]
}

/// How long a leak, its failures and the end of its incident may take in an emulated guest.
const LONG: Duration = Duration::from_mins(2);

/// Events of a type about a cgroup.
fn about<'a>(
    seen: &'a Recording,
    kind: &'a str,
    cgroup: &'a Cgroup,
) -> impl Iterator<Item = &'a Event> {
    seen.of_type(kind)
        .filter(|event| event.cgroup() == Some(cgroup.id))
}

/// The first event that says that an owner is in a state, with its place in the stream.
fn state(seen: &Recording, cgroup: &Cgroup, state: &str) -> Option<usize> {
    seen.events.iter().position(|event| {
        event.kind() == "state"
            && event.cgroup() == Some(cgroup.id)
            && event.text("/to") == Some(state)
    })
}

/// Whether what is told of this cgroup can be judged here: in a guest whatever it is, on this host where
/// it is one of this test program's. Of others nobody here knows whether they leak.
fn is_known(env: &Env, path: Option<&str>) -> bool {
    let own = format!("{}/", Cgroup::own_path());
    env.guest || path.is_some_and(|path| path.starts_with(&own))
}

fn first_failure(env: &Env, seen: &Recording) -> Option<usize> {
    let mut events = seen.events.iter();
    events.position(|event| event.kind() == "clone_failed" && is_known(env, event.path()))
}

/// The incidents of limits that can be judged here.
fn incidents<'a>(env: &Env, seen: &'a Recording) -> impl DoubleEndedIterator<Item = &'a Event> {
    seen.of_type("incident")
        .filter(|event| is_known(env, event.text("/cgroup")))
}

/// Nobody but these was ever called leaking or a culprit.
fn assert_only_accused(env: &Env, recording: &Recording, accused: &[&Cgroup]) {
    let is_accused = |id: Option<u64>| accused.iter().any(|cgroup| Some(cgroup.id) == id);
    for event in recording.of_type("state") {
        if matches!(event.text("/to"), Some("leaking" | "saturated")) && is_known(env, event.path())
        {
            assert!(is_accused(event.cgroup()), "{}", event.json);
        }
    }
    for incident in recording.of_type("incident") {
        for culprit in incident.json["culprits"].as_array().into_iter().flatten() {
            if is_known(env, culprit["cgroup"]["path"].as_str()) {
                assert!(is_accused(culprit["cgroup"]["id"].as_u64()), "{culprit}");
            }
        }
    }
}

/// What happened on the night, with a pid_max of three thousand: a container leaks threads, another
/// one forks for each request, a third one's probe is refused.
fn the_incident_in_small(env: &Env) -> Result<()> {
    let pod = Cgroup::new(&env.hierarchy, "shop")?;
    let leaker = pod.child("cart")?;
    let busy = pod.child("web")?;
    let victim = Cgroup::new(&env.hierarchy, "calico")?;
    let trace = Invocation::trace(env).args(["--detect", "calm=15s"]);
    let mut pidwatch = trace.start()?;
    let _lowered = Lowered::to("/proc/sys/kernel/pid_max", 3000)?;
    let pace = |name: &str, per_second| Load::new(env, name).with("per-second", per_second);
    let churn = pace("pace", 20).inside(&busy).start()?;
    let probe = pace("pace", 2).inside(&victim).start()?;
    let leak = pace("leak", 60).inside(&leaker).start()?;

    pidwatch.wait_within(LONG, |seen| {
        about(seen, "clone_failed", &victim).count() >= 3
    })?;
    pidwatch.wait(|seen| {
        let mut incidents = seen.of_type("incident");
        incidents.any(|incident| {
            let victims = incident.json["victims"].as_array();
            victims.is_some_and(|victims| {
                let mut victims = victims.iter();
                victims.any(|known| known["cgroup"]["id"].as_u64() == Some(victim.id))
            })
        })
    })?;
    let truths = [
        (&leaker, leak.finish()?),
        (&victim, probe.finish()?),
        (&busy, churn.finish()?),
    ];
    // Calm again: the incident is over fifteen seconds later.
    pidwatch.wait_within(LONG, |seen| {
        let mut incidents = seen.of_type("incident");
        incidents.any(|incident| incident.text("/phase") == Some("closed"))
    })?;
    let recording = pidwatch.stop()?;

    for (cgroup, truth) in &truths {
        let counts = recording.counts_of(cgroup.id)?;
        assert_eq!(
            counts.created, truth.here.created,
            "created in {}",
            cgroup.path
        );
        assert_eq!(
            counts.failures(),
            truth.failures.len() as u64,
            "failed in {}",
            cgroup.path
        );
    }
    let flagged = state(&recording, &leaker, "leaking").context("the leaker was not flagged")?;
    let failed = first_failure(env, &recording).context("no clone_failed event")?;
    println!("    {}", recording.events[flagged].json["why"]);
    assert!(flagged < failed, "flagged after the first failure");
    let forecast = &recording.events[flagged].json["exhaustion"];
    assert_eq!(forecast["limit"], "kernel.pid_max", "{forecast}");
    assert_only_accused(env, &recording, &[&leaker]);

    let incidents: Vec<_> = recording.of_type("incident").collect();
    let last = incidents.last().context("no incident")?;
    println!("    {}", last.json["summary"]);
    assert_eq!(incidents[0].text("/phase"), Some("opened"));
    assert_eq!(last.text("/phase"), Some("closed"));
    assert!(
        incidents
            .iter()
            .all(|incident| incident.json["id"] == last.json["id"])
    );
    assert_eq!(last.text("/limit"), Some("kernel.pid_max"));
    assert_eq!(last.number("/culprits/0/cgroup/id"), Some(leaker.id));
    let victims = last.json["victims"].as_array().context("no victims")?;
    assert!(
        victims
            .iter()
            .any(|known| known["cgroup"]["id"].as_u64() == Some(victim.id)),
        "{victims:?}"
    );
    let failures: usize = truths.iter().map(|(_, truth)| truth.failures.len()).sum();
    let others: u64 = recording
        .of_type("clone_failed")
        .filter(|event| {
            truths
                .iter()
                .all(|(cgroup, _)| event.cgroup() != Some(cgroup.id))
        })
        .map(|event| 1 + event.number("/suppressed").unwrap_or(0))
        .sum();
    let told = last.number("/failures").unwrap_or(0);
    assert!(
        told <= failures as u64 + others,
        "{told} of {failures} and {others}"
    );
    Ok(())
}

fn a_leak_below_a_pods_limit_is_flagged_before_it_is_full(env: &Env) -> Result<()> {
    let pod = Cgroup::new(&env.hierarchy, "pod")?;
    pod.set("pids.max", "800")?;
    let leaker = pod.child("leaker")?;
    let beside = pod.child("sidecar")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let probe = Load::new(env, "pace").with("per-second", 2);
    let probe = probe.inside(&beside).start()?;
    let leak = Load::new(env, "leak").with("per-second", 40);
    let leak = leak.inside(&leaker).start()?;
    pidwatch.wait_within(LONG, |seen| {
        about(seen, "clone_failed", &beside).count() > 0
            && state(seen, &leaker, "saturated").is_some()
    })?;
    drop(probe.finish()?);
    let truth = leak.finish()?;
    pidwatch.wait(|seen| seen.freed_or_lost(leaker.id) >= truth.here.exited.sum())?;
    let recording = pidwatch.stop()?;

    let flagged = state(&recording, &leaker, "leaking").context("the leaker was not flagged")?;
    let failed = first_failure(env, &recording).context("no clone_failed event")?;
    let event = &recording.events[flagged];
    println!("    {}", event.json["why"]);
    assert!(flagged < failed, "flagged after the first failure");
    assert_eq!(
        event.text("/exhaustion/limit"),
        Some("pids.max"),
        "{}",
        event.json
    );
    assert_eq!(
        event.text("/exhaustion/cgroup"),
        Some(pod.path.as_str()),
        "{}",
        event.json
    );
    assert_only_accused(env, &recording, &[&leaker]);
    let opened = incidents(env, &recording).next().context("no incident")?;
    assert_eq!(
        opened.text("/cgroup"),
        Some(pod.path.as_str()),
        "{}",
        opened.json
    );
    let last = incidents(env, &recording).last().context("no incident")?;
    assert_eq!(
        last.number("/victims/0/cgroup/id"),
        Some(beside.id),
        "{}",
        last.json
    );
    Ok(())
}

/// The node has room for thirty times as many: neither the forecast nor the incident is the node's.
fn a_leak_below_a_namespaces_pid_max_is_forecast_against_it(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "namespace")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let leak = Load::new(env, "leak-in-pid-namespace")
        .with("per-second", 30)
        .with("pid-max", 900);
    let leak = leak.inside(&cgroup).start()?;
    pidwatch.wait_within(LONG, |seen| {
        about(seen, "clone_failed", &cgroup).count() > 0
            && state(seen, &cgroup, "saturated").is_some()
            && incidents_of_namespaces(seen).next().is_some()
    })?;
    leak.finish()?;
    let recording = pidwatch.stop()?;
    let flagged = state(&recording, &cgroup, "leaking").context("not flagged")?;
    let failed = first_failure(env, &recording).context("no clone_failed event")?;
    let event = &recording.events[flagged];
    println!("    {}", event.json["why"]);
    assert!(flagged < failed, "flagged after the first failure");
    let forecast = &event.json["exhaustion"];
    assert_eq!(forecast["limit"], "kernel.pid_max", "{forecast}");
    assert_eq!(forecast["value"], 900, "{forecast}");
    let refused = about(&recording, "clone_failed", &cgroup).next();
    let refused = refused.context("no failure")?;
    assert_eq!(
        forecast["pid_namespace"], refused.json["limit"]["pid_namespace"],
        "{forecast}"
    );
    let why = event.text("/why").unwrap_or_default();
    assert!(
        why.contains("kernel.pid_max of its PID namespace in"),
        "{why}"
    );
    let last = incidents_of_namespaces(&recording)
        .last()
        .context("no incident")?;
    assert_eq!(last.number("/culprits/0/cgroup/id"), Some(cgroup.id));
    for incident in recording.of_type("incident") {
        let is_nodes = incident.text("/cgroup").is_none()
            && incident.json["pid_namespace"].is_null()
            && incident.text("/limit") == Some("kernel.pid_max");
        assert!(!is_nodes, "{}", incident.json);
    }
    Ok(())
}

/// The incidents of PID namespaces.
fn incidents_of_namespaces(seen: &Recording) -> impl DoubleEndedIterator<Item = &Event> {
    seen.of_type("incident")
        .filter(|event| event.json["pid_namespace"].is_u64())
}

/// A real one, with the threads that every JVM starts before.
fn a_jvm_that_leaks_threads_is_told_with_their_names(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "jvm")?;
    cgroup.set("pids.max", "1200")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let procs = cgroup.directory.join("cgroup.procs");
    let mut java = Command::new("sh");
    java.args(["-c", "echo $$ > \"$1\"; shift; exec \"$@\"", "sh"])
        .arg(procs)
        .args(["java", "-Xmx64m", "-Xss256k", "tests/fixtures/Leak.java"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let java = Process::start(&mut java).context("cannot start java")?;
    pidwatch.wait_within(LONG, |seen| {
        state(seen, &cgroup, "saturated").is_some()
            && about(seen, "clone_failed", &cgroup).count() > 0
    })?;
    drop(java);
    let recording = pidwatch.stop()?;
    let flagged = state(&recording, &cgroup, "leaking").context("the JVM was not flagged")?;
    let failed = first_failure(env, &recording).context("no clone_failed event")?;
    let event = &recording.events[flagged];
    println!("    {} {}", event.json["why"], event.json["task_names"]);
    assert!(flagged < failed, "flagged after the first failure");
    assert_only_accused(env, &recording, &[&cgroup]);
    assert_eq!(
        event.text("/task_names/patterns/0/name"),
        Some("http-nio-*")
    );
    assert_eq!(event.text("/task_names/largest/comm"), Some("java"));
    Ok(())
}

fn zombies_that_nobody_reaps_are_a_leak(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "zombies")?;
    cgroup.set("pids.max", "500")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "leak-zombies").with("per-second", 15);
    let load = load.inside(&cgroup).start()?;
    pidwatch.wait_within(LONG, |seen| state(seen, &cgroup, "leaking").is_some())?;
    load.finish()?;
    let recording = pidwatch.stop()?;
    let flagged = state(&recording, &cgroup, "leaking").context("not flagged")?;
    let why = recording.events[flagged].text("/why").unwrap_or_default();
    println!("    {why}");
    assert!(why.contains("zombies"), "{why}");
    Ok(())
}

/// As every start of a container: forked in one cgroup, moved to another, and it ends there.
fn a_runtime_that_forks_and_moves_is_not_accused(env: &Env) -> Result<()> {
    let runtime = Cgroup::new(&env.hierarchy, "runtime")?;
    let container = Cgroup::new(&env.hierarchy, "container")?;
    let pidwatch = Invocation::trace(env).start()?;
    for _ in 0..3 {
        Load::new(env, "move")
            .with("count", 400)
            .at("from", &runtime.directory)
            .at("to", &container.directory)
            .run()?;
        std::thread::sleep(Duration::from_secs(4));
    }
    let recording = pidwatch.stop()?;
    assert!(recording.total(runtime.id).created.sum() >= 1200);
    assert_only_accused(env, &recording, &[]);
    assert_eq!(incidents(env, &recording).count(), 0);
    Ok(())
}

fn a_leaker_that_vanishes_is_gone(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "vanishing")?;
    cgroup.set("pids.max", "1500")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let leak = Load::new(env, "leak").with("per-second", 60);
    let leak = leak.inside(&cgroup).start()?;
    pidwatch.wait_within(LONG, |seen| {
        let mut incidents = seen.of_type("incident");
        incidents.any(|incident| incident.number("/culprits/0/cgroup/id") == Some(cgroup.id))
    })?;
    let id = cgroup.id;
    // With everything in it.
    drop(cgroup);
    drop(leak);
    pidwatch.wait_within(LONG, |seen| {
        let mut states = seen.of_type("state");
        states.any(|event| event.cgroup() == Some(id) && event.text("/to") == Some("gone"))
    })?;
    pidwatch.stop().map(|_| ())
}

fn an_incident_outlives_a_killed_pidwatch(env: &Env) -> Result<()> {
    let file = File::new(&std::env::temp_dir());
    let cgroup = Cgroup::new(&env.hierarchy, "outliving")?;
    cgroup.set("pids.max", "400")?;
    let start = || {
        let trace = Invocation::trace(env);
        trace.args(["--state-file", file.name()]).start()
    };
    let about_it = |event: &&Event| event.text("/cgroup") == Some(cgroup.path.as_str());
    let mut first = start()?;
    let leak = Load::new(env, "leak").with("per-second", 30);
    let leak = leak.inside(&cgroup).start()?;
    first.wait_within(LONG, |seen| {
        seen.of_type("incident").any(|event| about_it(&event))
    })?;
    let opened = first
        .seen()
        .of_type("incident")
        .find(about_it)
        .context("opened")?;
    let id = opened.json["id"].clone();
    first.signal(libc::SIGKILL);
    drop(first);

    let mut second = start()?;
    second.wait_within(LONG, |seen| {
        seen.of_type("incident").any(|event| about_it(&event))
    })?;
    leak.finish()?;
    let recording = second.stop()?;
    let told = recording
        .of_type("incident")
        .find(about_it)
        .context("told again")?;
    assert_eq!(told.json["id"], id, "another incident");
    assert_eq!(told.text("/phase"), Some("updated"));
    let timeline = told.json["timeline"].as_array().context("no timeline")?;
    assert!(
        timeline.iter().any(|moment| moment["what"] == "restarted"),
        "{timeline:?}"
    );
    Ok(())
}

fn a_state_file_that_is_not_ours_is_refused(env: &Env) -> Result<()> {
    let file = File::new(&std::env::temp_dir());
    fs::write(file.name(), "{}")?;
    let trace = Invocation::trace(env).args(["--state-file", file.name()]);
    trace
        .finish()?
        .assert_refused(1, &[file.name(), "state file", "remove it"]);
    Ok(())
}

/// Each second fifteen processes more; where no more can be had, those that there are stay.
const LEAK: &str = "i=0; while [ $i -lt 15 ]; do sleep 1000000 & i=$((i+1)); done; sleep 1";
/// A few short-lived processes at a time.
const BUSY: &str = "/bin/true; /bin/true; sleep 1";

/// The night with a real runtime: a pod's container leaks processes, another one's is busy, and a
/// third one is probed by exec, which the runtime cannot start any more.
fn the_incident_in_real_containers(env: &Env) -> Result<()> {
    let containerd = Containerd::start(env)?;
    let file = File::new(&std::env::temp_dir());
    let socket = containerd.cri.socket.display().to_string();
    let with_socket = ["--cri-socket", socket.as_str()];
    let mut recorder = Invocation::new(env)
        .args(["record", file.name(), "--window", "200ms"])
        .args(with_socket)
        .spawn()?;
    recorder.wait_for("kernel")?;
    let mut pidwatch = Invocation::trace(env).args(with_socket).start()?;
    let calico = containerd.pod("calico-node-x", &uid(11))?;
    let (probed, _) = calico.run("calico", &["/bin/sh", "-c", "exec sleep 1000000"])?;
    let web = containerd.pod("web-7f9c", &uid(12))?;
    let (_, web_path) = web.run(
        "web",
        &["/bin/sh", "-c", &format!("while true; do {BUSY}; done")],
    )?;
    let cart = containerd.pod("cart-5d8", &uid(13))?;
    let leaking = format!("sh -c 'while true; do {LEAK}; done'; exec sleep 1000000");

    let lowered = Lowered::to("/proc/sys/kernel/pid_max", 1200)?;
    let (_, cart_path) = cart.run("cart", &["/bin/sh", "-c", &leaking])?;
    let began = std::time::Instant::now();
    let mut refused = 0;
    while refused < 3 && began.elapsed() < LONG {
        std::thread::sleep(Duration::from_secs(1));
        let probe = containerd.cri.exec(&probed, &["/bin/true"]);
        refused += u32::from(!probe.is_ok_and(|probe| probe.exit_code == 0));
    }
    println!("    {refused} probes failed by {:?}", began.elapsed());
    pidwatch.wait_within(LONG, |seen| {
        let mut incidents = seen.of_type("incident");
        incidents.any(|incident| {
            incident.number("/failures") > Some(0)
                && incident.text("/culprits/0/k8s/podName") == Some("cart-5d8")
        })
    })?;
    // The runtime needs PIDs to take the containers away.
    drop(lowered);
    recorder.signal(libc::SIGINT);
    recorder.finish()?;
    let recording = pidwatch.stop()?;

    let is_cart = |event: &&Event| event.path() == Some(cart_path.as_str());
    let flagged = recording.events.iter().position(|event| {
        event.kind() == "state" && is_cart(&event) && event.text("/to") == Some("leaking")
    });
    let flagged = flagged.context("the leaker was not flagged")?;
    let failed = first_failure(env, &recording).context("no clone_failed event")?;
    println!("    {}", recording.events[flagged].json["why"]);
    assert!(flagged < failed, "flagged after the first failure");
    for event in recording.of_type("state") {
        if matches!(event.text("/to"), Some("leaking" | "saturated")) {
            assert!(is_cart(&event), "{}", event.json);
        }
    }
    // When there are PIDs again, the leak is on its way to the next limit.
    let mut incidents = recording
        .of_type("incident")
        .filter(|incident| incident.text("/limit") == Some("kernel.pid_max"));
    let last = incidents.next_back().context("no incident of pid_max")?;
    println!("    {}", last.json["summary"]);
    let culprits = last.json["culprits"].as_array().context("no culprits")?;
    assert_eq!(culprits.len(), 1, "{culprits:?}");
    assert_eq!(last.text("/culprits/0/k8s/containerName"), Some("cart"));
    let victims = last.json["victims"].as_array().context("no victims")?;
    assert!(!victims.is_empty(), "no victims");
    assert!(
        victims
            .iter()
            .all(|victim| victim["cgroup"]["path"] != cart_path.as_str())
    );
    assert!(
        recording
            .of_type("rate")
            .any(|event| event.path() == Some(web_path.as_str())
                && event.text("/k8s/podName") == Some("web-7f9c"))
    );

    let report = Invocation::new(env)
        .args(["report", file.name(), "-o", "json"])
        .finish()?;
    assert_eq!(report.status.code(), Some(0), "{}", report.stderr);
    let report = String::from_utf8_lossy(&report.stdout);
    for word in ["kernel.pid_max", "shop/cart-5d8/cart", "EAGAIN"] {
        assert!(report.contains(word), "no {word:?} in the report");
    }
    Ok(())
}
