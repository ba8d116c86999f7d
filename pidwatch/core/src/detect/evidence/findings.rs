//! A piece of evidence, in data and in words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, EvidenceSettings, TaskSummary, ZombieSummary};
use crate::{escape, values::about};

/// What a piece of evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// The growth itself.
    Growth,
    /// Zombies that only accumulate.
    Zombies,
    /// A growing number of different pools.
    Names,
    /// Tasks that do not run any more.
    Stale,
    /// Owners that together fill a limit above them.
    Joint,
    /// Tasks that run again and again.
    Busy,
    /// One pool, or a few, being filled.
    Pool,
    /// Tasks that wait for a connection.
    Connections,
}

impl EvidenceKind {
    /// Whether it speaks for a leak; the others are reasons for doubt.
    pub fn is_proof(self) -> bool {
        matches!(
            self,
            Self::Zombies | Self::Names | Self::Stale | Self::Joint
        )
    }
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What it is about.
    pub kind: EvidenceKind,
    /// In words. Text from outside is escaped.
    pub text: String,
    /// How many tasks it is about.
    pub tasks: u64,
    /// Share of the tasks old enough to tell that are as it says.
    pub share: Option<f64>,
    /// In how many different pools they are.
    pub pools: Option<u64>,
    /// How long the growth has lasted, how old the oldest zombie is, for how long stale tasks have not run.
    pub age: Option<Duration>,
}

impl Evidence {
    /// A growth, in words that say how fast it is.
    pub(in crate::detect) fn of_growth(text: String, gain: u64, lasted: Duration) -> Self {
        Self {
            kind: EvidenceKind::Growth,
            text,
            tasks: gain,
            share: None,
            pools: None,
            age: Some(lasted),
        }
    }

    pub(super) fn of_zombies(zombies: &ZombieSummary) -> Self {
        let ZombieSummary { tasks, pace, .. } = *zombies;
        let oldest = pace.oldest;
        Self {
            kind: EvidenceKind::Zombies,
            text: format!(
                "{}, of which none was reaped after a minute, the oldest {} old",
                counted(tasks, "zombie", "zombies"),
                about(oldest)
            ),
            tasks,
            share: None,
            pools: None,
            age: Some(oldest),
        }
    }

    pub(super) fn of_names(class: &Class, pools: u64) -> Self {
        Self {
            kind: EvidenceKind::Names,
            text: format!("{}, in {pools} different pools", called(class)),
            tasks: class.tasks,
            share: None,
            pools: Some(pools),
            age: None,
        }
    }

    pub(super) fn of_stale(class: &Class, settings: &EvidenceSettings) -> Self {
        let share = share(class.stale, class.aged);
        let mut text = format!(
            "{}, {:.0} % of the old ones have not run for {}",
            called(class),
            100.0 * share,
            about(settings.stale_idle)
        );
        if let Some(pools) = class.pools.filter(|&pools| pools > 1) {
            text += &format!(", in {pools} different pools");
        }
        Self {
            kind: EvidenceKind::Stale,
            text,
            tasks: class.tasks,
            share: Some(share),
            pools: class.pools,
            age: Some(settings.stale_idle),
        }
    }

    /// A growth that takes a share of a limit's headroom together with others.
    pub(in crate::detect) fn of_joint(
        limit: &str,
        others: usize,
        workload: Option<&str>,
        (tasks, share): (u64, f64),
    ) -> Self {
        let of = workload.map_or_else(String::new, |workload| format!(" of {workload}"));
        let who = if others == 1 {
            format!("one other{of} that grows")
        } else {
            format!("{others} others{of} that grow")
        };
        Self {
            kind: EvidenceKind::Joint,
            text: format!(
                "together with {who} alike {tasks} tasks, {:.0} % of the headroom of {limit}",
                100.0 * share
            ),
            tasks,
            share: Some(share),
            pools: None,
            age: None,
        }
    }

    pub(super) fn of_busy(seen: &TaskSummary) -> Self {
        let share = share(seen.active, seen.settled);
        Self {
            kind: EvidenceKind::Busy,
            text: format!(
                "{} of them older than a minute, {:.0} % of these ran within the last one: a pool at \
                 work, or a leak with a heartbeat",
                seen.settled,
                100.0 * share
            ),
            tasks: seen.settled,
            share: Some(share),
            pools: None,
            age: None,
        }
    }

    pub(super) fn of_pool(class: &Class, pools: u64) -> Self {
        Self {
            kind: EvidenceKind::Pool,
            text: match pools {
                1 => format!(
                    "{}, all in one pool, which may only be filling",
                    called(class)
                ),
                _ => format!(
                    "{}, in {pools} pools, which may only be filling",
                    called(class)
                ),
            },
            tasks: class.tasks,
            share: None,
            pools: Some(pools),
            age: None,
        }
    }

    pub(super) fn of_connections(class: &Class) -> Self {
        let share = share(class.stale_in_connections, class.stale);
        Self {
            kind: EvidenceKind::Connections,
            text: format!(
                "{}, {:.0} % of the idle ones wait for a connection, whose clients may only be quiet",
                called(class),
                100.0 * share
            ),
            tasks: class.tasks,
            share: Some(share),
            pools: None,
            age: None,
        }
    }
}

/// ``891 threads `pool-*-thread-*` ``.
fn called(class: &Class) -> String {
    let tasks = if class.are_processes {
        counted(class.tasks, "process", "processes")
    } else {
        counted(class.tasks, "thread", "threads")
    };
    if class.pattern.is_empty() {
        tasks
    } else {
        format!("{tasks} `{}`", escape::for_terminal(&class.pattern))
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    let what = if number == 1 { one } else { many };
    format!("{number} {what}")
}

/// A share of a whole; 0 of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
