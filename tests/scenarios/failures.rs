//! Failed creations: all are counted, and what is told of them is true: the reason, the limit, whose
//! it is, who failed.

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::{Cgroup, Layout};
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::Recording;
use pidwatch_tests::sysctl::{Lowered, tasks_of_node};
use pidwatch_tests::truth::Truth;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(EVERYWHERE, clones_beyond_pids_max_add_up),
        scenario!(EVERYWHERE, clones_beyond_an_ancestors_pids_max_add_up),
        scenario!(
            EVERYWHERE,
            an_incident_has_all_refusals_of_a_burst_though_its_cgroup_goes
        ),
        scenario!(EVERYWHERE, two_that_fail_at_once_are_told_apart),
        scenario!(
            EVERYWHERE,
            reasons_are_inferred_where_they_cannot_be_measured
        ),
        scenario!(KERNELS, clones_beyond_rlimit_nproc_add_up),
        scenario!(KERNELS, an_execve_beyond_rlimit_nproc_is_told),
        scenario!(KERNELS, clones_into_a_dying_pid_namespace_add_up),
        scenario!(EVERYWHERE, a_limit_that_churns_is_named),
        // Before 5.12 they are kernel threads, in nobody's cgroup.
        scenario!(KERNELS, io_urings_threads_that_are_refused_are_counted).since((5, 12)),
        // PID namespaces have a pid_max of their own from 6.14 on.
        scenario!(KERNELS, clones_beyond_a_namespaces_pid_max_add_up).since((6, 14)),
        scenario!(KERNELS, a_clone_with_invalid_flags_is_rejected_not_failed),
        scenario!(
            KERNELS,
            a_clone3_that_seccomp_answers_with_enosys_is_nothing
        ),
        scenario!(
            KERNELS,
            a_clone3_that_seccomp_refuses_is_rejected_by_its_error
        ),
        scenario!(EVERYWHERE, a_deadline_task_is_refused_by_no_limit),
        scenario!(KERNELS, clones_beyond_the_number_of_user_namespaces_name_it),
        scenario!(EVERYWHERE, a_burst_has_the_reason_of_its_limit),
        scenario!(EVERYWHERE, a_clone_into_a_full_cgroup_is_refused_there).with(Layout::V2),
        scenario!(KERNELS, a_clone_that_a_signal_restarts_is_no_failure),
        scenario!(HOST, a_failed_clone_is_printed_at_once),
    ]
}

/// Ten of a burst have a record; the others are told by totals, which come after the cgroup has gone.
fn an_incident_has_all_refusals_of_a_burst_though_its_cgroup_goes(env: &Env) -> Result<()> {
    let mut pidwatch = Invocation::trace(env).start()?;
    let cgroup = Cgroup::new(&env.hierarchy, "burst")?;
    cgroup.set("pids.max", "10")?;
    let load = Load::new(env, "fail").with("count", 200);
    let truth = load.inside(&cgroup).run()?;
    let path = cgroup.path.clone();
    cgroup.remove()?;
    let refused = |seen: &Recording| {
        let mut incidents = seen.of_type("incident");
        let last = incidents.rfind(|event| event.json["cgroup"] == path.as_str())?;
        last.number("/failures")
    };
    let all = truth.failures.len() as u64;
    pidwatch.wait(|seen| refused(seen) >= Some(all))?;
    let recording = pidwatch.stop()?;
    assert_eq!(refused(&recording), Some(all));
    Ok(())
}

/// Runs a load that fails in a cgroup until pidwatch has counted all that failed, or was rejected.
fn watch(env: &Env, load: Load, cgroup: &Cgroup) -> Result<(Truth, Recording)> {
    let mut pidwatch = Invocation::trace(env).start()?;
    let truth = load.inside(cgroup).run()?;
    pidwatch.wait(|seen| all_is_seen(seen, cgroup, &truth))?;
    Ok((truth, pidwatch.stop()?))
}

pub fn all_is_seen(seen: &Recording, cgroup: &Cgroup, truth: &Truth) -> bool {
    let total = seen.total(cgroup.id);
    total.failures() + total.rejected >= truth.failures.len() as u64
        && seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum()
}

