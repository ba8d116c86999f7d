//! Runs pidwatch and collects what it prints.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::deadline::Process;
use crate::env::Env;
use crate::recording::{Event, Recording};
use crate::stepwise;

/// How long pidwatch may take to start (an emulated guest verifies its programs slowly).
const START: Duration = Duration::from_mins(1);
/// How long anything may take that pidwatch is expected to print.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run of pidwatch to come.
#[derive(Debug)]
pub struct Invocation(Command);

impl Invocation {
    /// `pidwatch`, without arguments.
    pub fn new(env: &Env) -> Self {
        let mut command = Command::new(&env.pidwatch);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command)
    }

    /// `pidwatch trace -o json --window 200ms`.
    pub fn trace(env: &Env) -> Self {
        Self::new(env).args(["trace", "-o", "json", "--window", "200ms"])
    }

    /// More arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.0.args(args);
        self
    }

    /// In surroundings that lack something.
    pub fn within(mut self, surroundings: impl FnOnce(&mut Command)) -> Self {
        surroundings(&mut self.0);
        self
    }

    /// Runs it and kills it after its Nth step ([`stepwise::killed_after`]); whether there was one.
    pub fn killed_after(self, nth: usize) -> Result<bool> {
        stepwise::killed_after(self.0, nth)
    }

    /// Starts it and waits until it says that it has started.
    pub fn start(mut self) -> Result<Pidwatch> {
        let began = Instant::now();
        let mut process = Process::start(&mut self.0).context("cannot start pidwatch")?;
        let stdout = process.stdout().context("no standard output")?;
        let mut stderr = process.stderr().context("no standard error")?;
        let (events, received) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { break };
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let arrived_ns = now.unwrap_or_default().as_nanos() as u64;
                if events.send((arrived_ns, line)).is_err() {
                    break;
                }
            }
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let text = said.clone();
        let stderr = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut chunk) {
                lock(&text).extend_from_slice(&chunk[..read]);
            }
        });
        let mut pidwatch = Pidwatch {
            process,
            received,
            said,
            stderr: Some(stderr),
            recording: Recording::default(),
            first_event: Duration::ZERO,
        };
        pidwatch
            .wait_within(START, |seen| seen.of_type("started").next().is_some())
            .context("pidwatch did not start")?;
        pidwatch.first_event = began.elapsed();
        Ok(pidwatch)
    }

    /// Runs it to its end, which must come by itself.
    pub fn finish(self) -> Result<Finished> {
        self.spawn()?.finish()
    }

    /// Starts it; what it prints need not be a stream of events.
    pub fn spawn(mut self) -> Result<Spawned> {
        let mut process = Process::start(&mut self.0).context("cannot start pidwatch")?;
        let mut stderr = process.stderr().context("no standard error")?;
        let stdout = process.stdout().context("no standard output")?;
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).map(|_| text)
        });
        let (lines, received) = channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if lines.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Ok(Spawned {
            process,
            received,
            stdout: Vec::new(),
            stderr,
        })
    }
}

/// A run that ends by itself.
#[derive(Debug)]
pub struct Spawned {
    process: Process,
    received: Receiver<Vec<u8>>,
    stdout: Vec<u8>,
    stderr: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Spawned {
    /// Waits until it has printed a word.
    pub fn wait_for(&mut self, word: &str) -> Result<()> {
        self.wait_for_line(&[word])
    }

    /// Waits until it has printed a line with all of these words.
    pub fn wait_for_line(&mut self, words: &[&str]) -> Result<()> {
        self.wait_for_line_within(START, words)
    }

    /// The same, for what takes longer.
    pub fn wait_for_line_within(&mut self, limit: Duration, words: &[&str]) -> Result<()> {
        let until = Instant::now() + limit;
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        while !String::from_utf8_lossy(&self.stdout).lines().any(is_it) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.received.recv_timeout(left);
            self.stdout
                .extend(line.with_context(|| format!("it did not say {words:?}"))?);
        }
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Finished> {
        for line in &self.received {
            self.stdout.extend(line);
        }
        let Ok(stderr) = self.stderr.join() else {
            bail!("the reader of standard error panicked")
        };
        let stderr = String::from_utf8_lossy(&stderr?).into_owned();
        Ok(Finished {
            status: self.process.wait()?,
            stdout: self.stdout,
            stderr,
        })
    }
}

/// What is left of a run that has ended by itself.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Asserts that it ended with this status and that the message names all of `words`.
    pub fn assert_refused(&self, status: i32, words: &[&str]) {
        println!("    said: {}", self.stderr.trim_end());
        assert_eq!(self.status.code(), Some(status), "{self:?}");
        assert_calm(&self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no {word:?} in {:?}",
                self.stderr
            );
        }
    }
}

