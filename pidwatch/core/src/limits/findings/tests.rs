use std::path::PathBuf;

use super::*;
use crate::{
    brake::{Lease, PidsMax},
    clock::BootTime,
    limits::{
        advice::is_pod,
        survey::{
            Bound, PidNamespaceLimits, SeenBrake, Unreaped, UserLimits,
            tests::{cgroup, survey},
        },
    },
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
fn brakes_are_listed_and_one_without_a_process_to_end_it_is_a_warning() {
    let mut seen = survey(100, 49_152, 1_545_000);
    let lease = |path: &str| {
        let cgroup = (7, path.to_owned(), "web.service".to_owned());
        Lease::new(cgroup, PidsMax::Unlimited, 30, BootTime::from_seconds(9))
    };
    seen.brakes = vec![
        SeenBrake {
            lease: lease("/system.slice/web.service"),
            is_held: true,
        },
        SeenBrake {
            lease: lease("/system.slice/a b"),
            is_held: false,
        },
    ];
    let left = the(&seen, "brake-left-behind");
    assert_eq!(left.severity, Severity::Warning);
    assert_eq!(left.object, "/system.slice/a b");
    assert_eq!(left.advice, "pidwatch release '/system.slice/a b'");
    let held = the(&seen, "brake-in-force");
    assert_eq!(held.severity, Severity::Info);
    assert!(held.message.contains("30 tasks") && held.message.contains("returns to max"));
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
    // All of it is one finding, with one value that is above all that was wanted.
    let found: Vec<_> = find(&seen)
        .into_iter()
        .filter(|finding| finding.object == "/system.slice/a b.service")
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let finding = &found[0];
    assert_eq!(
        (finding.id, finding.severity),
        ("cgroup-limit-usage", Severity::Warning)
    );
    for fact in [
        "95 tasks of pids.max 100",
        "has had 150",
        "refused 3 creations",
    ] {
        assert!(finding.message.contains(fact), "{finding:?}");
    }
    assert_eq!(
        finding.advice,
        "systemctl set-property -- 'a b.service' TasksMax=300"
    );
    seen.cgroups[0].usage = Some(100);
    assert_eq!(
        the(&seen, "cgroup-limit-usage").severity,
        Severity::Critical
    );
    seen.cgroups[0].usage = Some(5);
    assert_eq!(the(&seen, "tasks-max-hit").advice, finding.advice);
    seen.cgroups[0].refused = None;
    assert_eq!(the(&seen, "tasks-max-below-peak").advice, finding.advice);
    seen.cgroups[0].peak = None;
    assert_eq!(find(&seen).len(), 1, "only that the pid_max is not kept");
}

#[test]
fn who_may_create_nothing_is_told_so() {
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.cgroups = vec![cgroup("/pod", 1, Bound::At(0))];
    let finding = the(&seen, "cgroup-limit-usage");
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.message.contains("pids.max is 0"), "{finding:?}");
    assert!(
        finding.advice.contains("echo 512 > /cg/pod/pids.max"),
        "{finding:?}"
    );
    // Moved in past the limit.
    seen.cgroups = vec![cgroup("/pod", 10, Bound::At(5))];
    let finding = the(&seen, "cgroup-limit-usage");
    assert!(
        finding.message.contains("10 tasks of pids.max 5 (200 %)"),
        "{finding:?}"
    );
    assert!(
        finding.advice.contains("echo 20 > /cg/pod/pids.max"),
        "{finding:?}"
    );
}

#[test]
fn a_limit_below_one_that_is_as_low_is_not_raised() {
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.cgroups = vec![
        cgroup("/a", 95, Bound::At(100)),
        cgroup("/a/b", 95, Bound::At(100)),
        cgroup("/c", 0, Bound::At(150)),
        cgroup("/c/d", 95, Bound::At(100)),
    ];
    let advice = |object: &str| {
        let mut found = find(&seen).into_iter();
        found
            .find(|finding| finding.object == object)
            .unwrap()
            .advice
    };
    assert!(advice("/a").contains("echo 200 >"), "{}", advice("/a"));
    assert!(
        advice("/a/b").starts_with("raise pids.max of /a first"),
        "{}",
        advice("/a/b")
    );
    assert!(advice("/c/d").contains("echo 150 >"), "{}", advice("/c/d"));
}

