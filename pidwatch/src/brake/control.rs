//! Requests to a running pidwatch: brake an owner, or release it.
//!
//! At an exhausted limit nobody can create a process; a running agent or `top` handles a request without one. Over the
//! agent's Unix socket a request is one line of JSON, and so is the response.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::tz::TimeZone;
use rustix::{net::sockopt::socket_peercred, process::geteuid};
use serde::{Deserialize, Serialize};

use super::{ActError, Applied, Ended, Ending, Exhausted, Lease, LeaseError, Leases};
use crate::{
    clock::{BootTime, WallClock},
    escape,
    values::about,
};

/// Longest request or response, in bytes.
pub const LONGEST: u64 = 64 * 1024;
/// The agent answers within a look at the node: some 50 ms at 20,000 cgroups.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// Brake an owner.
    Brake(BrakeOptions),
    /// Release the owner with this name or path; `None` releases all.
    Release(Option<String>),
}

/// A brake on one owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrakeOptions {
    /// Its name, or the path of its cgroup.
    pub owner: String,
    /// The limit; `None` for the current usage.
    pub at: Option<u64>,
    /// Length of the lease.
    pub lasts: Duration,
    /// Change nothing.
    pub dry_run: bool,
    /// Exceptions beside those that are configured.
    pub never: Vec<String>,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlResponse {
    /// Braked, or what a dry run would do.
    Braked(Braked),
    /// Released.
    Released(Releases),
    /// Refused, with the reason.
    Refused(String),
    /// This process cannot do it, another one may.
    Unable(String),
}

impl ControlResponse {
    /// Of an error.
    pub fn of(error: &ActError) -> Self {
        match error {
            ActError::Refused { .. } | ActError::Gone(_) => Self::Refused(error.to_string()),
            ActError::Limit { .. } | ActError::Lease(_) => Self::Unable(error.to_string()),
        }
    }
}

/// A brake in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Braked {
    /// The limit.
    pub applied: Applied,
    /// A limit that is exhausted all the same.
    pub exhausted: Option<Exhausted>,
}

impl Braked {
    /// What a dry run would have done.
    pub fn would(&self) -> String {
        let Applied { lease, usage } = &self.applied;
        format!(
            "would lower pids.max of {} from {} to {}; it has {usage} tasks",
            lease.owner,
            lease.before,
            lease.limit(),
        )
    }

    /// What a brake cannot do, and its side effects.
    pub fn warnings(&self) -> Vec<String> {
        let exhausted = self.exhausted.iter().map(|full| {
            let of = full.cgroup.as_ref();
            let of = of.map_or_else(String::new, |path| format!(" of {path}"));
            format!(
                "{}{of} ({}) is exhausted; a brake frees no PIDs, ending tasks of {} does",
                full.name, full.value, self.applied.lease.owner
            )
        });
        let probes =
            "exec probes in it may fail while it is braked, and the kubelet may restart it";
        exhausted.chain([probes.to_owned()]).collect()
    }
}

/// A brake as it is, with its end in local time.
pub fn in_force(lease: &Lease) -> String {
    let until = WallClock::now().at(lease.until());
    let until = until.to_zoned(TimeZone::system()).strftime("%H:%M:%S");
    let lasts = about(lease.until().since(BootTime::now()));
    format!(
        "{} is braked: pids.max {} (was {}) until {until} ({lasts})",
        lease.owner,
        lease.limit(),
        lease.before,
    )
}

/// What became of brakes that were to be released, each as a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releases {
    /// Those that ended.
    pub released: Vec<String>,
    /// Those that could not be ended, and leases that cannot be read.
    pub failed: Vec<String>,
}

impl Releases {
    /// Releases the owner with this name or path, or all.
    ///
    /// # Errors
    /// When no such owner is braked, or no lease can be read.
    pub fn make(
        leases: Option<&Leases>,
        name: Option<&str>,
        mut release: impl FnMut(&Lease) -> Result<Ended, ActError>,
    ) -> Result<Self, ReleaseError> {
        let mut made = Self::default();
        let mut unreadable = |error: LeaseError| made.failed.push(error.to_string());
        let all = match leases {
            Some(leases) => leases.all(&mut unreadable)?,
            None => Vec::new(),
        };
        let is_meant =
            |lease: &&Lease| name.is_none_or(|name| lease.owner == name || lease.path == name);
        let meant: Vec<_> = all.iter().filter(is_meant).collect();
        if let (Some(name), true, true) = (name, meant.is_empty(), made.failed.is_empty()) {
            return Err(ReleaseError::NotBraked {
                name: name.to_owned(),
                braked: all.iter().map(|lease| lease.owner.clone()).collect(),
            });
        }
        // One that fails does not keep the others braked.
        for lease in meant {
            match release(lease) {
                Ok(ended) => made.released.push(ended_text(&lease.owner, &ended)),
                Err(error) => made.failed.push(error.to_string()),
            }
        }
        Ok(made)
    }
}

