//! The stream of events as data: what `trace -o json` prints, a recording holds and a report reads.
//!
//! One [`Line`] an event, as JSON; the fields are those of docs/events.md. Unknown is left out. What
//! comes from outside (names, paths) is in it escaped, so that a line is valid UTF-8 whatever they
//! hold.

mod brake;
mod breakdown;
mod evidence;
mod example;
mod failure;
mod incident;
mod limit;
mod node;
mod numbers;
mod owner;
mod rate;
mod rejection;
mod started;
mod state;
mod summary;
mod word;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::brake::BrakeEvent;
pub use self::breakdown::Breakdown;
pub use self::evidence::EvidenceEntry;
pub use self::failure::{Caller, CloneFailure, Parent};
pub use self::incident::{CulpritEntry, IncidentEvent, TimelinePoint, VictimEntry};
pub use self::limit::{LimitForecast, LimitHolder, LimitId, LimitUse};
pub use self::node::{CulpritNow, IncidentNow, NodeWindow, VictimNow};
use self::numbers::nanoseconds;
pub use self::owner::{CgroupRef, K8s, OwnerRef, Runtime, WorkloadRef, name_of_path};
pub use self::rate::{ByKind, Creator, RateEvent, TaskCounts};
pub use self::rejection::Rejection;
pub use self::started::{ProbeReport, ProbeState, Started};
pub use self::state::{LargestProcess, Pattern, StateEvent, StateNow, TaskNames};
pub use self::word::Word;

/// One event of the stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Line {
    /// When, by the wall clock.
    #[serde(serialize_with = "nanoseconds")]
    pub time: Timestamp,
    /// The node's name.
    pub node: Arc<str>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The stream begins.
    Started(Started),
    /// What a cgroup did in a window.
    Rate(Box<RateEvent>),
    /// A creation failed.
    CloneFailed(Box<CloneFailure>),
    /// An owner is in another state.
    State(Box<StateEvent>),
    /// An incident opened, went on, or ended.
    Incident(Box<IncidentEvent>),
    /// A brake, or what the automatic brake makes of an owner.
    Brake(Box<BrakeEvent>),
    /// A cgroup came or went.
    Cgroup(CgroupEvent),
    /// Something was lost.
    Lost {
        /// Where.
        #[serde(rename = "where")]
        place: String,
        /// How often.
        count: u64,
    },
    /// A window of the whole node; the rates before it are its rows.
    Node(NodeWindow),
}

impl Event {
    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Rate(_) => "rate",
            Self::CloneFailed(_) => "clone_failed",
            Self::State(_) => "state",
            Self::Incident(_) => "incident",
            Self::Brake(_) => "brake",
            Self::Cgroup(_) => "cgroup",
            Self::Lost { .. } => "lost",
            Self::Node(_) => "node",
        }
    }
}

/// A cgroup that came or went.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CgroupEvent {
    /// Which.
    #[serde(flatten)]
    pub owner: Arc<OwnerRef>,
    /// What.
    pub change: Word<Change>,
}

/// What became of a cgroup.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was created.
    Added,
    /// Its container runtime gave the names of its owner.
    Named,
    /// It was removed.
    Removed,
}

impl Change {
    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Named => "named",
            Self::Removed => "removed",
        }
    }
}

/// Every value of [`Line`]'s `type`.
const TYPES: [&str; 9] = [
    "started",
    "rate",
    "clone_failed",
    "state",
    "incident",
    "brake",
    "cgroup",
    "lost",
    "node",
];

/// Whether a `type` is one of this version's.
pub fn is_known(name: Option<&str>) -> bool {
    name.is_some_and(|name| TYPES.contains(&name))
}

/// Reads one line.
///
/// # Errors
/// When it is no event of this stream.
pub fn parse(line: &[u8]) -> Result<Line, serde_json::Error> {
    serde_json::from_slice(line)
}
