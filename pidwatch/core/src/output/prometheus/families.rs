//! The table of metrics: what each family is called, what it is, and what it tells. docs/metrics.md is
//! compared with it.

use crate::limits::Reason;

/// Form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Classic,
    /// OpenMetrics 1.0.0, or 0.0.1, which is the same for what is written here.
    OpenMetrics,
}

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until a restart.
    Counter,
    /// A text in its labels; always 1.
    Info,
}

impl MetricKind {
    /// As the format writes it.
    pub(super) fn name(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Gauge, _) | (Self::Info, Format::Classic) => "gauge",
            (Self::Counter, _) => "counter",
            (Self::Info, Format::OpenMetrics) => "info",
        }
    }
}

/// A family of metrics: samples of one name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name of its samples.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Names of its labels, without an owner's.
    pub labels: &'static [&'static str],
    /// Its samples have an owner's labels as well ([`OWNER_LABELS`]).
    pub of_owner: bool,
    /// What it tells.
    pub help: &'static str,
}

/// Labels of an owner.
pub const OWNER_LABELS: [&str; 5] = ["id", "namespace", "pod", "container", "unit"];

const fn of_owner(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        of_owner: true,
        ..of_node(name, kind, labels, help)
    }
}

const fn of_node(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind,
        labels,
        of_owner: false,
        help,
    }
}

