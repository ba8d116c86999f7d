//! The stream of events as data: what `trace -o json` prints, a recording holds and a report reads.
//!
//! One [`Line`] an event, as JSON; the fields are those of docs/events.md. Unknown is left out. What
//! comes from outside (names, paths) is in it escaped, so that a line is valid UTF-8 whatever they
//! hold.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    cgroup::{self, CgroupId},
    clock::BootTime,
    detect, escape,
    identity::Names,
    incident,
    limits::{Basis, Limit, LimitOwner, Reason},
    model::{self, Counts},
    node::{FailedClone, Node, StateChange},
    output::errno_name,
    probe::{Mechanism, ProbeStatus},
    snapshot::{self, NodeState, Row, Snapshot},
};

/// One event of the stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Line {
    /// When, by the wall clock.
    #[serde(serialize_with = "nanoseconds")]
    pub time: Timestamp,
    /// The node's name.
    pub node: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// RFC 3339 in UTC, always with nine digits of a second.
fn nanoseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.9}"))
}

/// What happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The stream begins.
    Started(Started),
    /// What a cgroup did in a window.
    Rate(Box<Rate>),
    /// A creation failed.
    CloneFailed(Box<CloneFailed>),
    /// An owner is in another state.
    State(Box<State>),
    /// An incident opened, went on, or ended.
    Incident(Box<Incident>),
    /// A cgroup came or went.
    Cgroup(CgroupChange),
    /// Something was lost.
    Lost {
        /// Where.
        #[serde(rename = "where")]
        place: String,
        /// How often.
        count: u64,
    },
    /// A window of the whole node; the rates before it are its rows.
    Node(NodeWindow),
}

/// How the stream began.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Started {
    /// Of pidwatch.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// `v1`, `hybrid` or `v2`.
    pub cgroup_layout: String,
    /// How many cgroups there are.
    #[serde(default)]
    pub cgroups: u64,
    /// What is attached.
    pub probes: Vec<Probe>,
}

impl Started {
    /// Of a node that is watched.
    pub fn of(node: &Node) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: node.probe().kernel().into(),
            cgroup_layout: node.layout().kind.name().into(),
            cgroups: node.cgroups() as u64,
            probes: node.probe().status().iter().map(Into::into).collect(),
        }
    }
}

/// One probe.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Probe {
    /// The hook.
    pub name: String,
    /// How it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// `attached`, `failed` or `off`.
    pub state: String,
    /// Why not, or not better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&ProbeStatus> for Probe {
    fn from(status: &ProbeStatus) -> Self {
        let mechanism = status.mechanism;
        Self {
            name: status.hook.name().into(),
            mechanism: mechanism
                .filter(|mechanism| *mechanism != Mechanism::Off)
                .map(|mechanism| mechanism.name().into()),
            state: match mechanism {
                Some(Mechanism::Off) => "off",
                Some(_) => "attached",
                None => "failed",
            }
            .into(),
            error: status.error.clone(),
        }
    }
}

/// A cgroup, and whose it is as far as is known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Owner {
    /// The cgroup.
    pub cgroup: Cgroup,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s: Option<K8s>,
    /// Its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Its systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A cgroup.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cgroup {
    /// Its id: the inode number of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct K8s {
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The container's name in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

impl K8s {
    fn of(owner: &snapshot::Owner) -> Option<Self> {
        let names = owner.names.as_deref();
        let by_path = owner.identity.pod_uid.as_deref();
        let text = |name: fn(&Names) -> &Option<Box<str>>| {
            names.and_then(|names| name(names).as_deref().map(str::to_owned))
        };
        (names.is_some() || by_path.is_some()).then(|| Self {
            namespace: text(|names| &names.namespace),
            pod_name: text(|names| &names.pod),
            pod_uid: by_path
                .map(str::to_owned)
                .or_else(|| text(|names| &names.pod_uid)),
            container_name: text(|names| &names.container),
        })
    }
}

/// A container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// The runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The container's id.
    pub container_id: String,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
}

