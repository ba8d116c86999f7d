//! `pidwatch brake` and `release`: stop a leak without side effects on others, and always restore the limit.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Agent, Folder};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::containerd::Containerd;
use pidwatch_tests::env::Env;
use pidwatch_tests::fake_runtime::uid;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::{Finished, Invocation};
use pidwatch_tests::recording::Event;
use pidwatch_tests::surroundings;
use serde_json::Value;
use tempfile::TempDir;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // The kernel and the cgroup layout decide what `pids.max` refuses and where it is written.
        scenario!(
            EVERYWHERE,
            a_braked_leak_stops_growing_and_opens_no_incident
        ),
        scenario!(LAYOUTS, a_brake_ends_by_itself),
        scenario!(
            LAYOUTS,
            without_a_free_pid_the_brake_stays_in_the_foreground
        ),
        scenario!(HOST, a_brake_is_ended_though_its_command_was_killed),
        scenario!(HOST, another_program_s_limit_is_kept_after_the_brake),
        scenario!(
            HOST,
            a_brake_whose_process_was_killed_is_reported_and_can_be_released
        ),
        scenario!(HOST, removing_the_cgroup_ends_its_brake),
        scenario!(HOST, protected_owners_are_not_braked),
        scenario!(HOST, an_exhausted_limit_above_is_named),
        scenario!(HOST, a_command_killed_at_any_step_leaves_no_limit_lowered)
            .slow()
            .minutes(4),
        scenario!(LAYOUTS, at_a_full_limit_the_culprit_gains_nothing).minutes(3),
        scenario!(CONTAINERS, a_braked_container_runs_on_and_its_lease_ends)
            .slow()
            .minutes(5),
        scenario!(LAYOUTS, an_agent_brakes_and_releases_without_a_new_task),
    ]
}

/// A unit below a slice with a shared limit.
struct Setup<'a> {
    env: &'a Env,
    folder: TempDir,
    /// Created by the first brake.
    leases: String,
    slice: Cgroup,
    unit: Cgroup,
    name: String,
}

impl<'a> Setup<'a> {
    fn new(env: &'a Env, label: &str) -> Result<Self> {
        let slice = Cgroup::new(&env.hierarchy, "brake.slice")?;
        let name = format!("{label}-{}.service", std::process::id());
        let folder = tempfile::tempdir()?;
        Ok(Self {
            env,
            leases: format!("{}/brakes", folder.path().display()),
            folder,
            unit: slice.child(&name)?,
            slice,
            name,
        })
    }

    fn pidwatch(&self, args: &[&str]) -> Invocation {
        Invocation::new(self.env)
            .args(args)
            .args(["--lease-dir", &self.leases])
    }

    fn brake(&self, args: &[&str]) -> Result<Finished> {
        let run = self.pidwatch(&["brake", &self.name, "--cri-socket", "none"]);
        run.args(args).finish()
    }

    fn release(&self) -> Result<Finished> {
        self.pidwatch(&["release", &self.name]).finish()
    }

    fn limit(&self) -> Result<String> {
        limit(&self.unit)
    }

    fn wait_for_limit(&self, wanted: &str) -> Result<()> {
        wait(
            &format!("pids.max {wanted}"),
            || Ok(self.limit()? == wanted),
        )
    }

    /// `check`'s findings about brakes: id and advice.
    fn findings(&self) -> Result<Vec<(String, String)>> {
        let page = self.pidwatch(&["check", "-o", "json"]).finish()?;
        let page: Value = serde_json::from_slice(&page.stdout)?;
        let findings = page["findings"].as_array().context("no findings")?;
        let of_brakes = findings.iter().filter(|finding| {
            let id = finding["id"].as_str().unwrap_or_default();
            id.starts_with("brake-")
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(of_brakes
            .map(|finding| (text(&finding["id"]), text(&finding["advice"])))
            .collect())
    }

    /// PID of the process that maintains the brake.
    fn holder(&self) -> Result<u32> {
        let is_it = |pid: u32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            arguments.contains("hold-brake") && arguments.contains(&self.leases)
        };
        let processes = fs::read_dir("/proc")?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|&pid| is_it(pid))
            .context("no process maintains the brake")
    }
}

