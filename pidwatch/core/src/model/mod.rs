//! The state of the node: what is known of each cgroup now.
//!
//! In: the probe's events. Out: counters per window and since start.
//!
//! Invariant: totals only grow. Records of different CPUs may arrive out of order, so each counter
//! takes the larger value; the windows told add up to the totals.

mod counts;
mod creators;

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use pidwatch_common::totals::{Kinds, Totals};

pub use self::{counts::Counts, creators::Creator};
use self::{
    counts::{larger, minus, plus},
    creators::Creators,
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    limits::Reason,
    probe::{self, Cause, Event, Failure, Who},
};

/// What ended this long ago and is not freed is a zombie; before that it may be reaped and only on
/// its way through RCU.
const LASTING: Duration = probe::LONGEST_FREE;

/// How often it is noted how many had ended.
const MARK_EVERY: Duration = Duration::from_secs(4);
/// Notes that reach back [`LASTING`].
const MARKS: usize = 1 + (LASTING.as_secs() / MARK_EVERY.as_secs()) as usize;

/// A cgroup that is gone is remembered this long: its last records may still be on the way, and
/// RCU frees its last tasks late.
const GRACE: Duration = Duration::from_secs(5);

/// One that was never announced is remembered so long after something was counted in it.
const LOST_GRACE: Duration = Duration::from_secs(30);
/// A gone cgroup with zombies (someone holds them unreaped) is given up after this.
const LONG_GRACE: Duration = Duration::from_secs(600);

/// What is known of one cgroup.
#[derive(Clone, Debug, Default)]
struct State {
    /// Of this cgroup alone.
    totals: Totals,
    /// Totals of an earlier cgroup of the same id, in which the kernel side goes on counting.
    before: Totals,
    /// What the windows so far have told.
    told: Counts,
    /// Failures that a record told of, by [`Reason`].
    reasons: [u64; Reason::ALL.len()],
    suppressed_told: u64,
    /// Suppressed failures that [`Model::take_unrecorded`] gave.
    unrecorded_taken: u64,
    /// Zombies that the last window told.
    zombies_told: u64,
    /// How many had ended at moments at least [`MARK_EVERY`] apart, the oldest first.
    marks: [Mark; MARKS],
    /// Tasks that must be freed soon.
    released: Option<Released>,
    /// Frees that the hook was not there for.
    unseen_frees: u64,
    creators: Creators,
}

impl State {
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
        failed[Reason::Unknown as usize] += totals.suppressed;
        Counts {
            created: totals.created,
            exited: totals.exited,
            // A thread that nobody traces is freed as it ends; it is counted there only.
            freed: totals.freed.processes
                + totals.freed.threads
                + totals.exited.threads.saturating_sub(totals.held_threads),
            failed,
            rejected: totals.rejected,
        }
    }

    /// Those of them that were freed.
    fn freed(&self) -> u64 {
        self.totals.freed.processes + self.totals.freed.threads + self.unseen_frees
    }

    /// Those of them that were not.
    fn unfreed(&self) -> u64 {
        self.ended().saturating_sub(self.freed())
    }
}

/// Tasks that had ended and were charged no more, so that RCU frees them within [`LASTING`].
#[derive(Clone, Copy, Debug)]
struct Released {
    since: BootTime,
    tasks: u64,
    /// [`State::freed`] at that moment.
    freed: u64,
}

/// Tasks that had ended by a moment, of those that someone must reap.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    time: Option<BootTime>,
    ended: u64,
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
    /// Tasks that ended a while ago (12 s) and are not freed.
    pub zombies: u64,
}

impl Activity {
    /// Of a cgroup that was never heard of.
    pub const NONE: Self = Self {
        window: Counts::NONE,
        total: Counts::NONE,
        zombies: 0,
    };
}

/// The state of all cgroups.
#[derive(Debug, Default)]
pub struct Model {
    /// Boxed: a table that many come and go in has up to four slots for each that is there
    /// (hashbrown doubles it once removed ones have used up more than half of it).
    states: HashMap<CgroupId, Box<State>>,
    changed: HashSet<CgroupId>,
    /// Cgroups that tasks were moved into: their charge changed though nothing was counted.
    entered: HashSet<CgroupId>,
    gone: HashMap<CgroupId, Gone>,
}

