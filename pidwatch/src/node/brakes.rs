//! Recognises refusals by a brake: they open no incident and make nobody a victim.
//!
//! A lease is saved before its limit is written and removed after the limit is restored. Checking the lease
//! folder for changes at each refusal is therefore enough.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use hashbrown::HashSet;

use super::Roots;
use crate::{
    brake::{Lease, Leases, PidsMax},
    cgroup::CgroupId,
    clock::BootTime,
    limits::{FailedClone, LimitOwner, Reason},
};

/// Times of files are those of the last timer tick: 10 ms at most (CONFIG_HZ_100).
const TICK: Duration = Duration::from_millis(20);
/// How long an ended lease is kept: no failure takes longer to be read.
const KEPT: Duration = Duration::from_mins(1);

/// The leases on this node, as last read.
#[derive(Debug)]
pub struct Brakes {
    roots: Roots,
    /// Modification time of the folder; `None` if it does not exist.
    changed: Option<SystemTime>,
    leases: Vec<Lease>,
    /// Ended leases and when that was noticed: failures from before may arrive later.
    ended: Vec<(Lease, BootTime)>,
    /// Cgroups whose last failure was caused by a brake.
    refused: HashSet<CgroupId>,
    /// Not taken yet.
    changes: Vec<LeaseChange>,
}

/// A lease that came or went.
#[derive(Debug)]
pub enum LeaseChange {
    Applied(Lease),
    Ended(Lease),
}

impl Brakes {
    /// Reads nothing yet.
    pub fn new(roots: &Roots) -> Self {
        Self {
            roots: roots.clone(),
            changed: None,
            leases: Vec::new(),
            ended: Vec::new(),
            refused: HashSet::new(),
            changes: Vec::new(),
        }
    }

    /// Whether a brake refused this creation.
    pub fn refused(&mut self, failed: &FailedClone) -> bool {
        let is_brake = self.is_brake(failed);
        if is_brake {
            self.refused.insert(failed.failure.cgroup);
        } else {
            self.refused.remove(&failed.failure.cgroup);
        }
        is_brake
    }

    /// Whether the last failure in this cgroup was caused by a brake; unrecorded failures are attributed to it.
    pub fn refused_last(&self, cgroup: CgroupId) -> bool {
        self.refused.contains(&cgroup)
    }

    /// The leases that came or went since the last call.
    pub fn take_changes(&mut self) -> Vec<LeaseChange> {
        self.follow();
        std::mem::take(&mut self.changes)
    }

    /// Removes a cgroup.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.refused.remove(&cgroup);
    }

    fn is_brake(&mut self, failed: &FailedClone) -> bool {
        let Some(limit) = failed.verdict.limit else {
            return false;
        };
        let LimitOwner::Cgroup(id) = limit.owner else {
            return false;
        };
        if failed.verdict.reason != Reason::PidsMax {
            return false;
        }
        self.follow();
        let is_it =
            |lease: &Lease| lease.cgroup_id == id.0 && lease.is_own(PidsMax::Tasks(limit.value));
        let time = failed.failure.time;
        let is_over = |(lease, ended): &(Lease, BootTime)| time <= *ended && is_it(lease);
        self.leases.iter().any(is_it) || self.ended.iter().any(is_over)
    }

    /// Reads the leases if the folder has changed. `check` reports a folder that cannot be read.
    fn follow(&mut self) {
        let changed = fs::metadata(&self.roots.lease_dir)
            .and_then(|folder| folder.modified())
            .ok();
        if changed == self.changed {
            return;
        }
        let read = Leases::existing(&self.roots.lease_dir, &self.roots.proc_root);
        // One that cannot be read is read again at the next refusal.
        let Ok(read) =
            read.and_then(|leases| leases.map_or(Ok(Vec::new()), |leases| leases.all(|_| {})))
        else {
            return;
        };
        // A second change within the file system's tick would not show.
        let is_settled = |at: &SystemTime| at.elapsed().is_ok_and(|age| age > TICK);
        self.changed = changed.filter(is_settled);
        let now = BootTime::now();
        self.ended.retain(|(_, ended)| now.since(*ended) < KEPT);
        let before = std::mem::replace(&mut self.leases, read);
        let is_new = |lease: &&Lease| {
            let mut known = before.iter();
            known.all(|known| known.cgroup_id != lease.cgroup_id)
        };
        let new = self.leases.iter().filter(is_new).cloned();
        self.changes.extend(new.map(LeaseChange::Applied));
        for lease in before {
            if self
                .leases
                .iter()
                .all(|known| known.cgroup_id != lease.cgroup_id)
            {
                self.ended
                    .retain(|(ended, _)| ended.cgroup_id != lease.cgroup_id);
                self.ended.push((lease.clone(), now));
                self.changes.push(LeaseChange::Ended(lease));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        identity::Owner,
        limits::{Limit, RefusalVerdict},
        probe::Failure,
    };

    fn failed(value: u64, time: BootTime) -> FailedClone {
        let limit = Limit {
            name: "pids.max",
            value,
            usage: value,
            owner: LimitOwner::Cgroup(CgroupId(7)),
        };
        FailedClone {
            owner: Owner::new(CgroupId(9), None),
            failure: Failure::example(CgroupId(9), time),
            verdict: RefusalVerdict {
                reason: Reason::PidsMax,
                basis: None,
                limit: Some(limit),
            },
            limit_owner: None,
            suppressed: 0,
            exec_probe: false,
            on_behalf_of: None,
        }
    }

    #[test]
    fn refusals_are_recognised_from_the_first_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            proc_root: "/proc".into(),
            cgroup_root: folder.path().into(),
            lease_dir: folder.path().join("leases"),
        };
        let mut brakes = Brakes::new(&roots);
        let early = failed(30, BootTime::now());
        assert!(!brakes.refused(&early), "nobody is braked");
        let leases = Leases::open(&roots.lease_dir, Path::new("/proc")).unwrap();
        let until = BootTime::from_seconds(u64::MAX / 2_000_000_000);
        let cgroup = (7, "/a".to_owned(), "a".to_owned());
        let lease = Lease::new(cgroup, PidsMax::Unlimited, 30, until);
        leases.lock().unwrap().save(&lease).unwrap();
        assert!(brakes.refused(&failed(30, BootTime::now())));
        assert!(brakes.refused_last(CgroupId(9)));
        assert!(
            !brakes.refused(&failed(31, BootTime::now())),
            "another limit"
        );
        assert!(!brakes.refused_last(CgroupId(9)));
        let late = failed(30, BootTime::now());
        leases.lock().unwrap().remove(7).unwrap();
        assert!(brakes.refused(&late), "it was refused before the end");
        std::thread::sleep(Duration::from_millis(1));
        assert!(!brakes.refused(&failed(30, BootTime::now())));
    }
}
