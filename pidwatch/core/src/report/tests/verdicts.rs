//! Findings and values of actions, each on a stream of its own.

use super::*;

const APP: &str = r#""cgroup":{"id":77,"path":"/app"}"#;

fn ids(findings: &[ReportFinding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id).collect()
}

fn text_of(findings: &[ReportFinding], id: &str) -> String {
    let found = findings.iter().find(|finding| finding.id == id);
    found.map(|of| of.text.to_string()).unwrap_or_default()
}

fn action<'a>(case: &'a Case, id: &str) -> Option<&'a RecommendedAction> {
    case.actions.iter().find(|action| action.id == id)
}

/// One refusal by the `pids.max` of a cgroup, with those that were not shown.
fn refused(stream: &mut Stream, at: f64, owner: &str, limit: (&str, u64), suppressed: u64) {
    let (path, value) = limit;
    stream.line(
        at,
        &format!(
            r#""type":"clone_failed",{owner},"syscall":"clone","errno":"EAGAIN",
            "reason":"pids_max","evidence":"measured",
            "limit":{{"name":"pids.max","cgroup":"{path}","value":{value},"usage":{value}}},
            "proc":{{"comm":"make","pid":4711,"tid":4711,"uid":0}},"suppressed":{suppressed}"#
        ),
    );
}

fn incident(stream: &mut Stream, at: f64, limit: (&str, u64), parties: &str, failures: u64) {
    let (path, value) = limit;
    let opened = super::at(1.0);
    stream.line(
        at,
        &format!(
            r#""type":"incident","id":"one","phase":"closed","limit":"pids.max","cgroup":"{path}",
            "value":{value},"usage":{value},"peak":{value},"opened":"{opened}",{parties},
            "failures":{failures},"timeline":[],"summary":"s""#
        ),
    );
}

