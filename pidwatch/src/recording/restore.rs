//! From lines of a recording back to the updates that they were made from, so that every output
//! shows a recording as it shows the node.
//!
//! Times are those recorded: a restored [`BootTime`] counts from 1970, for [`WallClock::recorded`].

use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;
use pidwatch_common::totals::Totals;

use crate::{
    cgroup::CgroupId,
    clock::{BootTime, WallClock},
    detect::{self, Change},
    event::{StateChange, Update},
    identity::Owner,
    incident,
    limits::{FailedClone, Limit, LimitOwner, Reason, Verdict},
    model::Creator,
    probe::{Failure, SyscallName, Who},
    snapshot::{NodeState, Row, Snapshot},
    stream::{self, Event, Line},
};

/// Makes updates of lines.
#[derive(Debug)]
pub struct Restorer {
    clock: WallClock,
    rows: Vec<Row>,
    /// What is known of owners that are not `ok`.
    verdicts: HashMap<CgroupId, detect::Verdict>,
    incidents: Vec<incident::Incident>,
    /// Ids of cgroups by their paths.
    ids: HashMap<String, CgroupId>,
}

impl Default for Restorer {
    fn default() -> Self {
        Self {
            clock: WallClock::recorded(),
            rows: Vec::new(),
            verdicts: HashMap::new(),
            incidents: Vec::new(),
            ids: HashMap::new(),
        }
    }
}

impl Restorer {
    /// The update that a line was made from. Rates are gathered until the line of their window comes;
    /// that the stream began is none.
    pub fn restore(&mut self, line: Line) -> Option<Update> {
        let time = self.at(line.time);
        match line.event {
            Event::Started(_) => {
                self.rows.clear();
                self.verdicts.clear();
                self.incidents.clear();
                None
            }
            Event::Rate(rate) => {
                let row = self.row(*rate);
                self.rows.push(row);
                None
            }
            Event::Node(node) => Some(Update::Window(self.window(node, time))),
            Event::CloneFailed(failed) => {
                Some(Update::Failed(Box::new(self.failed(*failed, time))))
            }
            Event::State(state) => Some(Update::State(Box::new(self.state(*state, time)))),
            Event::Incident(told) => {
                let incident = self.incident(*told)?;
                self.incidents.retain(|known| known.id != incident.id);
                if incident.phase != incident::Phase::Closed {
                    self.incidents.push(incident.clone());
                }
                Some(Update::Incident(Box::new(incident), time))
            }
            Event::Cgroup(change) => {
                let owner = self.owner(&change.owner);
                Some(match change.change.known()? {
                    stream::Change::Added => Update::Added(owner, time),
                    stream::Change::Named => Update::Named(owner, time),
                    stream::Change::Removed => Update::Removed(owner, time),
                })
            }
            Event::Lost { place, count } => Some(Update::Lost {
                place: place.into(),
                count,
                time,
            }),
        }
    }

    fn at(&self, time: Timestamp) -> BootTime {
        self.clock.boot_time(time)
    }

    fn owner(&mut self, owner: &stream::Owner) -> Owner {
        let id = CgroupId(owner.cgroup.id);
        if let Some(path) = &owner.cgroup.path {
            self.ids.insert(path.clone(), id);
        }
        owner.into()
    }

    fn limit(&self, limit: &stream::LimitUse) -> (Limit, Option<Owner>) {
        let owner = match (limit.uid, limit.pid_namespace, &limit.cgroup) {
            (Some(uid), ..) => LimitOwner::User(uid),
            (None, Some(inum), _) => LimitOwner::PidNamespace(inum),
            (None, None, Some(path)) => LimitOwner::Cgroup(self.id_of(path)),
            (None, None, None) => LimitOwner::Node,
        };
        let of_cgroup = match (owner, &limit.cgroup) {
            (LimitOwner::Cgroup(id), Some(path)) => {
                Some(Owner::new(id, Some(path.as_bytes().into())))
            }
            _ => None,
        };
        let limit = Limit {
            name: Limit::known_name(&limit.name),
            value: limit.value,
            usage: limit.usage,
            owner,
        };
        (limit, of_cgroup)
    }

    /// 0, which is no cgroup's, when the cgroup itself was not heard of.
    fn id_of(&self, path: &str) -> CgroupId {
        self.ids.get(path).copied().unwrap_or(CgroupId(0))
    }

    fn row(&mut self, rate: stream::Rate) -> Row {
        let owner = self.owner(&rate.owner);
        Row {
            verdict: None,
            limit: rate.limit.as_ref().map(|limit| self.limit(limit)),
            owner,
            tasks: rate.tasks,
            subtree_tasks: rate.subtree_tasks,
            processes: rate.processes,
            zombies: rate.zombies,
            counts: (&rate.counts).into(),
            total: (&rate.total).into(),
            creators: rate
                .creators
                .into_iter()
                .map(|told| Creator {
                    who: Who {
                        pid: told.pid,
                        comm: told.comm.into_bytes(),
                    },
                    share: told.share,
                })
                .collect(),
        }
    }

