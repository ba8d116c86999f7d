//! What happened when in an incident, in bounded room.

use serde::{Deserialize, Serialize};

use crate::clock::BootTime;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A growth began that turned out to be a leak.
    FirstSign,
    /// An owner was flagged.
    Flagged,
    /// A creation was refused for the first time.
    FirstFailure,
    /// Somebody suffers.
    Victim,
    /// pidwatch was restarted, or the node.
    Restarted,
    /// It is over.
    Closed,
}

impl What {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::FirstSign,
        Self::Flagged,
        Self::FirstFailure,
        Self::Victim,
        Self::Restarted,
        Self::Closed,
    ];

    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstSign => "first_sign",
            Self::Flagged => "flagged",
            Self::FirstFailure => "first_failure",
            Self::Victim => "victim",
            Self::Restarted => "restarted",
            Self::Closed => "closed",
        }
    }
}

/// A moment worth remembering.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub time: BootTime,
    /// What.
    pub what: What,
    /// In words.
    pub text: String,
}

/// Moments that are kept; the end always is.
const MOST: usize = 64;

/// Takes a moment in, where it belongs in time.
pub(super) fn note(timeline: &mut Vec<Moment>, time: BootTime, what: What, text: String) {
    if timeline.len() >= MOST && what != What::Closed {
        return;
    }
    let place = timeline.partition_point(|moment| moment.time <= time);
    timeline.insert(place, Moment { time, what, text });
}
