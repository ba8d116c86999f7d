//! Lowers and restores limits. A crash after any step leaves a state that [`maintain`] repairs.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{BrakeRefusal, Ending, Lease, LeaseError, Leases, LimitFile, PidsMax, Step, limit_for};
use crate::{
    cgroup::{directory, parents_of},
    clock::BootTime,
    escape,
    identity::Owner,
    procfs::Proc,
};

/// The limit could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The rules refuse it.
    #[error("cannot brake {owner}: {reason}")]
    Refused {
        /// The owner.
        owner: String,
        /// The reason.
        reason: BrakeRefusal,
    },
    /// The cgroup was removed.
    #[error("the cgroup {} no longer exists", escape::for_terminal(.0.as_bytes()))]
    Gone(String),
    /// A file of the cgroup failed.
    #[error("cannot change {}: {error}{}", path.display(), hint(error))]
    Limit {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The lease failed.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the cgroup file system is mounted read-only, run this on the host"
        }
        io::ErrorKind::PermissionDenied => "; run as root",
        io::ErrorKind::NotFound => "; the pids controller is not enabled for this cgroup",
        _ => "",
    }
}

/// A requested brake.
#[derive(Clone, Debug)]
pub struct BrakeRequest {
    /// The cgroup id.
    pub cgroup_id: u64,
    /// Its path.
    pub path: String,
    /// The owner's display name.
    pub owner: String,
    /// The limit; `None` for the current usage.
    pub at: Option<u64>,
    /// Length of the lease.
    pub lasts: Duration,
    /// Whether the agent brakes by itself.
    pub automatic: bool,
}

impl BrakeRequest {
    /// Of somebody; `None` if the path is not UTF-8.
    pub fn of(owner: &Owner, at: Option<u64>, lasts: Duration) -> Option<Self> {
        Some(Self {
            cgroup_id: owner.id.0,
            path: String::from_utf8(owner.path.as_deref()?.to_vec()).ok()?,
            owner: owner.name(),
            at,
            lasts,
            automatic: false,
        })
    }

    fn refused(&self, reason: BrakeRefusal) -> ActError {
        ActError::Refused {
            owner: self.owner.clone(),
            reason,
        }
    }
}

/// A brake in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its lease.
    pub lease: Lease,
    /// Its tasks.
    pub usage: u64,
}

/// What a brake is about to write.
struct Plan {
    lease: Lease,
    usage: u64,
    /// `pids.max` as it is.
    current: PidsMax,
    /// The limit without the brake.
    others: PidsMax,
}

impl Plan {
    /// A second brake on a cgroup changes the limit or the end of the first, whose lease is `known`.
    fn new(
        file: &CgroupFiles,
        known: Option<Lease>,
        request: &BrakeRequest,
    ) -> Result<Self, ActError> {
        let (current, usage) = (file.limit()?, file.usage()?);
        let others = match &known {
            Some(lease) if lease.is_own(current) => lease.before,
            _ => current,
        };
        let limit =
            limit_for(request.at, usage, others).map_err(|reason| request.refused(reason))?;
        let until = after(request.lasts);
        let mut lease = match known {
            Some(mut lease) => {
                lease.brake_at(limit, current);
                lease.ends_at(until);
                lease
            }
            None => {
                let cgroup = (
                    request.cgroup_id,
                    request.path.clone(),
                    request.owner.clone(),
                );
                Lease::new(cgroup, current, limit, until)
            }
        };
        lease.automatic = request.automatic;
        Ok(Self {
            lease,
            usage,
            current,
            others,
        })
    }
}

/// What [`apply`] would do; writes nothing. `leases`: those that exist.
///
/// # Errors
/// When the rules refuse it or a file cannot be read.
pub fn would_apply(
    leases: Option<&Leases>,
    mount: &Path,
    request: &BrakeRequest,
) -> Result<Applied, ActError> {
    let file = CgroupFiles::open(mount, &request.path, request.cgroup_id)?;
    let known = leases.map(|leases| leases.load(request.cgroup_id));
    let Plan { lease, usage, .. } = Plan::new(&file, known.transpose()?.flatten(), request)?;
    Ok(Applied { lease, usage })
}

