//! What a cgroup did in a window.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Breakdown, LimitUse, OwnerRef, Rejection, StateNow};
use crate::{
    escape,
    limits::Reason,
    model::{self, Counts},
};

/// What a cgroup did in a window.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RateEvent {
    /// Whose.
    #[serde(flatten)]
    pub owner: Arc<OwnerRef>,
    /// Length of the window.
    pub window_s: f64,
    /// Its own charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// The charge with descendants'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree_tasks: Option<u64>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Ended and not reaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zombies: Option<u64>,
    /// In the window.
    #[serde(flatten)]
    pub counts: TaskCounts,
    /// Since start.
    pub total: TaskCounts,
    /// The smallest `pids.max` from its own up to the root; left out when there is none or one of them
    /// could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_limit: Option<u64>,
    /// The limit that it reaches first, if all above it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitUse>,
    /// What the detector says of it, if not simply `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<StateNow>>,
    /// Who created, the busiest first; sampled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creators: Vec<Creator>,
}

/// A process that creates tasks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Creator {
    /// Its name.
    pub comm: String,
    /// Its thread group.
    pub pid: u32,
    /// Its part of the cgroup's creations of late, 0 to 1.
    pub share: f64,
}

impl From<&model::CreatorShare> for Creator {
    fn from(creator: &model::CreatorShare) -> Self {
        Self {
            comm: escape::for_json(&creator.who.comm),
            pid: creator.who.pid,
            // Sampled: more digits would say nothing.
            share: (creator.share * 100.0).round() / 100.0,
        }
    }
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct ByKind {
    /// Thread-group leaders.
    pub processes: u64,
    /// Other tasks.
    pub threads: u64,
}

impl ByKind {
    /// Both together.
    pub fn sum(self) -> u64 {
        self.processes + self.threads
    }
}

impl From<pidwatch_common::totals::Kinds> for ByKind {
    fn from(kinds: pidwatch_common::totals::Kinds) -> Self {
        Self {
            processes: kinds.processes,
            threads: kinds.threads,
        }
    }
}

impl From<ByKind> for pidwatch_common::totals::Kinds {
    fn from(kinds: ByKind) -> Self {
        Self {
            processes: kinds.processes,
            threads: kinds.threads,
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TaskCounts {
    /// Tasks created.
    pub created: ByKind,
    /// Tasks that ended.
    pub exited: ByKind,
    /// Tasks that gave their PID back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<u64>,
    /// Creations refused for want of something, by reason; a reason that did not occur is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Breakdown<Reason>>,
    /// Creations refused for another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u64>,
    /// Those by error; one that did not occur is left out, those that are not counted each are `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_by: Option<Breakdown<Rejection>>,
}

impl TaskCounts {
    /// What was counted, where frees and failures are seen.
    pub fn of(counts: &Counts, knows_frees: bool, knows_failures: bool) -> Self {
        let failed = || {
            let reasons = Reason::ALL.into_iter();
            reasons.zip(counts.failed).collect()
        };
        let rejected_by = || {
            let rejections = Rejection::ALL.into_iter();
            rejections.zip(counts.rejected_by).collect()
        };
        Self {
            created: counts.created.into(),
            exited: counts.exited.into(),
            freed: knows_frees.then_some(counts.freed),
            failed: knows_failures.then(failed),
            rejected: knows_failures.then_some(counts.rejected),
            rejected_by: (knows_failures && counts.rejected > 0).then(rejected_by),
        }
    }

    /// Nothing, where this counts something; what is unknown stays so.
    pub fn of_nothing(&self) -> Self {
        Self {
            created: ByKind::default(),
            exited: ByKind::default(),
            freed: self.freed.map(|_| 0),
            failed: self.failed.as_ref().map(|_| Breakdown::default()),
            rejected: self.rejected.map(|_| 0),
            rejected_by: None,
        }
    }

    /// Creations refused for want of something; 0 where that is not known.
    pub fn failures(&self) -> u64 {
        self.failed.as_ref().map_or(0, Breakdown::total)
    }
}

impl From<&TaskCounts> for Counts {
    /// What is not known counts nothing; what a later version counts apart is with the rest here.
    fn from(counted: &TaskCounts) -> Self {
        let mut counts = Self {
            created: counted.created.into(),
            exited: counted.exited.into(),
            freed: counted.freed.unwrap_or(0),
            rejected: counted.rejected.unwrap_or(0),
            ..Self::NONE
        };
        let failed = counted.failed.iter().flat_map(Breakdown::iter);
        for (reason, n) in failed {
            counts.failed[reason.known().unwrap_or(Reason::Other) as usize] += n;
        }
        let rejected = counted.rejected_by.iter().flat_map(Breakdown::iter);
        for (rejection, n) in rejected {
            let same = |known: &Rejection| *rejection == *known;
            let place = Rejection::ALL.iter().position(same);
            counts.rejected_by[place.unwrap_or(Rejection::ALL.len() - 1)] += n;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Event, Line, OwnerRef};

    #[test]
    fn a_rate_says_what_the_contract_names_and_leaves_out_what_is_unknown() {
        let mut counts = Counts::NONE;
        counts.created.threads = 41;
        counts.failed[Reason::Unknown as usize] = 2;
        let owner = OwnerRef::example(u64::MAX, Some("/a\"\n\\xff"));
        let mut rate = RateEvent {
            window_s: 1.5,
            counts: TaskCounts::of(&counts, true, true),
            total: TaskCounts::of(&counts, false, false),
            ..RateEvent::example(owner, None)
        };
        rate.processes = Some(1);
        let line = Line::example(1, Event::Rate(Box::new(rate)));
        let line = serde_json::to_value(line).unwrap();
        assert_eq!(line["type"], "rate");
        assert_eq!(line["window_s"], 1.5);
        assert_eq!(line["cgroup"]["id"], u64::MAX);
        assert_eq!(line["cgroup"]["path"], "/a\"\n\\xff");
        assert_eq!(line["created"]["threads"], 41);
        assert_eq!(line["failed"]["unknown"], 2);
        assert_eq!(line["total"]["created"]["threads"], 41);
        assert_eq!(line["processes"], 1);
        assert!(line.get("tasks").is_none());
        for unknown in ["freed", "failed", "rejected"] {
            assert!(line["total"].get(unknown).is_none(), "{line}");
        }
        let time = line["time"].as_str().unwrap();
        assert_eq!(time.len(), "2026-11-21T22:09:13.123456789Z".len(), "{time}");
    }

    #[test]
    fn counts_are_read_back_and_what_is_new_is_with_the_rest() {
        let text = r#"{"created":{"processes":1,"threads":2},"exited":{"processes":3,"threads":4},
            "freed":5,"failed":{"memory":6,"cosmic_rays":7,"other":1},
            "rejected":9,"rejected_by":{"EPERM":2,"ENOSYS":3,"errno 99":4}}"#;
        let counted: TaskCounts = serde_json::from_str(text).unwrap();
        let counts = Counts::from(&counted);
        assert_eq!((counts.created.processes, counts.created.threads), (1, 2));
        assert_eq!((counts.exited.processes, counts.exited.threads), (3, 4));
        assert_eq!((counts.freed, counts.rejected), (5, 9));
        assert_eq!(counts.failed[Reason::Memory as usize], 6);
        assert_eq!(counts.failed[Reason::Other as usize], 8);
        assert_eq!(counts.rejected_by, [2, 0, 0, 0, 0, 7]);
        assert_eq!(counted.failures(), counts.failures());
        let unknown: TaskCounts = serde_json::from_str(
            r#"{"created":{"processes":0,"threads":0},"exited":{"processes":0,"threads":0}}"#,
        )
        .unwrap();
        assert!(Counts::from(&unknown).is_zero());
    }
}
