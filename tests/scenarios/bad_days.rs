//! What is missing is named, with its cause and its fix; nothing is lost silently, nothing panics.

use std::fs;

use anyhow::{Context, Result};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::Recording;
use pidwatch_tests::surroundings;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // What it may do and find is the kernel's to say.
        scenario!(KERNELS, without_root_it_says_what_it_needs),
        scenario!(KERNELS, without_cap_bpf_it_says_so),
        scenario!(KERNELS, without_tracefs_it_counts_and_says_what_is_left_out),
        // From 5.11 on BPF memory is not charged to RLIMIT_MEMLOCK.
        scenario!(KERNELS, with_too_little_memlock_it_says_so).before((5, 11)),
        scenario!(KERNELS, little_memlock_does_not_matter).since((5, 11)),
        scenario!(LAYOUTS, without_a_cgroup_filesystem_it_says_so),
        scenario!(LAYOUTS, cgroups_whose_end_was_lost_are_told_gone),
        scenario!(HOST, without_btf_it_says_where_that_should_be),
        scenario!(HOST, on_a_kernel_before_5_10_it_says_so),
        // The ring is the same in all kernels.
        scenario!(HOST, a_ring_of_odd_size_loses_no_count),
        scenario!(HOST, a_ring_too_small_loses_no_count),
        scenario!(HOST, cgroups_that_nobody_announced_are_forgotten)
            .slow()
            .minutes(5),
        scenario!(HOST, a_wrong_flag_is_wrong_usage),
        scenario!(HOST, a_wrong_value_is_wrong_usage),
        scenario!(HOST, an_unknown_key_is_named_with_the_nearest),
        scenario!(HOST, a_missing_configuration_file_is_named),
    ]
}

fn without_root_it_says_what_it_needs(env: &Env) -> Result<()> {
    let everyone = env.for_everyone()?;
    let run = Invocation::trace(&everyone.env)
        .within(surroundings::without_root)
        .finish()?;
    run.assert_refused(1, &["CAP_BPF", "root"]);
    Ok(())
}

fn without_cap_bpf_it_says_so(env: &Env) -> Result<()> {
    let run = Invocation::trace(env)
        .within(surroundings::without_cap_bpf)
        .finish()?;
    run.assert_refused(1, &["CAP_BPF"]);
    Ok(())
}

fn without_btf_it_says_where_that_should_be(env: &Env) -> Result<()> {
    let run = Invocation::trace(env)
        .within(surroundings::without_btf)
        .finish()?;
    run.assert_refused(1, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
    Ok(())
}

fn on_a_kernel_before_5_10_it_says_so(env: &Env) -> Result<()> {
    let run = Invocation::trace(env)
        .within(surroundings::on_an_old_kernel)
        .finish()?;
    run.assert_refused(1, &["5.10", "2.6"]);
    Ok(())
}

fn without_a_cgroup_filesystem_it_says_so(env: &Env) -> Result<()> {
    let run = Invocation::trace(env)
        .within(surroundings::without_cgroups)
        .finish()?;
    run.assert_refused(1, &["cgroup", "--cgroup-root"]);
    Ok(())
}

fn with_too_little_memlock_it_says_so(env: &Env) -> Result<()> {
    let run = Invocation::trace(env)
        .within(surroundings::with_little_memlock)
        .finish()?;
    run.assert_refused(1, &["RLIMIT_MEMLOCK", "ulimit -l"]);
    Ok(())
}

fn little_memlock_does_not_matter(env: &Env) -> Result<()> {
    assert_counts(
        env,
        Invocation::trace(env).within(surroundings::with_little_memlock),
    )
}

/// What needs tracefs is either mounted by pidwatch itself or told as a probe that is not there.
fn without_tracefs_it_counts_and_says_what_is_left_out(env: &Env) -> Result<()> {
    let trace = Invocation::trace(env).within(surroundings::without_tracefs);
    assert_counts(env, trace)
}

/// Counts of some forks are exact, and every probe that is not attached says why.
fn assert_counts(env: &Env, trace: Invocation) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "bad-day")?;
    let mut pidwatch = trace.start()?;
    let truth = Load::new(env, "forks")
        .with("count", 300)
        .inside(&cgroup)
        .run()?;
    pidwatch.wait(|seen| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())?;
    let recording = pidwatch.stop()?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.created, truth.here.created, "created");
    assert_eq!(counts.exited, truth.here.exited, "exited");
    let started = recording.of_type("started").next().context("not started")?;
    for probe in started.json["probes"].as_array().context("no probes")? {
        println!("    {probe}");
        let fine = probe["state"] == "attached" || probe["error"].is_string();
        assert!(fine, "neither attached nor explained: {probe}");
    }
    Ok(())
}

