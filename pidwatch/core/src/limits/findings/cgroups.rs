//! Of cgroups: who threatens the node, and whose limits are wrong. One finding and one value for each.

use hashbrown::HashMap;

use super::finding::{Finding, HIGH, Severity, percent};
use crate::{
    escape,
    limits::{
        advice::{allowance, is_pod, raised, unit},
        survey::{Bound, CgroupLimits, Survey, Unreaped},
        table::Chains,
    },
};

/// A part of the node's tasks that makes its owner the one to look at.
const LARGE: f64 = 0.3;
/// Cgroups named in one finding.
const NAMED: usize = 3;
/// `podPidsLimit` where nothing tells how much pods need: what the common distributions set.
const USUAL_POD: u64 = 4096;

/// The line that keeps a cgroup from growing, and the one that gives back the limit that was there; `None` where
/// its own limit does so already.
fn brake(survey: &Survey, cgroup: &CgroupLimits) -> Option<String> {
    let now = cgroup.usage?;
    let before = match cgroup.max {
        Bound::At(max) if max > now => max.to_string(),
        Bound::None => "max".to_owned(),
        Bound::At(_) | Bound::Unknown => return None,
    };
    let file = survey.file_of(&cgroup.path, "pids.max")?;
    Some(format!(
        "emergency brake, stops its growth at once: echo {now} > {file} (lift it with: echo {before} > \
         {file})"
    ))
}

/// The line that gives a cgroup another limit.
fn set(survey: &Survey, cgroup: &CgroupLimits, value: u64) -> Option<String> {
    match unit(&cgroup.path) {
        Some(unit) => Some(format!("systemctl set-property -- {unit} TasksMax={value}")),
        None => Some(format!(
            "echo {value} > {}",
            survey.file_of(&cgroup.path, "pids.max")?
        )),
    }
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
        let end = match cgroup.max {
            Bound::At(max) if cgroup.usage.is_some_and(|usage| usage >= max) => format!(
                "its own limit of {max} keeps it from growing; end it, or have it use fewer threads"
            ),
            _ => "end it, or have it use fewer threads".to_owned(),
        };
        found.push(Finding {
            id: "owner-threatens-node",
            severity: Severity::Critical,
            object: escape::for_terminal(&cgroup.path),
            message: format!(
                "holds {own} of the node's {tasks} tasks, {} of {}",
                percent(own as f64 / most as f64),
                survey.node_binding()
            ),
            advice: brake(survey, cgroup).unwrap_or(end),
        });
    }
}

/// Limits of single cgroups: what is used now, was used once, and was refused.
pub(super) fn near_their_limits(survey: &Survey, found: &mut Vec<Finding>) {
    let chains = Chains::of(survey);
    for cgroup in &survey.cgroups {
        let Bound::At(max) = cgroup.max else { continue };
        let usage = cgroup.usage.unwrap_or(0);
        let is_near = cgroup.usage.is_some() && usage as f64 >= HIGH * max as f64;
        let refused = cgroup.refused.filter(|&refused| refused > 0);
        // Who was moved in past the limit is in the peak as well; and so is, for a moment, a creation that is
        // then refused further up (pids_try_charge, kernel/cgroup/pids.c).
        let peak = cgroup.peak.filter(|&peak| peak > max.max(usage) + 1);
        let id = match (is_near, refused, peak) {
            (true, ..) => "cgroup-limit-usage",
            (false, Some(_), _) => "tasks-max-hit",
            (false, None, Some(_)) => "tasks-max-below-peak",
            (false, None, None) => continue,
        };
        let mut facts = Vec::new();
        match cgroup.usage {
            Some(usage) if max == 0 => facts.push(format!(
                "pids.max is 0: nothing may be created in it, where {usage} {} now",
                if usage == 1 { "task is" } else { "tasks are" }
            )),
            Some(usage) if usage > max => facts.push(format!(
                "{usage} tasks of pids.max {max} ({}): some were moved in past it, and none may be \
                 created",
                percent(usage as f64 / max as f64)
            )),
            Some(usage) if is_near => facts.push(format!(
                "{usage} tasks of pids.max {max} ({})",
                percent(usage as f64 / max as f64)
            )),
            _ => {}
        }
        if let Some(peak) = peak {
            facts.push(format!(
                "has had {peak} tasks, but its limit is {max} now: at its next peak its forks fail"
            ));
        }
        if let Some(refused) = refused {
            let creations = if refused == 1 {
                "creation"
            } else {
                "creations"
            };
            facts.push(format!(
                "its limit of {max} has refused {refused} {creations}"
            ));
        }
        if let Some(holder) = holder(survey, cgroup) {
            facts.push(holder);
        }
        let dead = zombies(survey, cgroup);
        if dead.0 > 0 {
            facts.push(format!("{} of them have ended and are not reaped", dead.0));
        }
        let advice = match dead.1.filter(|_| 2 * dead.0 >= usage) {
            Some(parent) => format!(
                "have {}[{}] reap its children (see unreaped-zombies): they would fill a higher limit as well",
                escape::for_terminal(&parent.comm),
                parent.parent
            ),
            None => raise(
                survey,
                &chains,
                cgroup,
                raised(max, usage.max(peak.unwrap_or(0))),
            ),
        };
        found.push(Finding {
            id,
            severity: if usage >= max && is_near {
                Severity::Critical
            } else {
                Severity::Warning
            },
            object: escape::for_terminal(&cgroup.path),
            message: facts.join("; "),
            advice,
        });
    }
}

