//! A brake's lease: the record on disk while an owner is braked, and the next step for it.
//!
//! The lease is saved before the limit is written. Every process that maintains it (the one that `brake` leaves
//! behind, `release`) reads the file and `pids.max`, and takes the step that [`Lease::evaluate`] returns. No state
//! is kept in memory, so a process may be killed after any write:
//!
//! - `pids.max` is a value that the brake wrote: the brake is in force. At the end the previous limit is written,
//!   then the lease is removed.
//! - `pids.max` is higher: another program wrote it (systemd on daemon-reload, the kubelet), or the brake was
//!   killed before its own write. It becomes the limit to restore, and is lowered again until the lease ends.
//! - `pids.max` is lower: another program wants less than the brake. It stays, during the lease and after it.

use serde::{Deserialize, Serialize};

use super::PidsMax;
use crate::clock::BootTime;

/// A brake on one cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The cgroup id (inode number of its directory).
    pub cgroup_id: u64,
    /// Its path in the hierarchy that has the pids controller.
    pub path: String,
    /// The owner's display name.
    pub owner: String,
    /// The limit to restore.
    pub before: PidsMax,
    /// Every limit that the brake wrote or was about to write; the last one is in force.
    wrote: Vec<u64>,
    /// End, in nanoseconds of the boot-time clock.
    until_ns: u64,
    /// Whether the agent braked by itself; it renews such a lease while the brake refuses tasks.
    #[serde(default)]
    pub automatic: bool,
}

/// The next step for a lease; each lists its writes in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// None: the brake, or another program's lower limit, is in force.
    Keep,
    /// Save the lease, then write its limit: another program had written this higher one.
    SetBack(PidsMax),
    /// Save the lease, write the previous limit, remove the lease.
    Restore(PidsMax),
    /// Remove the lease.
    Remove(Ending),
}

/// Why there is no limit to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The cgroup was removed.
    Gone,
    /// Another program wrote this limit; it stays.
    Replaced(PidsMax),
}

impl Lease {
    /// Creates a lease for a cgroup (id, path, owner); nothing is saved.
    pub fn new(
        (cgroup_id, path, owner): (u64, String, String),
        before: PidsMax,
        limit: u64,
        until: BootTime,
    ) -> Self {
        Self {
            cgroup_id,
            path,
            owner,
            before,
            wrote: vec![limit],
            until_ns: until.nanos(),
            automatic: false,
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> u64 {
        self.wrote.last().copied().unwrap_or_default()
    }

    /// The end of the lease.
    pub fn until(&self) -> BootTime {
        BootTime::from_nanos(self.until_ns)
    }

    /// Changes the end of the lease.
    pub fn ends_at(&mut self, until: BootTime) {
        self.until_ns = until.nanos();
    }

    /// Changes the limit while `pids.max` is `current`; save the lease, then write the limit.
    pub fn brake_at(&mut self, limit: u64, current: PidsMax) {
        if !self.is_own(current) {
            self.before = current;
        }
        self.wrote.retain(|&wrote| wrote != limit);
        self.wrote.push(limit);
    }

    /// Whether the brake wrote this limit.
    pub fn is_own(&self, limit: PidsMax) -> bool {
        matches!(limit, PidsMax::Tasks(tasks) if self.wrote.contains(&tasks))
    }

    /// The next step while `pids.max` is `current`; `None` if the cgroup was removed.
    pub fn evaluate(&mut self, now: BootTime, current: Option<PidsMax>) -> Step {
        let Some(current) = current else {
            return Step::Remove(Ending::Gone);
        };
        let limit = PidsMax::Tasks(self.limit());
        let is_own = self.is_own(current);
        if now >= self.until() {
            return if is_own {
                Step::Restore(self.before)
            } else {
                Step::Remove(Ending::Replaced(current))
            };
        }
        if current == limit || !is_own && current < limit {
            return Step::Keep;
        }
        if !is_own {
            self.before = current;
        }
        Step::SetBack(current)
    }
}

#[cfg(test)]
mod tests;
