//! A window of the whole node.

use serde::{Deserialize, Serialize};

use super::{Exhaustion, LimitUse};
use crate::{
    incident::Incident,
    snapshot::{NodeState, Snapshot},
};

/// A window of the whole node.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    pub exhaustion: Option<Exhaustion>,
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
    /// Creations refused since it opened.
    pub failures: u64,
}

impl From<&Incident> for IncidentNow {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.clone(),
            value: incident.value,
            usage: incident.usage,
            failures: incident.failures,
        }
    }
}

impl From<&Snapshot> for NodeWindow {
    fn from(snapshot: &Snapshot) -> Self {
        let NodeState {
            tasks,
            limits,
            exhaustion,
        } = &snapshot.node;
        Self {
            window_s: snapshot.window.as_secs_f64(),
            tasks: *tasks,
            knows_frees: snapshot.knows_frees,
            knows_failures: snapshot.knows_failures,
            limits: limits
                .iter()
                .map(|limit| LimitUse::of(limit, None))
                .collect(),
            incidents: snapshot.incidents.iter().map(Into::into).collect(),
            exhaustion: exhaustion
                .as_ref()
                .map(|exhaustion| Exhaustion::of(exhaustion, None)),
        }
    }
}