    fn window(&mut self, node: stream::NodeWindow, time: BootTime) -> Snapshot {
        let mut rows = std::mem::take(&mut self.rows);
        // Whoever begins to listen is told the states after the rates that have the owners' names.
        for row in &mut rows {
            row.verdict = self.verdicts.get(&row.owner.id).cloned();
        }
        for now in &node.incidents {
            let mut open = self.incidents.iter_mut();
            let is_other = |open: &incident::Incident| {
                (open.value, open.usage, open.failures) != (now.value, now.usage, now.failures)
            };
            if let Some(open) = open.find(|open| open.id == now.id && is_other(open)) {
                open.value = now.value.or(open.value);
                open.usage = now.usage.or(open.usage);
                open.peak = open.peak.max(open.usage);
                open.failures = now.failures;
                open.summary = incident::summary(open);
            }
        }
        Snapshot {
            time,
            window: seconds(node.window_s),
            knows_frees: node.knows_frees,
            knows_failures: node.knows_failures,
            rows,
            node: NodeState {
                tasks: node.tasks,
                limits: node
                    .limits
                    .iter()
                    .map(|limit| self.limit(limit).0)
                    .collect(),
                exhaustion: node.exhaustion.map(|told| self.exhaustion(&told).0),
            },
            incidents: self.incidents.clone(),
        }
    }

    fn failed(&mut self, told: stream::CloneFailed, time: BootTime) -> FailedClone {
        let owner = self.owner(&told.owner);
        let on_behalf_of = told.on_behalf_of.as_ref().map(|told| self.owner(told));
        let limit = told.limit.as_ref().map(|limit| self.limit(limit));
        let (limit, limit_owner) = limit.unzip();
        FailedClone {
            failure: Failure {
                cgroup: owner.id,
                time,
                totals: Totals::ZERO,
                errno: told.errno.known().map_or(0, |errno| errno.0),
                syscall: told.syscall.as_deref().and_then(SyscallName::known),
                pid: told.proc.pid,
                tid: told.proc.tid,
                uid: told.proc.uid,
                comm: told.proc.comm.into_bytes(),
                parent: told.proc.parent.map(|parent| Who {
                    pid: parent.pid,
                    comm: parent.comm.into_bytes(),
                }),
                origin: None,
                evidence: Box::default(),
            },
            owner,
            verdict: Verdict {
                reason: told.reason.known().unwrap_or(Reason::Other),
                basis: told.evidence.and_then(|basis| basis.known()),
                limit,
            },
            limit_owner: limit_owner.flatten(),
            suppressed: told.suppressed,
            exec_probe: told.proc.exec_probe,
            on_behalf_of,
        }
    }

    fn exhaustion(&self, told: &stream::Exhaustion) -> (detect::Exhaustion, Option<Owner>) {
        let (limit, owner) = self.limit(&stream::LimitUse {
            name: told.limit.clone(),
            value: told.value,
            usage: told.usage,
            cgroup: told.cgroup.clone(),
            uid: None,
            pid_namespace: None,
        });
        let exhaustion = detect::Exhaustion {
            limit,
            in_s: told.in_s,
            low_s: told.in_s_low,
            high_s: told.in_s_high.unwrap_or(f64::INFINITY),
        };
        (exhaustion, owner)
    }

    fn state(&mut self, told: stream::State, time: BootTime) -> StateChange {
        let owner = self.owner(&told.owner);
        let (exhaustion, limit_owner) = told
            .exhaustion
            .as_ref()
            .map(|exhaustion| self.exhaustion(exhaustion))
            .unzip();
        let verdict = detect::Verdict {
            state: told.to.known().unwrap_or_default(),
            since: self.at(told.since),
            tasks: told.tasks,
            growth_per_s: told.growth_per_s,
            confidence: told.confidence,
            exhaustion,
            why: told.why,
        };
        if matches!(verdict.state, detect::State::Ok | detect::State::Gone) {
            self.verdicts.remove(&owner.id);
        } else {
            self.verdicts.insert(owner.id, verdict.clone());
        }
        let limits = told.limits.as_ref();
        StateChange {
            limits: limits.map(|limits| limits.iter().map(|limit| self.limit(limit)).collect()),
            task_names: told.task_names.map(Into::into),
            time,
            change: Change {
                owner: owner.id,
                from: told.from.known().unwrap_or_default(),
                verdict,
            },
            owner,
            limit_owner: limit_owner.flatten(),
        }
    }

    /// `None` for an incident whose phase or moments are not known here.
    fn incident(&mut self, told: stream::Incident) -> Option<incident::Incident> {
        told.restore(|path| self.id_of(path), |time| self.clock.boot_time(time))
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