/// Lowers the limit.
///
/// # Errors
/// When the rules refuse it or a file cannot be written. The limit is then unchanged, unless a lease remains.
pub fn apply(leases: &Leases, mount: &Path, request: &BrakeRequest) -> Result<Applied, ActError> {
    let locked = leases.lock()?;
    let file = CgroupFiles::open(mount, &request.path, request.cgroup_id)?;
    let Plan {
        mut lease,
        current,
        others,
        ..
    } = Plan::new(&file, leases.load(request.cgroup_id)?, request)?;
    let limit = lease.limit();
    locked.save(&lease)?;
    if let Err(error) = file.set_limit(PidsMax::Tasks(limit)) {
        if current != PidsMax::Tasks(limit) && !lease.is_own(current) {
            locked.remove(lease.cgroup_id)?;
        }
        return Err(error);
    }
    // Tasks created between reading the usage and writing the limit exceed it; none can be created from now on.
    let usage = file.usage()?;
    if request.at.is_none() && usage > limit {
        if let Err(reason) = limit_for(None, usage, others) {
            lease.ends_at(BootTime::now());
            locked.save(&lease)?;
            file.set_limit(lease.before)?;
            locked.remove(lease.cgroup_id)?;
            return Err(request.refused(reason));
        }
        lease.brake_at(usage, PidsMax::Tasks(limit));
        locked.save(&lease)?;
        file.set_limit(PidsMax::Tasks(usage))?;
    }
    Ok(Applied { lease, usage })
}

/// State of a brake after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In force.
    Not(Lease),
    /// In force; another program had written this higher limit, which is restored at the end.
    SetBack(Lease, PidsMax),
    /// The previous limit was restored.
    Restored(PidsMax),
    /// Ended without a limit to restore.
    Otherwise(Ending),
    /// Another process has already ended it.
    Earlier,
}

impl fmt::Display for Ended {
    /// As a sentence about an owner that is named beside it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Not(lease) => write!(f, "pids.max is {}", lease.limit()),
            Self::SetBack(lease, theirs) => write!(
                f,
                "another program set pids.max to {theirs}; set back to {} until the lease ends",
                lease.limit()
            ),
            Self::Restored(before) => write!(f, "pids.max is {before} again"),
            Self::Otherwise(Ending::Gone) => f.write_str("it no longer exists"),
            Self::Otherwise(Ending::Replaced(theirs)) => {
                write!(f, "pids.max stays {theirs}, set by another program")
            }
            Self::Earlier => f.write_str("it was already released"),
        }
    }
}

/// Takes the step that is due for a brake.
///
/// # Errors
/// When a file cannot be read or written; call it again.
pub fn maintain(leases: &Leases, mount: &Path, cgroup_id: u64) -> Result<Ended, ActError> {
    end(leases, mount, cgroup_id, None)
}

/// Ends a brake now.
///
/// # Errors
/// When a file cannot be read or written; the process that maintains the brake then ends it.
pub fn release(leases: &Leases, mount: &Path, cgroup_id: u64) -> Result<Ended, ActError> {
    end(leases, mount, cgroup_id, Some(BootTime::now()))
}

/// Ends a brake whose lease file is gone: restores the previous limit, if the brake's is still in force.
///
/// # Errors
/// When the limit cannot be read or written.
pub fn restore(mount: &Path, lease: &Lease) -> Result<Ended, ActError> {
    let file = match CgroupFiles::open(mount, &lease.path, lease.cgroup_id) {
        Err(ActError::Gone(_)) => return Ok(Ended::Otherwise(Ending::Gone)),
        file => file?,
    };
    let current = match file.limit() {
        Err(ActError::Gone(_)) => return Ok(Ended::Otherwise(Ending::Gone)),
        limit => limit?,
    };
    if lease.is_own(current) {
        file.set_limit(lease.before)?;
        Ok(Ended::Restored(lease.before))
    } else {
        Ok(Ended::Otherwise(Ending::Replaced(current)))
    }
}

/// Extends a lease that is over, unless it was ended otherwise.
///
/// # Errors
/// When the lease cannot be read or written; the limit is then restored at the next step.
pub fn renew(leases: &Leases, cgroup_id: u64, lasts: Duration) -> Result<Option<Lease>, ActError> {
    let locked = leases.lock()?;
    let Some(mut lease) = leases.load(cgroup_id)? else {
        return Ok(None);
    };
    lease.ends_at(after(lasts));
    locked.save(&lease)?;
    Ok(Some(lease))
}

