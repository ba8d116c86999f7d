//! Of cgroups: who threatens the node, and whose limits are wrong.

use super::finding::{Finding, HIGH, Severity, percent};
use crate::{
    escape,
    limits::{
        survey::{Bound, CgroupLimits, Survey},
        table::Chains,
    },
};

/// A part of the node's tasks that makes its owner the one to look at.
const LARGE: f64 = 0.3;
/// Cgroups named in one finding.
const NAMED: usize = 3;

/// The line that keeps a cgroup from growing.
fn brake(survey: &Survey, cgroup: &CgroupLimits) -> Option<String> {
    let now = cgroup.usage?;
    let file = survey.file_of(&cgroup.path, "pids.max");
    Some(format!(
        "emergency brake, stops its growth at once: echo {now} > {file} (lift it with: echo max > \
         {file})"
    ))
}

/// One cgroup holds much of a node that is nearly full.
pub(super) fn threat(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(tasks), Some(most)) = (survey.node.tasks, survey.node_most()) else {
        return;
    };
    if (tasks as f64) < HIGH * most as f64 {
        return;
    }
    for cgroup in &survey.cgroups {
        let own = cgroup.own.unwrap_or(0);
        if (own as f64) < LARGE * most as f64 {
            continue;
        }
        found.push(Finding {
            id: "owner-threatens-node",
            severity: Severity::Critical,
            object: escape::for_terminal(&cgroup.path),
            message: format!(
                "holds {own} of the node's {tasks} tasks, {} of {}",
                percent(own as f64 / most as f64),
                survey.node_binding()
            ),
            advice: brake(survey, cgroup)
                .unwrap_or_else(|| "end it, or have it use fewer threads".to_owned()),
        });
    }
}

/// Limits of single cgroups.
pub(super) fn near_their_limits(survey: &Survey, found: &mut Vec<Finding>) {
    for cgroup in &survey.cgroups {
        let Bound::At(max) = cgroup.max else { continue };
        let object = escape::for_terminal(&cgroup.path);
        let unit = unit_of(&cgroup.path);
        let raise = |to: u64| match &unit {
            Some(unit) => format!(
                "systemctl set-property {} TasksMax={to}",
                escape::for_shell(unit)
            ),
            None => format!(
                "raise its limit where it is set (a pod's: podPidsLimit of the kubelet), or for \
                 now: echo {to} > {}",
                survey.file_of(&cgroup.path, "pids.max")
            ),
        };
        if let Some(usage) = cgroup.usage
            && max > 0
            && usage as f64 >= HIGH * max as f64
        {
            found.push(Finding {
                id: "cgroup-limit-usage",
                severity: if usage >= max {
                    Severity::Critical
                } else {
                    Severity::Warning
                },
                object: object.clone(),
                message: format!(
                    "{usage} tasks of pids.max {max} ({})",
                    percent(usage as f64 / max as f64)
                ),
                advice: raise(max.saturating_mul(2)),
            });
        }
        if let Some(peak) = cgroup.peak.filter(|&peak| peak > max) {
            found.push(Finding {
                id: "tasks-max-below-peak",
                severity: Severity::Warning,
                object: object.clone(),
                message: format!(
                    "has had {peak} tasks, but its limit is {max} now: at its next peak its forks \
                     fail"
                ),
                advice: raise(peak.saturating_mul(2)),
            });
        }
        if let Some(refused) = cgroup.refused.filter(|&refused| refused > 0) {
            found.push(Finding {
                id: "tasks-max-hit",
                severity: Severity::Warning,
                object,
                message: format!("its limit of {max} has refused {refused} creations"),
                advice: raise(max.saturating_mul(2)),
            });
        }
    }
}

/// The systemd unit whose cgroup this is, if it is one's.
fn unit_of(path: &[u8]) -> Option<Vec<u8>> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let is_unit = [&b".service"[..], b".slice", b".scope"]
        .iter()
        .any(|suffix| name.ends_with(suffix));
    (is_unit && !path.windows(8).any(|part| part == b"kubepods")).then(|| name.to_vec())
}