/// Releases what a failed scenario leaves behind.
impl Drop for Setup<'_> {
    fn drop(&mut self) {
        let _ = self.pidwatch(&["release", "--all"]).finish();
    }
}

fn limit(cgroup: &Cgroup) -> Result<String> {
    let text = fs::read_to_string(cgroup.directory.join("pids.max"))?;
    Ok(text.trim().to_owned())
}

fn wait(what: &str, fulfilled: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_within(Duration::from_secs(30), what, fulfilled)
}

fn wait_within(
    limit: Duration,
    what: &str,
    mut fulfilled: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    while !fulfilled()? {
        ensure!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn assert_done(run: &Finished, words: &[&str]) {
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8_lossy(&run.stdout);
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said:?}");
    }
}

/// A neighbour below the same limit keeps creating, and a running trace reports refusals but no incident.
fn a_braked_leak_stops_growing_and_opens_no_incident(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "leak")?;
    setup.slice.set("pids.max", "500")?;
    let neighbour = setup.slice.child("neighbour.service")?;
    let watch = Invocation::trace(env).args(["--lease-dir", &setup.leases]);
    let mut pidwatch = watch.start()?;
    let mut leak = Load::new(env, "leak").with("per-second", 20);
    leak = leak.inside(&setup.unit);
    let mut leak = leak.start()?;
    leak.ready()?;
    wait("20 leaked tasks", || {
        Ok(setup.unit.read("pids.current")? >= 20)
    })?;
    assert_done(
        &setup.brake(&["--for", "60s"])?,
        &["is braked", "(was max)"],
    );
    let braked: u64 = setup.limit()?.parse()?;
    pidwatch.wait(|seen| seen.failures(setup.unit.id).count() >= 3)?;
    assert_eq!(
        setup.unit.read("pids.current")?,
        braked,
        "existing tasks keep running"
    );
    let forks = Load::new(env, "forks").with("count", 50).inside(&neighbour);
    let forks = forks.run()?;
    assert_eq!(
        (forks.here.created.processes, forks.failures.len()),
        (50, 0)
    );
    assert_done(&setup.release()?, &["is released", "pids.max is max again"]);
    assert_eq!(setup.limit()?, "max");
    wait("growth after the release", || {
        Ok(setup.unit.read("pids.current")? > braked)
    })?;
    leak.finish()?;
    let recording = pidwatch.stop()?;
    let below = |event: &&Event| {
        let path = event.path().or(event.text("/cgroup")).unwrap_or_default();
        path.starts_with(&setup.slice.path)
    };
    let incidents: Vec<_> = recording.of_type("incident").filter(below).collect();
    assert!(incidents.is_empty(), "caused by a brake: {incidents:?}");
    let mut states = recording.of_type("state").filter(below);
    assert!(
        states.all(|event| event.text("/to") != Some("saturated")),
        "a brake must not cause `saturated`"
    );
    let mut failures = recording.failures(setup.unit.id);
    assert!(failures.all(|event| event.text("/reason") == Some("pids_max")));
    Ok(())
}

fn a_brake_ends_by_itself(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "lease")?;
    setup.unit.set("pids.max", "300")?;
    let mut load = Load::new(env, "hold").with("processes", 4);
    load = load.inside(&setup.unit);
    let mut load = load.start()?;
    load.ready()?;
    let holds = setup.unit.read("pids.current")?;
    let dry_run = setup.brake(&["--dry-run"])?;
    assert_done(&dry_run, &["would lower", "nothing changed", "exec probes"]);
    assert_eq!(setup.limit()?, "300");
    assert_done(&setup.brake(&["--for", "5s"])?, &["(was 300)"]);
    assert_eq!(setup.limit()?, holds.to_string());
    wait("its holder", || {
        let findings = setup.findings()?;
        Ok(findings
            .first()
            .is_some_and(|(id, _)| id == "brake-in-force"))
    })?;
    setup.wait_for_limit("300")?;
    assert_eq!(setup.findings()?, []);
    load.finish()?;
    Ok(())
}

