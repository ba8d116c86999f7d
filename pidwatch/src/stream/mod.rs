//! The stream of events as data: what `trace -o json` prints, a recording holds and a report reads.
//!
//! One [`Line`] an event, as JSON; the fields are those of docs/events.md. Unknown is left out. What
//! comes from outside (names, paths) is in it escaped, so that a line is valid UTF-8 whatever they
//! hold.

mod failure;
mod incident;
mod limit;
mod node;
mod owner;
mod rate;
mod started;
mod state;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

pub use failure::{CloneFailed, Parent, Process};
pub use incident::{Culprit, Incident, Moment, Victim};
pub use limit::{Exhaustion, LimitUse};
pub use node::NodeWindow;
pub use owner::{Cgroup, K8s, Owner, Runtime};
pub use rate::{Counted, Creator, Kinds, Rate};
pub use started::{Probe, Started};
pub use state::{LargestProcess, Pattern, State, TaskNames};

/// One event of the stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Line {
    /// When, by the wall clock.
    #[serde(serialize_with = "nanoseconds")]
    pub time: Timestamp,
    /// The node's name.
    pub node: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// RFC 3339 in UTC, always with nine digits of a second.
fn nanoseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.9}"))
}

/// What happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The stream begins.
    Started(Started),
    /// What a cgroup did in a window.
    Rate(Box<Rate>),
    /// A creation failed.
    CloneFailed(Box<CloneFailed>),
    /// An owner is in another state.
    State(Box<State>),
    /// An incident opened, went on, or ended.
    Incident(Box<Incident>),
    /// A cgroup came or went.
    Cgroup(CgroupChange),
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

/// To three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A cgroup that came or went.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CgroupChange {
    /// Which.
    #[serde(flatten)]
    pub owner: Owner,
    /// `added` or `removed`.
    pub change: String,
}

/// Every value of [`Line`]'s `type`.
const TYPES: [&str; 8] = [
    "started",
    "rate",
    "clone_failed",
    "state",
    "incident",
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
