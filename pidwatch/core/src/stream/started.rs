//! How the stream began, and by which probes it is fed.

use serde::{Deserialize, Serialize};

use super::Word;
use crate::{
    cgroup::LayoutKind,
    probe::{Mechanism, ProbeStatus},
};

/// How the stream began.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Started {
    /// Of pidwatch.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// How cgroups are mounted.
    pub cgroup_layout: Word<LayoutKind>,
    /// How many cgroups there are.
    #[serde(default)]
    pub cgroups: u64,
    /// What is attached.
    pub probes: Vec<ProbeReport>,
}

/// Whether a probe works.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeState {
    /// It is attached.
    Attached,
    /// It could not be attached.
    Failed,
    /// It was switched off.
    Off,
}

impl ProbeState {
    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Failed => "failed",
            Self::Off => "off",
        }
    }
}

/// One probe.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProbeReport {
    /// The hook.
    pub name: String,
    /// How it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// Whether it is attached.
    pub state: Word<ProbeState>,
    /// Why not, or not better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&ProbeStatus> for ProbeReport {
    fn from(status: &ProbeStatus) -> Self {
        let mechanism = status.mechanism;
        Self {
            name: status.hook.name().into(),
            mechanism: mechanism
                .filter(|mechanism| *mechanism != Mechanism::Off)
                .map(|mechanism| mechanism.name().into()),
            state: match mechanism {
                Some(Mechanism::Off) => ProbeState::Off,
                Some(_) => ProbeState::Attached,
                None => ProbeState::Failed,
            }
            .into(),
            error: status.error.clone(),
        }
    }
}