fn without_a_free_pid_the_brake_stays_in_the_foreground(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "full")?;
    let caller = Cgroup::new(&env.hierarchy, "caller")?;
    caller.set("pids.max", "1")?;
    // Ctrl-C, and a terminal that is closed.
    for signal in [libc::SIGINT, libc::SIGHUP] {
        let run = setup.pidwatch(&["brake", &setup.name, "--cri-socket", "none", "--at", "20"]);
        let mut run = run
            .within(|command| surroundings::in_a_cgroup(command, &caller))
            .spawn()?;
        run.wait_for("Ctrl-C ends the brake")?;
        assert_eq!(setup.limit()?, "20");
        assert_eq!(setup.findings()?[0].0, "brake-in-force");
        run.signal(signal);
        let run = run.finish()?;
        assert_done(&run, &["pids.max is max again"]);
        assert_eq!(setup.limit()?, "max");
    }
    Ok(())
}

/// Its process is started, and claims the lease, before the limit is lowered.
fn a_brake_is_ended_though_its_command_was_killed(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "command")?;
    let mut holder = Command::new(&env.pidwatch);
    holder.args(["hold-brake", "--lease-dir", &setup.leases]);
    holder.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn()?;
    let mut stdin = holder.stdin.take().context("no pipe")?;
    writeln!(stdin, "{}", setup.unit.id)?;
    let mut steps = [0; 2];
    let mut stdout = holder.stdout.take().context("no pipe")?;
    stdout.read_exact(&mut steps)?;
    assert_eq!(&steps, b"rh", "ready, and the brake is claimed");
    // Stands for the command that is killed as soon as the limit is written.
    assert_done(
        &setup.brake(&["--at", "20", "--for", "2s"])?,
        &["is braked"],
    );
    assert_eq!(setup.limit()?, "20");
    drop(stdin);
    setup.wait_for_limit("max")?;
    ensure!(holder.wait()?.success(), "the holder failed");
    Ok(())
}

fn another_program_s_limit_is_kept_after_the_brake(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "theirs")?;
    assert_done(&setup.brake(&["--at", "20"])?, &["(was max)"]);
    setup.unit.set("pids.max", "700")?;
    setup.wait_for_limit("20")?;
    assert_done(&setup.release()?, &["pids.max is 700 again"]);
    assert_eq!(setup.limit()?, "700");
    assert_done(&setup.brake(&["--at", "20"])?, &["(was 700)"]);
    setup.unit.set("pids.max", "5")?;
    assert_done(&setup.release()?, &["stays 5"]);
    assert_eq!(setup.limit()?, "5");
    Ok(())
}

fn a_brake_whose_process_was_killed_is_reported_and_can_be_released(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "killed")?;
    assert_done(&setup.brake(&["--at", "20"])?, &["is braked"]);
    let holder = setup.holder()?;
    let earlier = format!("to end it early: {}", release_of(&setup));
    let in_force = [("brake-in-force".to_owned(), earlier)];
    wait("its holder", || Ok(setup.findings()? == in_force))?;
    signal("KILL", holder)?;
    let left = [("brake-left-behind".to_owned(), release_of(&setup))];
    wait("the finding", || Ok(setup.findings()? == left))?;
    assert_eq!(setup.limit()?, "20");
    let advised = setup.pidwatch(&["release", &setup.unit.path]).finish()?;
    assert_done(&advised, &["pids.max is max again"]);
    assert_eq!(setup.findings()?, []);

    // On SIGTERM it restores the limit.
    assert_done(&setup.brake(&["--at", "20"])?, &["is braked"]);
    let holder = setup.holder()?;
    signal("TERM", holder)?;
    setup.wait_for_limit("max")
}

fn signal(name: &str, process: u32) -> Result<()> {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", name, &process.to_string()]).status()?;
    ensure!(sent.success(), "cannot send {name} to {process}");
    Ok(())
}

