//! pidwatch starts, reports and ends; cgroups come, go, and leave nothing uncounted.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pidwatch_tests::cgroup::{Cgroup, Layout};
use pidwatch_tests::deadline::Process;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::{Counts, Event, Recording};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // It says which mechanisms the kernel let it use.
        scenario!(EVERYWHERE, the_first_event_says_that_it_has_started),
        scenario!(HOST, sigterm_ends_it_with_status_0),
        scenario!(HOST, the_duration_ends_it_with_status_0),
        scenario!(HOST, a_reader_that_goes_away_ends_it_quietly),
        scenario!(
            HOST,
            a_reader_that_does_not_read_does_not_keep_it_from_ending
        ),
        scenario!(KERNELS, zombies_are_told_while_they_last).slow(),
        scenario!(KERNELS, zombies_from_before_the_start_are_told).slow(),
        scenario!(KERNELS, held_tasks_are_told_by_kind),
        scenario!(EVERYWHERE, a_cgroup_is_told_as_added_and_removed),
        scenario!(EVERYWHERE, a_cgroup_removed_at_once_keeps_its_counts),
        scenario!(
            KERNELS,
            a_cgroup_removed_at_once_keeps_counts_of_children_born_there
        )
        .with(Layout::V2),
        scenario!(LAYOUTS, any_cgroup_name_leaves_json_and_text_intact),
        // There the kernel keeps what a program made in tracefs until someone removes it.
        scenario!(GUESTS, no_return_probe_stays_behind).since((7, 0)),
        // An emulated guest needs some 50 ms for each: there the 300 of a scenario above must do.
        scenario!(HOST, twenty_thousand_cgroups_come_and_go)
            .slow()
            .minutes(10),
        scenario!(HOST, a_signal_is_heard_though_every_window_is_late)
            .slow()
            .minutes(3),
    ]
}

fn the_first_event_says_that_it_has_started(env: &Env) -> Result<()> {
    let pidwatch = Invocation::trace(env).start()?;
    println!("    first event after {:?}", pidwatch.first_event);
    let recording = pidwatch.stop()?;
    let first = recording.events.first().context("no event")?;
    assert_eq!(first.kind(), "started", "the first event");
    for field in ["version", "kernel", "cgroup_layout"] {
        assert!(first.json[field].is_string(), "no {field} in {first:?}");
    }
    assert_eq!(first.json["cgroup_layout"], env.hierarchy.layout.name());
    let probes = first.json["probes"].as_array().context("no probes")?;
    for probe in probes {
        println!("    {probe}");
        for field in ["name", "state"] {
            assert!(probe[field].is_string(), "no {field} in {probe}");
        }
        // What a hook is attached by, or why it is not.
        let how = if probe["state"] == "attached" {
            "mechanism"
        } else {
            "error"
        };
        assert!(probe[how].is_string(), "no {how} in {probe}");
    }
    Ok(())
}

/// Not at its end, and not for long when it was killed.
fn no_return_probe_stays_behind(env: &Env) -> Result<()> {
    let tracefs = std::env::temp_dir().join("tracefs");
    fs::create_dir_all(&tracefs)?;
    let mount = |arguments: &[&str]| -> Result<()> {
        let status = Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&tracefs)
            .status()?;
        ensure!(status.success(), "{arguments:?}: {status}");
        Ok(())
    };
    mount(&["mount", "-t", "tracefs", "none"])?;
    let probes = || fs::read_to_string(tracefs.join("kprobe_events"));
    let killed = Invocation::trace(env).start()?;
    let name = format!("pidwatch/kernel_clone_{}", killed.id());
    assert!(probes()?.contains(&name), "{:?}", probes());
    // Killed by the harness.
    drop(killed);
    assert!(probes()?.contains(&name), "{:?}", probes());
    let pidwatch = Invocation::trace(env).start()?;
    assert!(!probes()?.contains(&name), "{:?}", probes());
    pidwatch.stop()?;
    assert!(!probes()?.contains("pidwatch/"), "{:?}", probes());
    mount(&["umount"])
}