/// All failures are counted, and each that is shown has this reason, measured in the kernel. So have those
/// that were not shown, but for at most one in twenty, `unknown`.
pub fn assert_failed(
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
    let mut shown = 0;
    let mut suppressed = 0;
    for failure in recording.failures(cgroup.id) {
        let json = &failure.json;
        assert_eq!(json["reason"], reason, "{json}");
        assert_eq!(json["evidence"], "measured", "{json}");
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
    let by_reason = |reason: &str| counts.failed.get(reason).copied().unwrap_or(0);
    let unknown = by_reason("unknown");
    let sum = by_reason(reason) + unknown;
    assert_eq!(sum, counts.failures(), "{:?}", counts.failed);
    assert!(unknown * 20 <= counts.failures(), "{:?}", counts.failed);
    assert!(
        suppressed <= counts.failures() - shown,
        "more than there were: {suppressed}"
    );
    Ok(())
}

/// Every failure names this limit.
pub fn assert_limit(recording: &Recording, cgroup: &Cgroup, name: &str, value: u64) {
    for failure in recording.failures(cgroup.id) {
        assert_eq!(failure.text("/limit/name"), Some(name), "{failure:?}");
        assert_eq!(failure.number("/limit/value"), Some(value), "{failure:?}");
    }
}

/// Every failure names this cgroup as the limit's, full.
fn assert_full(recording: &Recording, cgroup: &Cgroup, owner: &Cgroup, value: u64) {
    assert_limit(recording, cgroup, "pids.max", value);
    for failure in recording.failures(cgroup.id) {
        assert_eq!(
            failure.text("/limit/cgroup"),
            Some(owner.path.as_str()),
            "{failure:?}"
        );
        assert_eq!(failure.number("/limit/usage"), Some(value), "{failure:?}");
    }
}

fn clones_beyond_pids_max_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "full")?;
    cgroup.set("pids.max", "20")?;
    let load = Load::new(env, "fail").with("count", 400);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pids_max", "EAGAIN")?;
    assert_full(&recording, &cgroup, &cgroup, 20);
    Ok(())
}

fn clones_beyond_an_ancestors_pids_max_add_up(env: &Env) -> Result<()> {
    let outer = Cgroup::new(&env.hierarchy, "outer")?;
    let middle = outer.child("middle")?;
    let cgroup = middle.child("inner")?;
    outer.set("pids.max", "15")?;
    cgroup.set("pids.max", "1000")?;
    let (truth, recording) = watch(env, Load::new(env, "fail").with("count", 40), &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pids_max", "EAGAIN")?;
    assert_full(&recording, &cgroup, &outer, 15);
    Ok(())
}

fn clones_beyond_rlimit_nproc_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "nproc")?;
    let load = Load::new(env, "fail").with("count", 40);
    let load = load.with("uid", 54_321).with("rlimit-nproc", 12);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "rlimit_nproc", "EAGAIN")?;
    assert_nproc(&recording, &cgroup, 54_321, 12);
    Ok(())
}

/// Every failure names this user's limit.
fn assert_nproc(recording: &Recording, cgroup: &Cgroup, uid: u64, value: u64) {
    assert_limit(recording, cgroup, "RLIMIT_NPROC", value);
    for failure in recording.failures(cgroup.id) {
        assert_eq!(failure.number("/proc/uid"), Some(uid), "{failure:?}");
        assert_eq!(failure.number("/limit/uid"), Some(uid), "{failure:?}");
        assert_eq!(failure.number("/limit/usage"), Some(value), "{failure:?}");
    }
}

/// After setuid(2) over the limit; the message to the person is the same as a failed fork's.
fn an_execve_beyond_rlimit_nproc_is_told(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "exec")?;
    let load = Load::new(env, "fail-exec")
        .with("count", 9)
        .with("uid", 54_322);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "rlimit_nproc", "EAGAIN")?;
    assert_limit(&recording, &cgroup, "RLIMIT_NPROC", 0);
    Ok(())
}

fn clones_into_a_dying_pid_namespace_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "dying")?;
    let load = Load::new(env, "fail-in-dying-pid-namespace").with("count", 5);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pid_namespace_dying", "ENOMEM")
}