fn release_of(setup: &Setup<'_>) -> String {
    format!("pidwatch release {}", setup.unit.path)
}

fn removing_the_cgroup_ends_its_brake(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "gone")?;
    let below = setup.slice.child("short.service")?;
    let run = setup.pidwatch(&["brake", &below.path, "--at", "20"]);
    assert_done(
        &run.args(["--cri-socket", "none"]).finish()?,
        &["is braked"],
    );
    below.remove()?;
    wait("an empty folder", || {
        let files = fs::read_dir(&setup.leases)?.flatten();
        Ok(files.filter(|file| file.file_name() != "lock").count() == 0)
    })
}

fn protected_owners_are_not_braked(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "safe")?;
    let kubelet = setup.slice.child("kubelet.service")?;
    let pod = setup.slice.child("kubepods")?;
    let pod = pod.child("pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37")?;
    let container = pod.child("c".repeat(64))?;
    let refused = |args: &[&str], words: &[&str]| -> Result<()> {
        let run = setup.pidwatch(&["brake", "--cri-socket", "none"]);
        run.args(args).finish()?.assert_refused(1, words);
        Ok(())
    };
    refused(
        &[&kubelet.path],
        &["refusing to brake", "the node depends on kubelet.service"],
    )?;
    refused(&[&setup.slice.path], &["not a container, pod or unit"])?;
    refused(
        &[&container.path],
        &["namespace is unknown", "--cri-socket"],
    )?;
    refused(
        &[&setup.name, "--never", &setup.name],
        &["never to be braked"],
    )?;
    refused(&["nobody.service"], &["no owner `nobody.service`"])?;
    setup.unit.set("pids.max", "40")?;
    refused(&[&setup.name, "--at", "40"], &["pids.max is already 40"])?;
    let mut load = Load::new(env, "hold").with("processes", 4);
    load = load.inside(&setup.unit);
    let mut load = load.start()?;
    load.ready()?;
    refused(&[&setup.name, "--at", "2"], &["has 5 tasks"])?;
    setup.unit.set("pids.max", "5")?;
    refused(&[&setup.name], &["reached its own pids.max of 5"])?;
    load.finish()?;
    for cgroup in [&kubelet, &container] {
        assert_eq!(limit(cgroup)?, "max");
    }
    let nobody = setup.release()?;
    nobody.assert_refused(1, &["is not braked"]);
    Ok(())
}

fn an_exhausted_limit_above_is_named(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "above")?;
    let mut load = Load::new(env, "hold").with("processes", 9);
    load = load.inside(&setup.unit);
    let mut load = load.start()?;
    load.ready()?;
    setup.slice.set("pids.max", "10")?;
    let run = setup.brake(&[])?;
    assert_done(&run, &[&setup.slice.path, "a brake frees no PIDs"]);
    load.finish()?;
    Ok(())
}

