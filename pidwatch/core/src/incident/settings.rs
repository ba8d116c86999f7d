//! The thresholds of incidents, each with its reason.

use std::time::Duration;

/// When an incident opens, is told again, and closes.
#[derive(Clone, Debug)]
pub struct IncidentSettings {
    /// A leak opens one when its limit will be hit within this time: longer than it takes to wake
    /// somebody up who then finds the cause.
    pub horizon: Duration,
    /// It closes when for so long nothing was refused and nobody leaks towards the limit: longer than
    /// the pace of most probes (10 s), so that one outage is one incident.
    pub calm: Duration,
    /// One with new failures is told again after this.
    pub update_every: Duration,
}

impl Default for IncidentSettings {
    fn default() -> Self {
        Self {
            horizon: Duration::from_hours(1),
            calm: Duration::from_mins(1),
            update_every: Duration::from_secs(10),
        }
    }
}
