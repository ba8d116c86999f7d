//! Who leaks: a state for every owner, with its growth, its evidence and its forecast.
//!
//! In: each owner's own charge and totals, about once a second, for those in which something
//! changed; the limits above an owner that grows. Out: changes of state, and who grows how fast.
//! Pure: time comes in with what is observed.
//!
//! A leak is growth that does not come back ([`trend`]), on any of five horizons ([`series`]) at
//! once, that is larger than what pools and a day's cycle bring ([`DetectSettings`]), goes on as fast
//! as before, and is more than the owner had in the last day and a half. `docs/detection.md` tells it in words.

mod curve;
pub mod evidence;
mod examination;
mod forecast;
mod grower;
mod joint;
pub mod series;
mod settings;
mod state;
pub mod trend;
mod verdict;
mod watch;
mod words;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use self::{
    evidence::{EvidenceSettings, ExaminationScope, TaskSummary},
    series::Series,
    watch::Watch,
};
pub use self::{
    forecast::{Exhaustion, Forecast},
    grower::{Grower, PartOf},
    settings::DetectSettings,
    state::State,
    verdict::{Sample, StateChange, Verdict},
};
use crate::{cgroup::CgroupId, clock::BootTime, limits::Limit, values::count};

/// The limits above an owner.
pub trait Limits {
    /// Its own `pids.max`, those of the cgroups above it, and the node's, nearest first, as they are
    /// now; without those that are not set or not known.
    fn chain(&self, owner: CgroupId) -> Vec<Limit>;

    /// What a cgroup is a part of; `None` for an owner.
    fn part_of(&self, _: CgroupId) -> Option<PartOf> {
        None
    }

    /// The workload whose replica an owner is, by its kind and name: `Deployment shop/cart`.
    fn workload(&self, _: CgroupId) -> Option<Arc<str>> {
        None
    }
}

/// An owner whose tasks are to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Examinee {
    /// Which.
    pub owner: CgroupId,
    /// It is called a leak already: its tasks only tell more of it.
    pub is_decided: bool,
    /// Which of its tasks count.
    pub scope: ExaminationScope,
}

/// An owner that is not `ok` and of which nothing is heard is looked at every so many seconds.
const SILENT_S: u64 = 8;

/// The state of all owners.
#[derive(Debug, Default)]
pub struct Detector {
    settings: DetectSettings,
    /// Boxed, because a map has up to twice the room that it needs.
    watches: HashMap<CgroupId, Box<Watch>>,
    node: Option<Series>,
    /// Observed since the last look.
    observed: HashSet<CgroupId>,
    /// Owners that are not `ok`, or may soon not be: looked at every time.
    close: HashSet<CgroupId>,
    verdicts: HashMap<CgroupId, Verdict>,
    growers: Vec<Grower>,
    forecast: Forecast,
}