impl Model {
    /// Takes an event in.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Totals {
                cgroup,
                time,
                totals,
                cause,
                who,
                ..
            } => {
                let creator = who.as_ref().filter(|_| *cause == Cause::Created);
                self.take_totals(*cgroup, totals, creator, *time);
                if matches!(cause, Cause::Entered { .. }) {
                    self.entered.insert(*cgroup);
                }
            }
            Event::CloneFailed(failure) => {
                self.take_totals(failure.cgroup, &failure.totals, None, failure.time);
            }
            Event::CgroupAdded(..) | Event::CgroupRemoved(..) | Event::CgroupRenamed(..) => {}
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
        self.changed.insert(cgroup);
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
    pub fn creators(&self, cgroup: CgroupId, most: usize) -> Vec<Creator> {
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
            **state = State {
                before: plus(&state.before, &state.totals),
                ..State::default()
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

    /// What was counted in a cgroup since start, and what of it ended and is not freed, young ones
    /// included; nothing if it was never heard of.
    pub fn total(&self, cgroup: CgroupId) -> (Counts, u64) {
        self.states
            .get(&cgroup)
            .map_or((Counts::NONE, 0), |state| (state.counts(), state.unfreed()))
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
        }
        forgotten
    }

    /// What the windows so far have told of a cgroup.
    pub fn told(&self, cgroup: CgroupId) -> Activity {
        self.states
            .get(&cgroup)
            .map_or(Activity::NONE, |state| Activity {
                window: Counts::NONE,
                total: state.told,
                zombies: state.zombies_told,
            })
    }

    /// Closes a window: every cgroup in which something was counted in it, whose zombies came or
    /// went, or that tasks were moved into.
    pub fn close_window(&mut self, now: BootTime) -> Vec<(CgroupId, Activity)> {
        let mut changed = std::mem::take(&mut self.changed);
        let entered = std::mem::take(&mut self.entered);
        changed.extend(&entered);
        let mut rows = Vec::with_capacity(changed.len());
        for id in changed {
            let told = self.states.get(&id).map_or(0, |state| state.zombies_told);
            let Some(activity) = self.close(id, now) else {
                continue;
            };
            let has_news = !activity.window.is_zero() || activity.zombies != told;
            if has_news || entered.contains(&id) {
                rows.push((id, activity));
            }
        }
        rows.sort_by_key(|(id, _)| *id);
        rows
    }

    /// Finds frees that the hook was not there for, and returns how many: what had ended and is in
    /// no `charge` any more (that of the cgroup with its descendants, `None` if unknown) was given
    /// back, and is freed within 12 s. Some kernels keep BPF out of their init's context, and
    /// so out of the RCU callbacks that happen to interrupt it.
    pub fn settle_frees(
        &mut self,
        now: BootTime,
        mut charge: impl FnMut(CgroupId) -> Option<u64>,
    ) -> u64 {
        let mut found = 0;
        for (id, state) in &mut self.states {
            if let Some(released) = state.released {
                if now.since(released.since) < LASTING {
                    continue;
                }
                // What was freed since may have been others: then more is missing, and the next
                // look finds it.
                let missing = released
                    .tasks
                    .saturating_sub(state.freed() - released.freed);
                state.unseen_frees += missing;
                state.released = None;
                if missing > 0 {
                    found += missing;
                    self.changed.insert(*id);
                }
            }
            if state.unfreed() > 0
                && let Some(charge) = charge(*id)
            {
                let tasks = state.unfreed().saturating_sub(charge);
                state.released = (tasks > 0).then_some(Released {
                    since: now,
                    tasks,
                    freed: state.freed(),
                });
            }
        }
        found
    }

    /// What is known of a cgroup in which nothing may have happened; closes its window.
    pub fn close(&mut self, cgroup: CgroupId, now: BootTime) -> Option<Activity> {
        let state = self.states.get_mut(&cgroup)?;
        let mut total = state.counts();
        // Made of several counters, and those are not read in one moment.
        total.freed = total.freed.max(state.told.freed);
        let (ended, freed) = (state.ended(), state.freed());
        let newest = state.marks[MARKS - 1];
        if newest.time.is_none_or(|time| now.since(time) >= MARK_EVERY) {
            state.marks.rotate_left(1);
            state.marks[MARKS - 1] = Mark {
                time: Some(now),
                ended,
            };
        }
        let is_old = |mark: &&Mark| mark.time.is_some_and(|time| now.since(time) >= LASTING);
        let zombies = state
            .marks
            .iter()
            .rfind(is_old)
            .map_or(0, |mark| mark.ended.saturating_sub(freed));
        if zombies != state.unfreed() {
            // Some are young: look again, though nothing else may happen here.
            self.changed.insert(cgroup);
        }
        let activity = Activity {
            window: total.minus(&state.told),
            total,
            zombies,
        };
        state.told = total;
        state.zombies_told = zombies;
        Some(activity)
    }
}

#[cfg(test)]
mod tests;
