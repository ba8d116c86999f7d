//! What the tasks of an owner that grows have shown, from one pass over them to the next.

use std::time::Duration;

use super::evidence::{
    Evidence, EvidenceSettings, ExaminationScope, Judgement, Need, TaskSummary, Weight, judge,
};

/// A pass that is older says nothing any more.
const LASTS_S: u64 = 60;
/// Tasks that were created shortly before the growth was seen to begin are its first ones.
const EARLY_S: u64 = 10;
/// Passes see at least this share of what is charged, or some of it is hidden from them.
const SEEN: f64 = 0.8;
/// An old zombie that was reaped shows for so long that somebody reaps.
const REAPED_S: u64 = 600;

/// The last pass, and what it takes to compare the next one with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Examination {
    at: Option<u64>,
    judgement: Judgement,
    old_zombies: u64,
    reaped_old: Option<u64>,
}

impl Examination {
    /// What a pass that begins now is to count, of a growth that began at `onset`.
    pub fn scope(&self, now: u64, onset: u64, settings: &EvidenceSettings) -> ExaminationScope {
        let since = |then: u64| Duration::from_secs(now.saturating_sub(then));
        ExaminationScope {
            born_within: since(onset.saturating_sub(EARLY_S)),
            were_old: self.at.map(|at| since(at) + settings.zombie_age),
        }
    }

    /// Takes in what a pass has seen of an owner that has so many tasks.
    pub fn take(
        &mut self,
        now: u64,
        seen: &TaskSummary,
        tasks: u64,
        need: Need,
        settings: &EvidenceSettings,
    ) {
        if (seen.tasks as f64) < SEEN * tasks as f64 {
            return;
        }
        if self.at.is_some() && seen.still_old < self.old_zombies {
            self.reaped_old = Some(now);
        }
        let reaped_old = self.reaped_old.is_some_and(|at| now - at < REAPED_S);
        self.judgement = judge(seen, reaped_old, need, settings);
        self.old_zombies = seen.zombies.all_old;
        self.at = Some(now);
    }

    fn is_recent(&self, now: u64) -> bool {
        self.at.is_some_and(|at| now.saturating_sub(at) <= LASTS_S)
    }

    /// What it does to the threshold.
    pub fn weight(&self, now: u64) -> Weight {
        if self.is_recent(now) {
            self.judgement.weight
        } else {
            Weight::Undecided
        }
    }

    /// What it rests on, or the reasons for doubt.
    pub fn evidence(&self, now: u64) -> &[Evidence] {
        if self.is_recent(now) {
            &self.judgement.evidence
        } else {
            &[]
        }
    }
}

#[cfg(test)]
mod tests;
