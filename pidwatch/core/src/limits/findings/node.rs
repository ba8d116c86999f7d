//! Of the limits of the whole node.

use super::finding::{Finding, HIGH, Severity, percent};
use crate::limits::survey::{Bound, PID_MAX_LIMIT, Survey};

/// From here on there is hardly time left.
const FULL: f64 = 0.95;

/// The lower of pid_max and threads-max is nearly used up.
pub(super) fn usage(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(tasks), Some(most)) = (survey.node.tasks, survey.node_most()) else {
        return;
    };
    let Some((usage, value)) = survey.node_usage() else {
        return;
    };
    let name = survey.node_binding();
    let ratio = usage as f64 / value as f64;
    if ratio < HIGH {
        return;
    }
    let ids = match usage.saturating_sub(tasks) {
        0 => String::new(),
        ids => format!(" and {ids} IDs that are not given out again"),
    };
    let raised = PID_MAX_LIMIT.min(most.saturating_mul(4));
    found.push(Finding {
        id: "node-limit-usage",
        severity: if ratio >= FULL {
            Severity::Critical
        } else {
            Severity::Warning
        },
        object: name.to_owned(),
        message: format!(
            "{tasks} tasks{ids} of {value} ({}): {} more, and every fork on the node fails with EAGAIN \
             (\"Resource temporarily unavailable\"), probes and the kubelet's included",
            percent(ratio),
            most.saturating_sub(tasks)
        ),
        advice: persist(name, raised),
    });
}

/// The incident's cause: pid_max was the one limit that nobody had raised.
pub(super) fn pid_max_low(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(pid_max), Some(threads_max)) = (survey.node.pid_max, survey.node.threads_max) else {
        return;
    };
    let nproc = match survey.init_nproc {
        Some(Bound::At(nproc)) => nproc,
        Some(Bound::None) => u64::MAX,
        _ => threads_max,
    };
    if pid_max >= threads_max.min(nproc).min(PID_MAX_LIMIT) {
        return;
    }
    let users = match survey.init_nproc {
        Some(Bound::At(nproc)) => format!(", RLIMIT_NPROC {nproc}"),
        _ => String::new(),
    };
    found.push(Finding {
        id: "pid-max-low",
        severity: Severity::Warning,
        object: "kernel.pid_max".to_owned(),
        message: format!(
            "{pid_max} is lower than what memory and users' limits allow (kernel.threads-max \
             {threads_max}{users}): it will be hit first, though those that fail will be told to \
             look at `ulimit -u`"
        ),
        advice: persist(
            "kernel.pid_max",
            PID_MAX_LIMIT.min(threads_max.max(pid_max)),
        ),
    });
}

pub(super) fn threads_max_below_pid_max(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(pid_max), Some(threads_max)) = (survey.node.pid_max, survey.node.threads_max) else {
        return;
    };
    if threads_max >= pid_max {
        return;
    }
    found.push(Finding {
        id: "threads-max-below-pid-max",
        severity: Severity::Info,
        object: "kernel.threads-max".to_owned(),
        message: format!(
            "{threads_max} is below kernel.pid_max ({pid_max}), so it is what stops the node; it \
             follows from the memory at boot (an eighth of it in thread stacks)"
        ),
        advice: format!(
            "nothing, if {threads_max} tasks are enough; else {}",
            persist("kernel.threads-max", pid_max)
        ),
    });
}

/// A limit that was raised by hand is gone after the next boot.
pub(super) fn not_persisted(survey: &Survey, found: &mut Vec<Finding>) {
    let node = &survey.node;
    if !node.knows_persisted {
        return;
    }
    let settings = [
        (
            "kernel.pid_max",
            node.pid_max,
            &node.persisted_pid_max,
            node.default_pid_max,
        ),
        (
            "kernel.threads-max",
            node.threads_max,
            &node.persisted_threads_max,
            None,
        ),
    ];
    for (name, now, persisted, default) in settings {
        let Some(now) = now else { continue };
        let (at_boot, whence) = match (persisted, default) {
            (Some((value, file)), _) => (*value, file.display().to_string()),
            (None, Some(default)) => (default, "the kernel's default".to_owned()),
            (None, None) => continue,
        };
        if now <= at_boot {
            continue;
        }
        found.push(Finding {
            id: "limit-not-persisted",
            severity: Severity::Warning,
            object: name.to_owned(),
            message: format!(
                "{now} now, but {at_boot} after the next boot ({whence}): it was raised at run \
                 time only"
            ),
            advice: format!("echo '{name} = {now}' >> /etc/sysctl.d/90-pidwatch.conf"),
        });
    }
}

/// The kubelet evicts pods when PIDs become few, if it is told to.
pub(super) fn eviction(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(kubelet), Some(most), Some(tasks)) =
        (&survey.kubelet, survey.node_capacity(), survey.node.tasks)
    else {
        return;
    };
    let available = most.saturating_sub(tasks);
    match kubelet.eviction_threshold(most) {
        None => found.push(Finding {
            id: "no-pid-eviction",
            severity: Severity::Info,
            object: "kubelet".to_owned(),
            message: "evictionHard has no pid.available: the kubelet does nothing when PIDs run \
                      out, until it cannot fork itself"
                .to_owned(),
            advice:
                "in /var/lib/kubelet/config.yaml: evictionHard: {pid.available: \"10%\"}; then \
                     systemctl restart kubelet"
                    .to_owned(),
        }),
        Some(threshold) if available < threshold.saturating_mul(2) => found.push(Finding {
            id: "pid-pressure-near",
            severity: if available <= threshold {
                Severity::Critical
            } else {
                Severity::Warning
            },
            object: "kubelet".to_owned(),
            message: format!(
                "{available} PIDs are available; below {threshold} the kubelet reports PIDPressure \
                 and evicts pods"
            ),
            advice: "find who holds the tasks (`pidwatch trace --all`) before the kubelet picks a \
                     pod; or raise kernel.pid_max"
                .to_owned(),
        }),
        Some(_) => {}
    }
}

fn persist(name: &str, value: u64) -> String {
    format!(
        "sysctl -w {name}={value}; to keep it: echo '{name} = {value}' >> \
         /etc/sysctl.d/90-pidwatch.conf"
    )
}
