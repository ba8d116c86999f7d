//! The state of the node: what is known of each cgroup now.
//!
//! In: the probe's events. Out: counters per window and since start.
//!
//! Invariant: totals only grow. Records of different CPUs may arrive out of order, so each counter
//! takes the larger value; the windows told add up to the totals.

mod counts;
mod creators;
mod suppressed;

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use pidwatch_common::totals::{Kinds, Totals};

pub use self::{counts::Counts, creators::CreatorShare};
use self::{
    counts::{larger, minus, plus},
    creators::Creators,
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    limits::Reason,
    probe::{Failure, KernelEvent, TotalsCause, Who},
};

/// A cgroup that is gone is remembered this long: its last records may still be on the way, and
/// RCU frees its last tasks late.
const GRACE: Duration = Duration::from_secs(5);

/// One that was never announced is remembered so long after something was counted in it.
const LOST_GRACE: Duration = Duration::from_secs(30);
/// A gone cgroup with zombies (someone holds them unreaped) is given up after this.
const LONG_GRACE: Duration = Duration::from_mins(10);

/// What is known of one cgroup.
#[derive(Clone, Debug, Default)]
struct CgroupState {
    /// Of this cgroup alone.
    totals: Totals,
    /// Totals of an earlier cgroup of the same id, in which the kernel side goes on counting.
    before: Totals,
    /// What the windows so far have told.
    told: Counts,
    /// Failures that a record told of, by [`Reason`].
    reasons: [u64; Reason::ALL.len()],
    /// Failures that no record told of, by the reason that is inferred for them.
    short_reasons: [u64; Reason::ALL.len()],
    /// Refusals that no hook saw.
    unseen: u64,
    last_reasons: suppressed::Last,
    suppressed_told: u64,
    /// Suppressed failures that [`Model::take_unrecorded`] gave.
    unrecorded_taken: u64,
    /// Zombies that the last window told.
    zombies_told: Option<u64>,
    creators: Creators,
}

impl CgroupState {
    /// Tasks that ended and wait, or waited, for someone to reap them.
    fn ended(&self) -> u64 {
        let totals = &self.totals;
        totals.zombies_before + totals.exited.processes + totals.held_threads
    }

    /// What was counted in it.
    fn counts(&self) -> Counts {
        let totals = &self.totals;
        // Not `totals.failed`: a failure may be counted before its record is here, and its reason
        // with it. Each has a record or is suppressed.
        let mut failed = self.reasons;
        let short: u64 = self.short_reasons.iter().sum();
        for (failed, inferred) in failed.iter_mut().zip(self.short_reasons) {
            *failed += inferred;
        }
        failed[Reason::Unknown as usize] += totals.suppressed.saturating_sub(short);
        Counts {
            created: totals.created,
            exited: totals.exited,
            // A thread that nobody traces is freed as it ends; it is counted there only.
            freed: totals.freed.processes
                + totals.freed.threads
                + totals.exited.threads.saturating_sub(totals.held_threads),
            failed,
            rejected: totals.rejected,
            rejected_by: totals.rejected_by,
        }
    }

    /// Those of them that were freed, or whose free is lost.
    fn freed(&self) -> u64 {
        let totals = &self.totals;
        totals.freed.processes + totals.freed.threads + totals.unseen_frees + totals.unnoted
    }

    /// Those of them that were not.
    fn unfreed(&self) -> u64 {
        self.ended().saturating_sub(self.freed())
    }
}

/// A cgroup that was removed.
#[derive(Clone, Debug)]
struct Gone {
    /// `None` of one that was never announced, nor found by who looked for it: it may have come and
    /// gone while records were lost, or be out of sight and alive.
    path: Option<Box<[u8]>>,
    /// When it went; of one without a path, when something was counted in it last.
    since: BootTime,
}

/// A cgroup's part in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// In the window.
    pub window: Counts,
    /// Since start.
    pub total: Counts,
    /// Zombies that are charged to it, removed cgroups' below it among them; `None` when not known.
    pub zombies: Option<u64>,
}

impl Activity {
    fn with_zombies(self, zombies: Option<u64>) -> Self {
        Self { zombies, ..self }
    }

    /// Of a cgroup that was never heard of.
    pub const NONE: Self = Self {
        window: Counts::NONE,
        total: Counts::NONE,
        zombies: None,
    };
}

/// The state of all cgroups.
#[derive(Debug, Default)]
pub struct Model {
    /// Boxed: a table that many come and go in has up to four slots for each that is there
    /// (hashbrown doubles it once removed ones have used up more than half of it).
    states: HashMap<CgroupId, Box<CgroupState>>,
    changed: HashSet<CgroupId>,
    /// Cgroups that tasks were moved into: their charge changed though nothing was counted.
    entered: HashSet<CgroupId>,
    gone: HashMap<CgroupId, Gone>,
    /// By cgroup, as last counted; `None` before that, and where they cannot be.
    zombies: Option<HashMap<CgroupId, u64>>,
    /// Cgroups that may have zombies from before the start that nobody counts.
    may_have_others: HashSet<CgroupId>,
}

