//! Runs `pidwatch-load`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cgroup::Cgroup;
use crate::deadline::Process;
use crate::env::Env;
use pidwatch_load::truth::Truth;

/// A load that is to be run.
#[derive(Debug)]
pub struct Load(Command);

impl Load {
    /// The load of that name.
    pub fn new(env: &Env, name: &str) -> Self {
        let mut command = Command::new(&env.load);
        command
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Self(command)
    }

    /// An option with a number.
    pub fn with(mut self, option: &str, value: u64) -> Self {
        self.0.arg(format!("--{option}")).arg(value.to_string());
        self
    }

    /// An option with a path.
    pub fn at(mut self, option: &str, path: &Path) -> Self {
        self.0.arg(format!("--{option}")).arg(path);
        self
    }

    /// An option with a word.
    pub fn choose(mut self, option: &str, word: &str) -> Self {
        self.0.arg(format!("--{option}")).arg(word);
        self
    }

    /// An option without a value.
    pub fn flag(mut self, option: &str) -> Self {
        self.0.arg(format!("--{option}"));
        self
    }

    /// Moves itself into this cgroup first.
    pub fn inside(self, cgroup: &Cgroup) -> Self {
        self.at("cgroup", &cgroup.directory)
    }

    /// Runs to its end; what it did.
    pub fn run(self) -> Result<Truth> {
        self.start()?.finish()
    }

    /// Starts it.
    pub fn start(mut self) -> Result<Running> {
        let mut process = Process::start(&mut self.0).context("cannot start pidwatch-load")?;
        let stdin = process.stdin();
        let stdout = BufReader::new(process.stdout().context("no standard output")?);
        Ok(Running {
            process,
            stdin,
            stdout,
        })
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Running {
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Its PID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until everything that it keeps is there.
    pub fn ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(
            line.contains("\"ready\":true"),
            "the load is not ready but said {line:?}"
        );
        Ok(())
    }

    /// Tells it to let go, and waits for its end; what it did.
    pub fn finish(mut self) -> Result<Truth> {
        drop(self.stdin.take());
        let mut last = None;
        for line in (&mut self.stdout).lines() {
            last = Some(line?);
        }
        let status = self.process.wait()?;
        ensure!(status.success(), "the load failed: {status}");
        let Some(last) = last else {
            bail!("the load told nothing")
        };
        serde_json::from_str(&last).with_context(|| format!("cannot read the truth {last:?}"))
    }
}
