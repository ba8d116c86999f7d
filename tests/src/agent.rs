//! A running agent, and HTTP to it: a client of a few lines, that can misbehave.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::env::Env;
use crate::load::Load;
use crate::pidwatch::{Invocation, Pidwatch};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder for the length of a scenario.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, empty.
    pub fn new(label: &str) -> Result<Self> {
        let name = format!("pidwatch-test-{}-{label}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Agent {
    /// What it prints.
    pub pidwatch: Pidwatch,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Agent {
    /// `pidwatch agent` on a free port, with its state in `folder` and these arguments; asks nobody for
    /// names unless they say otherwise.
    pub fn start(env: &Env, folder: &Path, arguments: &[&str]) -> Result<Self> {
        let mut all = vec!["agent"];
        // Not the node's own, whose agent may run.
        let leases = folder.join("run/brakes").display().to_string();
        for (option, value) in [
            ("--listen", "127.0.0.1:0"),
            ("--window", "200ms"),
            ("--cri-socket", "none"),
            ("--lease-dir", &leases),
        ] {
            if !arguments.contains(&option) {
                all.extend([option, value]);
            }
        }
        all.extend(arguments);
        let invocation = Invocation::new(env)
            .args(all)
            .args(["--state-dir".as_ref(), folder.as_os_str()]);
        Self::of(invocation.start()?)
    }

    /// One that was started already.
    pub fn of(pidwatch: Pidwatch) -> Result<Self> {
        let said = pidwatch.said();
        let address = said
            .split_once("listening on http://")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .with_context(|| format!("it does not say where it listens: {said:?}"))?
            .parse()?;
        let agent = Self { pidwatch, address };
        agent.eventually("ready", || Ok(agent.get("/readyz", "")?.status == 200))?;
        Ok(agent)
    }

    /// Asks until it is so.
    pub fn eventually(&self, what: &str, is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        eventually(what, is_so)
    }

    /// GET, with an `Accept` if it is not empty.
    pub fn get(&self, path: &str, accept: &str) -> Result<Answer> {
        get(self.address, path, accept)
    }

    /// The classic metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::at(self.address)
    }

    /// The incidents about limits of this name, others' on this machine too: those that are open, and
    /// those that were.
    pub fn incidents(&self, limit: &str) -> Result<[Vec<Value>; 2]> {
        let incidents = self.get("/api/v1/incidents", "")?.json()?;
        let of = |list: &str| -> Result<Vec<Value>> {
            let mut all = incidents[list].as_array().context("no list")?.clone();
            all.retain(|incident| incident["limit"] == limit);
            Ok(all)
        };
        Ok([of("open")?, of("closed")?])
    }

    /// What it counts of some forks is exact.
    pub fn assert_counts(&self, env: &Env) -> Result<()> {
        assert_counts(self.address, env)
    }

    /// A connection of its own.
    pub fn connect(&self) -> Result<TcpStream> {
        connect(self.address)
    }
}

/// What the agent at this address counts of some forks is exact.
pub fn assert_counts(address: SocketAddr, env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "counted")?;
    let truth = Load::new(env, "forks")
        .with("count", 300)
        .inside(&cgroup)
        .run()?;
    let told = |name: &str| anyhow::Ok(Metrics::at(address)?.of(name, &cgroup.path, "process"));
    eventually("all exits are counted", || {
        let exited = told("pidwatch_container_exited_total")?;
        Ok(exited == Some(truth.here.exited.processes as f64))
    })?;
    let created = told("pidwatch_container_created_total")?;
    assert_eq!(created, Some(truth.here.created.processes as f64));
    Ok(())
}

/// Tries until it is so.
pub fn eventually(what: &str, is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    eventually_within(PATIENCE, what, is_so)
}

/// The same of what takes longer.
pub fn eventually_within(
    limit: Duration,
    what: &str,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let until = Instant::now() + limit;
    while !is_so()? {
        ensure!(Instant::now() < until, "not so within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A connection that does not wait forever.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// GET from anybody.
pub fn get(address: SocketAddr, path: &str, accept: &str) -> Result<Answer> {
    let mut stream = connect(address)?;
    let accept = if accept.is_empty() {
        String::new()
    } else {
        format!("Accept: {accept}\r\n")
    };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{accept}\r\n"
    )?;
    read(&mut stream)
}

/// Reads an answer to its end.
pub fn read(stream: &mut TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // Refused with something of it unread.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => {}
        other => {
            other?;
        }
    }
    Answer::parse(&bytes)
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// 200 and so on.
    pub status: u16,
    /// The head, in small letters.
    pub head: String,
    /// The rest.
    pub body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            bail!("no HTTP: {text:?}")
        };
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let head = head.to_ascii_lowercase();
        let body = if head.contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        Ok(Self { status, head, body })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0).min(rest.len());
        text += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    text
}

/// The text of `/metrics`.
#[derive(Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The classic metrics of the agent at this address.
    pub fn at(address: SocketAddr) -> Result<Self> {
        let answer = get(address, "/metrics", "text/plain;version=0.0.4")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(Self(answer.body))
    }

    /// The value of the one sample of this name whose labels have all of `parts`.
    pub fn value(&self, name: &str, parts: &[&str]) -> Option<f64> {
        let mut found = self.0.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && parts.iter().all(|part| line.contains(part))
        });
        let line = found.next()?;
        assert!(
            found.next().is_none(),
            "more than one {name} with {parts:?}"
        );
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The same of a cgroup.
    pub fn of(&self, name: &str, path: &str, part: &str) -> Option<f64> {
        self.value(name, &[&format!("id=\"{path}\""), part])
    }
}
