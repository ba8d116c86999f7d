//! A window of the whole node.

use serde::{Deserialize, Serialize};

use super::{LimitForecast, LimitUse, numbers::rounded};
use crate::incident::Incident;

/// A window of the whole node.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NodeWindow {
    /// Its length.
    pub window_s: f64,
    /// Tasks of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Whether frees are seen: otherwise zombies are not known.
    pub knows_frees: bool,
    /// Whether failed creations are seen.
    pub knows_failures: bool,
    /// The node's limits.
    pub limits: Vec<LimitUse>,
    /// The incidents that are open, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentNow>,
    /// Which will be hit first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<LimitForecast>,
}

/// The numbers of an open incident: `incident` lines, which have all of it, come less often.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct IncidentNow {
    /// Its own.
    pub id: String,
    /// The limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// What of it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    /// The most that was used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// Creations refused since it opened.
    pub failures: u64,
    /// Its culprits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<CulpritNow>,
    /// Its victims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<VictimNow>,
}

/// The numbers of a culprit, whose names are in the `incident` line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CulpritNow {
    /// Id of its cgroup.
    pub cgroup: u64,
    /// See [`super::CulpritEntry::share`].
    pub share: f64,
    /// Tasks a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// The most tasks it had.
    pub tasks: u64,
}

/// The numbers of a victim, whose names are in the `incident` line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct VictimNow {
    /// Id of its cgroup.
    pub cgroup: u64,
    /// Creations refused.
    pub failures: u64,
}

impl From<&Incident> for IncidentNow {
    fn from(incident: &Incident) -> Self {
        let culprits = incident.culprits.iter().map(|culprit| CulpritNow {
            cgroup: culprit.owner.id.0,
            share: rounded(culprit.share),
            growth_per_s: culprit.growth_per_s.map(rounded),
            tasks: culprit.tasks,
        });
        let victims = incident.victims.iter().map(|victim| VictimNow {
            cgroup: victim.owner.id.0,
            failures: victim.failures,
        });
        Self {
            id: incident.id.clone(),
            value: incident.value,
            usage: incident.usage,
            peak: incident.peak,
            failures: incident.failures,
            culprits: culprits.collect(),
            victims: victims.collect(),
        }
    }
}
