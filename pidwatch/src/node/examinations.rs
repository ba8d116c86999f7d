//! When the tasks of growing owners are looked at, and the pass that is under way.
//!
//! Passes take at most a hundredth of the time: after a long one the next waits.

use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::{cgroup::CgroupId, detect::evidence::TaskTally, probe::Pass, slice::Slice};

/// Least time between passes while a growth may be a leak's or a pool's: short against the minute or more
/// that evidence takes to show.
pub(super) const PACE: Duration = Duration::from_secs(5);
/// And when all of them are decided, and their tasks only tell more of them.
pub(super) const DECIDED_PACE: Duration = Duration::from_secs(30);
/// Passes take at most one part in so many of the time.
pub(super) const SHARE: u32 = 100;

/// When there is a pass, and the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Examinations {
    pub running: Option<RunningPass>,
    pub not_before: Option<Instant>,
    pub decided_not_before: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct RunningPass {
    pub pass: Pass,
    pub tallies: HashMap<CgroupId, TaskTally>,
    /// Whose tasks are in a cgroup.
    pub owners: HashMap<CgroupId, Vec<CgroupId>>,
    /// Of its slices.
    pub took: Duration,
}

impl Examinations {
    /// Whether one is to be gone on with at once.
    pub fn is_under_way(&self) -> bool {
        self.running.is_some()
    }

    pub fn is_due(&self, now: Instant, is_decided: bool) -> bool {
        let not_before = if is_decided {
            self.decided_not_before.max(self.not_before)
        } else {
            self.not_before
        };
        not_before.is_none_or(|at| now >= at)
    }
}

impl RunningPass {
    pub fn go_on(&mut self, slice: &Slice) -> std::io::Result<bool> {
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