pub(super) const TASKS: Family = of_owner(
    "pidwatch_container_tasks",
    MetricKind::Gauge,
    &[],
    "Tasks (processes and threads, zombies included) of a cgroup, without those of cgroups below it.",
);
pub(super) const PROCESSES: Family = of_owner(
    "pidwatch_container_processes",
    MetricKind::Gauge,
    &[],
    "Processes of a cgroup; of one with many tasks counted every ten seconds.",
);
pub(super) const ZOMBIES: Family = of_owner(
    "pidwatch_container_zombies",
    MetricKind::Gauge,
    &[],
    "Processes of a cgroup that ended at least a second ago and are not reaped.",
);
pub(super) const TASKS_LIMIT: Family = of_owner(
    "pidwatch_container_tasks_limit",
    MetricKind::Gauge,
    &[],
    "The smallest pids.max of a cgroup and those above it; left out where none is set.",
);
pub(super) const CREATED: Family = of_owner(
    "pidwatch_container_created_total",
    MetricKind::Counter,
    &["kind"],
    "Tasks created in a cgroup.",
);
pub(super) const EXITED: Family = of_owner(
    "pidwatch_container_exited_total",
    MetricKind::Counter,
    &["kind"],
    "Tasks that ended in a cgroup.",
);
pub(super) const FAILURES: Family = of_owner(
    "pidwatch_clone_failures_total",
    MetricKind::Counter,
    &["reason"],
    "Creations refused in a cgroup for want of something; a reason that has not occurred is left out.",
);
pub(super) const REJECTIONS: Family = of_owner(
    "pidwatch_clone_rejections_total",
    MetricKind::Counter,
    &["errno"],
    "Creations refused in a cgroup for another reason, as by seccomp (EPERM); an error that has not occurred is left out.",
);
pub(super) const GROWTH: Family = of_owner(
    "pidwatch_container_growth_tasks_per_second",
    MetricKind::Gauge,
    &[],
    "Tasks a second that come to stay, of a cgroup that grows.",
);
pub(super) const EXHAUSTION: Family = of_owner(
    "pidwatch_container_exhaustion_seconds",
    MetricKind::Gauge,
    &[],
    "Seconds until a cgroup that grows hits the first limit above it.",
);
pub(super) const STATE: Family = of_owner(
    "pidwatch_container_state",
    MetricKind::Gauge,
    &["state"],
    "State of a cgroup: 1 for the current one, others are left out.",
);
const WORKLOAD_LABELS: [&str; 3] = ["namespace", "workload_kind", "workload"];
pub(super) const WORKLOAD_TASKS: Family = of_node(
    "pidwatch_workload_tasks",
    MetricKind::Gauge,
    &WORKLOAD_LABELS,
    "Tasks of a Deployment, StatefulSet, DaemonSet or Job on this node: of the cgroups of all its pods.",
);
pub(super) const WORKLOAD_GROWTH: Family = of_node(
    "pidwatch_workload_growth_tasks_per_second",
    MetricKind::Gauge,
    &WORKLOAD_LABELS,
    "Tasks a second that come to stay, of those of its cgroups that grow.",
);
pub(super) const WORKLOAD_STATE: Family = of_node(
    "pidwatch_workload_state",
    MetricKind::Gauge,
    &["namespace", "workload_kind", "workload", "state"],
    "State of a workload on this node: 1 for the worst state of its cgroups, others are left out.",
);
pub(super) const NODE_TASKS: Family = of_node(
    "pidwatch_node_tasks",
    MetricKind::Gauge,
    &[],
    "Tasks of the node, zombies included.",
);
pub(super) const NODE_EXHAUSTION: Family = of_node(
    "pidwatch_node_exhaustion_seconds",
    MetricKind::Gauge,
    &[],
    "Seconds until the node hits the first of its limits; left out while it does not grow.",
);
pub(super) const NODE_LIMIT: Family = of_node(
    "pidwatch_node_limit",
    MetricKind::Gauge,
    &["limit"],
    "A limit of the node.",
);
pub(super) const NODE_LIMIT_USAGE: Family = of_node(
    "pidwatch_node_limit_usage",
    MetricKind::Gauge,
    &["limit"],
    "What of a limit of the node is used, by that limit's own measure.",
);
pub(super) const NODE_FAILURES: Family = of_node(
    "pidwatch_node_clone_failures_total",
    MetricKind::Counter,
    &["reason"],
    "Creations refused on the node for want of something; every reason is there from the start.",
);
pub(super) const INCIDENTS: Family = of_node(
    "pidwatch_incidents_total",
    MetricKind::Counter,
    &["limit"],
    "Incidents that opened, by the limit that they are about.",
);
pub(super) const INCIDENT_OPEN: Family = of_node(
    "pidwatch_incident_open",
    MetricKind::Gauge,
    &["limit"],
    "Incidents that are open, by the limit that they are about.",
);
pub(super) const BRAKE_ACTIVE: Family = of_owner(
    "pidwatch_brake_active",
    MetricKind::Gauge,
    &[],
    "1 while the owner is braked: its pids.max is lowered until a lease ends.",
);
pub(super) const BRAKES_TOTAL: Family = of_node(
    "pidwatch_brakes_total",
    MetricKind::Counter,
    &["phase"],
    "Brakes by what happened to them; every phase is there from the start.",
);
pub(super) const LOST: Family = of_node(
    "pidwatch_lost_total",
    MetricKind::Counter,
    &["where"],
    "What could not be counted or told, by where it was lost.",
);
pub(super) const PROBE: Family = of_node(
    "pidwatch_probe_attached",
    MetricKind::Gauge,
    &["probe", "mechanism"],
    "Whether a probe is attached, and how.",
);
pub(super) const FOLDED: Family = of_node(
    "pidwatch_owners_folded",
    MetricKind::Gauge,
    &[],
    "Cgroups whose samples are summed up in the series of id=\"other\", for want of room (--max-series).",
);
pub(super) const BUILD: Family = of_node(
    "pidwatch_build_info",
    MetricKind::Info,
    &["version", "kernel"],
    "Version of pidwatch and release of the kernel.",
);

/// Every family, in the order in which they are written.
pub const FAMILIES: [&Family; 27] = [
    &TASKS,
    &PROCESSES,
    &ZOMBIES,
    &TASKS_LIMIT,
    &CREATED,
    &EXITED,
    &FAILURES,
    &REJECTIONS,
    &GROWTH,
    &EXHAUSTION,
    &STATE,
    &BRAKE_ACTIVE,
    &WORKLOAD_TASKS,
    &WORKLOAD_GROWTH,
    &WORKLOAD_STATE,
    &NODE_TASKS,
    &NODE_EXHAUSTION,
    &NODE_LIMIT,
    &NODE_LIMIT_USAGE,
    &NODE_FAILURES,
    &INCIDENTS,
    &INCIDENT_OPEN,
    &BRAKES_TOTAL,
    &LOST,
    &PROBE,
    &FOLDED,
    &BUILD,
];

/// Most samples that one owner has: seven gauges, two counters for each kind of task, and one for each
/// reason of failure.
pub const MOST_SAMPLES: usize = 7 + 2 * 2 + Reason::ALL.len();