fn sigterm_ends_it_with_status_0(env: &Env) -> Result<()> {
    let pidwatch = Invocation::trace(env).start()?;
    pidwatch.signal(libc::SIGTERM);
    pidwatch.ended()?;
    Ok(())
}

fn the_duration_ends_it_with_status_0(env: &Env) -> Result<()> {
    Invocation::trace(env)
        .args(["--duration", "1s"])
        .start()?
        .ended()?;
    Ok(())
}

/// As in `pidwatch trace | head -1`.
fn a_reader_that_goes_away_ends_it_quietly(env: &Env) -> Result<()> {
    let mut command = Command::new(&env.pidwatch);
    command.args(["trace", "-o", "json", "--window", "100ms", "--all"]);
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let mut line = String::new();
    let mut stdout = BufReader::new(process.stdout().context("no standard output")?);
    stdout.read_line(&mut line)?;
    assert!(line.contains("\"started\""), "{line}");
    drop(stdout);
    // Something to report, to nobody.
    Load::new(env, "forks").with("count", 200).run()?;
    let mut stderr = process.stderr().context("no standard error")?;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut said)?;
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(process.wait()?.code(), Some(0), "{said}");
    Ok(())
}

fn zombies_are_told_while_they_last(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "zombies")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let mut load = Load::new(env, "zombies")
        .with("count", 30)
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    let latest = |seen: &Recording, field: &str| {
        seen.rates(cgroup.id)
            .next_back()
            .and_then(|rate| rate.number(field))
    };
    // Only what has lasted for a while is called a zombie.
    pidwatch.wait_within(Duration::from_mins(1), |seen| {
        latest(seen, "/zombies") == Some(30)
    })?;
    pidwatch.wait(|seen| latest(seen, "/tasks") == Some(31))?;
    let truth = load.finish()?;
    pidwatch.wait(|seen| latest(seen, "/zombies") == Some(0))?;
    let recording = pidwatch.stop()?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.created, truth.here.created);
    assert_eq!(counts.exited, truth.here.exited);
    recording.assert_freed(cgroup.id, truth.here.exited.sum());
    Ok(())
}

/// Nothing else happens in their cgroup: no hook ever sees it.
fn zombies_from_before_the_start_are_told(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "zombies")?;
    let mut load = Load::new(env, "zombies")
        .with("count", 30)
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let latest = |seen: &Recording| seen.rates(cgroup.id).next_back()?.number("/zombies");
    pidwatch.wait_within(Duration::from_mins(1), |seen| latest(seen) == Some(30))?;
    load.finish()?;
    pidwatch.wait(|seen| latest(seen) == Some(0))?;
    pidwatch.stop()?;
    Ok(())
}

/// So many cgroups that to read them takes longer than a window lasts: it is late all the time, and hears
/// Ctrl-C all the same.
fn a_signal_is_heard_though_every_window_is_late(env: &Env) -> Result<()> {
    const CGROUPS: usize = 8_000;
    let parent = Cgroup::new(&env.hierarchy, "many")?;
    let children = (0..CGROUPS)
        .map(|i| parent.child(format!("c{i}")))
        .collect::<Result<Vec<_>>>()?;
    let mut pidwatch = Invocation::new(env)
        .args(["trace", "-o", "json", "--window", "100ms", "--all"])
        .start()?;
    pidwatch.wait(|seen| seen.of_type("node").count() >= 2)?;
    // A mark in the stream, for when that was.
    let mark = parent.child("mark")?;
    let recording = pidwatch.stop()?;
    drop(children);
    let is_mark = |event: &Event| event.kind() == "cgroup" && event.cgroup() == Some(mark.id);
    let events = &recording.events;
    let at = events.iter().position(is_mark).context("no mark")?;
    let (before, after) = events.split_at(at);
    let windows = |events: &[Event]| -> Vec<f64> {
        let nodes = events.iter().filter(|event| event.kind() == "node");
        nodes
            .filter_map(|node| node.json["window_s"].as_f64())
            .collect()
    };
    println!(
        "    windows: {:?}, then {:?}",
        windows(before),
        windows(after)
    );
    // The one under way, perhaps the next, and the last.
    assert!(windows(after).len() <= 3, "it went on after the signal");
    Ok(())
}

