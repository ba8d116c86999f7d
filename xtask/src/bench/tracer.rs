//! Tracers that run beside a storm.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

use super::inputs::Programs;
use crate::programs;

/// Counts creations and exits per cgroup, as people do with bpftrace.
const BPFTRACE: &str = "tracepoint:sched:sched_process_fork { @created[cgroup] = count(); } \
     tracepoint:sched:sched_process_exit { @exited[cgroup] = count(); } \
     BEGIN { printf(\"ready\\n\"); }";

/// A tracer by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    Pidwatch,
    Minimal,
    Bpftrace,
    Forkstat,
}

impl Tracer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pidwatch => "pidwatch",
            Self::Minimal => "minimal pair",
            Self::Bpftrace => "bpftrace, count per cgroup",
            Self::Forkstat => "forkstat",
        }
    }

    /// Starts it and waits until it traces.
    pub fn start(self, programs: &Programs) -> Result<Running> {
        let mut command = match self {
            Self::Pidwatch => {
                let mut command = Command::new(&programs.pidwatch);
                command.args(["trace", "-o", "json"]);
                command
            }
            Self::Minimal => {
                let mut command = Command::new(&programs.minimal.0);
                command.arg(&programs.minimal.1);
                command
            }
            Self::Bpftrace => {
                // It reads tracefs below debugfs; mounted for it alone where it is not.
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c"]).arg(
                    "test -d /sys/kernel/debug/tracing/events \
                     || mount -t debugfs none /sys/kernel/debug; exec bpftrace -e \"$0\"",
                );
                command.arg(BPFTRACE).env("PATH", programs::path()?);
                command
            }
            Self::Forkstat => {
                let mut command = programs::find("forkstat")?.command();
                command.args(["-l", "-e", "clone,exit,fork"]);
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.name()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut line = String::new();
        let is_ready = |line: &str| match self {
            Self::Pidwatch => line.contains("started"),
            Self::Minimal | Self::Bpftrace => line.starts_with("ready"),
            // Its heading.
            Self::Forkstat => line.starts_with("Time"),
        };
        while !is_ready(&line) {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                anyhow::bail!("{} ended before it traced", self.name());
            }
        }
        // Nobody reads on; what it writes must go somewhere.
        thread::spawn(move || {
            let mut sink = File::create("/dev/null").ok()?;
            std::io::copy(&mut lines, &mut sink).ok()
        });
        Ok(Running(child))
    }
}

/// A tracer that traces; ends when dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