/// By the time that the limits are read somebody has ended: the nearest limit is named, or the one whose count
/// of refusals moved.
fn a_limit_that_churns_is_named(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "churning")?;
    cgroup.set("pids.max", "20")?;
    let pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "churn-limit")
        .with("forkers", 8)
        .with("count", 400)
        .with("ahead", 3);
    let truth = load.inside(&cgroup).run()?;
    let recording = pidwatch.stop()?;
    let counts = recording.counts_of(cgroup.id)?;
    let refused = truth.failures.len() as u64;
    assert_eq!(counts.failures(), refused);
    assert_eq!(counts.created, truth.here.created);
    let named = counts.failed.get("pids_max").copied().unwrap_or(0);
    println!("    {named} of {refused} by pids.max: {:?}", counts.failed);
    assert!(refused >= 100, "the limit does not churn: {refused}");
    assert!(20 * named >= 19 * refused, "{named} of {refused}");
    Ok(())
}

/// No system call makes them, so that no hook sees them refused: the pids controller counts it.
fn io_urings_threads_that_are_refused_are_counted(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "io-uring")?;
    cgroup.set("pids.max", "10")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "refused-io-uring").with("rings", 20);
    let mut load = load.inside(&cgroup).start()?;
    load.ready()?;
    let failed = |seen: &Recording| {
        let rates = seen.rates(cgroup.id);
        let failed = rates.filter_map(|rate| rate.number("/failed/pids_max"));
        failed.sum::<u64>()
    };
    // One is the program itself, and nine rings have room.
    pidwatch.wait(|seen| failed(seen) >= 11)?;
    let truth = load.finish()?;
    assert_eq!(truth.failures.len(), 11);
    let recording = pidwatch.stop()?;
    assert_eq!(failed(&recording), 11);
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.failures(), 11);
    assert_eq!(counts.created, truth.here.created);
    assert_eq!(recording.failures(cgroup.id).count(), 0, "no system call");
    Ok(())
}

fn clones_beyond_a_namespaces_pid_max_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "namespace")?;
    let load = Load::new(env, "fail-in-pid-namespace")
        .with("count", 20)
        .with("pid-max", 301);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pid_namespace_max", "EAGAIN")?;
    assert_limit(&recording, &cgroup, "kernel.pid_max", 301);
    Ok(())
}

/// One cgroup is full while, on another CPU, a user hits RLIMIT_NPROC in another.
fn two_that_fail_at_once_are_told_apart(env: &Env) -> Result<()> {
    let parent = Cgroup::new(&env.hierarchy, "both")?;
    let full = parent.child("full")?;
    let free = parent.child("free")?;
    full.set("pids.max", "20")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let fail = || {
        Load::new(env, "fail")
            .with("count", 1000)
            .with("interval-us", 300)
    };
    let first = fail().inside(&full).start()?;
    let second = fail()
        .with("uid", 54_323)
        .with("rlimit-nproc", 12)
        .inside(&free)
        .start()?;
    let (first, second) = (first.finish()?, second.finish()?);
    pidwatch.wait(|seen| all_is_seen(seen, &full, &first) && all_is_seen(seen, &free, &second))?;
    let recording = pidwatch.stop()?;
    assert_failed(&recording, &full, &first, "pids_max", "EAGAIN")?;
    assert_full(&recording, &full, &full, 20);
    assert_failed(&recording, &free, &second, "rlimit_nproc", "EAGAIN")?;
    assert_nproc(&recording, &free, 54_323, 12);
    Ok(())
}

