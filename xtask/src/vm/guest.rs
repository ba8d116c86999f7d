//! One guest in QEMU, from power-on to power-off.
//!
//! In: a kernel, an archive, a cgroup layout. Out: the console's lines, kept in a log file as they
//! come, and how it ended. A guest that hangs is killed when its time is up.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::accelerator::Accelerator;
use super::initramfs::MARKER;
use super::kernels::Kernel;
use super::systemd;
use crate::libtest::{Counts, Tally};
use crate::process;

/// How cgroups are mounted in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Layout {
    /// The unified hierarchy alone
    V2,
    /// One hierarchy a controller
    V1,
    /// Controllers in v1, and an empty unified hierarchy beside them
    Hybrid,
    /// v2 by systemd, as the guest's first process: the scenarios of its unit
    Systemd,
}

impl Layout {
    /// As the guest's `/init` knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::Systemd => "systemd",
        }
    }
}

/// What a guest is made of.
pub struct Guest<'a> {
    pub kernel: &'a Kernel,
    pub initramfs: &'a Path,
    pub layout: Layout,
    pub accelerator: Accelerator,
}

/// What came of a guest.
pub struct Outcome {
    pub counts: Counts,
    pub took: Duration,
    /// Why there is no result of the scenarios, if there is none.
    pub broke_off: Option<String>,
    pub console: Vec<String>,
    pub log: PathBuf,
}

impl Guest<'_> {
    /// Which guest this is: `6.12 (6.12.57) v2`.
    pub fn name(&self) -> String {
        format!(
            "{} ({}) {}",
            self.kernel.series,
            self.kernel.version,
            self.layout.name()
        )
    }

    fn qemu(&self, more: &str) -> Result<Command> {
        let first_process = match self.layout {
            Layout::Systemd => systemd::COMMAND_LINE,
            Layout::V2 | Layout::V1 | Layout::Hybrid => "",
        };
        let mut qemu = self.accelerator.qemu()?;
        qemu.args(["-smp", "2", "-m", "1024"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet panic=-1 pidwatch.layout={}{first_process}{more}",
                self.layout.name()
            ));
        Ok(qemu)
    }

    /// Gives the terminal to a shell in the guest.
    pub fn shell(&self) -> Result<()> {
        let mut qemu = self.qemu(" pidwatch.shell")?;
        let status = qemu.args(["-serial", "mon:stdio"]).status();
        status.with_context(|| format!("cannot start {}", process::shown(&qemu)))?;
        Ok(())
    }

    /// Runs the scenarios in the guest.
    pub fn run(&self, log_folder: &Path, limit: Duration) -> Result<Outcome> {
        let log = log_folder.join(format!("{}-{}.log", self.kernel.series, self.layout.name()));
        let mut log_file =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let start = Instant::now();
        let mut qemu = self.qemu("")?;
        process::end_with_parent(&mut qemu);
        let mut child = qemu
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        let stdout = child.stdout.take().context("QEMU has no standard output")?;

        let (sender, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(clean(&line)).is_err() {
                    break;
                }
            }
        });
        let mut console = Vec::new();
        let mut tally = Tally::default();
        let mut exit_status = None;
        let mut is_late = false;
        loop {
            match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    let _ = writeln!(log_file, "{:8.3} {line}", start.elapsed().as_secs_f64());
                    tally.line(&line);
                    if let Some((_, status)) = line.split_once(MARKER) {
                        exit_status = status.trim().parse::<i32>().ok();
                    }
                    console.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    is_late = true;
                    let _ = child.kill();
                    break;
                }
            }
        }
        let status = child.wait().context("cannot wait for QEMU")?;
        let _ = reader.join();

        let broke_off = match exit_status {
            Some(_) => None,
            None if is_late => Some(format!("killed after {} s", limit.as_secs())),
            None => Some(format!(
                "the guest ended in the midst of its scenarios (QEMU: {status})"
            )),
        };
        Ok(Outcome {
            counts: tally.counts(exit_status == Some(0)),
            took: start.elapsed(),
            broke_off,
            console,
            log,
        })
    }
}

/// A line of the console without carriage returns and the firmware's escape sequences.
fn clean(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut cleaned = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A control sequence ends with a letter; other sequences are one character long.
            if characters.next() == Some('[') {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
        } else if character != '\r' {
            cleaned.push(character);
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmwares_escapes_are_not_part_of_a_line() {
        assert_eq!(
            clean(b"\x1bc\x1b[?7l\x1b[2Jrunning 3 tests\r"),
            "running 3 tests"
        );
    }
}
