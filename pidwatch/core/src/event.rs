//! What happens on the node, as every output sees it.

use std::borrow::Cow;

use crate::{
    cgroup::TaskNames,
    clock::BootTime,
    detect::Change,
    identity::Owner,
    incident::Incident,
    limits::{FailedClone, Limit},
    snapshot::Snapshot,
};

/// Something to show.
#[derive(Debug)]
pub enum Update {
    /// A creation failed.
    Failed(Box<FailedClone>),
    /// A cgroup came.
    Added(Owner, BootTime),
    /// A cgroup went.
    Removed(Owner, BootTime),
    /// A container runtime told the names of a cgroup's owner, after the cgroup was told of.
    Named(Owner, BootTime),
    /// An owner is in another state.
    State(Box<StateChange>),
    /// An incident opened, went on, or closed.
    Incident(Box<Incident>, BootTime),
    /// A window closed.
    Window(Snapshot),
    /// Something was lost.
    Lost {
        /// Where.
        place: Cow<'static, str>,
        /// How often since the last time.
        count: u64,
        /// When it was noticed.
        time: BootTime,
    },
}

/// An owner that is in another state.
#[derive(Debug)]
pub struct StateChange {
    /// Whose: a container or a unit with everything below it, or a cgroup that belongs to none.
    pub owner: Owner,
    /// The cgroup inside of it that this comes from, where it is one.
    pub inside: Option<Owner>,
    /// When it was found.
    pub time: BootTime,
    /// What.
    pub change: Change,
    /// Whose the limit is that it will hit, if a cgroup's.
    pub limit_owner: Option<Owner>,
    /// The limits above it, nearest first, with whose each is if a cgroup's; `None` when one could
    /// not be read.
    pub limits: Option<Vec<(Limit, Option<Owner>)>>,
    /// What its tasks are called, where it was flagged.
    pub task_names: Option<TaskNames>,
}
