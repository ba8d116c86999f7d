//! How the stream began, and by which probes it is fed.

use serde::{Deserialize, Serialize};

use crate::probe::{Mechanism, ProbeStatus};

/// How the stream began.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Started {
    /// Of pidwatch.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// `v1`, `hybrid` or `v2`.
    pub cgroup_layout: String,
    /// How many cgroups there are.
    #[serde(default)]
    pub cgroups: u64,
    /// What is attached.
    pub probes: Vec<Probe>,
}

/// One probe.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Probe {
    /// The hook.
    pub name: String,
    /// How it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// `attached`, `failed` or `off`.
    pub state: String,
    /// Why not, or not better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&ProbeStatus> for Probe {
    fn from(status: &ProbeStatus) -> Self {
        let mechanism = status.mechanism;
        Self {
            name: status.hook.name().into(),
            mechanism: mechanism
                .filter(|mechanism| *mechanism != Mechanism::Off)
                .map(|mechanism| mechanism.name().into()),
            state: match mechanism {
                Some(Mechanism::Off) => "off",
                Some(_) => "attached",
                None => "failed",
            }
            .into(),
            error: status.error.clone(),
        }
    }
}
