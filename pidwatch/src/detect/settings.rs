//! The thresholds, each with its reason.

use std::time::Duration;

/// What counts as growth, a leak, a storm. The defaults are what `cargo xtask eval` scores.
#[derive(Clone, Debug)]
pub struct DetectSettings {
    /// Least tasks that came to stay before an owner is called `growing`. Under it, workers that come
    /// with load look the same.
    pub growing_gain: u64,
    /// Share of the headroom that a growth must have eaten to be a leak. A leak is to be flagged
    /// before 3 % are gone; what a pool needs is seldom so much of a limit.
    pub leak_share: f64,
    /// Tasks that a growth must have brought in any case: pools of a few hundred threads are common,
    /// also where the limit is near.
    pub leak_gain: u64,
    /// The same for a growth that began in an owner's [`startup`](Self::startup): application servers
    /// fill their pools then.
    pub startup_gain: u64,
    /// How long an owner is starting.
    pub startup: Duration,
    /// But never more than this share of the headroom, or a small limit would be hit unflagged.
    pub most_share: f64,
    /// A leak has lasted at least this long ...
    pub leak_time: Duration,
    /// ... unless it has already eaten this share of the headroom.
    pub urgent_share: f64,
    /// Creations a second, over ten seconds, that are a storm.
    pub storm_per_s: f64,
    /// Share of a limit from which on it counts as full.
    pub full: f64,
}

impl Default for DetectSettings {
    fn default() -> Self {
        Self {
            growing_gain: 20,
            leak_share: 0.025,
            leak_gain: 500,
            startup_gain: 1000,
            startup: Duration::from_secs(120),
            most_share: 0.5,
            leak_time: Duration::from_secs(20),
            urgent_share: 0.2,
            storm_per_s: 100.0,
            full: 0.99,
        }
    }
}
