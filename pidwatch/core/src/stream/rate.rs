//! What a cgroup did in a window.

use std::collections::BTreeMap;

use pidwatch_common::totals::REJECTIONS;
use serde::{Deserialize, Serialize};

use super::{LimitUse, Owner};
use crate::{
    escape,
    limits::{Reason, errno_name},
    model::{self, Counts},
    snapshot::{Row, Snapshot},
};

/// What a cgroup did in a window.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rate {
    /// Whose.
    #[serde(flatten)]
    pub owner: Owner,
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
    pub counts: Counted,
    /// Since start.
    pub total: Counted,
    /// The limit that it reaches first, if all above it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitUse>,
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

impl From<&model::Creator> for Creator {
    fn from(creator: &model::Creator) -> Self {
        Self {
            comm: escape::for_json(&creator.who.comm),
            pid: creator.who.pid,
            // Sampled: more digits would say nothing.
            share: (creator.share * 100.0).round() / 100.0,
        }
    }
}

impl Rate {
    /// A row of a snapshot.
    pub fn of(row: &Row, snapshot: &Snapshot) -> Self {
        Self {
            owner: (&row.owner).into(),
            window_s: snapshot.window.as_secs_f64(),
            tasks: row.tasks,
            subtree_tasks: row.subtree_tasks,
            processes: row.processes,
            zombies: row.zombies,
            counts: Counted::of(&row.counts, snapshot),
            total: Counted::of(&row.total, snapshot),
            limit: row
                .limit
                .as_ref()
                .map(|(limit, owner)| LimitUse::of(limit, owner.as_ref())),
            creators: {
                let created = row.counts.created;
                let of_late = row.creators.iter();
                of_late
                    .filter(|_| created.processes + created.threads > 0)
                    .map(Into::into)
                    .collect()
            },
        }
    }
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Kinds {
    /// Thread-group leaders.
    pub processes: u64,
    /// Other tasks.
    pub threads: u64,
}

impl From<pidwatch_common::totals::Kinds> for Kinds {
    fn from(kinds: pidwatch_common::totals::Kinds) -> Self {
        Self {
            processes: kinds.processes,
            threads: kinds.threads,
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Counted {
    /// Tasks created.
    pub created: Kinds,
    /// Tasks that ended.
    pub exited: Kinds,
    /// Tasks that gave their PID back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<u64>,
    /// Creations refused for want of something, by reason; a reason that did not occur is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BTreeMap<String, u64>>,
    /// Creations refused for another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u64>,
    /// Those by error; one that did not occur is left out, those that are not counted each are `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_by: Option<BTreeMap<String, u64>>,
}

/// What [`Counted::rejected_by`] calls the errors that are not counted each.
pub const OTHER: &str = "other";

/// Names of the errors in [`Counts::rejected_by`].
pub fn rejections() -> impl Iterator<Item = String> {
    REJECTIONS
        .into_iter()
        .map(errno_name)
        .chain([OTHER.to_owned()])
}

impl Counted {
    fn of(counts: &Counts, snapshot: &Snapshot) -> Self {
        let failed = || {
            Reason::ALL
                .into_iter()
                .map(|reason| (reason.name().into(), counts.failed[reason as usize]))
                .filter(|(_, n)| *n > 0)
                .collect()
        };
        Self {
            created: counts.created.into(),
            exited: counts.exited.into(),
            freed: snapshot.knows_frees.then_some(counts.freed),
            failed: snapshot.knows_failures.then(failed),
            rejected: snapshot.knows_failures.then_some(counts.rejected),
            rejected_by: (snapshot.knows_failures && counts.rejected > 0).then(|| {
                let counted = rejections().zip(counts.rejected_by);
                counted.filter(|(_, n)| *n > 0).collect()
            }),
        }
    }
}