#[test]
fn who_may_not_create_tasks_at_all_is_a_finding_and_no_incident() {
    let mut stream = Stream::new();
    for (at, by, total) in [
        (1.0, r#""EPERM":3"#, 3),
        (2.0, r#""EPERM":2,"EACCES":1,"EINVAL":7"#, 13),
    ] {
        stream.line(
            at,
            &format!(
                r#""type":"rate",{APP},"window_s":1.0,"tasks":1,
                "created":{{"processes":0,"threads":0}},"exited":{{"processes":0,"threads":0}},
                "failed":{{}},"rejected":{total},"rejected_by":{{{by}}},
                "total":{{"created":{{"processes":0,"threads":0}},"exited":{{"processes":0,"threads":0}}}}"#
            ),
        );
    }
    let report = stream.report();
    assert_eq!(ids(&report.findings), ["creations-forbidden"]);
    let found = text_of(&report.findings, "creations-forbidden");
    assert!(
        found.starts_with("6 creations of /app were rejected with EPERM or EACCES"),
        "{found}"
    );
    assert!(found.contains("no limit"), "{found}");
    assert!(report.incidents.is_empty());
    let summary = report.summary.to_string();
    assert!(
        summary.contains("6 creations were forbidden (below)"),
        "{summary}"
    );
    assert!(text(&report, 100).contains("6 creations of /app were rejected"));
    let calm = super::story().report();
    assert!(calm.findings.is_empty());
    let json = serde_json::to_value(&calm).unwrap();
    assert!(json.get("findings").is_none());
}

#[test]
fn zombies_that_fill_a_limit_are_named_with_how_to_find_their_parent() {
    let mut stream = Stream::new();
    for second in 1..=20_u64 {
        stream.line(
            second as f64,
            &format!(
                r#""type":"rate",{APP},"window_s":1.0,"tasks":{},"zombies":{},
                "created":{{"processes":4,"threads":0}},"exited":{{"processes":4,"threads":0}},
                "failed":{{}},"total":{{"created":{{"processes":{},"threads":0}},
                "exited":{{"processes":{},"threads":0}}}}"#,
                20 + 4 * second,
                4 * second,
                4 * second,
                4 * second
            ),
        );
    }
    refused(&mut stream, 20.5, APP, ("/app", 100), 0);
    let culprits = format!(
        r#""culprits":[{{{APP},"share":1.0,"growth_per_s":4.0,"tasks":100}}],"victims":[]"#
    );
    incident(&mut stream, 21.0, ("/app", 100), &culprits, 1);
    let report = stream.report();
    let case = &report.incidents[0];
    let found = text_of(&case.findings, "zombies");
    assert!(
        found.starts_with("Most of what /app held were 80 zombies"),
        "{found}"
    );
    let parent = action(case, "find-parent").unwrap();
    assert_eq!(parent.when, When::Now);
    assert!(parent.commands[0].contains("/^Z/ {print $2, $3}"));
    assert!(parent.why.to_string().contains("docker run --init"));
}

/// A build that is refused a few jobs each time, and that leaves nothing behind.
#[test]
fn a_limit_too_low_for_what_comes_and_goes_says_how_much_was_wanted() {
    let mut stream = Stream::new();
    for burst in 0..3 {
        let at = 10.0 + 20.0 * f64::from(burst);
        stream.rate(
            at,
            APP,
            40,
            (40, 0),
            (40 * (1 + u64::from(burst as u32)), 0),
        );
        refused(&mut stream, at + 0.5, APP, ("/app", 40), 9);
        stream.rate(at + 1.0, APP, 2, (0, 0), (40, 0));
    }
    let victims =
        format!(r#""culprits":[],"victims":[{{{APP},"failures":30,"comms":{{"make":3}}}}]"#);
    incident(&mut stream, 80.0, ("/app", 40), &victims, 30);
    let report = stream.report();
    let case = &report.incidents[0];
    let found = text_of(&case.findings, "limit-too-low");
    // 40 were used, and 10 refused within a second.
    assert!(found.contains("wanted some 50 tasks at once"), "{found}");
    assert!(found.contains("allows 40"), "{found}");
    let raise = action(case, "raise-limit").unwrap();
    // Half as much again as was wanted is 75, and twice the limit is more.
    assert_eq!(raise.commands, ["echo 80 > /sys/fs/cgroup/app/pids.max"]);
    let why = raise.why.to_string();
    assert!(why.contains("wanted at once (some 50)"), "{why}");
    assert!(action(case, "brake").is_none(), "nothing leaks");
}

/// One limit above all pods, and no limit for each.
#[test]
fn the_value_for_every_pod_is_above_the_largest_good_one_and_below_what_is_shared() {
    let container = |id: u64, pod: u64, name: &str| {
        let uid = format!("{pod:08}-1111-1111-1111-111111111111");
        let container = name.repeat(64);
        format!(
            r#""cgroup":{{"id":{id},"path":"/kubepods/burstable/pod{uid}/{container}"}},
            "k8s":{{"podUid":"{uid}"}},"runtime":{{"containerId":"{container}"}}"#
        )
    };
    let shared = ("/kubepods", 1500);
    let leaker = container(1, 1, "a");
    let (good, beside) = (container(2, 2, "b"), container(3, 2, "c"));
    let mut stream = Stream::new();
    for second in 1..=60_u64 {
        let at = second as f64;
        let leaked = 20 * second;
        stream.rate(at, &leaker, 30 + leaked, (0, 20), (0, leaked));
        // Of one pod together.
        stream.rate(at, &good, 60, (0, 0), (0, 0));
        stream.rate(at, &beside, 40, (0, 0), (0, 0));
        stream.node(at, 2_000 + leaked, 32_768);
    }
    stream.line(
        30.0,
        &format!(
            r#""type":"state",{leaker},"from":"ok","to":"leaking","tasks":630,"growth_per_s":20.0,
            "since":"{}","why":"w","limits":[
            {{"name":"pids.max","cgroup":"/kubepods","value":1500,"usage":730}},
            {{"name":"kernel.pid_max","value":32768,"usage":2900}}]"#,
            super::at(1.0)
        ),
    );
    refused(&mut stream, 60.5, &good, shared, 0);
    let parties = format!(
        r#""culprits":[{{{leaker},"share":1.0,"growth_per_s":20.0,"tasks":1230}}],
        "victims":[{{{good},"failures":1,"comms":{{"make":1}}}}]"#
    );
    incident(&mut stream, 61.0, shared, &parties, 1);
    let report = stream.report();
    let case = &report.incidents[0];
    assert!(ids(&case.findings).contains(&"limit-shared"));
    let action = action(case, "pod-pids-limit").unwrap();
    let why = action.why.to_string();
    assert!(
        why.contains("(100 tasks)") && why.contains("(1,500)"),
        "{why}"
    );
    let config = action.config.as_deref().unwrap();
    let value = config
        .lines()
        .find_map(|line| line.strip_prefix("podPidsLimit: "));
    let value: u64 = value.unwrap().parse().unwrap();
    assert!(value > 100 && value < 1500, "{value}");
    assert_eq!(
        value, 750,
        "half of what is shared, where 1,024 has no room"
    );
}
