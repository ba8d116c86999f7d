//! A verdict on an owner, and what it is made of.

use super::{Exhaustion, State, evidence::Evidence};
use crate::{cgroup::CgroupId, clock::BootTime};

/// One reading of an owner.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its own charge: tasks, zombies included, without descendants'.
    pub tasks: u64,
    /// Tasks created in it since start.
    pub created: u64,
    /// Tasks that ended in it since start.
    pub ended: u64,
    /// Ended tasks that are not reaped.
    pub zombies: u64,
}

/// What is known of an owner that is not simply `ok`.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How it does.
    pub state: State,
    /// Since when: of a growth, when that began.
    pub since: BootTime,
    /// Tasks it has now.
    pub tasks: u64,
    /// Tasks a second that come to stay.
    pub growth_per_s: Option<f64>,
    /// How sure it is, 0 to 1: how steadily it grows, and how far it has gone towards what is called
    /// a leak.
    pub confidence: Option<f64>,
    /// Which limit it hits first if this goes on, and when.
    pub exhaustion: Option<Exhaustion>,
    /// What its tasks show: that it is a leak, or why that is in doubt.
    pub evidence: Vec<Evidence>,
    /// All of it in words.
    pub why: String,
}

/// A change of an owner's state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// Whose.
    pub owner: CgroupId,
    /// The state before.
    pub from: State,
    /// What is known now.
    pub verdict: Verdict,
}
