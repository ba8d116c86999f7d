//! Reports on streams whose truth is known.

mod verdicts;

use std::fs;

use jiff::Timestamp;

use super::*;
use crate::{report::html::html, report::markdown::markdown, report::text::text, stream};

/// The moment from which the streams of the tests count.
const START: &str = "2026-11-22T22:00:00Z";

/// Writes a stream as JSON and reads it, as a recording is read.
struct Stream(Reporter);

impl Stream {
    fn new() -> Self {
        let mut stream = Self(Reporter::default());
        stream.line(
            0.0,
            r#""type":"started","version":"0.1.0","kernel":"6.12.0","cgroup_layout":"v2","probes":[]"#,
        );
        stream
    }

    fn line(&mut self, at: f64, rest: &str) {
        let start: Timestamp = START.parse().unwrap();
        let time = words::moment(words::seconds(start) + at);
        let line = format!(r#"{{"time":"{time}","node":"node-17",{rest}}}"#);
        match stream::parse(line.as_bytes()) {
            Ok(line) => self.0.push(&line),
            Err(error) => panic!("{error}: {line}"),
        }
    }

    fn rate(&mut self, at: f64, owner: &str, tasks: u64, now: (u64, u64), total: (u64, u64)) {
        let kinds = |(p, t): (u64, u64)| format!(r#"{{"processes":{p},"threads":{t}}}"#);
        let none = kinds((0, 0));
        self.line(
            at,
            &format!(
                r#""type":"rate",{owner},"window_s":1.0,"tasks":{tasks},"created":{},"exited":{none},
                "failed":{{}},"total":{{"created":{},"exited":{none}}},
                "creators":[{{"comm":"java","pid":4711,"share":1.0}}]"#,
                kinds(now),
                kinds(total)
            ),
        );
    }

    fn node(&mut self, at: f64, tasks: u64, pid_max: u64) {
        let usage = (tasks + 300).min(pid_max);
        self.line(
            at,
            &format!(
                r#""type":"node","window_s":1.0,"tasks":{tasks},"knows_frees":true,
                "knows_failures":true,"limits":[
                {{"name":"kernel.pid_max","value":{pid_max},"usage":{usage}}},
                {{"name":"kernel.threads-max","value":1545000,"usage":{tasks}}}]"#
            ),
        );
    }

    fn failed(&mut self, at: f64, owner: &str, comm: &str, suppressed: u64, more: &str) {
        let comm = serde_json::to_string(comm).unwrap();
        self.line(
            at,
            &format!(
                r#""type":"clone_failed",{owner},"syscall":"clone","errno":"EAGAIN",
                "reason":"pid_max","evidence":"measured",
                "limit":{{"name":"kernel.pid_max","value":49152,"usage":49152}},
                "proc":{{"comm":{comm},"pid":4711,"tid":4711,"uid":1000{more}}},
                "suppressed":{suppressed}"#
            ),
        );
    }

    fn report(self) -> Report {
        self.0.finish(None).unwrap()
    }
}

fn pod(id: u64, space: &str, pod: &str, container: &str) -> String {
    format!(
        r#""cgroup":{{"id":{id},"path":"/kubepods.slice/kubepods-pod{id}.slice/{container}"}},
        "k8s":{{"namespace":"{space}","podName":"{pod}","podUid":"u-{id}",
        "containerName":"{container}"}},"runtime":{{"containerId":"abc{id}"}}"#
    )
}

fn at(seconds: f64) -> String {
    let start: Timestamp = START.parse().unwrap();
    words::moment(words::seconds(start) + seconds).to_string()
}

/// Nine minutes of a leak, five of an outage, then somebody deletes the pod.
fn story() -> Stream {
    let cart = pod(11, "shop", "cart-7d9f4c8b6-x2v9q", "app");
    let calico = pod(12, "kube-system", "calico-node-8kq2z", "calico-node");
    let builder = pod(13, "ci", "builder-4", "cargo");
    let kubelet =
        r#""cgroup":{"id":14,"path":"/system.slice/kubelet.service"},"unit":"kubelet.service""#;
    let (sign, flag, full, deleted, end) = (10, 21, 551, 880, 960);
    let mut stream = Stream::new();
    let incident = |phase: &str, usage: u64, failures: (u64, u64, u64), moments: usize| {
        let all = [
            (
                10.0,
                "first_sign",
                "shop/cart-7d9f4c8b6-x2v9q/app begins to grow",
            ),
            (
                21.0,
                "flagged",
                "shop/cart-7d9f4c8b6-x2v9q/app is leaking: +85 tasks/s for 11 s, 935 created and 0 \
                 ended; kernel.pid_max in 9 min",
            ),
            (
                551.2,
                "first_failure",
                "first refused creation: java in shop/cart-7d9f4c8b6-x2v9q/app",
            ),
            (
                552.0,
                "victim",
                "kube-system/calico-node-8kq2z is refused though it does not grow",
            ),
            (
                559.0,
                "victim",
                "kubelet.service is refused though it does not grow",
            ),
            (945.0, "closed", "calm again; at most 49152 were used"),
        ];
        let timeline: Vec<_> = all[..moments]
            .iter()
            .map(|(time, what, text)| {
                format!(
                    r#"{{"time":"{}","what":"{what}","text":"{text}"}}"#,
                    at(*time)
                )
            })
            .collect();
        let (own, probes, kubelets) = failures;
        let peak = if own > 0 { 49_152 } else { usage };
        let victims = match probes {
            0 => String::new(),
            _ => format!(
                r#"{{{calico},"failures":{probes},"comms":{{"runc":1}}}},
                {{{kubelet},"failures":{kubelets},"comms":{{"kubelet":1}}}}"#
            ),
        };
        format!(
            r#""type":"incident","id":"kernel.pid_max-1","phase":"{phase}","limit":"kernel.pid_max",
            "value":49152,"usage":{usage},"peak":{peak},"opened":"{}",
            "culprits":[{{{cart},"share":0.98,"growth_per_s":85.0,"tasks":46012}}],
            "victims":[{victims}],"failures":{},"timeline":[{}],"summary":"s""#,
            at(21.0),
            own + probes + kubelets,
            timeline.join(",")
        )
    };
    let (mut own, mut probes, mut kubelets) = (0, 0, 0);
    for second in 1..=end {
        let time = f64::from(second);
        let leaked = 85 * (second.clamp(sign, full) - sign) as u64;
        let tasks = if second > deleted { 0 } else { 27 + leaked };
        let grew = if second > sign && second <= full {
            85
        } else {
            0
        };
        if second <= deleted {
            stream.rate(time, &cart, tasks, (0, grew), (1, 26 + leaked));
        }
        if second == deleted + 1 {
            stream.line(
                time,
                &format!(r#""type":"cgroup",{cart},"change":"removed""#),
            );
        }
        let builds = 40 * second as u64;
        stream.rate(time, &builder, 12 + builds % 9, (40, 0), (builds, 0));
        if second % 10 == 0 {
            stream.rate(time, &calico, 61, (1, 0), (second as u64 / 10, 0));
        }
        if second == flag {
            let limits = r#"[{"name":"kernel.pid_max","value":49152,"usage":4100},
                {"name":"kernel.threads-max","value":1545000,"usage":3800}]"#;
            stream.line(
                time,
                &format!(
                    r#""type":"state",{cart},"from":"ok","to":"leaking","tasks":962,
                    "growth_per_s":85.0,"since":"{}","limits":{limits},
                    "task_names":{{"sampled":500,"patterns":[
                    {{"name":"http-nio-8080-exec-*","count":474}},{{"name":"GC Thread#*","count":8}}],
                    "largest":{{"comm":"java","pid":4711,"threads":935}}}},
                    "why":"+85 tasks/s for 11 s, 935 created and 0 ended; kernel.pid_max in 9 min""#,
                    at(10.0)
                ),
            );
            stream.line(time, &incident("opened", 4100, (0, 0, 0), 2));
        }
        if second >= full && second <= deleted {
            stream.failed(time + 0.2, &cart, "java", 84, "");
            own += 85;
            if second % 10 == 2 {
                stream.failed(time, &calico, "runc:[2:INIT]", 0, r#","exec_probe":true"#);
                probes += 1;
            }
            if second % 4 == 3 {
                stream.failed(time, kubelet, "kubelet", 1, "");
                kubelets += 2;
            }
            if second == full + 8 {
                stream.line(
                    time,
                    &incident("updated", 49_152, (own, probes, kubelets), 5),
                );
            }
        }
        stream.node(time, 2840 + tasks, 49_152);
        if second == deleted + 1 {
            stream.line(
                time,
                &format!(
                    r#""type":"state",{cart},"from":"leaking","to":"gone","tasks":0,"since":"{}",
                    "why":"its cgroup was removed; it had 46012 tasks""#,
                    at(time)
                ),
            );
        }
        if second == 945 {
            stream.line(time, &incident("closed", 3140, (own, probes, kubelets), 6));
        }
    }
    stream
}

/// Tags that are opened are closed, in order.
fn assert_balanced(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name: String = tag
            .chars()
            .take_while(|c| !c.is_whitespace() && *c != '/')
            .collect();
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "</{name}>"),
            None if tag.ends_with('/') => {}
            None if matches!(&*name, "!DOCTYPE" | "meta") => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

fn assert_safe(page: &str) {
    assert_balanced(page);
    for bad in [
        "<script", "<link", "<img", "http://", "https://", "url(", "@import", " on",
    ] {
        let code = page.replace("</style>", "");
        let found = match bad {
            // An attribute that runs.
            " on" => code.split('<').any(|tag| {
                let tag = tag.split('>').next().unwrap_or_default();
                tag.split_whitespace()
                    .skip(1)
                    .any(|part| part.starts_with("on") && part.contains('='))
            }),
            _ => code.contains(bad),
        };
        assert!(!found, "{bad}");
    }
}

#[test]
fn the_incident_is_told_with_culprit_victims_and_figures() {
    let report = story().report();
    let [case] = &report.incidents[..] else {
        panic!("{}", report.incidents.len())
    };
    assert_eq!(case.severity, CaseSeverity::Outage);
    assert!(!case.open);
    assert_eq!(case.culprits[0].name, "shop/cart-7d9f4c8b6-x2v9q/app");
    assert_eq!(
        (case.culprits[0].tasks_before, case.culprits[0].tasks_peak),
        (Some(27), 46_012)
    );
    assert_eq!(case.culprits[0].created_threads, Some(541 * 85));
    assert_eq!(case.culprits[0].creators[0].comm, "java");
    assert_eq!(case.durations.to_flag_s, Some(11.0));
    assert_eq!(case.durations.warning_s, Some(530.2));
    assert_eq!(case.durations.failing_s, Some(329.0));
    assert_eq!(case.victims.len(), 2);
    assert!(case.victims[0].exec_probe);
    assert_eq!(case.failures, 330 * 85 + 33 + 166);
    let cause = case.cause.to_string();
    assert!(
        cause.contains("called http-nio-8080-exec-* (95 %)"),
        "{cause}"
    );
    let ids: Vec<_> = case.findings.iter().map(|finding| finding.id).collect();
    assert_eq!(
        ids,
        [
            "no-pids-limit",
            "pid-max-low",
            "message-misleads",
            "usual-alert-late",
            "warning-unused"
        ]
    );
    let action = |id: &str| {
        let mut actions = case.actions.iter();
        actions
            .find(|action| action.id == id)
            .unwrap_or_else(|| panic!("{id}"))
    };
    assert_eq!(
        action("restart").commands[1],
        "kubectl -n shop delete pod -- cart-7d9f4c8b6-x2v9q"
    );
    assert_eq!(
        action("raise-node-limit").commands[0],
        "sysctl -w kernel.pid_max=1545000"
    );
    let kubelet = action("pod-pids-limit").config.as_deref().unwrap();
    assert!(kubelet.contains("podPidsLimit: 1024\n"), "{kubelet}");
    // Deleted: how many tasks the next one has is not known yet.
    let cgroup = "/sys/fs/cgroup/kubepods.slice/kubepods-pod11.slice/app";
    assert_eq!(
        action("brake").commands[0],
        format!("cat {cgroup}/pids.current > {cgroup}/pids.max")
    );
    assert!(report.trust.complete);
}

/// The example in docs is this report. `PIDWATCH_BLESS=1 cargo test -p pidwatch the_example` writes it
/// anew.
#[test]
fn the_example_in_docs_is_what_is_written() {
    let report = story().report();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
    for (name, now) in [
        ("report-example.md", markdown(&report)),
        ("report-example.html", html(&report)),
    ] {
        let path = format!("{folder}{name}");
        if std::env::var_os("PIDWATCH_BLESS").is_some() {
            fs::write(&path, &now).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == now,
            "{name} is another one: PIDWATCH_BLESS=1 writes it"
        );
    }
}

#[test]
fn the_page_is_whole_and_loads_and_runs_nothing() {
    let page = html(&story().report());
    assert_safe(&page);
    assert!(page.contains("<svg class=\"chart\""));
    assert!(page.len() < 200_000, "{}", page.len());
}

#[test]
fn while_it_goes_on_the_brake_stands_first() {
    let mut stream = Stream::new();
    let owner = r#""cgroup":{"id":5,"path":"/system.slice/a b'c.service"},"unit":"a b'c.service""#;
    for second in 1..=60 {
        let tasks = 10 + second * 20;
        stream.rate(second as f64, owner, tasks, (0, 20), (1, second * 20));
        stream.node(second as f64, 200 + tasks, 32_768);
    }
    stream.line(
        60.0,
        &format!(
            r#""type":"incident","id":"i","phase":"opened","limit":"kernel.pid_max","value":32768,
            "usage":1710,"peak":1710,"opened":"{}","culprits":[{{{owner},"share":1.0,
            "growth_per_s":20.0,"tasks":1210}}],"victims":[],"failures":0,"timeline":[],
            "summary":"s""#,
            at(60.0)
        ),
    );
    let report = stream.report();
    let case = &report.incidents[0];
    assert_eq!((case.severity, case.open), (CaseSeverity::NearMiss, true));
    assert_eq!(case.actions[0].id, "brake");
    // Which limit it had is not in this stream: it is printed first.
    let file = "$'/sys/fs/cgroup/system.slice/a b\\'c.service/pids.max'";
    assert_eq!(
        case.actions[0].commands,
        [format!("cat {file}"), format!("echo 1300 > {file}")]
    );
    let limit = case
        .actions
        .iter()
        .find(|action| action.id == "own-limit")
        .unwrap();
    assert_eq!(
        limit.commands[0],
        "systemctl set-property -- $'a b\\'c.service' TasksMax=512"
    );
    // What the limits above it are is not in this stream, and that is said.
    assert_eq!(case.findings[0].id, "limits-unknown");
    assert!(markdown(&report).contains("is **not known**"));
}

#[test]
fn hostile_names_stay_text() {
    let long = "x".repeat(10_000);
    let name = format!("/<script>alert(1)</script>`|*_[a](b)\u{202e}txt\"' {long}");
    let path = serde_json::to_string(&name).unwrap();
    let owner = format!(r#""cgroup":{{"id":5,"path":{path}}}"#);
    let mut stream = Stream::new();
    stream.rate(1.0, &owner, 5, (1, 1), (1, 1));
    stream.failed(2.0, &owner, "<img src=x>|`\u{1b}[31m", 3, "");
    stream.line(
        3.0,
        &format!(
            r#""type":"incident","id":"<b>","phase":"opened","limit":"kernel.pid_max","cgroup":{path},
            "value":10,"usage":10,"opened":"{}","culprits":[{{{owner},"share":1.0,"tasks":5}}],
            "victims":[{{{owner},"failures":4,"comms":{{}}}}],"failures":4,"timeline":[
            {{"time":"{}","what":"flagged","text":{path}}}],"summary":{path}"#,
            at(3.0),
            at(2.0)
        ),
    );
    let report = stream.report();
    let page = html(&report);
    assert_safe(&page);
    assert!(!page.contains('\u{202e}') && page.contains("&lt;script&gt;"));
    assert!(page.len() < 100_000, "{}", page.len());
    let plain = text(&report, 80);
    assert!(!plain.contains(['\u{202e}', '\u{1b}']));
    let markdown = markdown(&report);
    // In code spans and fenced lines only: in what is neither it is escaped.
    let mut is_code = false;
    for line in markdown.lines() {
        is_code ^= line.starts_with("```");
        let outside: String = line.split('`').step_by(2).collect();
        assert!(
            is_code || line.contains("``") || !outside.contains("<script"),
            "{line}"
        );
    }
    // A path that no cgroup can have is in no command.
    assert!(!plain.contains("pids.max'"), "{plain}");
}

#[test]
fn without_an_incident_it_says_so_and_how_much_room_there_was() {
    let mut stream = Stream::new();
    let owner = r#""cgroup":{"id":5,"path":"/build"}"#;
    for second in 1..100 {
        stream.rate(f64::from(second), owner, 7, (9, 0), (9 * second as u64, 0));
        stream.node(f64::from(second), 300, 32_768);
    }
    let report = stream.report();
    let markdown = markdown(&report);
    assert!(
        markdown.starts_with("# No incident on `node-17`\n\n**Calm**"),
        "{markdown}"
    );
    assert!(markdown.contains("room for 32,168 more"), "{markdown}");
    assert!(
        markdown.contains("| `/build` |  | 7 | 891 | 0 |"),
        "{markdown}"
    );
    assert!(markdown.contains("Nothing was lost"), "{markdown}");
    assert_safe(&html(&report));
}

#[test]
fn a_leak_far_from_any_limit_and_a_refusal_without_one_are_told() {
    let mut stream = Stream::new();
    let owner = r#""cgroup":{"id":5,"path":"/slow"}"#;
    stream.rate(1.0, owner, 7, (9, 0), (9, 0));
    stream.line(
        2.0,
        &format!(
            r#""type":"state",{owner},"from":"ok","to":"leaking","tasks":9,"since":"{}","why":"w""#,
            at(1.0)
        ),
    );
    stream.failed(3.0, owner, "sh", 1, "");
    let summary = stream.report().summary.to_string();
    assert!(
        summary.contains("but /slow leaked, with no limit near; 2 creations refused"),
        "{summary}"
    );
}

#[test]
fn an_empty_stream_and_an_unknown_incident_are_errors() {
    let empty = Reporter::default().finish(None);
    assert!(empty.unwrap_err().to_string().contains("is empty"));
    let error = story().0.finish(Some("no\x1b")).unwrap_err().to_string();
    assert!(
        error.contains("`no\\u{1b}`") && error.contains("kernel.pid_max-1"),
        "{error}"
    );
}

#[test]
fn of_several_incidents_the_worst_is_first() {
    let mut stream = story();
    let owner = r#""cgroup":{"id":77,"path":"/small"}"#;
    stream.line(
        990.0,
        &format!(
            r#""type":"incident","id":"small","phase":"closed","limit":"pids.max","cgroup":"/small",
            "value":10,"usage":9,"peak":9,"opened":"{}","culprits":[{{{owner},"share":1.0,"tasks":9}}],
            "victims":[],"failures":0,"timeline":[],"summary":"s""#,
            at(980.0)
        ),
    );
    let report = stream.report();
    let ids: Vec<_> = report.incidents.iter().map(|case| &*case.id).collect();
    assert_eq!(ids, ["kernel.pid_max-1", "small"]);
    let markdown = markdown(&report);
    assert!(
        markdown.starts_with("# 2 incidents on `node-17`"),
        "{markdown}"
    );
    assert!(markdown.contains("\n## 2. `pids.max` of `/small` 90 % used by `/small`\n"));
    assert_safe(&html(&report));
}

#[test]
fn who_fills_a_limit_of_its_own_is_no_outage() {
    let mut stream = Stream::new();
    let owner = r#""cgroup":{"id":77,"path":"/small"}"#;
    stream.line(
        2.0,
        &format!(
            r#""type":"incident","id":"small","phase":"closed","limit":"pids.max","cgroup":"/small",
            "value":10,"usage":10,"peak":10,"opened":"{}","culprits":[],
            "victims":[{{{owner},"failures":3,"comms":{{}}}}],"failures":3,"timeline":[],
            "summary":"s""#,
            at(1.0)
        ),
    );
    let report = stream.report();
    let case = &report.incidents[0];
    assert_eq!(case.severity, CaseSeverity::Contained);
    let summary = case.summary.to_string();
    assert!(summary.contains("3 requests to start a process or thread, all of them to /small (3)"));
    assert!(summary.contains("Nothing leaked"), "{summary}");
}

#[test]
fn what_is_missing_is_told() {
    let mut stream = Stream::new();
    stream.node(1.0, 100, 32_768);
    stream.node(61.0, 100, 32_768);
    stream.line(62.0, r#""type":"lost","where":"task_newtask","count":3"#);
    stream.line(63.0, r#""type":"lost","where":"task_newtask","count":4"#);
    stream.0.note("It was cut off.".into());
    let trust = stream.report().trust;
    assert!(!trust.complete);
    assert_eq!(
        (&*trust.lost[0].place, trust.lost[0].count),
        ("task_newtask", 7)
    );
    let notes: Vec<_> = trust.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "Nothing is known from 22:00:01 to 22:01:01 (60 s).",
            "It was cut off."
        ]
    );
}

#[test]
fn the_json_has_what_the_docs_say() {
    let report = serde_json::to_value(story().report()).unwrap();
    let incident = &report["incidents"][0];
    assert_eq!(incident["severity"], "outage");
    assert_eq!(incident["limit"]["value"], 49_152);
    assert_eq!(
        incident["culprits"][0]["k8s"]["podName"],
        "cart-7d9f4c8b6-x2v9q"
    );
    assert_eq!(incident["durations"]["warning_s"], 530.2);
    assert_eq!(
        incident["moments"]["first_failure"],
        "2026-11-22T22:09:11.2Z"
    );
    assert!(
        incident["alert"]["rule"]
            .as_str()
            .unwrap()
            .contains("alert: PidwatchLeak")
    );
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/report.md")).unwrap();
    for object in [&report, incident] {
        for key in object.as_object().unwrap().keys() {
            assert!(
                text.contains(&format!("`{key}`")),
                "docs/report.md has no `{key}`"
            );
        }
    }
}

#[test]
fn a_stream_of_any_length_takes_bounded_room() {
    let mut stream = Stream::new();
    for id in 0..3000_u64 {
        let owner = format!(r#""cgroup":{{"id":{id},"path":"/c{id}"}}"#);
        stream.rate(id as f64, &owner, id, (1, 0), (1, 0));
    }
    assert!(stream.0.all.owners.len() <= 512);
    let report = stream.report();
    assert_eq!(report.owners[0].tasks_peak, 2999);
    assert!(!report.trust.complete);
}