impl Runtime {
    fn of(owner: &snapshot::Owner) -> Option<Self> {
        let container = owner.identity.container.as_ref()?;
        let names = owner.names.as_deref();
        let said = names.and_then(|names| names.runtime.as_deref());
        Some(Self {
            name: container.runtime.or(said).map(str::to_owned),
            container_id: container.id.clone(),
            container_image: names.and_then(|names| names.image.as_deref().map(str::to_owned)),
        })
    }
}

impl From<&Owner> for snapshot::Owner {
    fn from(owner: &Owner) -> Self {
        let path = owner.cgroup.path.as_ref();
        let path = path.map(|path| path.as_bytes().into());
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let names = owner
            .k8s
            .as_ref()
            .filter(|k8s| k8s.pod_name.is_some())
            .map(|k8s| Names {
                runtime: owner
                    .runtime
                    .as_ref()
                    .and_then(|runtime| text(&runtime.name)),
                namespace: text(&k8s.namespace),
                pod: text(&k8s.pod_name),
                pod_uid: text(&k8s.pod_uid),
                container: text(&k8s.container_name),
                image: owner
                    .runtime
                    .as_ref()
                    .and_then(|runtime| text(&runtime.container_image)),
            });
        Self {
            names: names.map(Arc::new),
            ..Self::new(CgroupId(owner.cgroup.id), path)
        }
    }
}

impl From<&snapshot::Owner> for Owner {
    fn from(owner: &snapshot::Owner) -> Self {
        Self {
            cgroup: Cgroup {
                id: owner.id.0,
                path: owner.path.as_deref().map(escape::for_json),
            },
            k8s: K8s::of(owner),
            runtime: Runtime::of(owner),
            unit: owner.identity.unit.clone(),
        }
    }
}

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
            zombies: snapshot.knows_frees.then_some(row.zombies),
            counts: Counted::of(&row.counts, snapshot),
            total: Counted::of(&row.total, snapshot),
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
        }
    }
}

/// A limit and what of it is used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitUse {
    /// Its name as people set it.
    pub name: String,
    /// The limit.
    pub value: u64,
    /// What it counts.
    pub usage: u64,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The user whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The PID namespace whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u32>,
}

impl LimitUse {
    /// A limit; `owner` is the cgroup whose it is.
    pub fn of(limit: &Limit, owner: Option<&snapshot::Owner>) -> Self {
        let path = owner.and_then(|owner| owner.path.as_deref());
        let mut told = Self {
            name: limit.name.into(),
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

/// A creation that failed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CloneFailed {
    /// Whose.
    #[serde(flatten)]
    pub owner: Owner,
    /// How it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
    /// The error's name.
    pub errno: String,
    /// Why.
    pub reason: String,
    /// How that is known: `measured` or `inferred`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The limit that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitUse>,
    /// Who called.
    pub proc: Process,
    /// The container or pod that the caller, a container runtime's, works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Owner>,
    /// Failures of the cgroup that were not shown since the last one.
    pub suppressed: u64,
}

impl CloneFailed {
    /// Who suffers from it.
    pub fn sufferer(&self) -> &Owner {
        self.on_behalf_of.as_ref().unwrap_or(&self.owner)
    }
}

impl From<&FailedClone> for CloneFailed {
    fn from(failed: &FailedClone) -> Self {
        let FailedClone {
            owner,
            failure,
            verdict,
            limit_owner,
            suppressed,
            exec_probe,
            on_behalf_of,
        } = failed;
        Self {
            owner: owner.into(),
            syscall: failure.syscall.map(|name| name.to_string()),
            errno: errno_name(failure.errno),
            reason: verdict.reason.name().into(),
            evidence: verdict.basis.map(Basis::name).map(Into::into),
            limit: verdict
                .limit
                .map(|limit| LimitUse::of(&limit, limit_owner.as_ref())),
            proc: Process {
                comm: escape::for_json(&failure.comm),
                pid: failure.pid,
                tid: failure.tid,
                uid: failure.uid,
                parent: failure.parent.as_ref().map(|parent| Parent {
                    comm: escape::for_json(&parent.comm),
                    pid: parent.pid,
                }),
                exec_probe: *exec_probe,
            },
            on_behalf_of: on_behalf_of.as_ref().map(Into::into),
            suppressed: *suppressed,
        }
    }
}

/// A process's parent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Parent {
    /// Its name.
    pub comm: String,
    /// Its thread group.
    pub pid: u32,
}

/// A task, by the numbers of the initial namespaces.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Process {
    /// Its name.
    pub comm: String,
    /// Its thread group.
    pub pid: u32,
    /// Itself.
    pub tid: u32,
    /// Its user.
    pub uid: u32,
    /// Its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// It is an exec probe's, or was started by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec_probe: bool,
}