/// Whether a cgroup is a Kubernetes pod's: `/kubepods/burstable/pod<uid>` (cgroupfs driver) or
/// `.../kubepods-burstable-pod<uid>.slice` (systemd driver); cgroup_manager_linux.go of the kubelet.
pub(super) fn is_pod(path: &[u8]) -> bool {
    let text = String::from_utf8_lossy(path);
    let mut parts = text.rsplit('/');
    let Some(name) = parts.next() else {
        return false;
    };
    let below_kubepods = parts.any(|part| part == "kubepods" || part == "kubepods.slice");
    below_kubepods
        && (name.starts_with("pod")
            || name.starts_with("kubepods") && name.contains("-pod") && name.ends_with(".slice"))
}

pub(super) fn pods_without_limit(survey: &Survey, found: &mut Vec<Finding>) {
    let unlimited: Vec<&CgroupLimits> = survey
        .cgroups
        .iter()
        .filter(|cgroup| is_pod(&cgroup.path) && cgroup.max == Bound::None)
        .filter(|pod| {
            // Its containers may each have one.
            let mut below = survey.cgroups.iter().filter(|cgroup| {
                cgroup.path.starts_with(&pod.path)
                    && cgroup.path.get(pod.path.len()) == Some(&b'/')
                    && cgroup.own.unwrap_or(0) > 0
            });
            !below.clone().any(|_| true) || below.any(|cgroup| cgroup.max == Bound::None)
        })
        .collect();
    if unlimited.is_empty() {
        return;
    }
    found.push(Finding {
        id: "pods-without-limit",
        severity: Severity::Warning,
        object: named(&unlimited),
        message: format!(
            "{} pods have no PID limit: one that leaks takes the whole node with it",
            unlimited.len()
        ),
        advice: "in /var/lib/kubelet/config.yaml: podPidsLimit: 4096; then systemctl restart \
                 kubelet (for pods that start from then on)"
            .to_owned(),
    });
}

/// The largest of some cgroups, by name.
fn named(cgroups: &[&CgroupLimits]) -> String {
    let mut largest = cgroups.to_vec();
    largest.sort_by_key(|cgroup| std::cmp::Reverse(cgroup.usage));
    let names: Vec<_> = largest
        .iter()
        .take(NAMED)
        .map(|cgroup| escape::for_terminal(&cgroup.path))
        .collect();
    let more = cgroups.len().saturating_sub(NAMED);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Cgroups with tasks whose limits, up to the root, let them take all that the others leave.
pub(super) fn can_exhaust(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(tasks), Some(most)) = (survey.node.tasks, survey.node_most()) else {
        return;
    };
    let chains = Chains::of(survey);
    let able: Vec<&CgroupLimits> = survey
        .cgroups
        .iter()
        .filter(|cgroup| cgroup.own.unwrap_or(0) > 0)
        .filter(|cgroup| {
            let others = tasks.saturating_sub(cgroup.usage.unwrap_or(0));
            chains
                .lowest(cgroup)
                .is_none_or(|lowest| lowest >= most.saturating_sub(others))
        })
        // What could not be read may be a limit.
        .filter(|cgroup| cgroup.max != Bound::Unknown)
        .collect();
    let Some(largest) = able.iter().max_by_key(|cgroup| cgroup.own) else {
        return;
    };
    let own = largest.own.unwrap_or(0);
    let share = own as f64 / most as f64;
    found.push(Finding {
        id: "owner-can-exhaust-node",
        severity: if share >= LARGE {
            Severity::Warning
        } else {
            Severity::Info
        },
        object: named(&able),
        message: format!(
            "{} cgroups have no limit that keeps them from taking every PID of the node; the \
             largest, {}, holds {own} tasks ({} of {})",
            able.len(),
            escape::for_terminal(&largest.path),
            percent(share),
            survey.node_binding()
        ),
        advice: match unit_of(&largest.path) {
            Some(unit) => format!(
                "systemctl set-property {} TasksMax={}",
                escape::for_shell(&unit),
                (own * 4).max(1024)
            ),
            None => format!(
                "echo {} > {}, and the same where it is configured",
                (own * 4).max(1024),
                survey.file_of(&largest.path, "pids.max")
            ),
        },
    });
}