fn lock(text: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

fn assert_calm(stderr: &str) {
    assert!(!stderr.contains("panicked"), "pidwatch panicked: {stderr}");
}

/// A pidwatch that runs.
#[derive(Debug)]
pub struct Pidwatch {
    process: Process,
    received: Receiver<(u64, Vec<u8>)>,
    said: Arc<Mutex<Vec<u8>>>,
    stderr: Option<JoinHandle<()>>,
    recording: Recording,
    /// Time from its start to its first event.
    pub first_event: Duration,
}

impl Pidwatch {
    /// Its PID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The number at the beginning of a line of its `/proc/PID/status`: KiB, or how many.
    pub fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.with_context(|| format!("no {field}"))?.parse()?)
    }

    /// What it has printed, as far as it was waited for.
    pub fn seen(&self) -> &Recording {
        &self.recording
    }

    /// Waits until what it has printed fulfils a condition; fails after ten seconds.
    pub fn wait(&mut self, fulfilled: impl FnMut(&Recording) -> bool) -> Result<()> {
        self.wait_within(PATIENCE, fulfilled)
    }

    /// The same with another patience, for what pidwatch says late on purpose.
    pub fn wait_within(
        &mut self,
        patience: Duration,
        mut fulfilled: impl FnMut(&Recording) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        while !fulfilled(&self.recording) {
            match self
                .received
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.take(line)?;
                    while let Ok(line) = self.received.try_recv() {
                        self.take(line)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "not seen within {patience:?}; the last of {} events:{}
lost: {:?}",
                    self.recording.events.len(),
                    self.recording.last(5),
                    self.recording.lost()
                ),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!(
                        "pidwatch ended: {}, {}",
                        self.process.wait()?,
                        self.read_stderr()
                    )
                }
            }
        }
        Ok(())
    }

    /// A line of the stream is an object with at least its type, time and node.
    fn take(&mut self, (arrived_ns, line): (u64, Vec<u8>)) -> Result<()> {
        let text = String::from_utf8_lossy(&line);
        let json: Value =
            serde_json::from_slice(&line).with_context(|| format!("not JSON: {text:?}"))?;
        for field in ["type", "time", "node"] {
            ensure!(json[field].is_string(), "no {field} in {text}");
        }
        self.recording.events.push(Event { arrived_ns, json });
        Ok(())
    }

    fn read_stderr(&mut self) -> String {
        if let Some(thread) = self.stderr.take() {
            let _ = thread.join();
        }
        self.said()
    }

    /// What it has written to standard error so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&lock(&self.said)).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// Ctrl-C: the last window is printed, and it ends with status 0.
    pub fn stop(self) -> Result<Recording> {
        self.signal(libc::SIGINT);
        self.ended()
    }

    /// Waits for its end, which must be a good one.
    pub fn ended(mut self) -> Result<Recording> {
        while let Ok(line) = self.received.recv() {
            self.take(line)?;
        }
        let status = self.process.wait()?;
        self.recording.stderr = self.read_stderr();
        assert_eq!(
            status.code(),
            Some(0),
            "standard error: {}",
            self.recording.stderr
        );
        assert_calm(&self.recording.stderr);
        Ok(std::mem::take(&mut self.recording))
    }
}
