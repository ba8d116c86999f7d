//! Real containers, of a real containerd and runc: named as whoever made them named them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::containerd::{Containerd, IMAGE};
use pidwatch_tests::env::Env;
use pidwatch_tests::fake_runtime::{id, uid};
use pidwatch_tests::pidwatch::{Invocation, Pidwatch};
use pidwatch_tests::recording::{Event, Recording};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            CONTAINERS,
            containers_are_named_within_a_second_of_their_start
        )
        .slow()
        .minutes(5),
        scenario!(CONTAINERS, a_container_of_200_ms_is_counted_and_named)
            .slow()
            .minutes(5),
        scenario!(CONTAINERS, a_container_without_a_pod_is_known_by_its_id).minutes(5),
        scenario!(
            CONTAINERS,
            a_failing_exec_probe_is_told_from_the_container_s_own_failures
        )
        .slow()
        .minutes(10),
        scenario!(
            CONTAINERS,
            what_a_runtime_is_refused_its_container_suffers_from
        )
        .slow()
        .minutes(5),
    ]
}

/// Programs that a shell starts one after the other.
const MANY: &str = "i=0; while [ $i -lt 40 ]; do /bin/true; i=$((i+1)); done";

fn traced(env: &Env, containerd: &Containerd) -> Result<Pidwatch> {
    Invocation::trace(env)
        .args(["--cri-socket".as_ref(), containerd.cri.socket.as_os_str()])
        .start()
}

fn is_named(event: &Event, namespace: &str, pod: &str, container: Option<&str>) -> bool {
    event.text("/k8s/namespace") == Some(namespace)
        && event.text("/k8s/podName") == Some(pod)
        && event.text("/k8s/containerName") == container
}

fn change<'a>(seen: &'a Recording, path: &'a str, change: &'a str) -> Option<&'a Event> {
    seen.of_type("cgroup")
        .find(|event| event.path() == Some(path) && event.json["change"] == change)
}

/// Time from one event to another, by their own time stamps as far as a day goes.
fn seconds(event: &Event) -> Result<f64> {
    let time = event.text("/time").context("no time")?;
    let clock = time.get(11..29).context("a short time")?;
    let mut parts = clock.split(':').map(str::parse::<f64>);
    let mut next = || parts.next().context("a short time")?.context("no number");
    Ok(next()? * 3600.0 + next()? * 60.0 + next()?)
}

fn containers_are_named_within_a_second_of_their_start(env: &Env) -> Result<()> {
    let containerd = Containerd::start(env)?;
    let mut pidwatch = traced(env, &containerd)?;
    let pod = containerd.pod("web-7f9c", &uid(1))?;
    // It goes on creating: on a slow machine its names may come after the first forty.
    let command = format!("{MANY}; while :; do sleep 0.5; done");
    for name in ["app", "sidecar"] {
        let (id, path) = pod.run(name, &["/bin/sh", "-c", &command])?;
        pidwatch.wait(|seen| {
            change(seen, &path, "named").is_some()
                && seen.of_type("rate").any(|last| {
                    last.path() == Some(&path)
                        && last.number("/total/created/processes") >= Some(40)
                        && is_named(last, "shop", "web-7f9c", Some(name))
                })
        })?;
        let seen = pidwatch.seen();
        let added = change(seen, &path, "added").context("not added")?;
        let named = change(seen, &path, "named").context("not named")?;
        let after = seconds(named)? - seconds(added)?;
        println!(
            "    {name} was named {:.0} ms after its cgroup came",
            after * 1e3
        );
        assert!(env.guest || after < 1.0, "{after} s");
        let rates: Vec<_> = seen
            .of_type("rate")
            .filter(|event| event.path() == Some(&path))
            .collect();
        let last = rates.last().context("no rate")?;
        println!("    {}", last.json);
        assert!(is_named(last, "shop", "web-7f9c", Some(name)));
        assert_eq!(last.text("/k8s/podUid"), Some(&*uid(1)));
        assert_eq!(last.text("/runtime/name"), Some("containerd"));
        assert_eq!(last.text("/runtime/containerId"), Some(&*id));
        assert_eq!(last.text("/runtime/containerImage"), Some(IMAGE));
    }
    // The sandbox is the pod's, and no container of it.
    let sandbox = pod.path_of(&pod.sandbox);
    let pods = [sandbox.as_str(), pod.path()];
    for path in pods {
        pidwatch.wait(|seen| change(seen, path, "named").is_some())?;
        let named = change(pidwatch.seen(), path, "named").context("not named")?;
        assert!(is_named(named, "shop", "web-7f9c", None), "{}", named.json);
    }
    // Who comes later finds them.
    let mut late = traced(env, &containerd)?;
    let (exec_id, path) = pod.run("late", &["/bin/sh", "-c", &command])?;
    late.wait(|seen| change(seen, &path, "named").is_some())?;
    containerd.cri.exec(&exec_id, &["/bin/true"])?;
    late.stop()?;
    let recording = pidwatch.stop()?;
    // A runtime has two seconds for an answer, which an emulated one may exceed.
    for line in recording.stderr.lines() {
        assert!(env.guest && line.contains(" answer"), "{line}");
    }
    recording.assert_nothing_missed(env);
    Ok(())
}