/// As in `pidwatch trace | less`, left alone.
fn a_reader_that_does_not_read_does_not_keep_it_from_ending(env: &Env) -> Result<()> {
    /// More lines in a window than a pipe takes.
    const CGROUPS: usize = 300;
    let parent = Cgroup::new(&env.hierarchy, "stall")?;
    let children = (0..CGROUPS)
        .map(|i| parent.child(format!("c{i}")))
        .collect::<Result<Vec<_>>>()?;
    let mut command = Command::new(&env.pidwatch);
    command.args(["trace", "-o", "json", "--window", "100ms", "--all"]);
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let mut stdout = BufReader::new(process.stdout().context("no standard output")?);
    // The first window's lines fill the pipe; from here on nobody reads.
    let mut line = String::new();
    while !line.contains("\"rate\"") {
        line.clear();
        stdout.read_line(&mut line)?;
    }
    process.signal(libc::SIGTERM);
    let status = process.wait()?;
    let mut said = String::new();
    let mut stderr = process.stderr().context("no standard error")?;
    std::io::Read::read_to_string(&mut stderr, &mut said)?;
    assert_eq!(status.code(), Some(0), "{said}");
    drop(children);
    Ok(())
}

fn held_tasks_are_told_by_kind(env: &Env) -> Result<()> {
    let outer = Cgroup::new(&env.hierarchy, "outer")?;
    let cgroup = outer.child("inner")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "hold")
        .with("processes", 4)
        .with("threads", 25);
    let mut load = load.inside(&cgroup).start()?;
    load.ready()?;
    assert_eq!(cgroup.read("pids.current")?, 4 * 26 + 1, "the load itself");
    let latest = |seen: &Recording, id: u64, field: &str| {
        seen.rates(id)
            .next_back()
            .and_then(|rate| rate.number(field))
    };
    pidwatch.wait(|seen| latest(seen, cgroup.id, "/tasks") == Some(105))?;
    pidwatch.wait(|seen| latest(seen, cgroup.id, "/subtree_tasks") == Some(105))?;
    pidwatch.wait(|seen| latest(seen, cgroup.id, "/processes") == Some(5))?;
    load.finish()?;
    pidwatch.stop()?;
    Ok(())
}

fn a_cgroup_is_told_as_added_and_removed(env: &Env) -> Result<()> {
    let mut pidwatch = Invocation::trace(env).start()?;
    let cgroup = Cgroup::new(&env.hierarchy, "told")?;
    let (id, path) = (cgroup.id, cgroup.path.clone());
    let told = |seen: &Recording, change: &str| {
        seen.of_type("cgroup").any(|event| {
            event.cgroup() == Some(id)
                && event.path() == Some(&path)
                && event.text("/change") == Some(change)
        })
    };
    pidwatch.wait(|seen| told(seen, "added"))?;
    cgroup.remove()?;
    pidwatch.wait(|seen| told(seen, "removed"))?;
    pidwatch.stop()?;
    Ok(())
}

fn a_cgroup_removed_at_once_keeps_its_counts(env: &Env) -> Result<()> {
    assert_churn_is_exact(env, 300, 3, false)
}

fn a_cgroup_removed_at_once_keeps_counts_of_children_born_there(env: &Env) -> Result<()> {
    assert_churn_is_exact(env, 300, 3, true)
}

/// More than the kernel's map has room for at any moment.
fn twenty_thousand_cgroups_come_and_go(env: &Env) -> Result<()> {
    assert_churn_is_exact(env, 20_000, 1, false)
}

