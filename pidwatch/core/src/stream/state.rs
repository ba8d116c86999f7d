//! What an owner does in the long run: its state, with the evidence.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    EvidenceEntry, LimitForecast, LimitUse, OwnerRef, Word,
    numbers::{nanoseconds, rounded},
};
use crate::{cgroup, detect, escape};

/// An owner in another state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StateEvent {
    /// Whose.
    #[serde(flatten)]
    pub owner: Arc<OwnerRef>,
    /// Path of the cgroup inside of it that this comes from, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
    /// The state before.
    pub from: Word<detect::State>,
    /// The state now.
    pub to: Word<detect::State>,
    /// Its tasks.
    pub tasks: u64,
    /// Tasks a second that come to stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// Since when.
    #[serde(serialize_with = "nanoseconds")]
    pub since: Timestamp,
    /// How sure that is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What its tasks show: that it is a leak, or why that is in doubt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceEntry>,
    /// What will be hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<LimitForecast>,
    /// Every limit above it that is set, nearest first; left out when one could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitUse>>,
    /// What its tasks are called, where it is flagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_names: Option<TaskNames>,
    /// In words.
    pub why: String,
}

/// What the detector says of an owner now: `state` lines come only when its state changes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StateNow {
    /// Its state.
    pub state: Word<detect::State>,
    /// Tasks a second that come to stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// Since when.
    #[serde(serialize_with = "nanoseconds")]
    pub since: Timestamp,
    /// How sure that is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What its tasks show: that it is a leak, or why that is in doubt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceEntry>,
    /// What will be hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<LimitForecast>,
    /// In words.
    pub why: String,
}

impl StateNow {
    /// What the detector says; `limit_path` is that of the cgroup whose limit will be hit, `since` is
    /// [`crate::detect::Verdict::since`] by the wall clock.
    pub fn of(verdict: &detect::Verdict, limit_path: Option<&[u8]>, since: Timestamp) -> Self {
        Self {
            state: verdict.state.into(),
            growth_per_s: verdict.growth_per_s.map(rounded),
            since,
            confidence: verdict.confidence.map(rounded),
            evidence: verdict.evidence.iter().map(EvidenceEntry::from).collect(),
            exhaustion: verdict
                .exhaustion
                .map(|exhaustion| LimitForecast::of(&exhaustion, limit_path)),
            why: verdict.why.clone(),
        }
    }

    /// Whether there is nothing to say against the owner, or the owner is gone.
    pub fn is_calm(&self) -> bool {
        matches!(
            self.state.known(),
            Some(detect::State::Ok | detect::State::Gone)
        )
    }
}

impl From<&StateEvent> for StateNow {
    fn from(change: &StateEvent) -> Self {
        Self {
            state: change.to.clone(),
            growth_per_s: change.growth_per_s,
            since: change.since,
            confidence: change.confidence,
            evidence: change.evidence.clone(),
            exhaustion: change.exhaustion.clone(),
            why: change.why.clone(),
        }
    }
}

impl StateEvent {
    /// What people call it or, where this comes from a cgroup inside of it, that; safe to show.
    pub fn name(&self) -> String {
        self.owner.name_with_part(self.inside.as_deref())
    }

    /// An owner of so many tasks that is in another state. What is known of its limits and the names of its
    /// tasks is to be added, and the part that it comes from.
    pub fn of(owner: Arc<OwnerRef>, from: detect::State, tasks: u64, now: StateNow) -> Self {
        Self {
            owner,
            inside: None,
            from: from.into(),
            to: now.state,
            tasks,
            growth_per_s: now.growth_per_s,
            since: now.since,
            confidence: now.confidence,
            evidence: now.evidence,
            exhaustion: now.exhaustion,
            limits: None,
            task_names: None,
            why: now.why,
        }
    }
}

/// What an owner's tasks are called.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TaskNames {
    /// How many tasks' names were read, of [`StateEvent::tasks`].
    pub sampled: u64,
    /// The commonest patterns, numbers as `*`.
    pub patterns: Vec<Pattern>,
    /// The process with the most threads.
    pub largest: LargestProcess,
}

/// Tasks of one pattern.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pattern {
    /// `http-nio-*-exec-*`.
    pub name: String,
    /// How many of the sampled tasks.
    pub count: u64,
}

/// The process with the most threads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LargestProcess {
    /// Its name.
    pub comm: String,
    /// Its PID, in the PID namespace of pidwatch.
    pub pid: u32,
    /// Its threads.
    pub threads: u64,
}

impl From<&cgroup::SampledTaskNames> for TaskNames {
    fn from(names: &cgroup::SampledTaskNames) -> Self {
        let (comm, pid, threads) = &names.largest;
        Self {
            sampled: names.sampled,
            patterns: names
                .patterns
                .iter()
                .map(|(name, count)| Pattern {
                    name: escape::for_json(name),
                    count: *count,
                })
                .collect(),
            largest: LargestProcess {
                comm: escape::for_json(comm),
                pid: *pid,
                threads: *threads,
            },
        }
    }
}
