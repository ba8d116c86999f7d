//! The immutable view of the node at the end of a window, which every output reads.

use std::{sync::Arc, time::Duration};

use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{Exhaustion, Verdict},
    escape,
    identity::{Identity, Names, identify},
    incident::Incident,
    limits::Limit,
    model::Counts,
};

/// The node at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When the window closed.
    pub time: BootTime,
    /// How long it was.
    pub window: Duration,
    /// The cgroups that have something to say, or all.
    pub rows: Vec<Row>,
    /// Frees are seen; otherwise `freed` and `zombies` are unknown.
    pub knows_frees: bool,
    /// Failed creations are seen; otherwise `failed` and `rejected` are unknown.
    pub knows_failures: bool,
    /// The node as a whole.
    pub node: NodeState,
    /// The incidents that are open.
    pub incidents: Vec<Incident>,
}

/// The node as a whole. `None` is unknown.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// Its tasks, zombies included.
    pub tasks: Option<u64>,
    /// `kernel.pid_max` and `kernel.threads-max`, each with what of it is used.
    pub limits: Vec<Limit>,
    /// Which of them is hit first if it goes on as it does; `None` also when nothing grows.
    pub exhaustion: Option<Exhaustion>,
}

/// A cgroup as it is named in outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub id: CgroupId,
    /// Its path, any bytes but NUL; `None` when it went before it could be learnt.
    pub path: Option<Box<[u8]>>,
    /// Whose it is, as the path says.
    pub identity: Identity,
    /// Whose it is, as a container runtime says; `None` when none has said so, or not yet.
    pub names: Option<Arc<Names>>,
}

impl Owner {
    /// A cgroup, and whose it is by its path.
    pub fn new(id: CgroupId, path: Option<Box<[u8]>>) -> Self {
        let identity = path.as_deref().map(identify).unwrap_or_default();
        Self {
            id,
            path,
            identity,
            names: None,
        }
    }

    /// What people call it, safe to show: its unit or its path.
    pub fn name(&self) -> String {
        match (&self.identity.unit, &self.path) {
            (Some(unit), _) => escape::for_terminal(unit.as_bytes()),
            (None, Some(path)) => escape::for_terminal(path),
            (None, None) => format!("(gone cgroup {})", self.id.0),
        }
    }
}

/// One cgroup in a snapshot. `None` is unknown.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which cgroup.
    pub owner: Owner,
    /// Its own charge: tasks, zombies included, without descendants'.
    pub tasks: Option<u64>,
    /// The charge with descendants'.
    pub subtree_tasks: Option<u64>,
    /// Processes, without descendants'.
    pub processes: Option<u64>,
    /// Ended tasks that are not freed and stay so.
    pub zombies: u64,
    /// What was counted in the window.
    pub counts: Counts,
    /// What was counted since start.
    pub total: Counts,
    /// What the detector says of it, if not simply `ok`.
    pub verdict: Option<Verdict>,
}