/// Dead children that are charged to a cgroup or below it, and the parent that leaves most of them.
fn zombies<'a>(survey: &'a Survey, cgroup: &CgroupLimits) -> (u64, Option<&'a Unreaped>) {
    let is_inside = |dead: &&Unreaped| {
        let rest = dead
            .cgroup
            .as_deref()
            .and_then(|path| path.strip_prefix(&*cgroup.path));
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let inside = || survey.unreaped.iter().filter(is_inside);
    let most = inside().max_by_key(|dead| dead.zombies);
    (inside().map(|dead| dead.zombies).sum(), most)
}

/// Who below a limit that several share holds the most of it.
fn holder(survey: &Survey, shared: &CgroupLimits) -> Option<String> {
    let is_below = |cgroup: &&CgroupLimits| {
        let rest = cgroup.path.strip_prefix(&*shared.path);
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let below = survey.cgroups.iter().filter(is_below);
    let largest = below.max_by_key(|cgroup| cgroup.own.unwrap_or(0))?;
    let own = largest.own.filter(|&own| own > shared.own.unwrap_or(0))?;
    let path = escape::for_terminal(&largest.path);
    Some(format!("{path} holds {own} of them"))
}

/// The advice that gives a cgroup a higher limit, where that is of use.
fn raise(survey: &Survey, chains: &Chains<'_>, cgroup: &CgroupLimits, value: u64) -> String {
    let above = chains
        .above(&cgroup.path)
        .filter_map(|above| Some((above.max.value()?, above)))
        .min_by_key(|(max, _)| *max);
    if let (Some((max, above)), Bound::At(own)) = (above, cgroup.max)
        && max <= own
    {
        return format!(
            "raise pids.max of {} first: it is {max}, and holds for all below it",
            escape::for_terminal(&above.path)
        );
    }
    let most = above.map_or(u64::MAX, |(max, _)| max);
    let value = value.min(most).min(survey.node_most().unwrap_or(u64::MAX));
    let Some(set) = set(survey, cgroup, value) else {
        return format!("raise its limit to {value} where it is set");
    };
    if unit(&cgroup.path).is_some() {
        set
    } else if is_pod(&cgroup.path) {
        format!("raise podPidsLimit of the kubelet, which is this pod's, or for now: {set}")
    } else {
        format!("raise its limit where it is set, or for now: {set}")
    }
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
        advice: match pod_limit(survey) {
            Some(limit) => format!(
                "in /var/lib/kubelet/config.yaml: podPidsLimit: {limit}; then systemctl restart kubelet \
                 (for pods that start from then on)"
            ),
            None => "set podPidsLimit in /var/lib/kubelet/config.yaml, above what the largest pod needs"
                .to_owned(),
        },
    });
}