/// Neither the agent nor the commands could create one.
fn an_agent_brakes_and_releases_without_a_new_task(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "socket")?;
    let state = Folder::new("socket")?;
    let arguments = ["--lease-dir", setup.leases.as_str()];
    let mut agent = Agent::start(env, state.path(), &arguments)?;
    let full = Cgroup::new(&env.hierarchy, "full")?;
    full.set("cgroup.procs", &agent.pidwatch.id().to_string())?;
    full.set("pids.max", "1")?;
    let caller = Cgroup::new(&env.hierarchy, "caller")?;
    caller.set("pids.max", "1")?;
    let run = |args: &[&str]| {
        let run = setup.pidwatch(args);
        run.within(|command| surroundings::in_a_cgroup(command, &caller))
            .finish()
    };
    let brake = ["brake", &setup.name, "--at", "20"];
    let dry_run = run(&["brake", &setup.name, "--at", "20", "--dry-run"])?;
    assert_done(&dry_run, &["would lower", "nothing changed"]);
    assert_eq!(setup.limit()?, "max");
    assert_done(&run(&brake)?, &["is braked", "to end it early"]);
    assert_eq!(setup.limit()?, "20");
    assert!(setup.holder().is_err(), "the agent maintains it");
    assert_eq!(setup.findings()?[0].0, "brake-in-force");
    setup.unit.set("pids.max", "700")?;
    setup.wait_for_limit("20")?;
    // Again, with another limit.
    assert_done(
        &run(&["brake", &setup.name, "--at", "30", "--for", "1h"])?,
        &["pids.max 30 (was 700)"],
    );
    assert_done(&run(&["release", &setup.name])?, &["pids.max is 700 again"]);
    assert_eq!(setup.limit()?, "700");
    run(&["release", &setup.name])?.assert_refused(1, &["is not braked"]);
    run(&["brake", &setup.slice.path])?.assert_refused(1, &["not a container, pod or unit"]);
    run(&["brake", "nobody.service"])?.assert_refused(1, &["no owner `nobody.service`"]);
    assert_done(&run(&brake)?, &["is braked"]);
    agent.pidwatch.wait(|seen| {
        let of_brakes = seen.of_type("brake");
        of_brakes
            .filter(|event| event.text("/phase") == Some("applied"))
            .count()
            == 3
    })?;
    let recording = agent.pidwatch.stop()?;
    assert_eq!(setup.limit()?, "700", "restored at the agent's end");
    let all: Vec<_> = recording.of_type("brake").collect();
    let phases: Vec<_> = all
        .iter()
        .filter_map(|event| event.text("/phase"))
        .collect();
    assert_eq!(
        phases,
        [
            "applied", "set_back", "applied", "released", "applied", "released"
        ]
    );
    assert!(all.iter().all(|event| event.text("/by") == Some("command")));
    assert!(!setup.folder.path().join("agent.sock").exists());
    Ok(())
}

/// Every step of both commands is tried: after each, `release --all` restores the limit that was there.
fn a_command_killed_at_any_step_leaves_no_limit_lowered(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "steps")?;
    setup.unit.set("pids.max", "700")?;
    let restored = |what: &str, nth: usize| -> Result<()> {
        let limit = setup.limit()?;
        ensure!(
            ["700", "20"].contains(&limit.as_str()),
            "{what}, step {nth}: {limit}"
        );
        let released = setup.pidwatch(&["release", "--all"]).finish()?;
        ensure!(
            released.status.success(),
            "{what}, step {nth}: {released:?}"
        );
        assert_eq!(setup.limit()?, "700", "{what}, step {nth}");
        let files = fs::read_dir(&setup.leases).into_iter().flatten().flatten();
        let mut leases =
            files.filter(|file| file.path().extension().is_some_and(|end| end == "json"));
        ensure!(
            leases.next().is_none(),
            "{what}, step {nth}: a lease is left"
        );
        Ok(())
    };
    let brake = ["brake", &setup.name, "--at", "20", "--cri-socket", "none"];
    let (mut steps, mut lowered) = (0, 0);
    while setup.pidwatch(&brake).killed_after(steps + 1)? {
        steps += 1;
        lowered += usize::from(setup.limit()? == "20");
        restored("brake", steps)?;
    }
    println!("    brake: {steps} steps, the limit was lowered after {lowered}");
    ensure!(steps > lowered && lowered > 0, "not every step was tried");
    restored("brake", steps + 1)?;
    let (mut steps, mut lowered) = (0, 0);
    loop {
        assert_done(&setup.brake(&["--at", "20"])?, &["is braked"]);
        let release = ["release", &setup.name];
        if !setup.pidwatch(&release).killed_after(steps + 1)? {
            break;
        }
        steps += 1;
        lowered += usize::from(setup.limit()? == "20");
        restored("release", steps)?;
    }
    println!("    release: {steps} steps, the limit was lowered after {lowered}");
    ensure!(steps > lowered && lowered > 0, "not every step was tried");
    restored("release", steps + 1)
}