#[test]
fn the_brake_gives_back_what_was_there_and_is_not_for_who_is_held_already() {
    let mut seen = survey(47_000, 49_152, 1_545_000);
    let advice = |seen: &Survey| the(seen, "owner-threatens-node").advice;
    seen.cgroups = vec![cgroup("/app", 46_000, Bound::At(48_000))];
    assert!(
        advice(&seen).contains("echo 46000 > /cg/app/pids.max"),
        "{}",
        advice(&seen)
    );
    assert!(
        advice(&seen).contains("echo 48000 > /cg/app/pids.max"),
        "{}",
        advice(&seen)
    );
    assert!(!advice(&seen).contains("echo max"), "{}", advice(&seen));
    seen.cgroups = vec![cgroup("/app", 46_000, Bound::At(46_000))];
    assert!(!advice(&seen).contains("echo"), "{}", advice(&seen));
    seen.cgroups = vec![cgroup("/app", 46_000, Bound::Unknown)];
    assert!(!advice(&seen).contains("echo"), "{}", advice(&seen));
}

#[test]
fn who_holds_most_of_a_shared_limit_is_named() {
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.cgroups = vec![
        cgroup("/kubepods", 150, Bound::At(150)),
        cgroup("/kubepods/burstable/pod1/a", 129, Bound::None),
        cgroup("/kubepods/burstable/pod2/b", 21, Bound::At(64)),
    ];
    seen.cgroups[0].own = Some(0);
    let finding = the(&seen, "cgroup-limit-usage");
    assert_eq!(finding.object, "/kubepods");
    assert!(
        finding
            .message
            .contains("/kubepods/burstable/pod1/a holds 129"),
        "{finding:?}"
    );
}

#[test]
fn the_limit_of_pods_is_above_the_largest_pod_and_below_what_they_share() {
    let mut seen = survey(3000, 32_768, 1_545_000);
    seen.cgroups = vec![
        cgroup("/kubepods/pod1", 1500, Bound::None),
        cgroup("/kubepods/pod1/a", 800, Bound::None),
        cgroup("/kubepods/pod1/b", 700, Bound::None),
    ];
    seen.cgroups[0].own = Some(0);
    let limit = |seen: &Survey| {
        let advice = the(seen, "pods-without-limit").advice;
        let number = advice.split("podPidsLimit: ").nth(1)?.split(';').next()?;
        number.parse::<u64>().ok()
    };
    assert_eq!(limit(&seen), Some(8192));
    seen.cgroups
        .push(cgroup("/kubepods", 1500, Bound::At(4000)));
    assert_eq!(limit(&seen), Some(2750));
    seen.cgroups[3].max = Bound::At(1500);
    assert_eq!(limit(&seen), None, "none is above 1,500 and below 1,500");
}

#[test]
fn limits_that_together_exceed_the_node_are_told() {
    let mut seen = survey(300, 32_768, 1_545_000);
    let user = |n: u32| format!("/user.slice/user-{n}.slice");
    seen.cgroups = vec![cgroup("/user.slice", 8, Bound::None)];
    seen.cgroups
        .extend((1000..1004).map(|n| cgroup(&user(n), 2, Bound::At(16_384))));
    let finding = the(&seen, "limits-exceed-node");
    assert_eq!(
        (&*finding.object, finding.severity),
        ("/user.slice", Severity::Warning)
    );
    assert!(finding.message.contains("65536") && finding.message.contains("2 full ones"));
    assert!(
        finding
            .advice
            .contains("systemctl set-property -- user.slice TasksMax=29200"),
        "{finding:?}"
    );
    // More of them are needed.
    for cgroup in &mut seen.cgroups[1..] {
        cgroup.max = Bound::At(10_000);
    }
    assert_eq!(the(&seen, "limits-exceed-node").severity, Severity::Info);
    // Something above keeps them within the node, or may.
    for max in [Bound::At(20_000), Bound::Unknown] {
        seen.cgroups[0].max = max;
        assert!(!ids(&seen).contains(&"limits-exceed-node"), "{max:?}");
    }
    seen.cgroups[0].max = Bound::None;
    for cgroup in &mut seen.cgroups[1..] {
        cgroup.max = Bound::At(8000);
    }
    assert!(!ids(&seen).contains(&"limits-exceed-node"), "32,000 fit");
}

#[test]
fn a_users_limit_that_binds_is_not_called_one_that_never_does() {
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.init_nproc = Some(Bound::At(5_000_000));
    assert!(ids(&seen).contains(&"ulimit-never-binds"));
    seen.users = vec![UserLimits {
        uid: 1000,
        tasks: 90,
        is_whole: true,
        nproc: Bound::At(100),
        pid: 5,
        comm: b"java".to_vec(),
    }];
    assert!(ids(&seen).contains(&"user-limit-usage"));
    assert!(!ids(&seen).contains(&"ulimit-never-binds"));
}