/// `podPidsLimit` that the largest pod of today fits into several times, below what all pods share.
fn pod_limit(survey: &Survey) -> Option<u64> {
    let pods = || survey.cgroups.iter().filter(|cgroup| is_pod(&cgroup.path));
    let largest = pods().filter_map(|pod| pod.usage).max()?;
    let chains = Chains::of(survey);
    let shared = pods()
        .flat_map(|pod| chains.above(&pod.path))
        .filter_map(|above| above.max.value())
        .min();
    let bound = shared.unwrap_or(u64::MAX).min(survey.node_most()?);
    let value = allowance(largest, bound)?;
    Some(value.max(USUAL_POD.min(bound / 2)))
}

/// The largest of some cgroups, by name.
fn named(cgroups: &[&CgroupLimits]) -> String {
    let mut largest = cgroups.to_vec();
    largest.sort_by_key(|cgroup| std::cmp::Reverse((cgroup.own, cgroup.usage)));
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
    let Some(largest) = able.iter().max_by_key(|cgroup| (cgroup.own, cgroup.usage)) else {
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
        advice: allowance(largest.usage.unwrap_or(own), most)
            .and_then(|value| set(survey, largest, value))
            .map_or_else(
                || "give the largest a limit of its own".to_owned(),
                |set| format!("{set}, and the same where it is configured"),
            ),
    });
}

/// Siblings with limits that each fit into the node, but not all of them together, and nothing above that keeps
/// them within it.
pub(super) fn sums(survey: &Survey, found: &mut Vec<Finding>) {
    let Some(most) = survey.node_most() else {
        return;
    };
    let mut siblings: HashMap<&[u8], Vec<u64>> = HashMap::new();
    for cgroup in &survey.cgroups {
        if let Some(max) = cgroup.max.value().filter(|&max| max < most) {
            let end = cgroup.path.iter().rposition(|&byte| byte == b'/');
            let parent = &cgroup.path[..end.unwrap_or(0)];
            siblings.entry(parent).or_default().push(max);
        }
    }
    let chains = Chains::of(survey);
    let mut siblings: Vec<_> = siblings.into_iter().collect();
    siblings.sort_unstable();
    for (path, mut limits) in siblings {
        let sum: u64 = limits.iter().fold(0, |sum, max| sum.saturating_add(*max));
        let parent = survey.cgroups.iter().find(|cgroup| *cgroup.path == *path);
        // One that could not be read may be a limit.
        let is_open = |cgroup: &CgroupLimits| match cgroup.max {
            Bound::At(max) => max >= most,
            Bound::None => true,
            Bound::Unknown => false,
        };
        let is_bounded = parent
            .into_iter()
            .chain(chains.above(path))
            .any(|above| !is_open(above));
        if limits.len() < 2 || sum <= most || is_bounded {
            continue;
        }
        limits.sort_unstable_by_key(|&max| std::cmp::Reverse(max));
        let mut left = most;
        let full = limits.iter().take_while(|&&max| {
            let is_needed = left > 0;
            left = left.saturating_sub(max);
            is_needed
        });
        let full = full.count();
        // All but what the rest of the node has and may need.
        let others = survey.node.tasks.unwrap_or(0);
        let others = others.saturating_sub(parent.and_then(|parent| parent.usage).unwrap_or(0));
        let bound = most.saturating_sub(most / 10).saturating_sub(others);
        let usage = parent.and_then(|parent| parent.usage).unwrap_or(0);
        let advice = match parent.filter(|_| bound > usage) {
            Some(parent) => set(survey, parent, bound),
            None => None,
        };
        found.push(Finding {
            id: "limits-exceed-node",
            severity: if full <= 2 {
                Severity::Warning
            } else {
                Severity::Info
            },
            object: if path.is_empty() {
                "/".to_owned()
            } else {
                escape::for_terminal(path)
            },
            message: format!(
                "the limits of {} cgroups in it sum to {sum}, more than the node's {most} ({}): {full} \
                 full ones suffice to stop every fork on the node",
                limits.len(),
                survey.node_binding()
            ),
            advice: match advice {
                Some(set) => format!("a limit above all of them: {set}; or lower ones for each"),
                None => "lower limits for each of them".to_owned(),
            },
        });
    }
}