/// An owner in another state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    /// Whose.
    #[serde(flatten)]
    pub owner: Owner,
    /// The state before.
    pub from: String,
    /// The state now.
    pub to: String,
    /// Its tasks.
    pub tasks: u64,
    /// Tasks a second that come to stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// Since when.
    #[serde(serialize_with = "nanoseconds")]
    pub since: Timestamp,
    /// How sure that is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What will be hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<Exhaustion>,
    /// Every limit above it that is set, nearest first; left out when one could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitUse>>,
    /// What its tasks are called, where it is flagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_names: Option<TaskNames>,
    /// In words.
    pub why: String,
}

impl State {
    /// A change; `since` is [`detect::Verdict::since`] by the wall clock.
    pub fn of(told: &StateChange, since: Timestamp) -> Self {
        let StateChange {
            owner,
            change,
            limit_owner,
            limits,
            task_names,
            ..
        } = told;
        let verdict = &change.verdict;
        Self {
            owner: owner.into(),
            from: change.from.name().into(),
            to: verdict.state.name().into(),
            tasks: verdict.tasks,
            growth_per_s: verdict.growth_per_s.map(rounded),
            since,
            confidence: verdict.confidence.map(rounded),
            exhaustion: verdict
                .exhaustion
                .map(|exhaustion| Exhaustion::of(&exhaustion, limit_owner.as_ref())),
            limits: limits.as_ref().map(|limits| {
                limits
                    .iter()
                    .map(|(limit, owner)| LimitUse::of(limit, owner.as_ref()))
                    .collect()
            }),
            task_names: task_names.as_ref().map(TaskNames::from),
            why: verdict.why.clone(),
        }
    }
}

/// What an owner's tasks are called.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TaskNames {
    /// How many tasks' names were read, of [`State::tasks`].
    pub sampled: u64,
    /// The commonest patterns, numbers as `*`.
    pub patterns: Vec<Pattern>,
    /// The process with the most threads.
    pub largest: LargestProcess,
}

/// Tasks of one pattern.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pattern {
    /// `http-nio-*-exec-*`.
    pub name: String,
    /// How many of the sampled tasks.
    pub count: u64,
}

/// The process with the most threads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LargestProcess {
    /// Its name.
    pub comm: String,
    /// Its PID, in the PID namespace of pidwatch.
    pub pid: u32,
    /// Its threads.
    pub threads: u64,
}

impl From<&cgroup::TaskNames> for TaskNames {
    fn from(names: &cgroup::TaskNames) -> Self {
        let (comm, pid, threads) = &names.largest;
        Self {
            sampled: names.sampled,
            patterns: names
                .patterns
                .iter()
                .map(|(name, count)| Pattern {
                    name: escape::for_json(name),
                    count: *count,
                })
                .collect(),
            largest: LargestProcess {
                comm: escape::for_json(comm),
                pid: *pid,
                threads: *threads,
            },
        }
    }
}

impl From<TaskNames> for cgroup::TaskNames {
    fn from(names: TaskNames) -> Self {
        let LargestProcess { comm, pid, threads } = names.largest;
        Self {
            sampled: names.sampled,
            patterns: names
                .patterns
                .into_iter()
                .map(|pattern| (pattern.name.into_bytes(), pattern.count))
                .collect(),
            largest: (comm.into_bytes(), pid, threads),
        }
    }
}

/// A limit that will be hit.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Exhaustion {
    /// Its name.
    pub limit: String,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The limit.
    pub value: u64,
    /// What of it is used.
    pub usage: u64,
    /// Seconds until then.
    pub in_s: f64,
    /// At the earliest.
    pub in_s_low: f64,
    /// At the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_s_high: Option<f64>,
}

