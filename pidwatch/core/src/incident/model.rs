//! An incident as data: its limit, its culprits, its victims, its timeline.

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::{clock::BootTime, identity::Owner, limits::LimitOwner};

/// A limit that incidents are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitKey {
    /// Its name as people set it.
    pub name: &'static str,
    /// Whose it is.
    pub owner: LimitOwner,
    /// Path of the cgroup whose it is, if one's and known.
    pub path: Option<Box<[u8]>>,
}

impl LimitKey {
    /// Whether it is the same limit, though its cgroup may have been removed and made anew.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same_place = || self.path.is_some() && self.path == other.path;
        self.name == other.name
            && match (self.owner, other.owner) {
                (LimitOwner::Cgroup(a), LimitOwner::Cgroup(b)) => a == b || is_same_place(),
                (a, b) => a == b,
            }
    }
}

/// What an incident does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It began.
    Opened,
    /// It goes on.
    Updated,
    /// It is over.
    Closed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 3] = [Self::Opened, Self::Updated, Self::Closed];

    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Closed => "closed",
        }
    }
}

/// Who eats a limit's headroom.
#[derive(Clone, Debug, PartialEq)]
pub struct Culprit {
    /// Who: a container or a unit with everything below it, or a cgroup that belongs to none.
    pub owner: Owner,
    /// The cgroup inside of it that most of it comes from, where it is one.
    pub inside: Option<Owner>,
    /// Its share of the growth below the limit or, where nothing grows, of the limit's usage; 0 to 1.
    pub share: f64,
    /// Tasks a second, when it grew last; `None` if it only holds.
    pub growth_per_s: Option<f64>,
    /// The most tasks it had.
    pub tasks: u64,
}

/// Who is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Victim {
    /// Who.
    pub owner: Owner,
    /// Creations refused.
    pub failures: u64,
    /// Names of the tasks that were refused, with how often each was told.
    pub comms: Vec<(Vec<u8>, u64)>,
}

/// One incident as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its own: when it opened, and what it is about.
    pub id: String,
    /// What it does.
    pub phase: Phase,
    /// The limit.
    pub limit: LimitKey,
    /// The limit as it was seen last.
    pub value: Option<u64>,
    /// What of it was used then.
    pub usage: Option<u64>,
    /// The most that was used of it.
    pub peak: Option<u64>,
    /// When it opened.
    pub opened: BootTime,
    /// The largest share first.
    pub culprits: Vec<Culprit>,
    /// The most often refused first.
    pub victims: Vec<Victim>,
    /// Creations refused in all, the culprits' own too.
    pub failures: u64,
    /// What happened when, oldest first.
    pub timeline: Vec<Moment>,
}
