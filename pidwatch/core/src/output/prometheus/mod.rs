//! Metrics as text, for Prometheus and whatever else reads its formats.
//!
//! In: a [`MetricsView`] of the node at one moment. Out: the classic text format (0.0.4) or OpenMetrics.
//! Pure. What is unknown has no sample, and neither has a limit that is not set; a sample that is
//! there is true for the moment of the view.
//!
//! Written here and not by a library: those that there are write one of the two formats, and build
//! every label anew for every sample; here an owner's labels are one text, made once.

mod brakes;
mod families;
mod workloads;

use std::fmt::{Display, Write as _};

use self::families::{
    BRAKE_ACTIVE, BRAKES_TOTAL, BUILD, CREATED, EXHAUSTION, EXITED, FAILURES, FOLDED, GROWTH,
    INCIDENT_OPEN, INCIDENTS, LOST, NODE_EXHAUSTION, NODE_FAILURES, NODE_LIMIT, NODE_LIMIT_USAGE,
    NODE_TASKS, PROBE, PROCESSES, REJECTIONS, STATE, TASKS, TASKS_LIMIT, WORKLOAD_GROWTH,
    WORKLOAD_STATE, WORKLOAD_TASKS, ZOMBIES,
};
pub use self::families::{FAMILIES, Family, Format, MOST_SAMPLES, MetricKind, OWNER_LABELS};
pub use self::{
    brakes::BrakeCounts,
    workloads::{WorkloadSample, Workloads},
};
use crate::{
    detect::State,
    escape::acts_on_terminals,
    limits::Reason,
    model::Counts,
    stream::{LimitForecast, NodeWindow, OwnerRef, ProbeState, Rejection, Started, StateNow},
};

/// An owner as it is exported. `None` is unknown, or not set.
#[derive(Clone, Debug, Default)]
pub struct OwnerSample<'a> {
    /// Its labels, made by [`owner_labels`].
    pub labels: &'a str,
    /// Its own charge.
    pub tasks: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Zombies.
    pub zombies: Option<u64>,
    /// The smallest `pids.max` up to the root.
    pub limit: Option<u64>,
    /// What was counted since its series began; failures only if [`MetricsView::knows_failures`].
    pub total: Counts,
    /// What the detector says of it.
    pub verdict: Option<&'a StateNow>,
    /// Its state.
    pub state: Option<State>,
    /// Brakes in force: one, or those of the owners that are summed up.
    pub brakes: u64,
}