/// The kernel takes powers of two of at least a page: either pidwatch rounds up and counts, or
/// it refuses and says why.
fn a_ring_of_odd_size_loses_no_count(env: &Env) -> Result<()> {
    for size in ["3", "5000"] {
        let run = Invocation::trace(env)
            .args(["--ring-size", size, "--duration", "1s"])
            .finish()?;
        if run.status.code() == Some(0) {
            assert_counts(env, Invocation::trace(env).args(["--ring-size", size]))?;
        } else {
            run.assert_refused(2, &["ring-size", "power of two"]);
        }
    }
    let run = Invocation::trace(env).args(["--ring-size", "0"]).finish()?;
    run.assert_refused(2, &["ring-size"]);
    Ok(())
}

/// One page for many cgroups at once: records are late, counts are not lost.
fn a_ring_too_small_loses_no_count(env: &Env) -> Result<()> {
    let mut pidwatch = Invocation::trace(env)
        .args(["--ring-size", "4096"])
        .start()?;
    let cgroups = (0..60)
        .map(|_| Cgroup::new(&env.hierarchy, "ring"))
        .collect::<Result<Vec<_>>>()?;
    for cgroup in &cgroups {
        cgroup.set("pids.max", "40")?;
    }
    let load = |cgroup| {
        Load::new(env, "fail")
            .with("count", 300)
            .inside(cgroup)
            .start()
    };
    let loads = cgroups.iter().map(load).collect::<Result<Vec<_>>>()?;
    let truths = loads
        .into_iter()
        .map(pidwatch_tests::load::Running::finish)
        .collect::<Result<Vec<_>>>()?;
    pidwatch.wait(|seen| {
        cgroups
            .iter()
            .zip(&truths)
            .all(|(cgroup, truth)| seen.freed_or_lost(cgroup.id) >= truth.here.exited.sum())
    })?;
    let recording = pidwatch.stop()?;
    println!("    lost {:?}", recording.lost());
    assert_eq!(recording.lost_at("kernel_clone"), 0, "returns of clone");
    let mut counts = recording.counts()?;
    for (cgroup, truth) in cgroups.iter().zip(&truths) {
        let counts = counts.remove(&cgroup.id).unwrap_or_default();
        assert_eq!(counts.created, truth.here.created, "created");
        assert_eq!(counts.exited, truth.here.exited, "exited");
        assert_eq!(counts.failures(), truth.failures.len() as u64, "failed");
    }
    Ok(())
}

fn cgroups_whose_end_was_lost_are_told_gone(env: &Env) -> Result<()> {
    const CGROUPS: usize = 200;
    let mut pidwatch = Invocation::trace(env)
        .args(["--ring-size", "4096"])
        .start()?;
    let told = |seen: &Recording, id: u64, change: &str| {
        let ours = seen
            .of_type("cgroup")
            .filter(|event| event.cgroup() == Some(id) && event.json["change"] == change);
        ours.count()
    };
    let parent = Cgroup::new(&env.hierarchy, "lost")?;
    let cgroups = (0..CGROUPS)
        .map(|n| parent.child(n.to_string()))
        .collect::<Result<Vec<_>>>()?;
    let ids: Vec<_> = cgroups.iter().map(|cgroup| cgroup.id).collect();
    // It must know of each to tell its end; the first ones may have been lost as well.
    pidwatch.wait(|seen| seen.of_type("node").count() > 3)?;
    pidwatch.signal(libc::SIGSTOP);
    drop(cgroups);
    pidwatch.signal(libc::SIGCONT);
    pidwatch.wait(|seen| ids.iter().all(|id| told(seen, *id, "removed") > 0))?;
    drop(parent);
    let recording = pidwatch.stop()?;
    let lost = recording.lost_at("ring_cgroup");
    println!("    {lost} ends of {CGROUPS} were lost");
    assert!(lost > 0, "{:?}", recording.lost());
    for id in ids {
        assert_eq!(told(&recording, id, "removed"), 1, "ends of cgroup {id}");
    }
    Ok(())
}

