//! Failed creations: all are counted, and what is told of them is true. The reason may be `unknown`,
//! never a wrong one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::Recording;
use pidwatch_tests::truth::Truth;

use crate::{Scenario, scenario};

pub fn scenarios(env: &Env) -> Vec<Scenario> {
    let mut all = vec![
        scenario!(clones_beyond_pids_max_add_up),
        scenario!(clones_beyond_an_ancestors_pids_max_add_up),
        scenario!(clones_beyond_rlimit_nproc_add_up),
        scenario!(clones_into_a_dying_pid_namespace_add_up),
        scenario!(a_clone_with_invalid_flags_is_rejected_not_failed),
        scenario!(a_failed_clone_is_printed_at_once),
    ];
    // PID namespaces have a pid_max of their own from 6.14 on.
    if env.kernel >= (6, 14) {
        all.push(scenario!(clones_beyond_a_namespaces_pid_max_add_up));
    }
    // Limits of the whole machine are lowered where nothing else runs.
    if env.guest {
        all.push(scenario!(
            a_node_without_a_free_pid_is_reported_all_the_while
        ));
        all.push(scenario!(clones_beyond_threads_max_add_up));
    }
    all
}

/// Runs a load that fails in a cgroup until pidwatch has counted all that failed, or was rejected.
fn watch(env: &Env, load: Load, cgroup: &Cgroup) -> Result<(Truth, Recording)> {
    let mut pidwatch = Invocation::trace(env).start()?;
    let truth = load.inside(cgroup).run()?;
    pidwatch.wait(|seen| {
        let total = seen.total(cgroup.id);
        total.failures() + total.rejected >= truth.failures.len() as u64
            && seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum()
    })?;
    Ok((truth, pidwatch.stop()?))
}

/// All failures are counted; none shown or counted has another reason than `reason`, or, where no
/// record says it, `unknown`.
fn assert_failed(
    recording: &Recording,
    cgroup: &Cgroup,
    truth: &Truth,
    reason: &str,
    errno: &str,
) -> Result<()> {
    let counts = recording.counts_of(cgroup.id)?;
    println!("    failed {:?} of {}", counts.failed, truth.failures.len());
    assert_eq!(
        counts.failures(),
        truth.failures.len() as u64,
        "{:?}",
        counts.failed
    );
    assert_eq!(counts.rejected, 0, "rejected");
    assert_eq!(counts.created, truth.here.created, "created");
    assert_eq!(counts.exited, truth.here.exited, "exited");
    for counted in counts.failed.keys() {
        assert!(
            [reason, "unknown"].contains(&counted.as_str()),
            "{:?}",
            counts.failed
        );
    }
    let mut shown = 0;
    let mut suppressed = 0;
    for failure in recording.failures(cgroup.id) {
        let json = &failure.json;
        let told = json["reason"].as_str().unwrap_or_default();
        assert!([reason, "unknown"].contains(&told), "{json}");
        assert_eq!(json["errno"], errno, "{json}");
        assert!(
            truth.failures_of(&json["syscall"].to_string().replace('"', "")) > 0,
            "{json}"
        );
        assert_eq!(json["proc"]["comm"], "pidwatch-load", "{json}");
        assert_eq!(failure.path(), Some(cgroup.path.as_str()), "{json}");
        shown += 1;
        suppressed += failure.number("/suppressed").unwrap_or(0);
    }
    println!("    shown {shown}, told as suppressed {suppressed}");
    assert!(shown > 0, "no clone_failed event");
    assert!(
        shown + suppressed <= truth.failures.len() as u64,
        "more than there were"
    );
    Ok(())
}

/// Where a limit is told, it is the right one's, and it was reached.
fn assert_limit(recording: &Recording, cgroup: &Cgroup, owner: &Cgroup, value: u64) {
    for failure in recording
        .failures(cgroup.id)
        .filter(|event| event.json["limit"].is_object())
    {
        assert_eq!(
            failure.text("/limit/cgroup"),
            Some(owner.path.as_str()),
            "{failure:?}"
        );
        assert_eq!(failure.number("/limit/value"), Some(value), "{failure:?}");
        assert_eq!(failure.number("/limit/usage"), Some(value), "{failure:?}");
    }
}

fn clones_beyond_pids_max_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "full")?;
    cgroup.set("pids.max", "20")?;
    let load = Load::new(env, "fail").with("count", 400);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pids_max", "EAGAIN")?;
    assert_limit(&recording, &cgroup, &cgroup, 20);
    Ok(())
}

fn clones_beyond_an_ancestors_pids_max_add_up(env: &Env) -> Result<()> {
    let outer = Cgroup::new(&env.hierarchy, "outer")?;
    let cgroup = outer.child("inner")?;
    outer.set("pids.max", "15")?;
    cgroup.set("pids.max", "1000")?;
    let (truth, recording) = watch(env, Load::new(env, "fail").with("count", 40), &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pids_max", "EAGAIN")?;
    assert_limit(&recording, &cgroup, &outer, 15);
    Ok(())
}

fn clones_beyond_rlimit_nproc_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "nproc")?;
    let load = Load::new(env, "fail").with("count", 40);
    let load = load.with("uid", 54_321).with("rlimit-nproc", 12);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "rlimit_nproc", "EAGAIN")?;
    for failure in recording.failures(cgroup.id) {
        assert_eq!(failure.number("/proc/uid"), Some(54_321), "{failure:?}");
    }
    Ok(())
}