/// Nothing can be released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// No brake with this name.
    #[error("{}", NotBraked(.name, .braked))]
    NotBraked {
        /// The name.
        name: String,
        /// The owners that are braked.
        braked: Vec<String>,
    },
    /// The leases cannot be read.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

struct NotBraked<'a>(&'a str, &'a [String]);

impl fmt::Display for NotBraked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, braked) = self;
        let name = escape::for_terminal(name.as_bytes());
        if braked.is_empty() {
            write!(f, "`{name}` is not braked; no brake is in force")
        } else {
            write!(f, "`{name}` is not braked; in force: {}", braked.join(", "))
        }
    }
}

/// The end of an owner's brake, as a sentence.
pub fn ended_text(owner: &str, ended: &Ended) -> String {
    match ended {
        Ended::Not(_) => format!("{owner} is still braked: {ended}"),
        Ended::SetBack(..) | Ended::Otherwise(Ending::Gone) | Ended::Earlier => {
            format!("{owner}: {ended}")
        }
        Ended::Restored(_) | Ended::Otherwise(Ending::Replaced(_)) => {
            format!("{owner} is released: {ended}")
        }
    }
}

/// The socket of the agent that uses this lease folder.
pub fn socket(lease_dir: &Path) -> PathBuf {
    lease_dir.with_file_name("agent.sock")
}

/// Whether a process of this user may send requests.
pub fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// Has the agent handle a request; `None` if no agent answers.
pub fn send(lease_dir: &Path, request: &ControlRequest) -> Option<ControlResponse> {
    let path = socket(lease_dir);
    let stream = UnixStream::connect(&path).ok()?;
    match ask(&stream, request) {
        Ok(response) => Some(response),
        Err(error) => {
            tracing::warn!("the agent at {} does not answer: {error}", path.display());
            None
        }
    }
}

fn ask(mut stream: &UnixStream, request: &ControlRequest) -> io::Result<ControlResponse> {
    if !is_trusted(socket_peercred(stream)?.uid.as_raw()) {
        let text = "it belongs to another user";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut response = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut response)?;
    Ok(serde_json::from_str(&response)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{brake::PidsMax, clock::BootTime};

    #[test]
    fn orders_and_answers_survive_the_socket() {
        let request = ControlRequest::Brake(BrakeOptions {
            owner: "shop/cart-0/app".into(),
            at: Some(20),
            lasts: Duration::from_mins(15),
            dry_run: false,
            never: vec!["db.service".into()],
        });
        for request in [request, ControlRequest::Release(None)] {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(
                serde_json::from_str::<ControlRequest>(&text).unwrap(),
                request
            );
        }
        let cgroup = (7, "/a".to_owned(), "a".to_owned());
        let lease = Lease::new(cgroup, PidsMax::Unlimited, 20, BootTime::from_seconds(9));
        let response = ControlResponse::Braked(Braked {
            applied: Applied { lease, usage: 20 },
            exhausted: Some(Exhausted {
                cgroup: None,
                name: "kernel.pid_max".into(),
                value: 32_768,
            }),
        });
        let text = serde_json::to_string(&response).unwrap();
        assert_eq!(
            serde_json::from_str::<ControlResponse>(&text).unwrap(),
            response
        );
    }

    #[test]
    fn without_an_agent_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let lease_dir = folder.path().join("brakes");
        assert_eq!(send(&lease_dir, &ControlRequest::Release(None)), None);
        // One that was killed leaves its socket behind.
        drop(std::os::unix::net::UnixListener::bind(socket(&lease_dir)).unwrap());
        assert_eq!(send(&lease_dir, &ControlRequest::Release(None)), None);
    }

    #[test]
    fn an_owner_that_is_not_braked_is_named() {
        let release = |_: &Lease| -> Result<Ended, ActError> { unreachable!("nothing to release") };
        let error = Releases::make(None, Some("web"), release).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`web` is not braked; no brake is in force"
        );
        let none = Releases::make(None, None, release).unwrap();
        assert_eq!(none, Releases::default());
    }
}