#[test]
fn zombies_are_as_bad_as_their_share_of_the_limit_that_is_hit() {
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.cgroups = vec![
        cgroup("/app", 97, Bound::At(100)),
        cgroup("/app/inner", 97, Bound::None),
    ];
    seen.unreaped = vec![Unreaped {
        parent: 7,
        comm: b"myapp".to_vec(),
        zombies: 96,
        names: vec![(b"probe.sh".to_vec(), 96)],
        cgroup: Some((*b"/app/inner").into()),
    }];
    let finding = the(&seen, "unreaped-zombies");
    assert_eq!(finding.severity, Severity::Critical);
    for fact in ["/app/inner", "96 probe.sh", "96 % of pids.max of /app"] {
        assert!(finding.message.contains(fact), "{fact}: {finding:?}");
    }
    // A higher limit would be filled as well.
    let full = the(&seen, "cgroup-limit-usage");
    assert!(full.message.contains("96 of them have ended"), "{full:?}");
    assert!(full.advice.starts_with("have myapp[7] reap"), "{full:?}");
    // As many are little of what a node has.
    seen.unreaped[0].cgroup = None;
    assert_eq!(the(&seen, "unreaped-zombies").severity, Severity::Info);
    // A third, of a limit that is far from full.
    seen.unreaped[0].cgroup = Some((*b"/app/inner").into());
    seen.cgroups[0].max = Bound::At(300);
    assert_eq!(the(&seen, "unreaped-zombies").severity, Severity::Warning);
}

#[test]
fn a_process_without_room_for_a_stack_is_told() {
    use crate::limits::memory::{MemoryLimit, Want};
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.memory = vec![MemoryLimit {
        pid: 9,
        comm: b"java".to_vec(),
        want: Want::Mappings,
        value: 65_530,
        usage: 65_530,
    }];
    let finding = the(&seen, "max-map-count-usage");
    assert_eq!(
        (&*finding.object, finding.severity),
        ("java[9]", Severity::Critical)
    );
    assert!(
        finding.advice.contains("sysctl -w vm.max_map_count=131060"),
        "{finding:?}"
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
        is_whole: true,
        nproc: Bound::At(100),
        pid: 5,
        comm: b"java".to_vec(),
    }];
    seen.unreaped = vec![Unreaped {
        parent: 7,
        comm: b"sh".to_vec(),
        zombies: 2000,
        names: Vec::new(),
        cgroup: None,
    }];
    assert_eq!(the(&seen, "user-limit-usage").object, "user 1000");
    assert_eq!(the(&seen, "unreaped-zombies").object, "sh[7]");
}

#[test]
fn a_pid_namespaces_own_limit_is_its_own_finding() {
    let mut seen = survey(300, 32_768, 1_545_000);
    let space = PidNamespaceLimits {
        inum: 77,
        tasks: 350,
        pid_max: Some(400),
        is_full: false,
        pid: 12,
        comm: b"init".to_vec(),
    };
    seen.pid_namespaces = vec![space.clone()];
    let found = the(&seen, "pid-namespace-usage");
    assert_eq!(found.severity, Severity::Warning);
    assert_eq!(found.object, "PID namespace 77");
    assert!(
        found
            .message
            .contains("350 tasks of its own kernel.pid_max 400 (88 %)")
    );
    assert_eq!(
        found.advice,
        "nsenter --target 12 --pid --mount sysctl -w kernel.pid_max=1600"
    );
    let row = crate::limits::table(&seen).pop().unwrap();
    assert_eq!((row.headroom(), row.binding), (Some(50), true));
    // Nothing in it could read the value.
    seen.pid_namespaces = vec![PidNamespaceLimits {
        pid_max: None,
        is_full: true,
        ..space.clone()
    }];
    assert_eq!(
        the(&seen, "pid-namespace-usage").severity,
        Severity::Critical
    );
    let row = crate::limits::table(&seen).pop().unwrap();
    assert_eq!((row.value, row.headroom(), row.binding), (None, None, true));
    seen.pid_namespaces = vec![PidNamespaceLimits { tasks: 20, ..space }];
    assert!(!ids(&seen).contains(&"pid-namespace-usage"));
}

#[test]
fn a_user_of_whom_tasks_may_be_missing_has_no_headroom() {
    let mut seen = survey(300, 4_194_304, 4_194_304);
    seen.users = vec![UserLimits {
        uid: 1000,
        tasks: 20,
        is_whole: false,
        nproc: Bound::At(60),
        pid: 5,
        comm: b"java".to_vec(),
    }];
    let row = crate::limits::table(&seen).pop().unwrap();
    assert_eq!(
        (row.value, row.usage, row.headroom()),
        (Some(60), None, None)
    );
    seen.users[0].tasks = 60;
    let found = the(&seen, "user-limit-usage");
    assert!(
        found.message.starts_with("at least 60 tasks"),
        "{}",
        found.message
    );
}
