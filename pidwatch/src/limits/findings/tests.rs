use std::path::PathBuf;

use super::{cgroups::is_pod, *};
use crate::limits::survey::{
    Bound, Unreaped, UserLimits,
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
