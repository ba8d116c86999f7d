//! The states of an owner.

use serde::{Deserialize, Serialize};

/// How an owner does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing to say.
    #[default]
    Ok,
    /// Many creations, and as many ends.
    Storm,
    /// Grows steadily; a hint, no alert.
    Growing,
    /// Grows as no pool does: a leak.
    Leaking,
    /// Fills a limit of its own.
    Saturated,
    /// Was worth watching, and its cgroup is gone.
    Gone,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Storm,
        Self::Growing,
        Self::Leaking,
        Self::Saturated,
        Self::Gone,
    ];

    /// Whether it grows, or has grown until something stopped it.
    pub fn grows(self) -> bool {
        matches!(self, Self::Growing | Self::Leaking | Self::Saturated)
    }

    /// Name in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Storm => "storm",
            Self::Growing => "growing",
            Self::Leaking => "leaking",
            Self::Saturated => "saturated",
            Self::Gone => "gone",
        }
    }
}