/// PIDs that others free go to others.
fn at_a_full_limit_the_culprit_gains_nothing(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "culprit")?;
    setup.slice.set("pids.max", "300")?;
    let (ends, victim) = (
        setup.slice.child("ends.service")?,
        setup.slice.child("victim.service")?,
    );
    let holds = Load::new(env, "hold").with("processes", 30);
    let mut holds = holds.inside(&ends).start()?;
    holds.ready()?;
    let leak = Load::new(env, "leak").with("per-second", 50);
    let mut leak = leak.inside(&setup.unit).start()?;
    leak.ready()?;
    wait("a full slice", || {
        Ok(setup.slice.read("pids.current")? >= 300)
    })?;
    let run = setup.brake(&["--for", "60s"])?;
    assert_done(
        &run,
        &[
            &setup.slice.path,
            "is exhausted; a brake frees no PIDs, ending tasks of",
        ],
    );
    let braked: u64 = setup.limit()?.parse()?;
    assert_eq!(setup.unit.read("pids.current")?, braked);
    holds.finish()?;
    let forks = Load::new(env, "forks").with("count", 200).inside(&victim);
    let forks = forks.run()?;
    assert_eq!(
        (forks.here.created.processes, forks.failures.len()),
        (200, 0)
    );
    assert_eq!(setup.unit.read("pids.current")?, braked);
    assert_done(&setup.release()?, &["pids.max is max again"]);
    leak.finish()?;
    Ok(())
}

/// A pod of a real container runtime, named by the command as the runtime names it.
fn a_braked_container_runs_on_and_its_lease_ends(env: &Env) -> Result<()> {
    const HOLDS: &str = "i=0; while [ $i -lt 12 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let containerd = Containerd::start(env)?;
    let pod = containerd.pod("cart-7d9f", &uid(1))?;
    let (id, path) = pod.run("app", &["/bin/sh", "-c", HOLDS])?;
    let (_, neighbour) = pod.run("sidecar", &["/bin/sh", "-c", "sleep 1000"])?;
    let folder = tempfile::tempdir()?;
    let leases = folder.path().join("brakes");
    let cri = containerd.cri.socket.display().to_string();
    let run = |command: &str, args: &[&str]| {
        let run = Invocation::new(env).args([command, "shop/cart-7d9f/app"]);
        run.args(args)
            .args(["--lease-dir".as_ref(), leases.as_os_str()])
            .finish()
    };
    let read = |path: &str, file: &str| -> Result<String> {
        let text = fs::read_to_string(containerd.directory(path).join(file))?;
        Ok(text.trim().to_owned())
    };
    let before = read(&path, "pids.max")?;
    let others = read(&neighbour, "pids.max")?;
    wait("10 tasks", || {
        Ok(read(&path, "pids.current")?.parse::<u64>()? >= 10)
    })?;
    let processes = read(&path, "cgroup.procs")?;
    let first = processes.lines().next().context("nobody there")?;
    let lease = if env.guest { "60s" } else { "15s" };
    let run_brake = run("brake", &["--cri-socket", &cri, "--for", lease])?;
    assert_done(&run_brake, &["shop/cart-7d9f/app is braked", "exec probes"]);
    let braked = read(&path, "pids.max")?;
    assert!(braked.parse::<u64>()? >= 10, "{braked}");
    assert_eq!(read(&neighbour, "pids.max")?, others, "nobody else's");
    // What it executes is moved in, which no limit refuses; whatever forks there is refused.
    let forks = ["/bin/sh", "-c", "/bin/true; /bin/true"];
    let passes = |command: &[&str]| {
        let executed = containerd.cri.exec(&id, command);
        executed.is_ok_and(|executed| executed.exit_code == 0)
    };
    println!(
        "    an exec of one program passed: {}",
        passes(&["/bin/true"])
    );
    assert!(!passes(&forks), "it forked");
    assert!(read(&path, "pids.current")?.parse::<u64>()? <= braked.parse()?);
    assert!(read(&path, "cgroup.procs")?.lines().any(|pid| pid == first));
    wait_within(Duration::from_secs(90), "the end of the lease", || {
        Ok(read(&path, "pids.max")? == before)
    })?;
    assert!(passes(&forks));
    Ok(())
}