/// Every cgroup is removed as soon as its processes have ended, its last record on the way.
fn assert_churn_is_exact(env: &Env, count: u64, forks: u64, into: bool) -> Result<()> {
    let parent = Cgroup::new(&env.hierarchy, "churn")?;
    // In v2 the cgroups can have the controller only once their parent gives it to them.
    drop(parent.child("first")?);
    let mut pidwatch = Invocation::trace(env).start()?;
    let began = Instant::now();
    let mut load = Load::new(env, "churn-cgroups")
        .with("count", count)
        .with("forks", forks);
    if into {
        load = load.flag("into");
    }
    let truth = load.at("parent", &parent.directory).run()?;
    println!(
        "    {count} cgroups in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let there = truth.elsewhere[&parent.directory.display().to_string()];
    let ours: BTreeSet<u64> = truth.cgroups.iter().copied().collect();
    assert_eq!(ours.len() as u64, count, "ids are unique");
    // The last frees may come after the last cgroup is gone.
    let last = truth.cgroups.last().copied().unwrap_or_default();
    pidwatch.wait(|seen| seen.total(last).exited.sum() > forks)?;
    let recording = pidwatch.stop()?;
    let mut sum = Counts::default();
    for (_, counts) in recording
        .counts()?
        .iter()
        .filter(|(id, _)| ours.contains(id))
    {
        sum.add(counts);
    }
    println!(
        "    created {:?}, exited {:?}, lost {:?}",
        sum.created,
        sum.exited,
        recording.lost()
    );
    recording.assert_nothing_missed(env);
    assert_eq!(sum.created, there.created, "created");
    assert_eq!(sum.exited, there.exited, "exited");
    Ok(())
}

/// The kernel refuses a newline in a cgroup's name; all else but a slash can be there.
const NAMES: [&[u8]; 8] = [
    b"quote\"quote'",
    b"back\\slash\\n",
    b"escape\x1b[31mred\x1b[0m",
    b"title\x1b]0;owned\x07",
    b"invalid\xff\xfe\xc3",
    b"tab\tcarriage\rreturn",
    "right\u{202e}left\u{85}".as_bytes(),
    b"{}%s$(id)",
];

fn any_cgroup_name_leaves_json_and_text_intact(env: &Env) -> Result<()> {
    let parent = Cgroup::new(&env.hierarchy, "names")?;
    let newline = fs::create_dir(parent.directory.join("new\nline"));
    assert!(
        newline.is_err(),
        "the kernel takes a newline now: add it to the names"
    );
    let mut json = Invocation::trace(env).start()?;
    let text = Invocation::new(env).args(["trace", "--window", "200ms", "--all"]);
    // Its end is not waited for by events: text is for people.
    let text = std::thread::scope(|scope| {
        let text = scope.spawn(|| text.args(["--duration", "4s"]).finish());
        let truths = NAMES.iter().map(|name| {
            let cgroup = parent.child(OsStr::from_bytes(name))?;
            let truth = Load::new(env, "forks")
                .with("count", 5)
                .inside(&cgroup)
                .run()?;
            json.wait(|seen| seen.total(cgroup.id).exited == truth.here.exited)?;
            let path = json
                .seen()
                .rates(cgroup.id)
                .next_back()
                .and_then(|rate| rate.path());
            println!("    {path:?}");
            if let Ok(name) = std::str::from_utf8(name) {
                assert!(
                    path.is_some_and(|path| path.ends_with(name)),
                    "{path:?} is not {name:?}"
                );
            }
            Ok(())
        });
        let outcome = truths.collect::<Result<Vec<()>>>();
        (outcome, text.join())
    });
    let (outcome, text) = text;
    outcome?;
    json.stop()?;
    let Ok(text) = text else {
        anyhow::bail!("the reader panicked")
    };
    let text = text?;
    assert_eq!(text.status.code(), Some(0), "{}", text.stderr);
    for bytes in [&text.stdout[..], text.stderr.as_bytes()] {
        let strange = bytes
            .iter()
            .find(|&&byte| byte < b' ' && !b"\n\t".contains(&byte));
        assert_eq!(
            strange,
            None,
            "control character in {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    Ok(())
}