fn clones_into_a_dying_pid_namespace_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "dying")?;
    let load = Load::new(env, "fail-in-dying-pid-namespace").with("count", 5);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pid_namespace_dying", "ENOMEM")
}

fn clones_beyond_a_namespaces_pid_max_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "namespace")?;
    let load = Load::new(env, "fail-in-pid-namespace")
        .with("count", 20)
        .with("pid-max", 301);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pid_namespace_max", "EAGAIN")
}

fn a_clone_with_invalid_flags_is_rejected_not_failed(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "invalid")?;
    let load = Load::new(env, "reject").with("count", 50);
    let (truth, recording) = watch(env, load, &cgroup)?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.rejected, truth.failures.len() as u64, "rejected");
    assert_eq!(counts.failures(), 0, "{:?}", counts.failed);
    assert_eq!(recording.failures(cgroup.id).count(), 0, "shown as failed");
    Ok(())
}

/// Measures; what is printed is a figure, not a verdict.
fn a_failed_clone_is_printed_at_once(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "prompt")?;
    cgroup.set("pids.max", "10")?;
    let load = Load::new(env, "fail")
        .with("count", 200)
        .with("interval-us", 20_000);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pids_max", "EAGAIN")?;
    let arrivals: Vec<u64> = recording
        .failures(cgroup.id)
        .map(|failure| failure.arrived_ns)
        .collect();
    // Nothing suppressed: the events are the failures, in order. Otherwise an event is taken to be
    // about the last failure before it was read.
    let in_order = arrivals.len() == truth.failures.len();
    let mut delays: Vec<u64> = arrivals
        .iter()
        .enumerate()
        .filter_map(|(number, &arrived)| {
            let mut failures = truth.failures.iter().map(|failure| failure.realtime_ns);
            let failed = if in_order {
                failures.nth(number)
            } else {
                failures.filter(|&at| at <= arrived).max()
            };
            Some(arrived.saturating_sub(failed?) / 1_000)
        })
        .collect();
    delays.sort_unstable();
    let at = |percent: usize| delays.get((delays.len() * percent / 100).min(delays.len() - 1));
    println!(
        "    printed after the failure, {} of {}: median {:?} us, p99 {:?} us, longest {:?} us",
        delays.len(),
        truth.failures.len(),
        at(50),
        at(99),
        delays.last()
    );
    Ok(())
}

/// A limit of the whole machine that is put back at the end.
struct Lowered {
    file: &'static Path,
    before: String,
}

impl Lowered {
    fn to(file: &'static str, value: u64) -> Result<Self> {
        let file = Path::new(file);
        let before = fs::read_to_string(file)?;
        fs::write(file, value.to_string())
            .with_context(|| format!("cannot write {value} to {}", file.display()))?;
        Ok(Self { file, before })
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.file, self.before.trim()) {
            eprintln!("cannot restore {}: {error}", self.file.display());
        }
    }
}

/// At its lowest. pidwatch goes on reporting while the node has no free PID, without a new task.
fn a_node_without_a_free_pid_is_reported_all_the_while(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "pid-max")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let tasks = format!("/proc/{}/task", pidwatch.id());
    let count_tasks = || fs::read_dir(&tasks).map(Iterator::count);
    let before = count_tasks()?;
    let load = Load::new(env, "fail")
        .with("count", 100)
        .with("interval-us", 10_000);
    let lowered = Lowered::to("/proc/sys/kernel/pid_max", 301)?;
    let mut load = load.flag("hold").inside(&cgroup).start()?;
    load.ready()?;
    // All that follows is printed while the load keeps every PID.
    pidwatch.wait(|seen| seen.total(cgroup.id).failures() >= 101)?;
    assert_eq!(count_tasks()?, before, "tasks of pidwatch");
    assert!(
        pidwatch.seen().failures(cgroup.id).count() > 0,
        "no clone_failed event"
    );
    drop(lowered);
    let truth = load.finish()?;
    pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    assert_eq!(count_tasks()?, before, "tasks of pidwatch");
    assert_failed(&pidwatch.stop()?, &cgroup, &truth, "pid_max", "EAGAIN")
}

fn clones_beyond_threads_max_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "threads-max")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let tasks = fs::read_to_string("/proc/loadavg")?;
    let tasks = tasks
        .split(['/', ' '])
        .nth(4)
        .context("no task count")?
        .parse::<u64>()?;
    let load = Load::new(env, "fail")
        .with("count", 100)
        .flag("hold")
        .inside(&cgroup);
    let lowered = Lowered::to("/proc/sys/kernel/threads-max", tasks + 60)?;
    let mut load = load.start()?;
    load.ready()?;
    drop(lowered);
    let truth = load.finish()?;
    pidwatch.wait(|seen| {
        let total = seen.total(cgroup.id);
        total.failures() >= truth.failures.len() as u64
            && seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum()
    })?;
    assert_failed(&pidwatch.stop()?, &cgroup, &truth, "threads_max", "EAGAIN")
}
