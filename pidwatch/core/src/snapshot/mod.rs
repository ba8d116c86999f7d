//! The immutable view of the node at the end of a window, which every output reads.

use std::time::Duration;

use crate::{
    clock::BootTime,
    detect::{Exhaustion, Verdict},
    identity::Owner,
    incident::Incident,
    limits::Limit,
    model::{Counts, Creator},
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
    /// Frees are seen; otherwise `freed` is unknown.
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
    pub zombies: Option<u64>,
    /// What was counted in the window.
    pub counts: Counts,
    /// What was counted since start.
    pub total: Counts,
    /// What the detector says of it, if not simply `ok`.
    pub verdict: Option<Verdict>,
    /// Who creates there of late, the busiest first.
    pub creators: Vec<Creator>,
    /// The limit that it reaches first, with whose it is if a cgroup's: by the forecast or, where nothing
    /// grows, by the headroom.
    pub limit: Option<(Limit, Option<Owner>)>,
}
