//! Whether a growth is a leak: by how much of it there is, by what the tasks show, and together with that of
//! others.

use std::sync::Arc;

use super::{Headroom, Leak, Watch, fills};
use crate::detect::{
    DetectSettings, Grower, State,
    evidence::{Evidence, ExaminationScope, Need, TaskSummary, Weight},
    joint::JointGrower,
    series::WIDTHS,
    trend::Growth,
};

/// A leak goes on nearly as fast as it began.
const LEAK_LATE: f64 = 0.6;
/// The gain beyond all that the owner had before must be this share of what a leak needs.
const NEW_SHARE: f64 = 0.5;

impl Watch {
    pub(super) fn follow_leak(&mut self, now: u64, settings: &DetectSettings) {
        let tasks = self.tasks();
        let close = self.close();
        let is_full = close.chain.iter().any(|limit| fills(limit, settings));
        if let Some(leak) = &mut close.leak {
            if tasks > leak.most {
                leak.most = tasks;
                leak.grew = now;
            }
            if leak.is_over(now, tasks, is_full) {
                close.leak = None;
                close.joint = None;
                close.found = [None; WIDTHS.len()];
                close.growth = None;
                self.peaks_from = now;
            }
            return;
        }
        let mut most = 0.0f64;
        let weight = close.examination.weight(now);
        let found = close.found;
        let onset = close.begin.map(|begin| begin.onset);
        let found = found
            .into_iter()
            .flatten()
            .map(|growth| self.by_now(growth, now));
        // Where nothing but the curve speaks, one horizon must show all of the growth.
        let whole = self.whole(now).filter(|_| weight != Weight::Undecided);
        let candidates: Vec<Growth> = found.chain(whole).collect();
        for growth in candidates {
            let (progress, is_leak) = self.weigh(&growth, weight, settings);
            most = most.max(progress);
            if is_leak {
                self.close().leak = Some(Leak {
                    onset: onset.unwrap_or(growth.onset),
                    base: growth.base,
                    most: tasks,
                    grew: now,
                });
                break;
            }
        }
        self.close().progress = most;
    }

    /// How far a growth is on the way to be called a leak, and whether it is one.
    fn weigh(&self, growth: &Growth, weight: Weight, settings: &DetectSettings) -> (f64, bool) {
        let evidence = &settings.evidence;
        let mut need = settings.leak_gain as f64;
        let mut urgent = f64::INFINITY;
        let headroom = self.close.as_ref().and_then(|close| close.headroom);
        if let Some(Headroom { least, own, .. }) = headroom {
            need = need.min(settings.most_share * own as f64);
            if growth.for_s < settings.long.as_secs() {
                need = need.max(settings.leak_share * least as f64);
            }
            urgent = settings.urgent_share * least as f64;
        }
        let gain = growth.gain as f64;
        if weight == Weight::Busy {
            let own = headroom.map_or(f64::INFINITY, |headroom| headroom.own as f64);
            let most = evidence.busy_limit * own;
            need = need.max(most.min(evidence.busy_gain as f64));
        }
        let had = self.had_before(growth);
        let beyond = self.tasks().saturating_sub(had) as f64;
        let is_enough = |need: f64| gain >= need && beyond >= NEW_SHARE * need;
        let has_lasted = growth.for_s >= settings.leak_time.as_secs() || gain >= urgent;
        let mut is_leak = is_enough(need) && has_lasted && growth.late >= LEAK_LATE;
        if weight == Weight::Leak {
            need = need.min(self.proof(settings).proof as f64);
            // That it is no pool which ebbs is shown by its tasks.
            is_leak |= is_enough(need) && growth.for_s >= evidence.evidence_time.as_secs();
        }
        ((gain / need.max(1.0)).min(1.0), is_leak)
    }

    /// A growth that was found on a longer horizon, up to this second.
    fn by_now(&self, growth: Growth, now: u64) -> Growth {
        let gain = self.series.stays().saturating_sub(growth.base);
        Growth {
            gain: growth.gain.max(gain),
            for_s: now.saturating_sub(growth.onset).max(growth.for_s),
            ..growth
        }
    }

    /// The growth since it was first seen, at the speed that it has now.
    fn whole(&self, now: u64) -> Option<Growth> {
        let close = self.close.as_ref()?;
        let (growth, begin) = (close.growth?, close.begin?);
        let whole = Growth {
            onset: begin.onset,
            base: begin.base,
            gain: 0,
            for_s: 0,
            ..growth
        };
        Some(self.by_now(whole, now))
    }

    /// How many tasks evidence must be about.
    fn proof(&self, settings: &DetectSettings) -> Need {
        let headroom = self.close.as_ref().and_then(|close| close.headroom);
        let headroom = headroom.map(|headroom| (headroom.least, headroom.own));
        Need::of(headroom, &settings.evidence)
    }

    /// Its part in a growth of several owners; `None` where it has none, or is a leak already.
    pub fn member(
        &self,
        grower: &Grower,
        workload: Option<Arc<str>>,
        now: u64,
        settings: &DetectSettings,
    ) -> Option<JointGrower> {
        let growth = self.whole(now)?;
        let has_lasted = growth.for_s >= settings.evidence.evidence_time.as_secs();
        let beyond = self.tasks().saturating_sub(self.had_before(&growth)) as f64;
        let is_new = beyond >= NEW_SHARE * growth.gain as f64;
        let goes_on = growth.late >= LEAK_LATE;
        let is_open = self.state == State::Growing && self.leak().is_none();
        (is_open && has_lasted && is_new && goes_on).then(|| JointGrower {
            owner: grower.owner,
            gain: growth.gain,
            per_s: growth.per_s,
            chain: grower.chain.clone(),
            workload,
        })
    }

    /// Its growth is a leak, together with that of others.
    pub fn flag(&mut self, now: u64, evidence: Evidence) {
        let tasks = self.tasks();
        let Some(close) = &mut self.close else {
            return;
        };
        if let (None, Some(begin)) = (close.leak, close.begin) {
            close.leak = Some(Leak {
                onset: begin.onset,
                base: begin.base,
                most: tasks,
                grew: now,
            });
            close.joint = Some(evidence);
        }
    }

    /// Whether a growing owner has a reason for doubt that was not reported yet; it is from then on.
    pub fn has_new_doubt(&mut self, now: u64) -> bool {
        let is_growing = self.state == State::Growing;
        let Some(close) = self.close.as_mut().filter(|_| is_growing) else {
            return false;
        };
        let reported = close.doubts.len();
        for evidence in close.examination.evidence(now) {
            if !evidence.kind.is_proof() && !close.doubts.contains(&evidence.kind) {
                close.doubts.push(evidence.kind);
            }
        }
        close.doubts.len() > reported
    }

    /// What a pass over its tasks is to count; `None` where it does not grow.
    pub fn scope(&self, now: u64, settings: &DetectSettings) -> Option<ExaminationScope> {
        let close = self.close.as_ref()?;
        let onset = self
            .leak()
            .map(|leak| leak.onset)
            .or(close.begin.map(|begin| begin.onset))?;
        Some(close.examination.scope(now, onset, &settings.evidence))
    }

    /// Takes in what a pass has seen of its tasks.
    pub fn examined(&mut self, now: u64, seen: &TaskSummary, settings: &DetectSettings) {
        let (tasks, need) = (self.tasks(), self.proof(settings));
        if let Some(close) = &mut self.close {
            let examination = &mut close.examination;
            examination.take(now, seen, tasks, need, &settings.evidence);
        }
    }
}