fn a_container_of_200_ms_is_counted_and_named(env: &Env) -> Result<()> {
    let containerd = Containerd::start(env)?;
    let mut pidwatch = traced(env, &containerd)?;
    let pod = containerd.pod("short", &uid(2))?;
    let command = format!("{MANY}; usleep 200000");
    let (id, path) = pod.run("blink", &["/bin/sh", "-c", &command])?;
    let cgroup = |seen: &Recording| change(seen, &path, "added").and_then(Event::cgroup);
    pidwatch.wait(|seen| {
        change(seen, &path, "removed").is_some() && change(seen, &path, "named").is_some()
    })?;
    let number = cgroup(pidwatch.seen()).context("not added")?;
    // What came into it from outside ended in it.
    pidwatch.wait(|seen| {
        let total = seen.total(number);
        total.created.processes >= 40 && total.exited.sum() > total.created.sum()
    })?;
    let recording = pidwatch.stop()?;
    let total = recording.counts_of(number)?;
    println!("    {total:?}");
    // The shell, what runc started on the way to it, and 40 programs.
    assert!((41..=46).contains(&total.created.processes), "{total:?}");
    for event in recording
        .events
        .iter()
        .filter(|event| event.cgroup() == Some(number))
    {
        assert_eq!(
            event.text("/runtime/containerId"),
            Some(&*id),
            "{}",
            event.json
        );
    }
    let named = change(&recording, &path, "named").context("not named")?;
    assert!(is_named(named, "shop", "short", Some("blink")));
    // A runtime under load may tell the names after the last of its rates; none comes without them then.
    let events = recording.events.iter();
    let since = events.skip_while(|event| !std::ptr::eq(*event, named));
    let unnamed = since
        .filter(|event| event.cgroup() == Some(number))
        .find(|event| !is_named(event, "shop", "short", Some("blink")));
    assert!(unnamed.is_none(), "{unnamed:?}");
    recording.assert_nothing_missed(env);
    Ok(())
}

fn a_container_without_a_pod_is_known_by_its_id(env: &Env) -> Result<()> {
    let containerd = Containerd::start(env)?;
    let mut pidwatch = traced(env, &containerd)?;
    let command = format!("{MANY}; sleep 1000");
    let path = containerd.plain(&id(7), &["/bin/sh", "-c", &command])?;
    let number = containerd.cgroup_id(&path)?;
    pidwatch.wait(|seen| seen.total(number).created.processes > 40)?;
    let before = pidwatch.seen().total(number).created.processes;
    containerd.exec(&id(7), "once", &["/bin/sh", "-c", MANY])?;
    pidwatch.wait(|seen| seen.total(number).created.processes >= before + 40)?;
    let recording = pidwatch.stop()?;
    for event in recording
        .events
        .iter()
        .filter(|event| event.cgroup() == Some(number))
    {
        assert_eq!(event.text("/runtime/containerId"), Some(&*id(7)));
        assert!(event.json.get("k8s").is_none(), "{}", event.json);
    }
    recording.assert_nothing_missed(env);
    Ok(())
}