impl Model {
    /// Takes an event in.
    pub fn apply(&mut self, event: &KernelEvent) {
        match event {
            KernelEvent::Totals {
                cgroup,
                time,
                totals,
                cause,
                who,
                ..
            } => {
                let creator = who.as_ref().filter(|_| *cause == TotalsCause::Created);
                self.take_totals(*cgroup, totals, creator, *time);
                if matches!(cause, TotalsCause::Entered { .. }) {
                    self.entered.insert(*cgroup);
                }
            }
            KernelEvent::CloneFailed(failure) => {
                self.take_totals(failure.cgroup, &failure.totals, None, failure.time);
            }
            KernelEvent::CgroupAdded(..)
            | KernelEvent::CgroupRemoved(..)
            | KernelEvent::CgroupRenamed(..)
            | KernelEvent::PidNamespaces { .. } => {}
        }
    }

    fn take_totals(
        &mut self,
        cgroup: CgroupId,
        totals: &Totals,
        creator: Option<&Who>,
        time: BootTime,
    ) {
        let state = self.states.entry(cgroup).or_default();
        let merged = larger(&state.totals, &minus(totals, &state.before));
        if merged != state.totals {
            let created = |kinds: Kinds| kinds.processes + kinds.threads;
            let creations = created(merged.created) - created(state.totals.created);
            state.creators.sample(creator, creations, time);
            let last = state.last_reasons;
            last.add(&state.totals, &merged, &mut state.short_reasons);
            state.totals = merged;
            self.changed.insert(cgroup);
            if let Some(gone) = self.gone.get_mut(&cgroup)
                && gone.path.is_none()
            {
                gone.since = gone.since.max(time);
            }
        }
    }

    /// Counts a failure that a record told of.
    pub fn failed(&mut self, cgroup: CgroupId, reason: Reason) {
        let state = self.states.entry(cgroup).or_default();
        state.reasons[reason as usize] += 1;
        state.last_reasons.note(reason);
        self.changed.insert(cgroup);
    }

    /// Counts refusals of a cgroup's `pids.max` that no hook saw.
    pub fn refused_unseen(&mut self, cgroup: CgroupId, count: u64) {
        let state = self.states.entry(cgroup).or_default();
        state.reasons[Reason::PidsMax as usize] += count;
        state.unseen += count;
        self.changed.insert(cgroup);
    }

    /// Failures of all reasons that are counted: those that the kernel side's entry for this id has by now, and those
    /// of [`Model::refused_unseen`].
    pub fn counted_failures(&self, cgroup: CgroupId, entry: u64) -> u64 {
        let state = self.states.get(&cgroup);
        let (before, unseen) = state.map_or((0, 0), |state| (state.before.failed, state.unseen));
        entry.saturating_sub(before) + unseen
    }

    /// Failures of a cgroup that sent no record since the last call.
    pub fn take_suppressed(&mut self, failure: &Failure) -> u64 {
        let state = self.states.entry(failure.cgroup).or_default();
        let suppressed = state
            .totals
            .suppressed
            .saturating_sub(state.suppressed_told);
        state.suppressed_told += suppressed;
        suppressed
    }

    /// Failures of a cgroup without a record, since the last call: those behind the last record too, which
    /// no later one tells of.
    pub fn take_unrecorded(&mut self, cgroup: CgroupId) -> u64 {
        let Some(state) = self.states.get_mut(&cgroup) else {
            return 0;
        };
        let all = state.totals.suppressed;
        let taken = std::mem::replace(&mut state.unrecorded_taken, all);
        all.saturating_sub(taken)
    }

    /// Who creates in a cgroup of late, the busiest first.
    pub fn creators(&self, cgroup: CgroupId, most: usize) -> Vec<CreatorShare> {
        self.states
            .get(&cgroup)
            .map_or_else(Vec::new, |state| state.creators.top(most))
    }

    /// A cgroup came. Where its id was another one's that is not yet forgotten (the kernel hands ids
    /// out anew after 2^32 of them), nothing of that one is this one's.
    pub fn added(&mut self, cgroup: CgroupId) {
        let former = self.gone.remove(&cgroup);
        if former.is_some_and(|gone| gone.path.is_some())
            && let Some(state) = self.states.get_mut(&cgroup)
        {
            **state = CgroupState {
                before: plus(&state.before, &state.totals),
                ..CgroupState::default()
            };
        }
    }

    /// Remembers a removed cgroup's path for its last records.
    pub fn removed(&mut self, cgroup: CgroupId, path: Box<[u8]>, now: BootTime) {
        let path = Some(path);
        self.gone.insert(cgroup, Gone { path, since: now });
    }

    /// A cgroup is not there that something was counted in, and was never announced.
    pub fn lost(&mut self, cgroup: CgroupId, now: BootTime) {
        let gone = Gone {
            path: None,
            since: now,
        };
        self.gone.entry(cgroup).or_insert(gone);
    }