fn end(
    leases: &Leases,
    mount: &Path,
    cgroup_id: u64,
    at: Option<BootTime>,
) -> Result<Ended, ActError> {
    let locked = leases.lock()?;
    let Some(mut lease) = leases.load(cgroup_id)? else {
        return Ok(Ended::Earlier);
    };
    if let Some(at) = at {
        lease.ends_at(at);
        // Saved before the limit is restored: after a crash in between, the brake must not be applied again.
        locked.save(&lease)?;
    }
    let file = match CgroupFiles::open(mount, &lease.path, cgroup_id) {
        Ok(file) => Some(file),
        Err(ActError::Gone(_)) => None,
        Err(error) => return Err(error),
    };
    let current = match &file {
        Some(file) => match file.limit() {
            Err(ActError::Gone(_)) => None,
            limit => Some(limit?),
        },
        None => None,
    };
    let step = lease.evaluate(BootTime::now(), current);
    let Some(file) = file.filter(|_| current.is_some()) else {
        locked.remove(cgroup_id)?;
        return Ok(Ended::Otherwise(Ending::Gone));
    };
    match step {
        Step::Keep => Ok(Ended::Not(lease)),
        Step::SetBack(theirs) => {
            // Tasks that were created meanwhile stay: a limit below them would also refuse replacements.
            let usage = file.usage()?;
            if usage > lease.limit() && PidsMax::Tasks(usage) < theirs {
                lease.brake_at(usage, PidsMax::Tasks(lease.limit()));
            }
            locked.save(&lease)?;
            file.set_limit(PidsMax::Tasks(lease.limit()))?;
            Ok(Ended::SetBack(lease, theirs))
        }
        Step::Restore(before) => {
            file.set_limit(before)?;
            locked.remove(cgroup_id)?;
            Ok(Ended::Restored(before))
        }
        Step::Remove(ending) => {
            locked.remove(cgroup_id)?;
            Ok(Ended::Otherwise(ending))
        }
    }
}

/// A limit that is exhausted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// Path of the cgroup whose `pids.max` it is, safe to show; `None` for the node's.
    pub cgroup: Option<String>,
    /// Its name, as in `limits`.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: u64,
}

/// The nearest exhausted `pids.max` above a cgroup, or else the node's exhausted limit; a brake frees none of it.
pub fn exhausted_above(mount: &Path, proc: &Proc, path: &[u8]) -> Option<Exhausted> {
    let of_cgroup = parents_of(path).find_map(|above| {
        let read = |name: &str| std::fs::read_to_string(directory(mount, above).join(name)).ok();
        let value: u64 = read("pids.max")?.trim().parse().ok()?;
        let usage: u64 = read("pids.current")?.trim().parse().ok()?;
        (usage >= value).then(|| Exhausted {
            cgroup: Some(escape::for_terminal(above)),
            name: "pids.max".into(),
            value,
        })
    });
    let of_node = || {
        let limits = proc.node_limits(proc.node_tasks()?);
        let full = limits
            .into_iter()
            .find(|limit| limit.usage >= limit.value)?;
        Some(Exhausted {
            cgroup: None,
            name: full.name.into(),
            value: full.value,
        })
    };
    of_cgroup.or_else(of_node)
}

/// The moment after a time from now.
fn after(time: Duration) -> BootTime {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    BootTime::from_nanos(BootTime::now().nanos().saturating_add(nanos))
}

/// A cgroup's files, with errors that name them.
struct CgroupFiles {
    file: LimitFile,
    path: String,
    shown: PathBuf,
}

impl CgroupFiles {
    fn open(mount: &Path, path: &str, cgroup_id: u64) -> Result<Self, ActError> {
        let shown = directory(mount, path.as_bytes()).join("pids.max");
        match LimitFile::open(mount, path.as_bytes(), cgroup_id) {
            Ok(Some(file)) => Ok(Self {
                file,
                path: path.to_owned(),
                shown,
            }),
            Ok(None) => Err(ActError::Gone(path.to_owned())),
            Err(error) => Err(ActError::Limit { path: shown, error }),
        }
    }

    fn limit(&self) -> Result<PidsMax, ActError> {
        self.known(self.file.limit())
    }

    fn usage(&self) -> Result<u64, ActError> {
        self.known(self.file.usage())
    }

    fn known<T>(&self, read: io::Result<Option<T>>) -> Result<T, ActError> {
        match read {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ActError::Gone(self.path.clone())),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn set_limit(&self, limit: PidsMax) -> Result<(), ActError> {
        self.file
            .set_limit(limit)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ActError {
        ActError::Limit {
            path: self.shown.clone(),
            error,
        }
    }
}

#[cfg(test)]
mod tests;
