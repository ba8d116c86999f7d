//! What is wrong with the limits of a node, why it matters, and the change to make. Pure.
//!
//! Each finding's id has an entry in docs/limits.md.

use super::{
    survey::{Bound, CgroupLimits, PID_MAX_LIMIT, Survey},
    table::Chains,
};
use crate::escape;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Will hurt one day.
    Warning,
    /// Hurts now or soon.
    Critical,
}

impl Severity {
    /// Name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something to change, or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its entry in docs/limits.md.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a setting, a cgroup, a user, a process.
    pub object: String,
    /// What is so, and why it matters.
    pub message: String,
    /// The exact change to make.
    pub advice: String,
}

/// From here on a limit is nearly used up; what people alert on.
const HIGH: f64 = 0.8;
/// From here on there is hardly time left.
const FULL: f64 = 0.95;
/// A part of the node's tasks that makes its owner the one to look at.
const LARGE: f64 = 0.3;
/// Dead children that are more than a moment's delay.
const SOME_ZOMBIES: u64 = 10;
const MANY_ZOMBIES: u64 = 1000;
/// Cgroups named in one finding.
const NAMED: usize = 3;

/// All findings, the worst first.
pub fn find(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    node_usage(survey, &mut found);
    threat(survey, &mut found);
    pid_max_low(survey, &mut found);
    threads_max_below_pid_max(survey, &mut found);
    not_persisted(survey, &mut found);
    eviction(survey, &mut found);
    cgroups(survey, &mut found);
    pods_without_limit(survey, &mut found);
    can_exhaust(survey, &mut found);
    users(survey, &mut found);
    unreaped(survey, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn persist(name: &str, value: u64) -> String {
    format!(
        "sysctl -w {name}={value}; to keep it: echo '{name} = {value}' >> \
         /etc/sysctl.d/90-pidwatch.conf"
    )
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// The lower of pid_max and threads-max is nearly used up.
fn node_usage(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(tasks), Some(most)) = (survey.node.tasks, survey.node_most()) else {
        return;
    };
    let name = survey.node_binding();
    let ratio = tasks as f64 / most as f64;
    if ratio < HIGH {
        return;
    }
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
            "{tasks} tasks of {most} ({}): {} more, and every fork on the node fails with EAGAIN \
             (\"Resource temporarily unavailable\"), probes and the kubelet's included",
            percent(ratio),
            most.saturating_sub(tasks)
        ),
        advice: persist(name, raised),
    });
}

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
fn threat(survey: &Survey, found: &mut Vec<Finding>) {
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

/// The incident's cause: pid_max was the one limit that nobody had raised.
fn pid_max_low(survey: &Survey, found: &mut Vec<Finding>) {
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

fn threads_max_below_pid_max(survey: &Survey, found: &mut Vec<Finding>) {
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
fn not_persisted(survey: &Survey, found: &mut Vec<Finding>) {
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
fn eviction(survey: &Survey, found: &mut Vec<Finding>) {
    let (Some(kubelet), Some(most), Some(tasks)) =
        (&survey.kubelet, survey.node_most(), survey.node.tasks)
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

/// Limits of single cgroups.
fn cgroups(survey: &Survey, found: &mut Vec<Finding>) {
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
fn is_pod(path: &[u8]) -> bool {
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

fn pods_without_limit(survey: &Survey, found: &mut Vec<Finding>) {
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
fn can_exhaust(survey: &Survey, found: &mut Vec<Finding>) {
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

fn users(survey: &Survey, found: &mut Vec<Finding>) {
    for user in &survey.users {
        if let Bound::At(nproc) = user.nproc
            && nproc > 0
            && user.tasks as f64 >= HIGH * nproc as f64
        {
            found.push(Finding {
                id: "user-limit-usage",
                severity: if user.tasks >= nproc {
                    Severity::Critical
                } else {
                    Severity::Warning
                },
                object: format!("user {}", user.uid),
                message: format!(
                    "{} tasks of RLIMIT_NPROC {nproc} ({}), as {}[{}] has it",
                    user.tasks,
                    percent(user.tasks as f64 / nproc as f64),
                    escape::for_terminal(&user.comm),
                    user.pid
                ),
                advice: format!(
                    "prlimit --pid {} --nproc={}; to keep it: LimitNPROC= of its unit, or nproc in \
                     /etc/security/limits.d",
                    user.pid,
                    nproc.saturating_mul(2)
                ),
            });
        }
    }
    let Some(most) = survey.node_most() else {
        return;
    };
    if let Some(Bound::At(nproc)) = survey.init_nproc
        && nproc > most
    {
        found.push(Finding {
            id: "ulimit-never-binds",
            severity: Severity::Info,
            object: "RLIMIT_NPROC".to_owned(),
            message: format!(
                "`ulimit -u` is {nproc}, above {} ({most}): it can never be what stops a fork, \
                 whatever the error message says",
                survey.node_binding()
            ),
            advice: "look at kernel.pid_max and pids.max instead".to_owned(),
        });
    }
}

fn unreaped(survey: &Survey, found: &mut Vec<Finding>) {
    for parent in &survey.unreaped {
        if parent.zombies < SOME_ZOMBIES {
            continue;
        }
        let comm = escape::for_terminal(&parent.comm);
        found.push(Finding {
            id: "unreaped-zombies",
            severity: if parent.zombies >= MANY_ZOMBIES {
                Severity::Warning
            } else {
                Severity::Info
            },
            object: format!("{comm}[{}]", parent.parent),
            message: format!(
                "does not reap {} children that have ended: each still holds a PID",
                parent.zombies
            ),
            advice: format!(
                "restart it (its children then go to init, which reaps); in a container run an \
                 init as PID 1 (`docker run --init`, shareProcessNamespace: true); kill -CHLD {} \
                 may remind it",
                parent.parent
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::limits::survey::{
        Unreaped, UserLimits,
        tests::{cgroup, survey},
    };

    fn ids(survey: &Survey) -> Vec<&'static str> {
        find(survey).iter().map(|finding| finding.id).collect()
    }

    fn the(survey: &Survey, id: &str) -> Finding {
        find(survey)
            .into_iter()
            .find(|finding| finding.id == id)
            .unwrap()
    }

    #[test]
    fn the_incident_is_told_with_its_brake() {
        let mut seen = survey(47_000, 49_152, 1_545_000);
        seen.init_nproc = Some(Bound::At(204_000));
        seen.cgroups = vec![
            cgroup("/kubepods/burstable/pod1/app", 46_000, Bound::None),
            cgroup("/kubepods/burstable/pod1", 46_000, Bound::None),
        ];
        seen.cgroups[1].own = Some(0);
        let found = find(&seen);
        let critical: Vec<_> = found
            .iter()
            .filter(|finding| finding.severity == Severity::Critical)
            .map(|finding| finding.id)
            .collect();
        assert_eq!(critical, ["node-limit-usage", "owner-threatens-node"]);
        let threat = the(&seen, "owner-threatens-node");
        assert!(
            threat
                .advice
                .contains("echo 46000 > /cg/kubepods/burstable/pod1/app/pids.max"),
            "{}",
            threat.advice
        );
        let low = the(&seen, "pid-max-low");
        assert!(low.message.contains("49152") && low.message.contains("204000"));
        assert!(low.advice.contains("kernel.pid_max=1545000"), "{low:?}");
        for id in [
            "pods-without-limit",
            "ulimit-never-binds",
            "owner-can-exhaust-node",
        ] {
            assert!(ids(&seen).contains(&id), "{id}");
        }
    }

    #[test]
    fn a_calm_node_with_good_limits_has_nothing_to_say() {
        let mut seen = survey(300, 4_194_304, 4_194_304);
        seen.node.persisted_pid_max = Some((4_194_304, PathBuf::from("/x")));
        seen.cgroups = vec![cgroup("/system.slice/a.service", 10, Bound::At(1000))];
        assert_eq!(find(&seen), []);
    }

    #[test]
    fn a_limit_raised_at_run_time_only_is_told() {
        let mut seen = survey(300, 100_000, 4_194_304);
        assert!(ids(&seen).contains(&"limit-not-persisted"));
        seen.node.persisted_pid_max = Some((100_000, PathBuf::from("/etc/sysctl.d/1.conf")));
        assert!(!ids(&seen).contains(&"limit-not-persisted"));
        seen.node.persisted_pid_max = None;
        seen.node.knows_persisted = false;
        assert!(!ids(&seen).contains(&"limit-not-persisted"));
    }

    #[test]
    fn a_cgroups_limit_is_judged_by_usage_peak_and_refusals() {
        let mut seen = survey(300, 4_194_304, 4_194_304);
        let mut service = cgroup("/system.slice/a b.service", 95, Bound::At(100));
        service.peak = Some(150);
        service.refused = Some(3);
        seen.cgroups = vec![service];
        for id in [
            "cgroup-limit-usage",
            "tasks-max-below-peak",
            "tasks-max-hit",
        ] {
            let finding = the(&seen, id);
            assert_eq!(finding.severity, Severity::Warning);
            assert!(
                finding
                    .advice
                    .starts_with("systemctl set-property 'a b.service' TasksMax="),
                "{finding:?}"
            );
        }
        seen.cgroups[0].usage = Some(100);
        assert_eq!(
            the(&seen, "cgroup-limit-usage").severity,
            Severity::Critical
        );
    }

    #[test]
    fn pods_are_known_by_either_driver_and_containers_limits_count() {
        for pod in [
            "/kubepods/burstable/pod12",
            "/kubepods/pod12",
            "/kubepods.slice/kubepods-pod12.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice",
            "/docker/abc/kubepods/besteffort/pod12",
        ] {
            assert!(is_pod(pod.as_bytes()), "{pod}");
        }
        for other in [
            "/kubepods/burstable",
            "/podman",
            "/kubepods/pod12/container",
        ] {
            assert!(!is_pod(other.as_bytes()), "{other}");
        }
        let mut seen = survey(300, 4_194_304, 4_194_304);
        seen.cgroups = vec![
            cgroup("/kubepods/pod1", 3, Bound::None),
            cgroup("/kubepods/pod1/a", 3, Bound::At(10)),
        ];
        seen.cgroups[0].own = Some(0);
        assert!(!ids(&seen).contains(&"pods-without-limit"));
        seen.cgroups[1].max = Bound::None;
        assert!(ids(&seen).contains(&"pods-without-limit"));
    }

    #[test]
    fn a_limit_that_is_not_known_is_not_called_none() {
        let mut seen = survey(300, 4_194_304, 4_194_304);
        seen.node.persisted_pid_max = Some((4_194_304, PathBuf::from("/x")));
        seen.cgroups = vec![cgroup("/kubepods/pod1", 3, Bound::Unknown)];
        assert_eq!(find(&seen), []);
    }

    #[test]
    fn a_user_near_the_limit_and_a_parent_that_does_not_reap_are_told() {
        let mut seen = survey(300, 4_194_304, 4_194_304);
        seen.users = vec![UserLimits {
            uid: 1000,
            tasks: 90,
            nproc: Bound::At(100),
            pid: 5,
            comm: b"java".to_vec(),
        }];
        seen.unreaped = vec![Unreaped {
            parent: 7,
            comm: b"sh".to_vec(),
            zombies: 2000,
        }];
        assert_eq!(the(&seen, "user-limit-usage").object, "user 1000");
        assert_eq!(the(&seen, "unreaped-zombies").object, "sh[7]");
    }
}