/// With the kernel's reading switched off, what user space concludes is labelled so. How often it is
/// right is printed; it is never wrong about a full cgroup.
fn reasons_are_inferred_where_they_cannot_be_measured(env: &Env) -> Result<()> {
    let mut pidwatch = Invocation::trace(env)
        .args(["--probes", "failure_evidence=off"])
        .start()?;
    let full = Cgroup::new(&env.hierarchy, "blind-full")?;
    full.set("pids.max", "20")?;
    let user = Cgroup::new(&env.hierarchy, "blind-user")?;
    let dying = Cgroup::new(&env.hierarchy, "blind-dying")?;
    let slowly = || {
        Load::new(env, "fail")
            .with("count", 20)
            .with("interval-us", 5_000)
    };
    let mut load = slowly().flag("hold").inside(&full).start()?;
    load.ready()?;
    // It stays full until all of its refusals are read, which takes an emulated guest longer than the load.
    pidwatch.wait(|seen| seen.total(full.id).failures() > 20)?;
    let mut cases = vec![
        (&full, "pids_max", load.finish()?),
        (
            &user,
            "rlimit_nproc",
            slowly()
                .with("uid", 54_324)
                .with("rlimit-nproc", 12)
                .inside(&user)
                .run()?,
        ),
        (
            &dying,
            "pid_namespace_dying",
            Load::new(env, "fail-in-dying-pid-namespace")
                .with("count", 5)
                .inside(&dying)
                .run()?,
        ),
    ];
    let pid_max = Cgroup::new(&env.hierarchy, "blind-pid-max")?;
    let threads_max = Cgroup::new(&env.hierarchy, "blind-threads-max")?;
    if env.guest {
        let lowered = Lowered::to("/proc/sys/kernel/pid_max", 301)?;
        cases.push((&pid_max, "pid_max", slowly().inside(&pid_max).run()?));
        drop(lowered);
        let lowered = Lowered::to("/proc/sys/kernel/threads-max", tasks_of_node()? + 60)?;
        let truth = slowly().inside(&threads_max).run()?;
        cases.push((&threads_max, "threads_max", truth));
        drop(lowered);
    }
    pidwatch.wait(|seen| {
        cases
            .iter()
            .all(|(cgroup, _, truth)| all_is_seen(seen, cgroup, truth))
    })?;
    let recording = pidwatch.stop()?;
    for (cgroup, reason, truth) in &cases {
        let mut right = 0;
        let mut shown = 0;
        for failure in recording.failures(cgroup.id) {
            let json = &failure.json;
            shown += 1;
            right += usize::from(json["reason"] == *reason);
            assert_ne!(json["evidence"], "measured", "{json}");
        }
        println!("    {reason}: {right} of {shown} inferred rightly");
        let counts = recording.counts_of(cgroup.id)?;
        assert_eq!(counts.failures(), truth.failures.len() as u64, "{reason}");
        if *reason == "pids_max" {
            assert_eq!(right, shown, "{reason}");
        }
    }
    Ok(())
}

fn a_clone_with_invalid_flags_is_rejected_not_failed(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "invalid")?;
    let load = Load::new(env, "reject").with("count", 50);
    let (truth, recording) = watch(env, load, &cgroup)?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.rejected, truth.failures.len() as u64, "rejected");
    assert_not_failed(&recording, &cgroup)
}

/// Runs a load all of whose clones a seccomp filter answers with this error; what was rejected.
fn rejected_by_seccomp(env: &Env, cgroup: &Cgroup, errno: libc::c_int) -> Result<Recording> {
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "reject")
        .with("count", 50)
        .with("seccomp", errno as u64);
    let truth = load.inside(cgroup).run()?;
    pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    let recording = pidwatch.stop()?;
    assert_not_failed(&recording, cgroup)?;
    Ok(recording)
}

/// Container runtimes answer clone3 so: the caller then takes clone, and nobody is refused.
fn a_clone3_that_seccomp_answers_with_enosys_is_nothing(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "seccomp")?;
    let recording = rejected_by_seccomp(env, &cgroup, libc::ENOSYS)?;
    assert_eq!(recording.counts_of(cgroup.id)?.rejected, 0);
    Ok(())
}

/// Where the system call's return is looked at; it never comes to `kernel_clone`, which is said there.
fn a_clone3_that_seccomp_refuses_is_rejected_by_its_error(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "seccomp")?;
    let recording = rejected_by_seccomp(env, &cgroup, libc::EPERM)?;
    let started = recording.of_type("started").next().context("not started")?;
    let probes = started.json["probes"].as_array().context("no probes")?;
    let probe = |name: &str| probes.iter().find(|probe| probe["name"] == name);
    let sees = probe("kernel_clone").is_some_and(|probe| probe["mechanism"] == "tracepoint");
    let rejected = recording.counts_of(cgroup.id)?.rejected;
    println!("    {rejected} rejections");
    assert_eq!(rejected, if sees { 50 } else { 0 });
    if sees {
        let last = recording.rates(cgroup.id).next_back().context("no rate")?;
        assert_eq!(
            last.number("/total/rejected_by/EPERM"),
            Some(50),
            "{last:?}"
        );
    } else {
        let told = probe("kernel_clone").context("no such probe")?;
        let error = told["error"].as_str().unwrap_or_default();
        assert!(error.contains("seccomp"), "{told}");
    }
    Ok(())
}

