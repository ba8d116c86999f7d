//! What the agent costs with a thousand containers, and whom it keeps waiting with twelve thousand cgroups. Times
//! are printed and judged by nobody here: the machine of a test is not the machine of a figure. Sizes are, and
//! that a signal is heard.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pidwatch_tests::agent::{Agent, Folder, eventually};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, a_thousand_containers_of_which_fifty_are_busy)
            .slow()
            .minutes(6),
        scenario!(HOST, containers_that_come_and_go_leave_nothing_behind)
            .slow()
            .minutes(3 + rounds() as u64),
        scenario!(HOST, cgroups_without_number_hide_no_container)
            .minutes(4)
            .slow(),
        scenario!(HOST, twelve_thousand_cgroups_keep_nobody_waiting)
            .slow()
            .minutes(4),
    ]
}

/// How often containers come and go: `PIDWATCH_TEST_ROUNDS`, for a soak of more than some minutes.
fn rounds() -> usize {
    let asked = std::env::var("PIDWATCH_TEST_ROUNDS").ok();
    let rounds: usize = asked.map_or(8, |rounds| rounds.parse().expect("a number of rounds"));
    rounds.max(8)
}

/// Nanoseconds on a CPU so far.
fn cpu(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let first = text.split(' ').next().context("empty")?;
    Ok(first.parse()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn a_thousand_containers_of_which_fifty_are_busy(env: &Env) -> Result<()> {
    const OWNERS: usize = 1_000;
    const BUSY: usize = 50;
    let folder = Folder::new("cost")?;
    let parent = Cgroup::new(&env.hierarchy, "thousand")?;
    let containers = (0..OWNERS)
        .map(|n| parent.child(format!("cri-containerd-{n:064x}.scope")))
        .collect::<Result<Vec<_>>>()?;
    // One that waits in each, and in some one that forks.
    let hold = |cgroup: &Cgroup| {
        let mut load = Load::new(env, "hold")
            .with("processes", 0)
            .inside(cgroup)
            .start()?;
        load.ready()?;
        Ok(load)
    };
    let held = containers.iter().map(hold).collect::<Result<Vec<_>>>()?;
    let agent = Agent::start(env, folder.path(), &["--window", "1s"])?;
    let pace = |cgroup| {
        Load::new(env, "pace")
            .with("per-second", 5)
            .inside(cgroup)
            .start()
    };
    let busy = containers[..BUSY]
        .iter()
        .map(pace)
        .collect::<Result<Vec<_>>>()?;
    let pid = agent.pidwatch.id();
    eventually("all have series", || {
        let metrics = agent.metrics()?;
        let of_ours = |line: &&str| {
            line.starts_with("pidwatch_container_tasks{") && line.contains(&parent.path)
        };
        Ok(metrics.0.lines().filter(of_ours).count() >= OWNERS)
    })?;
    const SECONDS: Duration = Duration::from_secs(30);
    std::thread::sleep(SECONDS);
    let (began, before) = (Instant::now(), cpu(pid)?);
    std::thread::sleep(SECONDS);
    let steady = (cpu(pid)? - before) as f64 / began.elapsed().as_nanos() as f64;
    println!("    steady: {:.2} % of a core", steady * 100.0);

    let (mut walls, mut cpus, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(50));
        let before = cpu(pid)?;
        let began = Instant::now();
        bytes = agent.metrics()?.0.len();
        let wall = began.elapsed();
        let meanwhile = steady * wall.as_secs_f64() * 1e3;
        walls.push(wall.as_secs_f64() * 1e3);
        cpus.push((cpu(pid)? - before) as f64 / 1e6 - meanwhile);
    }
    println!(
        "    a scrape of {:.2} MB: {:.1} ms, {:.1} ms of CPU (medians of 30)",
        bytes as f64 / 1e6,
        median(walls),
        median(cpus)
    );
    let (resident, own) = (
        agent.pidwatch.status("VmRSS")?,
        agent.pidwatch.status("RssAnon")?,
    );
    println!("    resident: {resident} KiB, {own} KiB of them its own");
    assert!(resident < 40 * 1024, "{resident} KiB");
    drop(busy);
    drop(held);
    agent.pidwatch.stop()?;
    Ok(())
}

/// Owners that are gone are forgotten after two minutes: what the agent has of its own does not grow
/// with their number.
fn containers_that_come_and_go_leave_nothing_behind(env: &Env) -> Result<()> {
    const COUNT: u64 = 1_500;
    let rounds = rounds();
    let folder = Folder::new("churn")?;
    let agent = Agent::start(env, folder.path(), &["--window", "1s"])?;
    let (mut sizes, mut parents) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let parent = Cgroup::new(&env.hierarchy, "churn")?;
        drop(parent.child("first")?);
        let truth = Load::new(env, "churn-cgroups")
            .with("count", COUNT)
            .with("forks", 2)
            .at("parent", &parent.directory)
            .run()?;
        assert_eq!(truth.cgroups.len() as u64, COUNT);
        parents.push(parent.path.clone());
        parent.remove()?;
        std::thread::sleep(Duration::from_secs(20));
        sizes.push(agent.pidwatch.status("RssAnon")?);
    }
    println!("    its own memory after each {COUNT}: {sizes:?} KiB");
    let metrics = agent.metrics()?;
    let samples = |path: &String| {
        // `churn-1` is the beginning of `churn-10`.
        let below = format!("{path}/");
        let shown = metrics.0.lines().filter(|line| line.contains(&below));
        shown.count()
    };
    let left: Vec<usize> = parents.iter().map(samples).collect();
    println!("    samples of each {COUNT}: {left:?}");
    // Not all of them: two minutes' worth of them is more than there may be series for.
    let last: usize = left[rounds - 5..].iter().sum();
    assert!(last > 0, "their last counts can be scraped");
    assert_eq!(left[0], 0, "samples of those that went minutes ago");
    assert!(sizes[rounds - 1] < 30 * 1024, "{sizes:?} KiB");
    agent.pidwatch.stop()?;
    Ok(())
}