impl Exhaustion {
    fn of(exhaustion: &detect::Exhaustion, owner: Option<&snapshot::Owner>) -> Self {
        let told = LimitUse::of(&exhaustion.limit, owner);
        // JSON has no infinity, and nobody plans beyond this.
        const CENTURY_S: f64 = 3.2e9;
        Self {
            limit: told.name,
            cgroup: told.cgroup,
            value: told.value,
            usage: told.usage,
            in_s: rounded(exhaustion.in_s.min(CENTURY_S)),
            in_s_low: rounded(exhaustion.low_s.min(CENTURY_S)),
            in_s_high: Some(exhaustion.high_s)
                .filter(|high| *high < CENTURY_S)
                .map(rounded),
        }
    }
}

/// To three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A cgroup that came or went.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CgroupChange {
    /// Which.
    #[serde(flatten)]
    pub owner: Owner,
    /// `added` or `removed`.
    pub change: String,
}

/// A window of the whole node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeWindow {
    /// Its length.
    pub window_s: f64,
    /// Tasks of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Whether frees are seen: otherwise zombies are not known.
    pub knows_frees: bool,
    /// Whether failed creations are seen.
    pub knows_failures: bool,
    /// The node's limits.
    pub limits: Vec<LimitUse>,
    /// Which will be hit first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<Exhaustion>,
}

impl From<&Snapshot> for NodeWindow {
    fn from(snapshot: &Snapshot) -> Self {
        let NodeState {
            tasks,
            limits,
            exhaustion,
        } = &snapshot.node;
        Self {
            window_s: snapshot.window.as_secs_f64(),
            tasks: *tasks,
            knows_frees: snapshot.knows_frees,
            knows_failures: snapshot.knows_failures,
            limits: limits
                .iter()
                .map(|limit| LimitUse::of(limit, None))
                .collect(),
            exhaustion: exhaustion
                .as_ref()
                .map(|exhaustion| Exhaustion::of(exhaustion, None)),
        }
    }
}

/// An incident as it stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Incident {
    /// Its own.
    pub id: String,
    /// `opened`, `updated` or `closed`.
    pub phase: String,
    /// The limit's name.
    pub limit: String,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The user whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The PID namespace whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u32>,
    /// The limit as it was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// What of it was used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    /// The most that was used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// When it opened.
    #[serde(serialize_with = "nanoseconds")]
    pub opened: Timestamp,
    /// Who ate the headroom, the largest share first.
    pub culprits: Vec<Culprit>,
    /// Who was refused, most often first.
    pub victims: Vec<Victim>,
    /// Creations refused in all.
    pub failures: u64,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// In words.
    pub summary: String,
}

/// Who eats a limit's headroom.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Culprit {
    /// Who.
    #[serde(flatten)]
    pub owner: Owner,
    /// Its share of the growth or, where nothing grows, of what is held; 0 to 1.
    pub share: f64,
    /// Tasks a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// The most tasks it had.
    pub tasks: u64,
}

/// Who suffers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Victim {
    /// Who.
    #[serde(flatten)]
    pub owner: Owner,
    /// Creations refused.
    pub failures: u64,
    /// Names of the tasks that were refused, and how often each was told.
    pub comms: BTreeMap<String, u64>,
}

/// A point of a timeline.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Moment {
    /// When.
    #[serde(serialize_with = "nanoseconds")]
    pub time: Timestamp,
    /// `first_sign`, `flagged`, `first_failure`, `victim`, `full`, `peak`, `calm`, `closed`, `restarted`.
    pub what: String,
    /// In words.
    pub text: String,
}

