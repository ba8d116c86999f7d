//! Looks at the tasks of owners that grow: a pass by the kernel side's iterator, in slices, whose tallies
//! the detector judges.
//!
//! Invariant: nobody's tasks are looked at but those of owners that grow, and passes take at most a
//! hundredth of the time: after a long one the next waits.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use pidwatch_common::activity::MAX_WATCHED;
use tokio::time::Instant;

use super::{
    Node,
    examinations::{DECIDED_PACE, PACE, RunningPass, SHARE},
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{Examinee, evidence::TaskTally},
    slice::Slice,
};

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
            .map(|examinee| (examinee.owner, TaskTally::new(examinee.scope, settings)))
            .collect();
        self.examinations.running = Some(RunningPass {
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
