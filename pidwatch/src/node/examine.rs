//! Looks at the tasks of owners that grow: a pass by the kernel side's iterator, in slices, whose tallies
//! the detector judges.
//!
//! Invariant: nobody's tasks are looked at but those of owners that grow, and passes take at most a
//! hundredth of the time: after a long one the next waits.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use pidwatch_common::activity::MAX_WATCHED;
use tokio::time::Instant;

use super::Node;
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{Examinee, evidence::Tally},
    probe::Pass,
    slice::Slice,
};

/// Least time between passes while a growth may be a leak's or a pool's: short against the minute or more
/// that evidence takes to show.
const PACE: Duration = Duration::from_secs(5);
/// And when all of them are decided, and their tasks only tell more of them.
const DECIDED_PACE: Duration = Duration::from_secs(30);
/// Passes take at most one part in so many of the time.
const SHARE: u32 = 100;

/// When there is a pass, and the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Examinations {
    running: Option<Running>,
    not_before: Option<Instant>,
    decided_not_before: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    pass: Pass,
    tallies: HashMap<CgroupId, Tally>,
    /// Whose tasks are in a cgroup.
    owners: HashMap<CgroupId, Vec<CgroupId>>,
    /// Of its slices.
    took: Duration,
}

impl Examinations {
    /// Whether one is to be gone on with at once.
    pub fn is_under_way(&self) -> bool {
        self.running.is_some()
    }

    fn is_due(&self, now: Instant, is_decided: bool) -> bool {
        let not_before = if is_decided {
            self.decided_not_before.max(self.not_before)
        } else {
            self.not_before
        };
        not_before.is_none_or(|at| now >= at)
    }
}

impl Running {
    fn go_on(&mut self, slice: &Slice) -> std::io::Result<bool> {
        let began = Instant::now();
        let Self {
            pass,
            tallies,
            owners,
            took,
        } = self;
        let outcome = loop {
            let read = pass.read(|cgroup, task| {
                for owner in owners.get(&cgroup).into_iter().flatten() {
                    if let Some(tally) = tallies.get_mut(owner) {
                        tally.add(task);
                    }
                }
            });
            match read {
                Ok(true) if !slice.is_over() => {}
                outcome => break outcome,
            }
        };
        *took += began.elapsed();
        outcome
    }
}

impl Node {
    /// Begins a pass where one is due, and goes on with the one that is under way.
    pub(super) fn go_on_examining(&mut self, now: Instant, slice: &Slice) {
        if self.examinations.running.is_none() && !self.begin_examining(now) {
            return;
        }
        let Some(mut running) = self.examinations.running.take() else {
            return;
        };
        match running.go_on(slice) {
            Ok(true) => {
                self.examinations.running = Some(running);
                return;
            }
            Ok(false) => {
                let time = BootTime::now();
                for (owner, tally) in running.tallies {
                    self.detector.examined(owner, time, &tally.finish());
                }
            }
            Err(error) => tracing::warn!("cannot read the tasks of owners that grow: {error}"),
        }
        let end = Instant::now();
        let rest = running.took * SHARE;
        self.examinations.not_before = Some(end + PACE.max(rest));
        self.examinations.decided_not_before = Some(end + DECIDED_PACE.max(rest));
    }

    /// Whether one has begun.
    fn begin_examining(&mut self, now: Instant) -> bool {
        if self.detector.growers().is_empty() || !self.examinations.is_due(now, false) {
            return false;
        }
        let examinees = self.detector.to_examine(BootTime::now());
        let is_decided = examinees.iter().all(|examinee| examinee.is_decided);
        if examinees.is_empty() || !self.examinations.is_due(now, is_decided) {
            return false;
        }
        let owners = self.owners_by_cgroup(&examinees);
        let cgroups: HashSet<CgroupId> = owners.keys().copied().collect();
        let Some(pass) = self.probe.tasks_of(&cgroups) else {
            self.examinations.not_before = Some(now + DECIDED_PACE);
            return false;
        };
        let settings = self.detector.evidence_settings();
        let examined: HashSet<CgroupId> = owners.values().flatten().copied().collect();
        let tallies = examinees
            .iter()
            .filter(|examinee| examined.contains(&examinee.owner))
            .map(|examinee| (examinee.owner, Tally::new(examinee.scope, settings)))
            .collect();
        self.examinations.running = Some(Running {
            pass,
            tallies,
            owners,
            took: Duration::ZERO,
        });
        true
    }

    /// The cgroups that the tasks of these owners are in, with whose they are: those of the fastest growers,
    /// as many as there is room for.
    fn owners_by_cgroup(&self, examinees: &[Examinee]) -> HashMap<CgroupId, Vec<CgroupId>> {
        let mut parts: HashMap<CgroupId, Vec<CgroupId>> = examinees
            .iter()
            .map(|examinee| (examinee.owner, vec![examinee.owner]))
            .collect();
        for (id, _) in self.tree.iter() {
            let owner = self.parts.owner(id);
            if let Some(parts) = owner.and_then(|owner| parts.get_mut(&owner)) {
                parts.push(id);
            }
        }
        let mut owners: HashMap<CgroupId, Vec<CgroupId>> = HashMap::new();
        for examinee in examinees {
            let parts = parts.remove(&examinee.owner).unwrap_or_default();
            // One that is not seen whole is not judged.
            if owners.len() + parts.len() <= MAX_WATCHED as usize {
                for part in parts {
                    owners.entry(part).or_default().push(examinee.owner);
                }
            }
        }
        owners
    }
}
