//! Lines of the stream made of what the node found.

use std::sync::Arc;

use rustix::system::uname;

use super::{CgroupChange, Change, Event, Incident, Line, Rate, Started, State};
use crate::{
    clock::{BootTime, WallClock},
    event::Update,
    identity,
};

/// Makes lines of one node, with times by one clock.
pub struct Encoder {
    clock: WallClock,
    node: Arc<str>,
}

impl Encoder {
    /// Begins a stream of this node, with times by this clock.
    pub fn new(clock: WallClock) -> Self {
        Self {
            clock,
            node: node_name().into(),
        }
    }

    fn line(&self, time: BootTime, event: Event) -> Line {
        Line {
            time: self.clock.at(time),
            node: self.node.clone(),
            event,
        }
    }

    /// The line that a stream begins with.
    pub fn started(&self, started: &Started) -> Line {
        self.line(BootTime::now(), Event::Started(started.clone()))
    }

    /// The lines of an update.
    pub fn update(&mut self, update: &Update, lines: &mut Vec<Line>) {
        let changed = |owner: &identity::Owner, change: Change| {
            Event::Cgroup(CgroupChange {
                owner: Arc::new(owner.into()),
                change: change.into(),
            })
        };
        let (time, event) = match update {
            Update::Failed(failed) => {
                let event = Event::CloneFailed(Box::new((&**failed).into()));
                (failed.failure.time, event)
            }
            Update::Added(owner, time) => (*time, changed(owner, Change::Added)),
            Update::Removed(owner, time) => (*time, changed(owner, Change::Removed)),
            Update::Named(owner, time) => (*time, changed(owner, Change::Named)),
            Update::State(change) => {
                let since = self.clock.at(change.change.verdict.since);
                (
                    change.time,
                    Event::State(Box::new(State::of(change, since))),
                )
            }
            Update::Incident(incident, time) => {
                let told = Incident::of(incident, |time| self.clock.at(time));
                (*time, Event::Incident(Box::new(told)))
            }
            Update::Lost { place, count, time } => {
                let place = place.clone().into_owned();
                (
                    *time,
                    Event::Lost {
                        place,
                        count: *count,
                    },
                )
            }
            Update::Window(snapshot) => {
                self.clock.follow_steps();
                for row in &snapshot.rows {
                    let event = Event::Rate(Box::new(Rate::of(row, snapshot, |time| {
                        self.clock.at(time)
                    })));
                    lines.push(self.line(snapshot.time, event));
                }
                (snapshot.time, Event::Node(snapshot.into()))
            }
        };
        lines.push(self.line(time, event));
    }
}

/// The node's name: Kubernetes' where it is given, otherwise the host's.
pub fn node_name() -> String {
    std::env::var("NODE_NAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| uname().nodename().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        cgroup::CgroupId,
        identity::Owner,
        limits::Reason,
        model::Counts,
        snapshot::{NodeState, Row, Snapshot},
    };

    fn lines(update: &Update) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        Encoder::new(WallClock::now()).update(update, &mut lines);
        let lines = lines.iter().map(|line| serde_json::to_value(line).unwrap());
        lines.collect()
    }

    fn row(tasks: Option<u64>) -> Row {
        let mut counts = Counts::NONE;
        counts.created.threads = 41;
        counts.failed[Reason::Unknown as usize] = 2;
        Row {
            owner: Owner::new(CgroupId(u64::MAX), Some((*b"/a\"\n\xff").into())),
            tasks,
            subtree_tasks: None,
            processes: Some(1),
            zombies: Some(0),
            counts,
            total: counts,
            verdict: None,
            creators: Vec::new(),
            limit: None,
        }
    }

    #[test]
    fn a_rate_says_what_the_contract_names_and_leaves_out_what_is_unknown() {
        let time = BootTime::from_nanos(1);
        let window = Duration::from_millis(1500);
        let snapshot = Snapshot {
            time,
            window,
            rows: vec![row(None)],
            knows_frees: true,
            knows_failures: true,
            node: NodeState::default(),
            incidents: Vec::new(),
        };
        let line = &lines(&Update::Window(snapshot))[0];
        assert_eq!(line["type"], "rate");
        assert_eq!(line["window_s"], 1.5);
        assert_eq!(line["cgroup"]["id"], u64::MAX);
        assert_eq!(line["cgroup"]["path"], "/a\"\n\\xff");
        assert_eq!(line["created"]["threads"], 41);
        assert_eq!(line["failed"]["unknown"], 2);
        assert_eq!(line["total"]["created"]["threads"], 41);
        assert!(line.get("tasks").is_none());
        let time = line["time"].as_str().unwrap();
        assert_eq!(time.len(), "2026-11-21T22:09:13.123456789Z".len(), "{time}");
    }

    #[test]
    fn every_update_is_one_line_whatever_the_names_hold() {
        let snapshot = Snapshot {
            time: BootTime::from_nanos(1),
            window: Duration::from_secs(1),
            rows: vec![row(Some(3)), row(None)],
            knows_frees: false,
            knows_failures: false,
            node: NodeState::default(),
            incidents: Vec::new(),
        };
        assert_eq!(lines(&Update::Window(snapshot)).len(), 3);
        let owner = Owner::new(CgroupId(1), None);
        let line = &lines(&Update::Added(owner, BootTime::from_nanos(1)))[0];
        assert_eq!(line["change"], "added");
        assert!(line["cgroup"].get("path").is_none());
        for field in ["k8s", "runtime", "unit"] {
            assert!(line.get(field).is_none(), "{line}");
        }
    }

    #[test]
    fn an_owner_is_named_as_far_as_its_path_says() {
        let id = "0123456789abcdef".repeat(4);
        let path = format!("/kubepods/burstable/pod0c1d2e3f405162738495a6b7c8d9eafb/crio-{id}");
        let owner = Owner::new(CgroupId(1), Some(path.into_bytes().into()));
        let line = &lines(&Update::Added(owner, BootTime::from_nanos(1)))[0];
        assert_eq!(line["k8s"]["podUid"], "0c1d2e3f405162738495a6b7c8d9eafb");
        assert_eq!(line["runtime"]["name"], "cri-o");
        assert_eq!(line["runtime"]["containerId"], id);
        let path = (*b"/system.slice/ssh.service").into();
        let owner = Owner::new(CgroupId(1), Some(path));
        let line = &lines(&Update::Added(owner, BootTime::from_nanos(1)))[0];
        assert_eq!(line["unit"], "ssh.service");
    }
}
