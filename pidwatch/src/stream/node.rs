//! A window of the whole node.

use serde::{Deserialize, Serialize};

use super::{Exhaustion, LimitUse};
use crate::snapshot::{NodeState, Snapshot};

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
    /// Which will be hit first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<Exhaustion>,
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
            exhaustion: exhaustion
                .as_ref()
                .map(|exhaustion| Exhaustion::of(exhaustion, None)),
        }
    }
}
