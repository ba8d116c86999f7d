//! Recordings: replayed as they were written, bounded by the disk, never overwritten.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, a_recording_is_replayed_as_it_was).slow(),
        scenario!(HOST, a_full_disk_ends_the_recording_and_not_the_watch).slow(),
        scenario!(HOST, a_recording_is_never_overwritten),
        scenario!(HOST, lines_that_are_no_events_are_left_out),
        scenario!(HOST, no_text_of_a_recording_reaches_a_terminal_unescaped),
    ]
}

/// A file that is removed when dropped, with its older part.
pub(crate) struct File(std::path::PathBuf);

impl File {
    pub(crate) fn new(folder: &std::path::Path) -> Self {
        Self(folder.join(format!("pidwatch-{}.rec", std::process::id())))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(format!("{}.1", self.name()));
    }
}

fn a_recording_is_replayed_as_it_was(env: &Env) -> Result<()> {
    let file = File::new(&std::env::temp_dir());
    let cgroup = Cgroup::new(&env.hierarchy, "recorded")?;
    let mut recorder = Invocation::new(env)
        .args(["record", file.name(), "--window", "200ms"])
        .spawn()?;
    recorder.wait_for("kernel")?;
    let load = Load::new(env, "threads").with("processes", 2);
    let truth = load.with("count", 50).inside(&cgroup).run()?;
    // Long enough for a few frames, and for RCU to free what has ended.
    std::thread::sleep(Duration::from_secs(5));
    recorder.signal(libc::SIGINT);
    let finished = recorder.finish()?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let replay = |speed: &str| {
        Invocation::new(env)
            .args(["replay", file.name(), "--speed", speed, "-o", "json"])
            .start()?
            .ended()
    };
    let recording = replay("max")?;
    let counts = recording.counts_of(cgroup.id)?;
    assert_eq!(counts.created, truth.here.created, "created");
    assert_eq!(counts.exited, truth.here.exited, "exited");
    assert!(recording.of_type("node").count() >= 10);
    let began = std::time::Instant::now();
    assert_eq!(replay("4")?.events.len(), recording.events.len());
    assert!(began.elapsed() >= Duration::from_secs(1), "it kept no pace");
    Ok(())
}

fn a_full_disk_ends_the_recording_and_not_the_watch(env: &Env) -> Result<()> {
    let folder = pidwatch_tests::surroundings::SMALL_DISK;
    let file = File::new(std::path::Path::new(folder));
    let cgroup = Cgroup::new(&env.hierarchy, "disk-full")?;
    let mut recorder = Invocation::new(env)
        .args(["record", file.name(), "--window", "100ms"])
        .within(pidwatch_tests::surroundings::with_a_small_disk)
        .spawn()?;
    recorder.wait_for("kernel")?;
    cgroup.set("pids.max", "800")?;
    let load = Load::new(env, "leak").with("per-second", 50);
    let load = load.inside(&cgroup).start()?;
    recorder.wait_for_line(&["SATURATED", &cgroup.path])?;
    recorder.signal(libc::SIGINT);
    let finished = recorder.finish()?;
    load.finish()?;
    println!("    said: {}", finished.stderr.trim_end());
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    for word in [
        "stopped recording",
        "No space left on device",
        "watching on",
    ] {
        assert!(
            finished.stderr.contains(word),
            "no {word:?} in {}",
            finished.stderr
        );
    }
    Ok(())
}

fn a_recording_is_never_overwritten(env: &Env) -> Result<()> {
    let file = File::new(&std::env::temp_dir());
    fs::write(&file.0, "precious")?;
    let finished = Invocation::new(env)
        .args(["record", file.name()])
        .finish()?;
    finished.assert_refused(1, &[file.name(), "exists", "choose another name"]);
    assert_eq!(fs::read(&file.0)?, b"precious");
    Ok(())
}

/// What follows is worth as much as what came before. A line of more than two mebibytes is none of ours.
fn lines_that_are_no_events_are_left_out(env: &Env) -> Result<()> {
    const STREAM: &str = include_str!("../fixtures/0.1.0/events.jsonl");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("stream");
    let replay = || {
        let run = Invocation::new(env).args(["replay", "--speed", "max", "-o", "json"]);
        run.args([&file]).finish()
    };
    let lines: Vec<&str> = STREAM.lines().take(60).collect();
    fs::write(&file, lines.join("\n") + "\n")?;
    let whole = replay()?;
    let count = |stdout: &[u8]| stdout.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!((whole.status.code(), count(&whole.stdout)), (Some(0), 60));
    let mut broken = lines.clone();
    broken.insert(20, "{\"time\":7}");
    broken.insert(40, "no JSON \u{1b}[2J");
    fs::write(&file, broken.join("\n") + "\n")?;
    let rest = replay()?;
    assert_eq!(rest.status.code(), Some(0), "{}", rest.stderr);
    assert!(rest.stdout == whole.stdout);
    assert!(rest.stderr.contains("2 lines of"), "{}", rest.stderr);
    // At the very beginning it is another program's file.
    fs::write(&file, "{\"time\":7}\n")?;
    assert_ne!(replay()?.status.code(), Some(0));
    let long = format!("{}\n{{\"x\":[{}0]}}\n", lines[0], "{},".repeat(1 << 20));
    fs::write(&file, long)?;
    assert_ne!(replay()?.status.code(), Some(0));
    Ok(())
}

/// Every text of every event is hostile, but for what makes it an event; every output shows it harmlessly.
fn no_text_of_a_recording_reaches_a_terminal_unescaped(env: &Env) -> Result<()> {
    const STREAM: &str = include_str!("../fixtures/0.1.0/events.jsonl");
    const EVIL: &str = "\u{1b}[31m\u{202e}\u{9b}2J\u{7f}\u{7}";
    fn poison(value: &mut Value) {
        const KEEP: [&str; 8] = [
            "time", "type", "phase", "opened", "since", "at", "to", "from",
        ];
        match value {
            Value::Object(fields) => {
                let fields = fields
                    .iter_mut()
                    .filter(|(key, _)| !KEEP.contains(&key.as_str()));
                fields.for_each(|(_, value)| poison(value));
            }
            Value::Array(items) => items.iter_mut().for_each(poison),
            Value::String(text) => text.push_str(EVIL),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("stream");
    let mut stream = String::new();
    for line in STREAM.lines() {
        let mut event: Value = serde_json::from_str(line)?;
        poison(&mut event);
        stream += &format!("{event}\n");
    }
    fs::write(&file, stream)?;
    for arguments in [
        ["replay", "--speed", "max", "-o", "text"].as_slice(),
        &["replay", "--speed", "max", "-o", "json"],
        &["report", "-o", "text"],
        &["report", "-o", "json"],
        &["report", "-o", "markdown"],
        &["report", "-o", "html"],
    ] {
        let run = Invocation::new(env)
            .args(arguments)
            .args([&file])
            .finish()?;
        assert_eq!(run.status.code(), Some(0), "{arguments:?}: {}", run.stderr);
        let shown = String::from_utf8(run.stdout)? + &run.stderr;
        assert!(shown.len() > 1000, "{arguments:?}: {shown}");
        let raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        let found = shown
            .find(raw)
            .map(|at| shown[at..].chars().take(40).collect::<String>());
        assert_eq!(found, None, "{arguments:?}");
    }
    Ok(())
}
