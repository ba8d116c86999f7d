//! The stream of events as JSON, one object a line.

use std::io::{self, Write};

use pidwatch_common::totals::Kinds;
use rustix::system::uname;
use serde::{Serialize, Serializer};

use super::{Lines, errno_name};
use crate::{
    clock::{BootTime, WallClock},
    escape,
    limits::{Basis, Limit, LimitOwner, Reason},
    model::Counts,
    node::{FailedClone, Node, Update},
    probe::{Hook, Mechanism, ProbeStatus},
    snapshot::{self, Snapshot},
};

/// Writer of JSON lines.
pub struct Json {
    clock: WallClock,
    node: String,
}

impl Json {
    /// Begins a stream: names the node, takes the wall clock's offset.
    pub fn new() -> Self {
        Self {
            clock: WallClock::now(),
            node: node_name(),
        }
    }

    fn line(&self, out: &mut dyn Write, time: BootTime, event: Event<'_>) -> io::Result<()> {
        let time = format!("{:.9}", self.clock.at(time));
        serde_json::to_writer(
            &mut *out,
            &Line {
                time,
                node: &self.node,
                event,
            },
        )?;
        out.write_all(b"\n")
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::new()
    }
}

/// The node's name: Kubernetes' where it is given, otherwise the host's.
fn node_name() -> String {
    std::env::var("NODE_NAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| uname().nodename().to_string_lossy().into_owned())
}

impl Lines for Json {
    fn started(&mut self, out: &mut dyn Write, node: &Node) -> io::Result<()> {
        let probes = node.probe().status().iter().map(Probe::from).collect();
        let event = Event::Started {
            version: env!("CARGO_PKG_VERSION"),
            kernel: node.probe().kernel(),
            cgroup_layout: node.layout().kind.name(),
            probes,
        };
        self.line(out, BootTime::now(), event)
    }

    fn update(&mut self, out: &mut dyn Write, update: &Update) -> io::Result<()> {
        match update {
            Update::Failed(failed) => {
                let FailedClone {
                    owner,
                    failure,
                    verdict,
                    limit_owner,
                    suppressed,
                } = &**failed;
                let event = Event::CloneFailed {
                    owner: owner.into(),
                    syscall: failure.syscall.map(|name| name.to_string()),
                    errno: errno_name(failure.errno),
                    reason: verdict.reason.name(),
                    evidence: verdict.basis.map(Basis::name),
                    limit: verdict
                        .limit
                        .map(|limit| FailedLimit::of(&limit, limit_owner.as_ref())),
                    proc: Process {
                        comm: escape::for_json(&failure.comm),
                        pid: failure.pid,
                        tid: failure.tid,
                        uid: failure.uid,
                    },
                    suppressed: *suppressed,
                };
                self.line(out, failure.time, event)
            }
            Update::Added(owner, time) => {
                let event = Event::Cgroup {
                    owner: owner.into(),
                    change: "added",
                };
                self.line(out, *time, event)
            }
            Update::Removed(owner, time) => {
                let event = Event::Cgroup {
                    owner: owner.into(),
                    change: "removed",
                };
                self.line(out, *time, event)
            }
            Update::Lost { place, count, time } => self.line(
                out,
                *time,
                Event::Lost {
                    place,
                    count: *count,
                },
            ),
            Update::Window(snapshot) => {
                self.clock.follow_steps();
                for row in &snapshot.rows {
                    let event = Event::Rate {
                        owner: (&row.owner).into(),
                        window_s: snapshot.window.as_secs_f64(),
                        tasks: row.tasks,
                        subtree_tasks: row.subtree_tasks,
                        processes: row.processes,
                        zombies: snapshot.knows_frees.then_some(row.zombies),
                        counts: Counted::of(&row.counts, snapshot),
                        total: Counted::of(&row.total, snapshot),
                    };
                    self.line(out, snapshot.time, event)?;
                }
                Ok(())
            }
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    node: &'a str,
    #[serde(flatten)]
    event: Event<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    Started {
        version: &'static str,
        kernel: &'a str,
        cgroup_layout: &'static str,
        probes: Vec<Probe<'a>>,
    },
    Rate {
        #[serde(flatten)]
        owner: Owner,
        window_s: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        tasks: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        subtree_tasks: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        processes: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        zombies: Option<u64>,
        #[serde(flatten)]
        counts: Counted,
        total: Counted,
    },
    CloneFailed {
        #[serde(flatten)]
        owner: Owner,
        #[serde(skip_serializing_if = "Option::is_none")]
        syscall: Option<String>,
        errno: String,
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        evidence: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<FailedLimit>,
        proc: Process,
        suppressed: u64,
    },
    Cgroup {
        #[serde(flatten)]
        owner: Owner,
        change: &'static str,
    },
    Lost {
        #[serde(rename = "where")]
        place: &'a str,
        count: u64,
    },
}

#[derive(Serialize)]
struct Probe<'a> {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<&'static str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> From<&'a ProbeStatus> for Probe<'a> {
    fn from(status: &'a ProbeStatus) -> Self {
        let ProbeStatus {
            hook,
            mechanism,
            error,
        } = status;
        let hook: &Hook = hook;
        Self {
            name: hook.name(),
            mechanism: mechanism
                .filter(|m| *m != Mechanism::Off)
                .map(Mechanism::name),
            state: match mechanism {
                Some(Mechanism::Off) => "off",
                Some(_) => "attached",
                None => "failed",
            },
            error: error.as_deref(),
        }
    }
}

/// A cgroup, and whose it is as far as is known.
#[derive(Serialize)]
struct Owner {
    cgroup: Cgroup,
    #[serde(skip_serializing_if = "Option::is_none")]
    k8s: Option<K8s>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
}

#[derive(Serialize)]
struct Cgroup {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct K8s {
    pod_uid: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Runtime {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    container_id: String,
}

impl From<&snapshot::Owner> for Owner {
    fn from(owner: &snapshot::Owner) -> Self {
        let identity = &owner.identity;
        Self {
            cgroup: Cgroup {
                id: owner.id.0,
                path: owner.path.as_deref().map(escape::for_json),
            },
            k8s: identity.pod_uid.clone().map(|pod_uid| K8s { pod_uid }),
            runtime: identity.container.as_ref().map(|container| Runtime {
                name: container.runtime,
                container_id: container.id.clone(),
            }),
            unit: identity.unit.clone(),
        }
    }
}

/// The limit that refused a creation.
#[derive(Serialize)]
struct FailedLimit {
    name: &'static str,
    value: u64,
    usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid_namespace: Option<u32>,
}

impl FailedLimit {
    fn of(limit: &Limit, owner: Option<&snapshot::Owner>) -> Self {
        let path = owner.and_then(|owner| owner.path.as_deref());
        let mut told = Self {
            name: limit.name,
            value: limit.value,
            usage: limit.usage,
            cgroup: path.map(escape::for_json),
            uid: None,
            pid_namespace: None,
        };
        match limit.owner {
            LimitOwner::User(uid) => told.uid = Some(uid),
            LimitOwner::PidNamespace(inum) => told.pid_namespace = Some(inum),
            LimitOwner::Node | LimitOwner::Cgroup(_) => {}
        }
        told
    }
}

#[derive(Serialize)]
struct Process {
    comm: String,
    pid: u32,
    tid: u32,
    uid: u32,
}

#[derive(Serialize)]
struct Counted {
    #[serde(serialize_with = "kinds")]
    created: Kinds,
    #[serde(serialize_with = "kinds")]
    exited: Kinds,
    #[serde(skip_serializing_if = "Option::is_none")]
    freed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<ByReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<u64>,
}

impl Counted {
    fn of(counts: &Counts, snapshot: &Snapshot) -> Self {
        Self {
            created: counts.created,
            exited: counts.exited,
            freed: snapshot.knows_frees.then_some(counts.freed),
            failed: snapshot.knows_failures.then_some(ByReason(counts.failed)),
            rejected: snapshot.knows_failures.then_some(counts.rejected),
        }
    }
}

fn kinds<S: Serializer>(kinds: &Kinds, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named {
        processes: u64,
        threads: u64,
    }
    Named {
        processes: kinds.processes,
        threads: kinds.threads,
    }
    .serialize(serializer)
}

/// Failures by reason; a reason that did not occur is left out.
struct ByReason([u64; Reason::ALL.len()]);

impl Serialize for ByReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let occurred = Reason::ALL
            .into_iter()
            .map(|reason| (reason.name(), self.0[reason as usize]))
            .filter(|(_, n)| *n > 0);
        serializer.collect_map(occurred)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        cgroup::CgroupId,
        snapshot::{Owner, Row},
    };

    fn lines(update: &Update) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        Json::new().update(&mut out, update).unwrap();
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
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
            zombies: 0,
            counts,
            total: counts,
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
        };
        assert_eq!(lines(&Update::Window(snapshot)).len(), 2);
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
        let owner = snapshot::Owner::new(CgroupId(1), Some(path.into_bytes().into()));
        let line = &lines(&Update::Added(owner, BootTime::from_nanos(1)))[0];
        assert_eq!(line["k8s"]["podUid"], "0c1d2e3f405162738495a6b7c8d9eafb");
        assert_eq!(line["runtime"]["name"], "cri-o");
        assert_eq!(line["runtime"]["containerId"], id);
        let path = (*b"/system.slice/ssh.service").into();
        let owner = snapshot::Owner::new(CgroupId(1), Some(path));
        let line = &lines(&Update::Added(owner, BootTime::from_nanos(1)))[0];
        assert_eq!(line["unit"], "ssh.service");
    }
}