impl Detector {
    /// With other thresholds.
    pub fn new(settings: DetectSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// An owner that came while watching: what it does at first is its start.
    pub fn born(&mut self, owner: CgroupId, time: BootTime) {
        let watch = Watch::new(time.seconds(), None);
        self.watches.insert(owner, Box::new(watch));
    }

    /// Takes a reading of an owner in. Those that are not heard of keep what they had.
    pub fn observe(&mut self, owner: CgroupId, time: BootTime, sample: Sample) {
        let now = time.seconds();
        match self.watches.get_mut(&owner) {
            Some(watch) => watch.observe(now, sample),
            None => {
                let watch = Watch::new(now, Some(sample));
                self.watches.insert(owner, Box::new(watch));
            }
        }
        self.observed.insert(owner);
    }

    /// A creation of the owner was refused by a limit of a cgroup: its own or one above it.
    pub fn refused(&mut self, owner: CgroupId, time: BootTime) {
        if let Some(watch) = self.watches.get_mut(&owner) {
            watch.refused(time.seconds());
            self.observed.insert(owner);
        }
    }

    /// Owners that grow, fastest first, and what a pass over their tasks is to count.
    pub fn to_examine(&self, time: BootTime) -> Vec<Examinee> {
        let now = time.seconds();
        let grow = self.growers.iter();
        grow.filter_map(|grower| {
            Some(Examinee {
                owner: grower.owner,
                is_decided: grower.state != State::Growing,
                scope: self
                    .watches
                    .get(&grower.owner)?
                    .scope(now, &self.settings)?,
            })
        })
        .collect()
    }

    /// What is evidence.
    pub fn evidence_settings(&self) -> &EvidenceSettings {
        &self.settings.evidence
    }

    /// Takes in what a pass has seen of an owner's tasks.
    pub fn examined(&mut self, owner: CgroupId, time: BootTime, seen: &TaskSummary) {
        if let Some(watch) = self.watches.get_mut(&owner) {
            watch.examined(time.seconds(), seen, &self.settings);
        }
    }

    /// Takes in how many tasks the node has.
    pub fn observe_node(&mut self, time: BootTime, tasks: u64) {
        let now = time.seconds();
        self.node
            .get_or_insert_with(|| Series::new(now, tasks))
            .push(now, tasks);
    }

    /// The owner's cgroup is gone; told if it was worth watching.
    pub fn gone(&mut self, owner: CgroupId, time: BootTime) -> Option<StateChange> {
        self.observed.remove(&owner);
        self.close.remove(&owner);
        self.growers.retain(|grower| grower.owner != owner);
        let watch = self.watches.remove(&owner)?;
        let before = self.verdicts.remove(&owner)?;
        Some(StateChange {
            owner,
            from: before.state,
            verdict: Verdict {
                state: State::Gone,
                since: time,
                growth_per_s: None,
                confidence: None,
                exhaustion: None,
                evidence: Vec::new(),
                tasks: 0,
                why: format!(
                    "its cgroup was removed; it had {}",
                    count(watch.tasks(), "task")
                ),
            },
        })
    }

    /// Judges every owner that was observed since the last time, and now and then every one that is
    /// not `ok`. To be called about once a second. The changes are those of states, and growths of which
    /// it is in doubt for a new reason whether they are a leak.
    pub fn look(&mut self, time: BootTime, limits: &impl Limits) -> Vec<StateChange> {
        let now = time.seconds();
        let observed = std::mem::take(&mut self.observed);
        let mut due: HashSet<CgroupId> = std::mem::take(&mut self.close);
        due.extend(&observed);
        let mut growers = Vec::new();
        let mut moved = Vec::new();
        for owner in due {
            let Some(watch) = self.watches.get_mut(&owner) else {
                continue;
            };
            let before = watch.state();
            // What is silent changes only by that; not all of them in the same second.
            let is_due = observed.contains(&owner) || now.wrapping_add(owner.0) % SILENT_S == 0;
            if is_due {
                watch.judge(now, &self.settings, || limits.chain(owner));
            }
            if watch.is_close() {
                self.close.insert(owner);
            }
            if let Some(grower) = watch.grower(owner) {
                growers.push(Grower {
                    part_of: limits.part_of(owner),
                    ..grower
                });
            }
            if is_due && (watch.state() != State::Ok || before != State::Ok) {
                moved.push((owner, before));
            }
        }
        let members: Vec<_> = growers
            .iter()
            .filter(|grower| grower.part_of.is_none())
            .filter_map(|grower| {
                self.watches.get(&grower.owner)?.member(
                    grower,
                    limits.workload(grower.owner),
                    now,
                    &self.settings,
                )
            })
            .collect();
        for (owner, evidence) in joint::together(&members, &self.settings.evidence) {
            if let Some(watch) = self.watches.get_mut(&owner) {
                watch.flag(now, evidence);
            }
        }
        growers.sort_by(|a, b| b.per_s.total_cmp(&a.per_s).then(a.owner.cmp(&b.owner)));
        self.growers = growers;
        moved.sort_unstable();

        self.forecast = Forecast::of(&self.growers);
        let mut changes = Vec::new();
        for (owner, before) in moved {
            let Some(watch) = self.watches.get_mut(&owner) else {
                continue;
            };
            let has_new_doubt = watch.has_new_doubt(now);
            let verdict = watch.verdict(now, &self.forecast);
            if watch.state() != before || has_new_doubt {
                changes.push(StateChange {
                    owner,
                    from: before,
                    verdict: verdict.clone(),
                });
            }
            if watch.state() == State::Ok {
                self.verdicts.remove(&owner);
            } else {
                self.verdicts.insert(owner, verdict);
            }
        }
        changes
    }

    /// What is known of an owner that is not `ok`.
    pub fn verdict(&self, owner: CgroupId) -> Option<&Verdict> {
        self.verdicts.get(&owner)
    }

    /// Every owner that is not `ok`.
    pub fn verdicts(&self) -> impl Iterator<Item = (CgroupId, &Verdict)> {
        self.verdicts
            .iter()
            .map(|(&owner, verdict)| (owner, verdict))
    }

    /// Who grows, fastest first.
    pub fn growers(&self) -> &[Grower] {
        &self.growers
    }

    /// When the node hits which of its limits, by the growth of all its tasks: of what is known to grow
    /// only as far as nearer limits let it.
    pub fn node_exhaustion(&self, time: BootTime, limits: &[Limit]) -> Option<Exhaustion> {
        let node = self.node.as_ref()?;
        let growth = watch::growth_of(node, time.seconds(), &self.settings)?;
        self.forecast.of_node(limits, growth.into())
    }

    /// Owners that are remembered.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }
}

#[cfg(test)]
mod tests;