fn a_deadline_task_is_refused_by_no_limit(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "deadline")?;
    // Full, too: the kernel never comes to look.
    cgroup.set("pids.max", "1")?;
    let load = Load::new(env, "fail-as-deadline").with("count", 40);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "deadline", "EAGAIN")?;
    let path = cgroup.path.as_str();
    let opened = recording
        .of_type("incident")
        .find(|incident| incident.json["cgroup"] == path);
    assert!(opened.is_none(), "no limit was hit: {opened:?}");
    Ok(())
}

fn clones_beyond_the_number_of_user_namespaces_name_it(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "namespaces")?;
    let load = Load::new(env, "fail-namespaces")
        .with("count", 40)
        .with("uid", 54_325);
    let (truth, recording) = watch(env, load, &cgroup)?;
    let counts = recording.counts_of(cgroup.id)?;
    let failures = truth.failures.len() as u64;
    assert_eq!(counts.failures(), failures, "{:?}", counts.failed);
    // Counted per user and namespace from 5.14 on: before, only above the caller's own.
    if env.kernel >= (5, 14) {
        assert_failed(&recording, &cgroup, &truth, "user_namespaces", "ENOSPC")?;
        assert_limit(&recording, &cgroup, "user.max_user_namespaces", 0);
    }
    let opened = recording.of_type("incident").find(|incident| {
        let limit = incident.text("/limit").unwrap_or_default();
        limit.starts_with("user.")
    });
    assert!(opened.is_none(), "no limit on tasks: {opened:?}");
    Ok(())
}

/// As fast as can be: nearly all of them are over the number of records.
fn a_burst_has_the_reason_of_its_limit(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "burst")?;
    cgroup.set("pids.max", "20")?;
    let load = Load::new(env, "fail").with("count", 2_000);
    let (truth, recording) = watch(env, load, &cgroup)?;
    assert_failed(&recording, &cgroup, &truth, "pids_max", "EAGAIN")?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.failed["pids_max"], 2_001, "{:?}", counts.failed);
    Ok(())
}

/// runc, crun and systemd create so: what counts are the limits of the cgroup that is asked for.
fn a_clone_into_a_full_cgroup_is_refused_there(env: &Env) -> Result<()> {
    let target = Cgroup::new(&env.hierarchy, "target")?;
    target.set("pids.max", "5")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "clone-into").with("count", 30).flag("hold");
    let mut load = load.at("target", &target.directory).start()?;
    load.ready()?;
    let truth = load.finish()?;
    let there = truth.elsewhere[&target.directory.display().to_string()];
    assert_eq!(truth.failures.len(), 25, "the load itself");
    pidwatch.wait(|seen| {
        seen.total(target.id).failures() >= 25
            && seen.freed_or_lost(target.id) >= there.exited.sum()
    })?;
    let recording = pidwatch.stop()?;
    let counts = recording.counts_of(target.id)?;
    assert_eq!(counts.failed["pids_max"], 25, "{:?}", counts.failed);
    for failure in recording.failures(target.id) {
        let json = &failure.json;
        assert_eq!(json["reason"], "pids_max", "{json}");
        assert_eq!(json["evidence"], "measured", "{json}");
        assert_eq!(json["limit"]["cgroup"], target.path.as_str(), "{json}");
        assert_eq!(json["proc"]["comm"], "pidwatch-load", "{json}");
    }
    assert!(recording.failures(target.id).count() > 0);
    Ok(())
}

fn a_clone_that_a_signal_restarts_is_no_failure(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "restarted")?;
    let load = Load::new(env, "forks")
        .with("count", 1000)
        .with("alarm-us", 300);
    let (truth, recording) = watch(env, load, &cgroup)?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.created, truth.here.created, "created");
    assert_eq!(counts.rejected, 0, "rejected");
    assert_not_failed(&recording, &cgroup)
}

fn assert_not_failed(recording: &Recording, cgroup: &Cgroup) -> Result<()> {
    let counts = recording.counts_of(cgroup.id)?;
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
