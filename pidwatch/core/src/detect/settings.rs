//! The thresholds, each with its reason.

use std::time::Duration;

use super::evidence::EvidenceSettings;

/// What counts as growth, a leak, a storm. The defaults are what `cargo xtask eval` scores.
#[derive(Clone, Debug)]
pub struct DetectSettings {
    /// Least tasks that came to stay before an owner is called `growing`. Under it, workers that come
    /// with load look the same; one task a second is to be found within a minute.
    pub growing_gain: u64,
    /// A growth that only returns to where the owner was within the last day and a half is told
    /// nevertheless when a limit would be hit so soon.
    pub soon: Duration,
    /// Tasks that a growth must have brought to be a leak: pools, a day's cycle and nightly jobs bring
    /// up to a thousand.
    pub leak_gain: u64,
    /// And the share of the headroom, where that is more. A leak is to be flagged before 3 % are gone.
    pub leak_share: f64,
    /// But never more than this share of the headroom, or a small limit would be hit unflagged. Of
    /// the node's limits at least a quarter counts as headroom, however full they are: who grows a
    /// little on a node that others have filled leaks nothing.
    pub most_share: f64,
    /// A growth that went on for so long is no day's cycle: `leak_gain` is enough then, however much
    /// headroom there is.
    pub long: Duration,
    /// A leak has lasted at least this long ...
    pub leak_time: Duration,
    /// ... unless it has already eaten this share of the headroom.
    pub urgent_share: f64,
    /// Creations a second, over ten seconds, that are a storm.
    pub storm_per_s: f64,
    /// Share of a limit from which on it counts as full.
    pub full: f64,
    /// What the tasks themselves must show, and what that does to the threshold.
    pub evidence: EvidenceSettings,
}

impl Default for DetectSettings {
    fn default() -> Self {
        Self {
            growing_gain: 40,
            soon: Duration::from_mins(10),
            leak_gain: 1200,
            leak_share: 0.025,
            most_share: 0.5,
            long: Duration::from_hours(24),
            leak_time: Duration::from_secs(20),
            urgent_share: 0.2,
            storm_per_s: 100.0,
            full: 0.99,
            evidence: EvidenceSettings::default(),
        }
    }
}