impl Incident {
    /// An incident; `wall` gives a moment's wall time.
    pub fn of(incident: &incident::Incident, wall: impl Fn(BootTime) -> Timestamp) -> Self {
        let limit = &incident.limit;
        let (uid, pid_namespace) = match limit.owner {
            LimitOwner::User(uid) => (Some(uid), None),
            LimitOwner::PidNamespace(inum) => (None, Some(inum)),
            LimitOwner::Node | LimitOwner::Cgroup(_) => (None, None),
        };
        Self {
            id: incident.id.clone(),
            phase: incident.phase.name().into(),
            limit: limit.name.into(),
            cgroup: limit.path.as_deref().map(escape::for_json),
            uid,
            pid_namespace,
            value: incident.value,
            usage: incident.usage,
            peak: incident.peak,
            opened: wall(incident.opened),
            culprits: incident
                .culprits
                .iter()
                .map(|culprit| Culprit {
                    owner: (&culprit.owner).into(),
                    share: rounded(culprit.share),
                    growth_per_s: culprit.growth_per_s.map(rounded),
                    tasks: culprit.tasks,
                })
                .collect(),
            victims: incident
                .victims
                .iter()
                .map(|victim| Victim {
                    owner: (&victim.owner).into(),
                    failures: victim.failures,
                    comms: victim
                        .comms
                        .iter()
                        .map(|(comm, n)| (escape::for_json(comm), *n))
                        .collect(),
                })
                .collect(),
            failures: incident.failures,
            timeline: incident
                .timeline
                .iter()
                .map(|moment| Moment {
                    time: wall(moment.time),
                    what: moment.what.name().into(),
                    text: moment.text.clone(),
                })
                .collect(),
            summary: incident.summary.clone(),
        }
    }
}

impl Incident {
    /// Back to what it was made of. `id_of` gives the id of a cgroup by its path, `boot` the moment of
    /// a wall time. `None` when its phase is not known here.
    pub fn restore(
        self,
        id_of: impl Fn(&str) -> CgroupId,
        boot: impl Fn(Timestamp) -> BootTime,
    ) -> Option<incident::Incident> {
        let owner = match (self.uid, self.pid_namespace, &self.cgroup) {
            (Some(uid), ..) => LimitOwner::User(uid),
            (None, Some(inum), _) => LimitOwner::PidNamespace(inum),
            (None, None, Some(path)) => LimitOwner::Cgroup(id_of(path)),
            (None, None, None) => LimitOwner::Node,
        };
        let moment = |moment: Moment| {
            let mut all = incident::What::ALL.into_iter();
            Some(incident::Moment {
                time: boot(moment.time),
                what: all.find(|what| what.name() == moment.what)?,
                text: moment.text,
            })
        };
        let mut phases = incident::Phase::ALL.into_iter();
        Some(incident::Incident {
            phase: phases.find(|phase| phase.name() == self.phase)?,
            id: self.id,
            limit: incident::LimitKey {
                name: Limit::known_name(&self.limit),
                owner,
                path: self.cgroup.map(|path| path.into_bytes().into()),
            },
            value: self.value,
            usage: self.usage,
            peak: self.peak,
            opened: boot(self.opened),
            culprits: self
                .culprits
                .into_iter()
                .map(|culprit| incident::Culprit {
                    owner: (&culprit.owner).into(),
                    share: culprit.share,
                    growth_per_s: culprit.growth_per_s,
                    tasks: culprit.tasks,
                })
                .collect(),
            victims: self
                .victims
                .into_iter()
                .map(|victim| incident::Victim {
                    owner: (&victim.owner).into(),
                    failures: victim.failures,
                    comms: victim
                        .comms
                        .into_iter()
                        .map(|(comm, n)| (comm.into_bytes(), n))
                        .collect(),
                })
                .collect(),
            failures: self.failures,
            timeline: self.timeline.into_iter().filter_map(moment).collect(),
            summary: self.summary,
        })
    }
}

/// Every value of [`Line`]'s `type`.
const TYPES: [&str; 8] = [
    "started",
    "rate",
    "clone_failed",
    "state",
    "incident",
    "cgroup",
    "lost",
    "node",
];

/// Whether a `type` is one of this version's.
pub fn is_known(name: Option<&str>) -> bool {
    name.is_some_and(|name| TYPES.contains(&name))
}

/// Reads one line.
///
/// # Errors
/// When it is no event of this stream.
pub fn parse(line: &[u8]) -> Result<Line, serde_json::Error> {
    serde_json::from_slice(line)
}