/// The node at one moment.
#[derive(Debug)]
pub struct MetricsView<'a> {
    /// Owners with series of their own, and the sum of the others.
    pub owners: Vec<OwnerSample<'a>>,
    /// How many the others are.
    pub folded: usize,
    /// Failed creations are seen.
    pub knows_failures: bool,
    /// Failures of the whole node, by [`Reason`].
    pub failures: [u64; Reason::ALL.len()],
    /// What the workloads of Kubernetes have here.
    pub workloads: Workloads<'a>,
    /// The node as a whole.
    pub node: &'a NodeWindow,
    /// Names of limits, with how many incidents of each opened and how many are open.
    pub incidents: Vec<(&'a str, u64, u64)>,
    /// What happened to brakes.
    pub brakes: &'a BrakeCounts,
    /// Losses by where.
    pub lost: Vec<(&'a str, u64)>,
    /// How the stream began.
    pub started: &'a Started,
}

/// The labels of an owner, escaped: `id="/a",namespace="",...`.
pub fn owner_labels(owner: &OwnerRef) -> String {
    let gone;
    let id = match owner.path() {
        Some(path) => path,
        None => {
            gone = format!("cgroup:{}", owner.cgroup.id);
            &gone
        }
    };
    let k8s = owner.k8s.as_ref();
    let values = [
        Some(id),
        k8s.and_then(|k8s| k8s.namespace.as_deref()),
        k8s.and_then(|k8s| k8s.pod_name.as_deref()),
        k8s.and_then(|k8s| k8s.container_name.as_deref()),
        owner.unit.as_deref(),
    ];
    let mut labels = String::new();
    for (name, value) in OWNER_LABELS.into_iter().zip(values) {
        if !labels.is_empty() {
            labels.push(',');
        }
        label(&mut labels, name, value.unwrap_or_default());
    }
    labels
}

/// The labels of what is no single owner's.
pub fn other_labels() -> String {
    let mut labels = "id=\"other\"".to_owned();
    for name in &OWNER_LABELS[1..] {
        let _ = write!(labels, ",{name}=\"\"");
    }
    labels
}

fn label(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "{name}=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if acts_on_terminals(c) => {
                let _ = write!(out, "\\\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct MetricsPage {
    out: String,
    format: Format,
}

impl MetricsPage {
    fn family(&mut self, family: &Family) {
        // A counter's family has no suffix in OpenMetrics, nor has an info's.
        let name = match (self.format, family.kind) {
            (Format::OpenMetrics, MetricKind::Counter) => family.name.strip_suffix("_total"),
            (Format::OpenMetrics, MetricKind::Info) => family.name.strip_suffix("_info"),
            _ => None,
        };
        let name = name.unwrap_or(family.name);
        let help = match self.format {
            Format::OpenMetrics => family.help.replace('"', "\\\""),
            Format::Classic => family.help.to_owned(),
        };
        let kind = family.kind.name(self.format);
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, family: &Family, labels: &str, value: impl Display) {
        self.out.push_str(family.name);
        if !labels.is_empty() {
            self.out.push('{');
            self.out.push_str(labels);
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// A sample with one more label, of a value that needs no escape.
    fn sample_of(&mut self, family: &Family, labels: &str, value: &str, number: impl Display) {
        self.out.push_str(family.name);
        self.out.push('{');
        if !labels.is_empty() {
            self.out.push_str(labels);
            self.out.push(',');
        }
        let name = family.labels[0];
        let _ = writeln!(self.out, "{name}=\"{value}\"}} {number}");
    }

    fn of_owners<N: Display>(
        &mut self,
        family: &Family,
        view: &MetricsView<'_>,
        value: impl Fn(&OwnerSample<'_>) -> Option<N>,
    ) {
        self.family(family);
        for owner in &view.owners {
            if let Some(value) = value(owner) {
                self.sample(family, owner.labels, value);
            }
        }
    }
}

/// Writes all metrics.
pub fn text(view: &MetricsView<'_>, format: Format) -> String {
    // Of ten samples for each owner, in four formats of names and numbers.
    let room = view.owners.len() * 2600 + 8192;
    let mut page = MetricsPage {
        out: String::with_capacity(room),
        format,
    };
    owners(&mut page, view);
    workloads(&mut page, view);
    node(&mut page, view);
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

fn owners(page: &mut MetricsPage, view: &MetricsView<'_>) {
    page.of_owners(&TASKS, view, |owner| owner.tasks);
    page.of_owners(&PROCESSES, view, |owner| owner.processes);
    page.of_owners(&ZOMBIES, view, |owner| owner.zombies);
    page.of_owners(&TASKS_LIMIT, view, |owner| owner.limit);
    for (family, exited) in [(&CREATED, false), (&EXITED, true)] {
        page.family(family);
        for owner in &view.owners {
            let Counts {
                created, exited: e, ..
            } = owner.total;
            let kinds = if exited { e } else { created };
            page.sample_of(family, owner.labels, "process", kinds.processes);
            page.sample_of(family, owner.labels, "thread", kinds.threads);
        }
    }
    page.family(&FAILURES);
    if view.knows_failures {
        for owner in &view.owners {
            for reason in Reason::ALL {
                let n = owner.total.failed[reason as usize];
                if n > 0 {
                    page.sample_of(&FAILURES, owner.labels, reason.name(), n);
                }
            }
        }
    }
    page.family(&REJECTIONS);
    if view.knows_failures {
        for owner in &view.owners {
            for (errno, n) in Rejection::ALL.into_iter().zip(owner.total.rejected_by) {
                if n > 0 {
                    page.sample_of(&REJECTIONS, owner.labels, &errno.to_string(), n);
                }
            }
        }
    }
    page.of_owners(&GROWTH, view, |owner| owner.verdict?.growth_per_s);
    page.of_owners(&EXHAUSTION, view, |owner| {
        owner.verdict?.exhaustion.as_ref()?.foreseen_s()
    });
    page.family(&STATE);
    for owner in &view.owners {
        if let Some(state) = owner.state {
            page.sample_of(&STATE, owner.labels, state.name(), 1);
        }
    }
    page.family(&BRAKE_ACTIVE);
    for owner in view.owners.iter().filter(|owner| owner.brakes > 0) {
        page.sample(&BRAKE_ACTIVE, owner.labels, owner.brakes);
    }
}

fn workloads(page: &mut MetricsPage, view: &MetricsView<'_>) {
    let labelled: Vec<(String, &WorkloadSample)> = view
        .workloads
        .iter()
        .map(|((namespace, kind, name), sample)| {
            let mut labels = String::new();
            for (label_name, value) in WORKLOAD_STATE.labels.iter().zip([namespace, kind, name]) {
                if !labels.is_empty() {
                    labels.push(',');
                }
                label(&mut labels, label_name, value);
            }
            (labels, sample)
        })
        .collect();
    page.family(&WORKLOAD_TASKS);
    for (labels, sample) in &labelled {
        if let Some(tasks) = sample.tasks {
            page.sample(&WORKLOAD_TASKS, labels, tasks);
        }
    }
    page.family(&WORKLOAD_GROWTH);
    for (labels, sample) in &labelled {
        if let Some(growth) = sample.growth_per_s {
            page.sample(&WORKLOAD_GROWTH, labels, growth);
        }
    }
    page.family(&WORKLOAD_STATE);
    for (labels, sample) in &labelled {
        let labels = format!("{labels},state=\"{}\"", sample.state.name());
        page.sample(&WORKLOAD_STATE, &labels, 1);
    }
}

fn node(page: &mut MetricsPage, view: &MetricsView<'_>) {
    page.family(&NODE_TASKS);
    if let Some(tasks) = view.node.tasks {
        page.sample(&NODE_TASKS, "", tasks);
    }
    page.family(&NODE_EXHAUSTION);
    let exhaustion = view.node.exhaustion.as_ref();
    if let Some(in_s) = exhaustion.and_then(LimitForecast::foreseen_s) {
        page.sample(&NODE_EXHAUSTION, "", in_s);
    }
    page.family(&NODE_LIMIT);
    for limit in &view.node.limits {
        page.sample_of(&NODE_LIMIT, "", &limit.name, limit.value);
    }
    page.family(&NODE_LIMIT_USAGE);
    for limit in &view.node.limits {
        page.sample_of(&NODE_LIMIT_USAGE, "", &limit.name, limit.usage);
    }
    page.family(&NODE_FAILURES);
    if view.knows_failures {
        for reason in Reason::ALL {
            let n = view.failures[reason as usize];
            page.sample_of(&NODE_FAILURES, "", reason.name(), n);
        }
    }
    page.family(&INCIDENTS);
    for (limit, opened, _) in &view.incidents {
        page.sample_of(&INCIDENTS, "", limit, opened);
    }
    page.family(&INCIDENT_OPEN);
    for (limit, _, open) in &view.incidents {
        page.sample_of(&INCIDENT_OPEN, "", limit, open);
    }
    page.family(&BRAKES_TOTAL);
    for (phase, count) in view.brakes.phases() {
        page.sample_of(&BRAKES_TOTAL, "", phase.name(), count);
    }
    page.family(&LOST);
    for (place, count) in &view.lost {
        page.sample_of(&LOST, "", place, count);
    }
    page.family(&PROBE);
    for probe in &view.started.probes {
        let mut labels = String::new();
        label(&mut labels, PROBE.labels[0], &probe.name);
        labels.push(',');
        let mechanism = probe.mechanism.as_deref().unwrap_or_default();
        label(&mut labels, PROBE.labels[1], mechanism);
        page.sample(
            &PROBE,
            &labels,
            u8::from(probe.state == ProbeState::Attached),
        );
    }
    page.family(&FOLDED);
    page.sample(&FOLDED, "", view.folded);
    page.family(&BUILD);
    let mut labels = String::new();
    label(&mut labels, BUILD.labels[0], &view.started.version);
    labels.push(',');
    label(&mut labels, BUILD.labels[1], &view.started.kernel);
    page.sample(&BUILD, &labels, 1);
}

#[cfg(test)]
mod tests;
