//! What the node tells.

use std::borrow::Cow;

use crate::{
    cgroup::TaskNames,
    clock::BootTime,
    detect::Change,
    incident::Incident,
    limits::{Limit, Verdict},
    probe::Failure,
    snapshot::{Owner, Snapshot},
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

/// A creation that failed, and why.
#[derive(Debug)]
pub struct FailedClone {
    /// Its cgroup.
    pub owner: Owner,
    /// The failure.
    pub failure: Failure,
    /// Why.
    pub verdict: Verdict,
    /// Whose limit it was, if a cgroup's.
    pub limit_owner: Option<Owner>,
    /// Failures of the cgroup that were not shown since the last one.
    pub suppressed: u64,
    /// The caller came into the container from outside (or what it started did), at a probe's pace.
    pub exec_probe: bool,
    /// The caller is a container runtime's, at work for this container or pod.
    pub on_behalf_of: Option<Owner>,
}

impl FailedClone {
    /// Who suffers from it.
    pub fn sufferer(&self) -> &Owner {
        self.on_behalf_of.as_ref().unwrap_or(&self.owner)
    }
}

/// An owner that is in another state.
#[derive(Debug)]
pub struct StateChange {
    /// Whose.
    pub owner: Owner,
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
