//! Which processes of a container came into it from outside while it ran (`kubectl exec`, exec probes), and
//! whether they come at a probe's pace. Pure.
//!
//! In: tasks that were moved into a container's cgroup. Out: whether a process is such a probe's.

use std::{collections::VecDeque, time::Duration};

use hashbrown::HashMap;

use crate::{cgroup::CgroupId, clock::BootTime, probe::Charge};

/// Cgroups that are followed at a time.
const MAX_CGROUPS: usize = 4 * 1024;
/// Execs that are remembered of each: three probes with three periods each, and some more.
const MAX_EXECS: usize = 16;
/// A probe's period (`periodSeconds` of Kubernetes: at least one second).
const SHORTEST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_mins(10);
/// A period may be longer or shorter by this part of it: a node in need starts an exec late.
const JITTER: u32 = 5;
/// Most execs in two periods: a container has up to three probes, and people look in.
const DENSEST: usize = 9;

/// What came into containers from outside.
#[derive(Debug, Default)]
pub struct Execs {
    cgroups: HashMap<CgroupId, VecDeque<Exec>>,
}

#[derive(Clone, Copy, Debug)]
struct Exec {
    pid: u32,
    time: BootTime,
}

impl Execs {
    /// A process was moved into a container's cgroup, whose charge was this after it.
    pub fn entered(&mut self, cgroup: CgroupId, pid: u32, time: BootTime, charge: Charge) {
        // Alone there: the container's own first process.
        if charge == Charge::Own(1) {
            self.cgroups.remove(&cgroup);
            return;
        }
        if self.cgroups.len() >= MAX_CGROUPS && !self.cgroups.contains_key(&cgroup) {
            return;
        }
        let execs = self.cgroups.entry(cgroup).or_default();
        if execs.len() == MAX_EXECS {
            execs.pop_front();
        }
        execs.push_back(Exec { pid, time });
    }

    /// Whether one of these processes of a container is an exec that came at a probe's pace: a
    /// period after another one, which came the same period after a third.
    pub fn is_probe(&self, cgroup: CgroupId, pids: &[u32]) -> bool {
        let Some(execs) = self.cgroups.get(&cgroup) else {
            return false;
        };
        let Some(at) = execs.iter().rposition(|exec| pids.contains(&exec.pid)) else {
            return false;
        };
        let time = execs[at].time;
        (0..at).any(|before| {
            let period = time.since(execs[before].time);
            if !(SHORTEST..=LONGEST).contains(&period) {
                return false;
            }
            let jitter = period / JITTER;
            (0..before).any(|first| {
                let other = execs[before].time.since(execs[first].time);
                other.abs_diff(period) <= jitter && at - first <= DENSEST
            })
        })
    }

    /// Nothing more will come of this cgroup.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.cgroups.remove(&cgroup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: CgroupId = CgroupId(7);

    /// Execs at these tenths of a second; whether the last is a probe.
    fn last_is_probe(tenths: &[u64]) -> bool {
        let mut execs = Execs::default();
        for (pid, &tenth) in (100..).zip(tenths) {
            let time = BootTime::from_nanos(tenth * 100_000_000);
            execs.entered(ID, pid, time, Charge::Own(5));
        }
        execs.is_probe(ID, &[1, 100 + tenths.len() as u32 - 1])
    }

    #[test]
    fn the_third_exec_of_a_regular_series_is_a_probe() {
        for (tenths, expected) in [
            (&[0, 100][..], false),
            (&[0, 100, 200], true),
            (&[0, 100, 201, 299, 402], true),
            // Two probes of one container.
            (&[0, 30, 100, 130, 200, 230], true),
            // One of three comes late.
            (&[0, 100, 215], true),
            // A person: now and then.
            (&[0, 100, 150], false),
            (&[0, 13, 70, 300], false),
            // A script: as fast as it can.
            (
                &[
                    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                ],
                false,
            ),
            // Once a day is no probe.
            (&[0, 864_000, 1_728_000], false),
        ] {
            assert_eq!(last_is_probe(tenths), expected, "{tenths:?}");
        }
    }

    #[test]
    fn a_containers_first_process_is_no_exec() {
        let mut execs = Execs::default();
        for second in [0, 10, 20] {
            let time = BootTime::from_nanos(second * 1_000_000_000);
            execs.entered(ID, 9, time, Charge::Own(1));
        }
        assert!(!execs.is_probe(ID, &[9]));
        assert!(execs.cgroups.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut execs = Execs::default();
        for cgroup in 0..MAX_CGROUPS as u64 + 5 {
            for n in 0..50 {
                execs.entered(CgroupId(cgroup), n, BootTime::from_nanos(0), Charge::Own(9));
            }
        }
        assert_eq!(execs.cgroups.len(), MAX_CGROUPS);
        assert!(execs.cgroups.values().all(|execs| execs.len() == MAX_EXECS));
        execs.forget(CgroupId(1));
        assert_eq!(execs.cgroups.len(), MAX_CGROUPS - 1);
    }
}