/// A parent with processes of its own, as on v1, or one of its children in use: whoever reads its own charge
/// reads those of all its children.
fn twelve_thousand_cgroups_keep_nobody_waiting(env: &Env) -> Result<()> {
    const CGROUPS: usize = 12_000;
    let parent = Cgroup::new(&env.hierarchy, "crowd")?;
    let mut crowd = Vec::with_capacity(CGROUPS);
    for n in 0..CGROUPS {
        crowd.push(parent.child(format!("c{n}"))?);
    }
    // Full from the beginning, and nobody leaks: who holds the limit is looked for.
    parent.set("pids.max", "3")?;
    let busy = if env.unified() { &crowd[0] } else { &parent };
    let folder = Folder::new("crowd")?;
    let began = Instant::now();
    let agent = Agent::start(env, folder.path(), &["--window", "1s"])?;
    println!("    ready after {:.1} s", began.elapsed().as_secs_f64());
    let mut load = Load::new(env, "fail")
        .with("count", 2)
        .flag("hold")
        .inside(busy)
        .start()?;
    load.ready()?;
    let probe = Load::new(env, "pace").with("per-second", 40);
    let probe = probe.inside(busy).start()?;
    let mut waited = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        let asked = Instant::now();
        assert_eq!(agent.get("/healthz", "")?.status, 200);
        waited.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    waited.sort();
    let at = |share: f64| waited[((waited.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "    /healthz of {CGROUPS} cgroups: {:.1} ms (median), {:.1} (99 %), {:.1} (longest of {})",
        at(0.5),
        at(0.99),
        at(1.0),
        waited.len()
    );
    let signalled = Instant::now();
    agent.pidwatch.stop()?;
    let ended = signalled.elapsed();
    println!("    ended {:.2} s after the signal", ended.as_secs_f64());
    probe.finish()?;
    load.finish()?;
    assert!(ended < Duration::from_secs(1), "{ended:?}");
    drop(crowd);
    Ok(())
}

/// One unit makes more cgroups than the kernel side has places for, and uses each. What happens in the rest is counted in the
/// unit, and a unit that comes later is counted exactly.
fn cgroups_without_number_hide_no_container(env: &Env) -> Result<()> {
    const CGROUPS: usize = 17_000;
    const FORKS: u64 = 300;
    let slice = Cgroup::new(&env.hierarchy, "many.slice")?;
    let hostile = slice.child(format!("hostile-{}.service", std::process::id()))?;
    let folder = Folder::new("many")?;
    let mut agent = Agent::start(env, folder.path(), &["--window", "1s"])?;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn()?;
    let process = sleeper.id().to_string();
    let mut crowd = Vec::with_capacity(CGROUPS);
    for n in 0..CGROUPS {
        let cgroup = hostile.child(format!("c{n}"))?;
        cgroup.set("cgroup.procs", &process)?;
        crowd.push(cgroup);
    }
    let last = crowd.last().context("none")?;
    let beyond = Load::new(env, "forks").with("count", FORKS).inside(last);
    let beyond = beyond.run()?;
    let late = slice.child(format!("late-{}.service", std::process::id()))?;
    let forks = Load::new(env, "forks").with("count", FORKS).inside(&late);
    let truth = forks.run()?;
    agent.pidwatch.wait_within(Duration::from_mins(2), |seen| {
        seen.of_type("lost")
            .any(|event| event.text("/where") == Some("cgroup_folded"))
    })?;
    let lost = |place: &str| -> Result<f64> {
        let label = format!("where=\"{place}\"");
        let metrics = agent.metrics()?;
        metrics
            .value("pidwatch_lost_total", &[&label])
            .context("no such loss")
    };
    let created = |cgroup: &Cgroup| -> Result<Option<f64>> {
        let name = "pidwatch_container_created_total";
        Ok(agent.metrics()?.of(name, &cgroup.path, "process"))
    };
    let expected = truth.here.created.processes as f64;
    agent.eventually("the late unit is counted", || {
        Ok(created(&late)? == Some(expected))
    })?;
    let expected = beyond.here.created.processes as f64;
    agent.eventually("what was created beyond is the unit's", || {
        Ok(created(&hostile)? == Some(expected))
    })?;
    println!(
        "    {} events were counted in the unit",
        lost("cgroup_folded")?
    );
    assert_eq!(lost("cgroup_map_full")?, 0.0);
    sleeper.kill()?;
    sleeper.wait()?;
    agent.pidwatch.stop()?;
    drop(crowd);
    Ok(())
}
