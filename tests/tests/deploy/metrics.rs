//! The agent's metrics, as users may rely on them: names and labels.

/// What tells owners apart.
const OWNER: &[&str] = &["id", "namespace", "pod", "container", "unit"];

/// Every metric, with its labels beside [`OWNER`]'s where the flag is set.
const METRICS: &[(&str, bool, &[&str])] = &[
    ("pidwatch_container_tasks", true, &[]),
    ("pidwatch_container_processes", true, &[]),
    ("pidwatch_container_zombies", true, &[]),
    ("pidwatch_container_tasks_limit", true, &[]),
    ("pidwatch_container_created_total", true, &["kind"]),
    ("pidwatch_container_exited_total", true, &["kind"]),
    ("pidwatch_clone_failures_total", true, &["reason"]),
    ("pidwatch_container_growth_tasks_per_second", true, &[]),
    ("pidwatch_container_exhaustion_seconds", true, &[]),
    ("pidwatch_container_state", true, &["state"]),
    ("pidwatch_node_tasks", false, &[]),
    ("pidwatch_node_exhaustion_seconds", false, &[]),
    ("pidwatch_node_limit", false, &["limit"]),
    ("pidwatch_node_limit_usage", false, &["limit"]),
    ("pidwatch_incidents_total", false, &["limit"]),
    ("pidwatch_incident_open", false, &["limit"]),
    ("pidwatch_lost_total", false, &["where"]),
    ("pidwatch_probe_attached", false, &["probe", "mechanism"]),
    ("pidwatch_build_info", false, &["version", "kernel"]),
    // Prometheus' own.
    ("up", false, &[]),
];

/// What Prometheus puts on every series.
const TARGET: &[&str] = &["instance", "job"];

/// The labels that a metric's series have in Prometheus; `None` when there is no such metric.
pub fn labels(metric: &str) -> Option<Vec<&'static str>> {
    let (_, of_owner, more) = METRICS.iter().find(|(name, ..)| *name == metric)?;
    let owner: &[&str] = if *of_owner { OWNER } else { &[] };
    Some([TARGET, owner, more].concat())
}