    /// Those that were lost may be found again.
    pub fn find(&mut self, is_there: impl Fn(CgroupId) -> bool) {
        self.gone
            .retain(|cgroup, gone| gone.path.is_some() || !is_there(*cgroup));
    }

    /// Whether a cgroup is gone, or lost, and not forgotten yet.
    pub fn is_gone(&self, cgroup: CgroupId) -> bool {
        self.gone.contains_key(&cgroup)
    }

    /// What was counted in a cgroup since start; nothing if it was never heard of.
    pub fn total(&self, cgroup: CgroupId) -> Counts {
        self.states
            .get(&cgroup)
            .map_or(Counts::NONE, |state| state.counts())
    }

    /// The zombies there are by now, in all cgroups.
    pub fn set_zombies(&mut self, zombies: Option<HashMap<CgroupId, u64>>) {
        // The window tells of those whose number is another one now.
        let known = zombies.iter().flatten().map(|(id, _)| *id);
        let before = self.zombies.iter().flatten().map(|(id, _)| *id);
        self.changed.extend(known.chain(before));
        self.zombies = zombies;
    }

    /// Zombies charged to a cgroup; `None` when not known.
    pub fn zombies(&self, cgroup: CgroupId) -> Option<u64> {
        let counted = self.zombies.as_ref()?;
        if self.may_have_others.contains(&cgroup) {
            return None;
        }
        // Some of those that ended were not noted, and nobody knows which of them were reaped.
        let state = self.states.get(&cgroup);
        if state.is_some_and(|state| state.totals.unnoted > 0) {
            return None;
        }
        Some(counted.get(&cgroup).copied().unwrap_or(0))
    }

    /// In these cgroups there may be zombies from before the start that the baseline did not see.
    pub fn may_have_other_zombies(&mut self, cgroups: impl Iterator<Item = CgroupId>) {
        self.may_have_others.extend(cgroups);
    }

    /// Path of a removed cgroup.
    pub fn gone_path(&self, cgroup: CgroupId) -> Option<&[u8]> {
        self.gone.get(&cgroup)?.path.as_deref()
    }

    /// Forgets cgroups that are gone for good and returns them.
    pub fn forget_gone(&mut self, now: BootTime) -> Vec<CgroupId> {
        let Self {
            states,
            changed,
            gone,
            may_have_others,
            ..
        } = self;
        let forgotten: Vec<_> = gone
            .extract_if(|cgroup, gone| {
                let age = now.since(gone.since);
                let held = states.get(cgroup).is_some_and(|state| state.unfreed() > 0);
                let quiet = !changed.contains(cgroup) && !held;
                let grace = gone.path.as_ref().map_or(LOST_GRACE, |_| GRACE);
                age >= LONG_GRACE || (age >= grace && quiet)
            })
            .map(|(cgroup, _)| cgroup)
            .collect();
        for cgroup in &forgotten {
            states.remove(cgroup);
            may_have_others.remove(cgroup);
        }
        forgotten
    }

    /// What the windows so far have told of a cgroup.
    pub fn told(&self, cgroup: CgroupId) -> Activity {
        self.states
            .get(&cgroup)
            .map_or(Activity::NONE, |state| Activity {
                total: state.told,
                ..Activity::NONE
            })
            .with_zombies(self.zombies(cgroup))
    }

    /// Closes a window: every cgroup in which something was counted in it, whose zombies came or
    /// went, or that tasks were moved into.
    pub fn close_window(&mut self) -> Vec<(CgroupId, Activity)> {
        let mut changed = std::mem::take(&mut self.changed);
        let entered = std::mem::take(&mut self.entered);
        changed.extend(&entered);
        let mut rows = Vec::with_capacity(changed.len());
        for id in changed {
            let told = self.states.get(&id).and_then(|state| state.zombies_told);
            let activity = self.close(id);
            let has_news =
                !activity.window.is_zero() || activity.zombies.unwrap_or(0) != told.unwrap_or(0);
            if has_news || entered.contains(&id) {
                rows.push((id, activity));
            }
        }
        rows.sort_by_key(|(id, _)| *id);
        rows
    }

    /// What is known of a cgroup in which nothing may have happened; closes its window.
    pub fn close(&mut self, cgroup: CgroupId) -> Activity {
        let zombies = self.zombies(cgroup);
        if zombies.is_none_or(|zombies| zombies == 0) && !self.states.contains_key(&cgroup) {
            return Activity::NONE.with_zombies(zombies);
        }
        let state = self.states.entry(cgroup).or_default();
        let mut total = state.counts();
        // Made of several counters, and those are not read in one moment.
        total.freed = total.freed.max(state.told.freed);
        let activity = Activity {
            window: total.minus(&state.told),
            total,
            zombies,
        };
        state.told = total;
        state.zombies_told = zombies;
        activity
    }
}

#[cfg(test)]
mod tests;
