//! Events with values that are easily told apart, for tests and benchmarks.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Breakdown, ByKind, Caller, CloneFailure, Event, IncidentEvent, LimitId, Line, NodeWindow,
    OwnerRef, RateEvent, StateEvent, TaskCounts,
};
use crate::{cgroup::CgroupId, detect, identity, incident::Phase, limits::Errno, limits::Reason};

impl Line {
    /// At a second since 1970.
    pub fn example(second: u64, event: Event) -> Self {
        let second = i64::try_from(second).unwrap_or(i64::MAX);
        Self {
            time: Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH),
            node: "node".into(),
            event,
        }
    }
}

impl OwnerRef {
    /// A cgroup, and whose it is by its path.
    pub fn example(id: u64, path: Option<&str>) -> Arc<Self> {
        let path = path.map(|path| path.as_bytes().into());
        Arc::new((&identity::Owner::new(CgroupId(id), path)).into())
    }
}

impl TaskCounts {
    /// Nothing, and everything is known.
    pub fn example() -> Self {
        Self {
            created: ByKind::default(),
            exited: ByKind::default(),
            freed: Some(0),
            failed: Some(Breakdown::default()),
            rejected: Some(0),
            rejected_by: None,
        }
    }
}

impl RateEvent {
    /// Of an owner with one process and these tasks, in a second in which nothing happened.
    pub fn example(owner: Arc<OwnerRef>, tasks: Option<u64>) -> Self {
        Self {
            owner,
            window_s: 1.0,
            tasks,
            subtree_tasks: tasks,
            processes: Some(1),
            zombies: Some(0),
            counts: TaskCounts::example(),
            total: TaskCounts::example(),
            tasks_limit: None,
            limit: None,
            verdict: None,
            creators: Vec::new(),
        }
    }
}

impl NodeWindow {
    /// The end of a second, of a node with these tasks.
    pub fn example(tasks: u64) -> Self {
        Self {
            window_s: 1.0,
            tasks: Some(tasks),
            knows_frees: true,
            knows_failures: true,
            ..Self::default()
        }
    }
}

impl CloneFailure {
    /// Of a thread whose name holds a control character.
    pub fn example(owner: Arc<OwnerRef>, reason: Reason) -> Self {
        Self {
            owner,
            syscall: None,
            errno: Errno::EAGAIN.into(),
            reason: reason.into(),
            evidence: None,
            limit: None,
            proc: Caller {
                comm: "ja\u{1b}va".into(),
                pid: 4711,
                tid: 4713,
                uid: 1000,
                parent: None,
                exec_probe: false,
            },
            on_behalf_of: None,
            suppressed: 0,
        }
    }
}

impl StateEvent {
    /// Of an owner that was growing.
    pub fn example(owner: Arc<OwnerRef>, to: detect::State) -> Self {
        Self {
            owner,
            inside: None,
            from: detect::State::Growing.into(),
            to: to.into(),
            tasks: 1000,
            growth_per_s: Some(41.0),
            since: Timestamp::UNIX_EPOCH,
            confidence: None,
            evidence: Vec::new(),
            exhaustion: None,
            limits: None,
            task_names: None,
            why: "+41.0 tasks/s".into(),
        }
    }
}

impl IncidentEvent {
    /// About a limit, with nobody in it.
    pub fn example(id: &str, limit: LimitId, phase: Phase) -> Self {
        Self {
            id: id.to_owned(),
            phase: phase.into(),
            limit: limit.name,
            cgroup: limit.cgroup,
            uid: limit.uid,
            pid_namespace: limit.pid_namespace,
            value: None,
            usage: None,
            peak: None,
            opened: Timestamp::UNIX_EPOCH,
            culprits: Vec::new(),
            victims: Vec::new(),
            failures: 0,
            timeline: Vec::new(),
            summary: String::new(),
        }
    }
}