/// A probe every second, of which the fourth finds no place for a task; then the container itself
/// finds none either.
fn a_failing_exec_probe_is_told_from_the_container_s_own_failures(env: &Env) -> Result<()> {
    let containerd = Containerd::start(env)?;
    let mut pidwatch = traced(env, &containerd)?;
    let pod = containerd.pod("victim", &uid(3))?;
    let (id, path) = pod.run(
        "app",
        &["/bin/sh", "-c", "read x < /fifo-own; /bin/true; true"],
    )?;
    let number = containerd.cgroup_id(&path)?;
    let folder = containerd.directory(&path);
    let processes = || -> Result<Vec<u64>> {
        let text = std::fs::read_to_string(folder.join("cgroup.procs"))?;
        Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
    };
    let own = *processes()?.first().context("nobody there")?;
    let let_go = |fifo: &str| {
        std::fs::write(format!("/proc/{own}/root/{fifo}"), "\n").context("cannot let go")
    };
    // A probe's period is far longer than an exec takes, which in an emulated guest is seconds.
    let first = Instant::now();
    containerd.cri.exec(&id, &["/bin/true"])?;
    let period = (first.elapsed() * 10).max(Duration::from_secs(1));
    println!("    a probe every {period:?}");
    let began = Instant::now();
    for n in 0..3 {
        std::thread::sleep((began + period * n).saturating_duration_since(Instant::now()));
        let executed = containerd.cri.exec(&id, &["/bin/true"])?;
        assert_eq!(executed.exit_code, 0, "{executed:?}");
        println!("    probe {n} was done after {:?}", began.elapsed());
    }
    std::thread::sleep((began + period * 3).saturating_duration_since(Instant::now()));
    let probe = std::thread::scope(|scope| -> Result<u64> {
        let exec = scope.spawn(|| {
            let command = ["/bin/sh", "-c", "read x < /fifo-probe; /bin/true; true"];
            containerd.cri.exec(&id, &command)
        });
        // The probe's shell, once it has opened the fifo, and not what runc makes it from.
        let let_go = std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/{own}/root/fifo-probe"));
        let probe = processes()?.into_iter().find(|&pid| pid != own);
        std::fs::write(folder.join("pids.max"), "2")?;
        std::io::Write::write_all(&mut let_go?, b"\n")?;
        let Ok(executed) = exec.join() else {
            bail!("the exec panicked")
        };
        let executed = executed?;
        println!("    {}", String::from_utf8_lossy(&executed.stderr).trim());
        assert_ne!(executed.exit_code, 0, "{executed:?}");
        probe.context("no probe")
    })?;
    std::fs::write(folder.join("pids.max"), "1")?;
    let_go("fifo-own")?;
    pidwatch.wait(|seen| seen.failures(number).count() >= 2)?;
    let recording = pidwatch.stop()?;
    for event in recording.failures(number) {
        println!("    {}", event.json["proc"]);
    }
    let told: Vec<_> = recording
        .failures(number)
        .map(|event| {
            (
                event.number("/proc/pid"),
                event.json["proc"]["exec_probe"] == true,
            )
        })
        .collect();
    assert_eq!(told, [(Some(probe), true), (Some(own), false)]);
    for event in recording.failures(number) {
        assert_eq!(event.text("/k8s/containerName"), Some("app"));
        // runc, as long as it is there.
        let parent = event.text("/proc/parent/comm").context("no parent")?;
        assert!(["containerd-shim", "runc"].contains(&parent), "{parent}");
    }
    Ok(())
}

/// As on a node without a free ID: first the pod's shim cannot start runc, then runc, which it could
/// start, cannot start a thread. Both are in a cgroup of the runtime.
fn what_a_runtime_is_refused_its_container_suffers_from(env: &Env) -> Result<()> {
    let containerd = Containerd::start(env)?;
    let mut pidwatch = traced(env, &containerd)?;
    let pod = containerd.pod("victim", &uid(4))?;
    let (id, path) = pod.run("app", &["/bin/sleep", "1000"])?;
    pidwatch.wait(|seen| change(seen, &path, "named").is_some())?;
    let procs = std::fs::read_to_string(containerd.directory(&path).join("cgroup.procs"))?;
    let own: u32 = procs.lines().next().context("nobody there")?.parse()?;
    let shim = parent_of(own)?;
    let runtime = Cgroup::new(&env.hierarchy, "runtime")?;
    runtime.set("cgroup.procs", &shim.to_string())?;
    let shims_own = runtime.read("pids.current")?;
    for more in [0, 1] {
        // A Go program that finds no place for a thread that it needs ends.
        if !std::path::Path::new(&format!("/proc/{shim}")).exists() {
            println!("    the shim itself has ended");
            break;
        }
        runtime.set("pids.max", &(shims_own + more).to_string())?;
        let refused = containerd.cri.exec(&id, &["/bin/true"]);
        println!("    {more} more: {refused:?}");
        let failures = |seen: &Recording| seen.failures(runtime.id).count();
        let before = failures(pidwatch.seen());
        pidwatch.wait(|seen| failures(seen) > before)?;
    }
    runtime.set("pids.max", "max")?;
    pidwatch.wait(|seen| {
        seen.of_type("incident").any(|event| {
            event.json["victims"].as_array().is_some_and(|victims| {
                victims
                    .iter()
                    .any(|victim| victim["k8s"]["podName"] == "victim")
            })
        })
    })?;
    let recording = pidwatch.stop()?;
    let mut comms = BTreeSet::new();
    for event in recording.failures(runtime.id) {
        println!("    {}", event.json);
        let comm = event.text("/proc/comm").context("no comm")?;
        comms.insert(comm.to_owned());
        assert_eq!(event.text("/reason"), Some("pids_max"));
        assert_eq!(event.text("/on_behalf_of/k8s/namespace"), Some("shop"));
        assert_eq!(event.text("/on_behalf_of/k8s/podName"), Some("victim"));
    }
    assert!(comms.contains("containerd-shim"), "{comms:?}");
    Ok(())
}

fn parent_of(pid: u32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = status.lines();
    let parent = lines.find_map(|line| line.strip_prefix("PPid:"));
    Ok(parent.context("no parent")?.trim().parse()?)
}
