//! A case of the corpus: owners on a node, for a while.

use pidwatch_core::cgroup::CgroupId;
use pidwatch_core::detect::Limits;
use pidwatch_core::limits::{Limit, LimitOwner};

use super::owner::Owner;
use super::random::Random;

/// The node's limits, and what others use of them.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub pid_max: u64,
    pub threads_max: u64,
    pub background: u64,
}

impl Node {
    /// That of the incident: 49 thousand PIDs.
    pub fn small(random: &mut Random) -> Self {
        Self {
            pid_max: 49_152,
            threads_max: 1_545_000,
            background: random.whole(400, 3000),
        }
    }

    /// 4 million PIDs, 250 thousand threads.
    pub fn large(random: &mut Random) -> Self {
        Self {
            pid_max: 4_194_304,
            threads_max: 250_000,
            background: random.whole(1000, 6000),
        }
    }

    /// Two in three are small.
    pub fn any(random: &mut Random) -> Self {
        if random.chance(0.67) {
            Self::small(random)
        } else {
            Self::large(random)
        }
    }
}

/// One case.
pub struct Case {
    pub class: &'static str,
    pub number: u64,
    /// Never used to tune the detector.
    pub is_unseen: bool,
    pub node: Node,
    pub owners: Vec<Owner>,
    /// Seconds that pass before the detector begins to watch.
    pub warm_up: u64,
    /// Seconds at most; a limit that is hit ends it sooner.
    pub duration: u64,
}

/// The limits of a case as they are now.
pub struct Readings {
    node: Node,
    /// Tasks of all owners.
    pub total: u64,
    /// `pids.max` of each owner's pod, and the owner's own usage.
    pub pods: Vec<(Option<u64>, u64)>,
    /// All owners are in one pod.
    is_shared: bool,
}

impl Readings {
    pub fn new(node: Node, owners: &[Owner]) -> Self {
        Self {
            node,
            total: 0,
            pods: owners.iter().map(|owner| (owner.pids_max, 0)).collect(),
            is_shared: owners.iter().all(|owner| owner.is_shared),
        }
    }

    /// An owner now has so many.
    pub fn set(&mut self, owner: usize, tasks: u64) {
        let usage = &mut self.pods[owner].1;
        self.total = self.total + tasks - *usage;
        *usage = tasks;
    }

    /// `pids.max` and usage of an owner's pod.
    fn pod(&self, owner: usize) -> (Option<u64>, u64) {
        let (pids_max, usage) = self.pods[owner];
        (pids_max, if self.is_shared { self.total } else { usage })
    }

    /// How full an owner's pod is.
    pub fn pod_ratio(&self, owner: usize) -> f64 {
        let (pids_max, usage) = self.pod(owner);
        pids_max.map_or(0.0, |max| usage as f64 / max as f64)
    }

    /// How full the node is.
    pub fn node_ratio(&self) -> f64 {
        let limit = self.node.pid_max.min(self.node.threads_max);
        (self.total + self.node.background) as f64 / limit as f64
    }

    /// How many tasks an owner may still create.
    pub fn room(&self, owner: usize) -> u64 {
        let (pids_max, usage) = self.pod(owner);
        let of_pod = pids_max.map_or(u64::MAX, |max| max.saturating_sub(usage));
        let used = self.total + self.node.background;
        let of_node = self.node.pid_max.min(self.node.threads_max);
        of_pod.min(of_node.saturating_sub(used))
    }
}

/// An owner's cgroup, by its place in the case.
pub fn id(owner: usize) -> CgroupId {
    CgroupId(1 + owner as u64)
}

impl Limits for Readings {
    fn chain(&self, owner: CgroupId) -> Vec<Limit> {
        let (pids_max, usage) = self.pod(owner.0 as usize - 1);
        let limit = |name, value, usage, owner| Limit {
            name,
            value,
            usage,
            owner,
        };
        let used = self.total + self.node.background;
        let mut chain = Vec::with_capacity(3);
        // The pod's cgroup lies above its container's.
        let pod = if self.is_shared { 0 } else { owner.0 };
        let pod = LimitOwner::Cgroup(CgroupId(1_000_000 + pod));
        chain.extend(pids_max.map(|max| limit("pids.max", max, usage, pod)));
        chain.push(limit(
            "kernel.pid_max",
            self.node.pid_max,
            used,
            LimitOwner::Node,
        ));
        chain.push(limit(
            "kernel.threads-max",
            self.node.threads_max,
            used,
            LimitOwner::Node,
        ));
        chain
    }
}