/// More than the kernel side has room for, and of none more than its counts gets through.
fn cgroups_that_nobody_announced_are_forgotten(env: &Env) -> Result<()> {
    const ROUNDS: u64 = 13;
    const CGROUPS: u64 = 1_500;
    let mut pidwatch = Invocation::trace(env)
        .args(["--ring-size", "4096"])
        .start()?;
    for _ in 0..ROUNDS {
        let parent = Cgroup::new(&env.hierarchy, "unknown")?;
        drop(parent.child("first")?);
        let windows = pidwatch.seen().of_type("node").count();
        pidwatch.signal(libc::SIGSTOP);
        Load::new(env, "churn-cgroups")
            .with("count", CGROUPS)
            .at("parent", &parent.directory)
            .run()?;
        pidwatch.signal(libc::SIGCONT);
        // Some seconds: what is forgotten after half a minute must not be more than there is room for.
        pidwatch.wait(|seen| seen.of_type("node").count() >= windows + 20)?;
    }
    let recording = pidwatch.stop()?;
    println!("    lost {:?}", recording.lost());
    assert!(recording.lost_at("ring_cgroup") > ROUNDS * CGROUPS);
    assert_eq!(recording.lost_at("cgroup_map_full"), 0);
    Ok(())
}

fn a_wrong_flag_is_wrong_usage(env: &Env) -> Result<()> {
    let run = Invocation::new(env)
        .args(["trace", "--windwo", "1s"])
        .finish()?;
    run.assert_refused(2, &["--windwo", "--window"]);
    Ok(())
}

fn a_wrong_value_is_wrong_usage(env: &Env) -> Result<()> {
    for (flag, value) in [
        ("--window", "soon"),
        ("--window", "0s"),
        ("--duration", "-1s"),
        ("--probes", "x=y"),
    ] {
        let argument = format!("{flag}={value}");
        let run = Invocation::new(env).args(["trace", &argument]).finish()?;
        run.assert_refused(2, &[flag.trim_start_matches('-'), value]);
    }
    Ok(())
}

fn with_configuration(env: &Env, text: &str) -> Result<pidwatch_tests::pidwatch::Finished> {
    fs::create_dir_all(std::env::temp_dir())?;
    let file = std::env::temp_dir().join(format!("pidwatch-test-{}.toml", std::process::id()));
    fs::write(&file, text)?;
    let path = file.display().to_string();
    let run = Invocation::trace(env)
        .args(["--duration", "100ms", "--config", &path])
        .finish();
    fs::remove_file(&file)?;
    run
}

fn an_unknown_key_is_named_with_the_nearest(env: &Env) -> Result<()> {
    with_configuration(env, "windwo = \"1s\"\n")?.assert_refused(2, &["windwo", "`window`"]);
    let run = with_configuration(env, "window = \"1s\"\n")?;
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);
    with_configuration(env, "window = ")?.assert_refused(2, &[".toml"]);
    Ok(())
}

fn a_missing_configuration_file_is_named(env: &Env) -> Result<()> {
    let run = Invocation::trace(env)
        .args(["--config", "/nowhere/pidwatch.toml"])
        .finish()?;
    run.assert_refused(2, &["/nowhere/pidwatch.toml"]);
    Ok(())
}
