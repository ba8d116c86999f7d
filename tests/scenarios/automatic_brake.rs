//! The agent's automatic brake: no victim is refused, nobody is braked by mistake, and the limit is always restored.

use std::time::Duration;

use anyhow::{Context, Result};
use pidwatch_tests::agent::{Agent, Folder};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::{Load, Running};
use pidwatch_tests::recording::{Event, Recording};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            EVERYWHERE,
            with_the_automatic_brake_no_victim_is_ever_refused
        )
        .minutes(4)
        .slow(),
        scenario!(HOST, a_dry_run_reports_the_brake_and_changes_nothing).slow(),
        scenario!(LAYOUTS, a_killed_agents_brake_is_maintained_by_the_next_one).slow(),
    ]
}

/// An emulated guest is slow.
const LONG: Duration = Duration::from_mins(3);
/// All of them are below it.
const SHARED_LIMIT: u64 = 900;
const PER_SECOND: u64 = 20;
/// Ages for people who do not wait for minutes.
const SOON: &str = "stale_age=10s,stale_idle=6s,zombie_age=4s,zombie_time=15s,evidence_time=10s";

/// A unit that leaks below a slice whose limit others share.
struct Setup<'a> {
    env: &'a Env,
    folder: Folder,
    slice: Cgroup,
    leaker: Cgroup,
}

impl<'a> Setup<'a> {
    fn new(env: &'a Env, label: &str) -> Result<Self> {
        let slice = Cgroup::new(&env.hierarchy, "automatic.slice")?;
        slice.set("pids.max", &SHARED_LIMIT.to_string())?;
        Ok(Self {
            leaker: slice.child(format!("{label}.service"))?,
            folder: Folder::new(label)?,
            slice,
            env,
        })
    }

    fn agent(&self, mode: &str) -> Result<Agent> {
        let leases = self.folder.path().join("brakes");
        let leases = leases.to_str().context("no text")?;
        let arguments = ["--brake", mode, "--lease-dir", leases, "--detect", SOON];
        let state = self.folder.path().join("state");
        Agent::start(self.env, &state, &arguments)
    }

    fn leak(&self) -> Result<Running> {
        let leak = Load::new(self.env, "leak").with("per-second", PER_SECOND);
        leak.inside(&self.leaker).start()
    }
}

fn limit(cgroup: &Cgroup) -> Result<String> {
    let text = std::fs::read_to_string(cgroup.directory.join("pids.max"))?;
    Ok(text.trim().to_owned())
}

/// What happened to brakes on a cgroup.
fn phases<'a>(seen: &'a Recording, cgroup: &'a Cgroup) -> impl Iterator<Item = &'a Event> {
    seen.of_type("brake")
        .filter(|event| event.cgroup() == Some(cgroup.id))
}

fn has(seen: &Recording, cgroup: &Cgroup, phase: &str) -> bool {
    phases(seen, cgroup).any(|event| event.text("/phase") == Some(phase))
}

/// Beside the leak a pool at work grows as fast, and a victim creates all the time.
fn with_the_automatic_brake_no_victim_is_ever_refused(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "leaker")?;
    let victim = setup.slice.child("victim.service")?;
    let pool = setup.slice.child("pool.service")?;
    let mut agent = setup.agent("on")?;
    let victims = Load::new(env, "pace").with("per-second", 20);
    let victims = victims.inside(&victim).start()?;
    let works = Load::new(env, "leak").with("per-second", 5).flag("works");
    let works = works.inside(&pool).start()?;
    let mut leak = setup.leak()?;
    leak.ready()?;
    agent
        .pidwatch
        .wait_within(LONG, |seen| has(seen, &setup.leaker, "applied"))?;
    let braked: u64 = limit(&setup.leaker)?.parse()?;
    println!("    braked at {braked} of {SHARED_LIMIT}");
    assert!(braked < SHARED_LIMIT, "at {braked}");
    // The leak goes on for longer than it takes to fill the shared limit.
    std::thread::sleep(Duration::from_secs(
        (SHARED_LIMIT - braked) / PER_SECOND + 5,
    ));
    assert_eq!(setup.leaker.read("pids.current")?, braked);
    assert_eq!(limit(&pool)?, "max", "a pool is no leak");
    let metrics = agent.metrics()?;
    let path = &setup.leaker.path;
    assert_eq!(metrics.of("pidwatch_brake_active", path, ""), Some(1.0));
    let applied = metrics.value("pidwatch_brakes_total", &["phase=\"applied\""]);
    assert_eq!(applied, Some(1.0));
    let truth = victims.finish()?;
    assert_eq!(truth.failures.len(), 0, "the victim was refused");
    assert!(truth.here.created.processes >= 100);
    works.finish()?;
    let recording = agent.pidwatch.stop()?;
    leak.finish()?;
    assert_eq!(limit(&setup.leaker)?, "max", "restored at the end");
    assert!(has(&recording, &setup.leaker, "released"));
    let applied = phases(&recording, &setup.leaker).next().context("none")?;
    assert_eq!(applied.text("/by"), Some("agent"));
    assert_eq!(applied.number("/limit"), Some(braked));
    assert_eq!(applied.text("/before"), Some("max"));
    let below = |event: &&Event| {
        let path = event.path().or(event.text("/cgroup")).unwrap_or_default();
        path.starts_with(&setup.slice.path)
    };
    let mut opened = recording.of_type("incident").filter(below);
    assert!(opened.all(|event| event.number("/failures").unwrap_or(0) == 0));
    Ok(())
}

fn a_dry_run_reports_the_brake_and_changes_nothing(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "dry")?;
    let mut agent = setup.agent("dry-run")?;
    let mut leak = setup.leak()?;
    leak.ready()?;
    agent
        .pidwatch
        .wait_within(LONG, |seen| has(seen, &setup.leaker, "would_apply"))?;
    assert_eq!(limit(&setup.leaker)?, "max");
    leak.finish()?;
    let recording = agent.pidwatch.stop()?;
    let all: Vec<_> = phases(&recording, &setup.leaker).collect();
    assert_eq!(all.len(), 1, "reported once: {all:?}");
    let why = all[0].text("/why").unwrap_or_default();
    assert!(why.contains("would be lowered from max"), "{why}");
    Ok(())
}

fn a_killed_agents_brake_is_maintained_by_the_next_one(env: &Env) -> Result<()> {
    let setup = Setup::new(env, "killed")?;
    let mut agent = setup.agent("on")?;
    let mut leak = setup.leak()?;
    leak.ready()?;
    agent
        .pidwatch
        .wait_within(LONG, |seen| has(seen, &setup.leaker, "applied"))?;
    let braked = limit(&setup.leaker)?;
    agent.pidwatch.signal(libc::SIGKILL);
    drop(agent);
    assert_eq!(limit(&setup.leaker)?, braked);
    // Whatever the next one may do by itself, it ends what was left behind.
    let mut next = setup.agent("off")?;
    next.pidwatch
        .wait_within(LONG, |seen| has(seen, &setup.leaker, "applied"))?;
    assert_eq!(limit(&setup.leaker)?, braked);
    let recording = next.pidwatch.stop()?;
    assert!(has(&recording, &setup.leaker, "released"));
    assert_eq!(limit(&setup.leaker)?, "max");
    leak.finish()?;
    Ok(())
}
