//! The `pid_max` of PID namespaces (6.14) as limits above the cgroups that grow in them. Pure.
//!
//! In: who creates in a cgroup that grows, and what the kernel side says of the PID namespaces in which the
//! creator's children get their IDs. Out: the limits of those that allow less than the node does.

use std::time::Duration;

use hashbrown::HashMap;
use pidwatch_common::evidence::{PIDNS_ADDING, PidLevel};
use tokio::time::Instant;

use crate::{
    cgroup::CgroupId,
    limits::{Limit, LimitOwner},
};

/// What was read is good for so long: the creator may have ended, and another one may have no namespace.
const FRESH: Duration = Duration::from_secs(10);
/// Cgroups whose creators are asked about at a time.
const MOST: usize = 256;

#[derive(Debug)]
struct ReadLimits {
    at: Instant,
    /// The innermost first.
    limits: Vec<Limit>,
}

/// The limits of PID namespaces, by the cgroups that grow in them.
#[derive(Debug, Default)]
pub struct Namespaces {
    by_cgroup: HashMap<CgroupId, ReadLimits>,
    /// Of which cgroups a process was asked about.
    asked: HashMap<u32, Vec<CgroupId>>,
}

impl Namespaces {
    /// Which processes to ask about, for cgroups that grow and who creates in each.
    pub fn ask(
        &mut self,
        growing: impl Iterator<Item = (CgroupId, u32)>,
        now: Instant,
    ) -> Vec<u32> {
        self.by_cgroup
            .retain(|_, known| now.duration_since(known.at) < FRESH);
        self.asked.clear();
        for (cgroup, creator) in growing.take(MOST) {
            self.asked.entry(creator).or_default().push(cgroup);
        }
        self.asked.keys().copied().collect()
    }

    /// Takes in the PID namespaces of a process in `cgroup`. `is_same_owner`: whether that cgroup belongs to
    /// the container or unit that was asked about; else the process is another one by now.
    pub fn answer(
        &mut self,
        pid: u32,
        levels: &[PidLevel],
        is_same_owner: impl Fn(CgroupId) -> bool,
        now: Instant,
    ) {
        let Some(of) = self.asked.remove(&pid) else {
            return;
        };
        for cgroup in of.into_iter().filter(|&cgroup| is_same_owner(cgroup)) {
            let limits = limits(levels);
            self.by_cgroup
                .insert(cgroup, ReadLimits { at: now, limits });
        }
    }

    /// The limits of the PID namespaces that a cgroup grows in, the innermost first.
    pub fn of(&self, cgroup: CgroupId) -> &[Limit] {
        self.by_cgroup
            .get(&cgroup)
            .map_or(&[], |known| &known.limits)
    }

    /// The limit of one namespace, as it was read last.
    pub fn limit(&self, inum: u32) -> Option<Limit> {
        let is_it = |limit: &&Limit| limit.owner == LimitOwner::PidNamespace(inum);
        let newest = |known: &&ReadLimits| known.at;
        let with_it = self
            .by_cgroup
            .values()
            .filter(|known| known.limits.iter().any(|of| is_it(&of)));
        let known = with_it.max_by_key(newest)?;
        known.limits.iter().find(is_it).copied()
    }
}

/// The limits that are lower than the node's. A new namespace has the most that there can be.
fn limits(levels: &[PidLevel]) -> Vec<Limit> {
    let Some((node, inner)) = levels.split_last() else {
        return Vec::new();
    };
    let inner = inner.iter().filter(|level| level.pid_max < node.pid_max);
    let limit = |level: &PidLevel| {
        let value = u64::from(level.pid_max);
        let allocated = u64::from(level.allocated & !PIDNS_ADDING);
        // Free IDs that are not searched any more are no headroom.
        let is_full = level.first_free >= level.pid_max;
        Limit {
            name: "kernel.pid_max",
            value,
            usage: if is_full {
                allocated.max(value)
            } else {
                allocated
            },
            owner: LimitOwner::PidNamespace(level.inum),
        }
    };
    inner.map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: PidLevel = PidLevel {
        allocated: 900,
        pid_max: 32_768,
        inum: 1,
        first_free: 0,
    };

    fn level(inum: u32, allocated: u32, pid_max: u32) -> PidLevel {
        PidLevel {
            allocated: allocated | PIDNS_ADDING,
            pid_max,
            inum,
            first_free: 0,
        }
    }

    #[test]
    fn only_what_allows_less_than_the_node_is_a_limit() {
        let outer = level(2, 300, 4_194_304);
        let inner = level(3, 250, 400);
        let found = limits(&[inner, outer, NODE]);
        let expected = Limit {
            name: "kernel.pid_max",
            value: 400,
            usage: 250,
            owner: LimitOwner::PidNamespace(3),
        };
        assert_eq!(found, [expected]);
        let full = PidLevel {
            first_free: 400,
            ..inner
        };
        assert_eq!(limits(&[full, NODE])[0].usage, 400);
        assert_eq!(limits(&[NODE]), []);
        assert_eq!(limits(&[]), []);
    }

    #[test]
    fn an_answer_about_another_process_is_not_taken_and_an_old_one_is_forgotten() {
        let now = Instant::now();
        let mut namespaces = Namespaces::default();
        let growing = [(CgroupId(1), 10), (CgroupId(2), 10), (CgroupId(3), 11)];
        let mut pids = namespaces.ask(growing.into_iter(), now);
        pids.sort_unstable();
        assert_eq!(pids, [10, 11]);
        let levels = [level(3, 250, 400), NODE];
        namespaces.answer(10, &levels, |cgroup| cgroup == CgroupId(1), now);
        namespaces.answer(99, &levels, |_| true, now);
        assert_eq!(namespaces.of(CgroupId(1)).len(), 1);
        assert_eq!(namespaces.of(CgroupId(2)), []);
        assert_eq!(namespaces.limit(3).map(|limit| limit.usage), Some(250));
        assert_eq!(namespaces.limit(4), None);
        namespaces.ask([].into_iter(), now + FRESH);
        assert_eq!(namespaces.of(CgroupId(1)), []);
    }
}
