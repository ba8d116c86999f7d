//! Phases of a brake, as events and metrics name them.

use serde::{Deserialize, Serialize};

/// What happened to a brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrakePhase {
    /// With `--brake dry-run`: the limit would be lowered.
    WouldApply,
    /// The limit was lowered.
    Applied,
    /// The automatic brake does not lower the limit of an owner that it would brake otherwise.
    Refused,
    /// Another program had written a higher limit; the brake's was written again.
    SetBack,
    /// The lease was renewed, since the brake refused tasks.
    Renewed,
    /// The previous limit was restored.
    Released,
    /// The brake ended; the limit that another program wrote stays.
    Replaced,
    /// The cgroup was removed.
    Gone,
    /// A file could not be read or written; it is tried again.
    Failed,
}

impl BrakePhase {
    /// Every phase.
    pub const ALL: [Self; 9] = [
        Self::WouldApply,
        Self::Applied,
        Self::Refused,
        Self::SetBack,
        Self::Renewed,
        Self::Released,
        Self::Replaced,
        Self::Gone,
        Self::Failed,
    ];

    /// Name in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::WouldApply => "would_apply",
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::SetBack => "set_back",
            Self::Renewed => "renewed",
            Self::Released => "released",
            Self::Replaced => "replaced",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }

    /// Whether the brake is over.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Released | Self::Replaced | Self::Gone)
    }
}

/// Who brakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrakeActor {
    /// The agent, by itself.
    Agent,
    /// A person, with `pidwatch brake`.
    Command,
}
