use super::*;

fn line(fields: &str) -> Line {
    let text = format!(r#"{{"time":"1970-01-01T00:00:00Z","node":"n",{fields}}}"#);
    crate::stream::parse(text.as_bytes()).unwrap()
}

fn shown(width: Option<usize>, colour: bool, path: &str) -> String {
    let path = serde_json::to_string(path).unwrap();
    let counts = r#""created":{"processes":3,"threads":4100},
        "exited":{"processes":0,"threads":0},"freed":0,"failed":{},"rejected":0"#;
    let rate = line(&format!(
        r#""type":"rate","cgroup":{{"id":5,"path":{path}}},"window_s":1.0,"tasks":46012,
            "zombies":2,{counts},"total":{{{counts}}}"#
    ));
    let node = line(
        r#""type":"node","window_s":1.0,"knows_frees":true,"knows_failures":true,"limits":[]"#,
    );
    let mut text = Text::new(width, colour, TimeZone::UTC);
    let mut out = Vec::new();
    text.line(&mut out, rate).unwrap();
    assert!(out.is_empty(), "the window is not over");
    text.line(&mut out, node).unwrap();
    String::from_utf8(out).unwrap()
}

fn failed(fields: &str) -> Box<CloneFailure> {
    let line = line(&format!(
        r#""type":"clone_failed","errno":"EAGAIN","suppressed":17,
            "proc":{{"comm":"ja\u001bva","pid":4711,"tid":4713,"uid":1000}},{fields}"#
    ));
    match line.event {
        Event::CloneFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_stand_under_their_headings_and_the_path_last() {
    let text = shown(None, false, "/kubepods/pod1");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], HEADING);
    assert_eq!(
        lines[0].find("CGROUP"),
        lines[1].find("/kubepods"),
        "{text}"
    );
    assert!(
        lines[1].contains("46012      ?     2      3.0     4100"),
        "{text}"
    );
}

#[test]
fn a_line_is_no_wider_than_the_terminal_and_keeps_the_paths_end() {
    let text = shown(Some(100), false, &format!("/{}/the-end", "x".repeat(200)));
    let row = text.lines().nth(1).unwrap();
    assert_eq!(row.width(), 100, "{row}");
    assert!(row.ends_with("the-end"), "{row}");
    assert_eq!(cut_front("/日本語/x", 6), "…語/x");
}

#[test]
fn a_failure_fits_into_the_terminal_and_says_who() {
    let failed = failed(
        r#""cgroup":{"id":5,"path":"/kubepods/burstable/pod1234/some-container"},
            "reason":"pid_max","evidence":"inferred""#,
    );
    let text = Text::new(Some(110), false, TimeZone::UTC);
    let line = text.failure(Timestamp::UNIX_EPOCH, &failed);
    assert_eq!(line.width(), 110, "{line}");
    assert!(line.contains(
        "clone FAILED: EAGAIN, pid_max (inferred)  ja\\u{1b}va[4711/4713] uid 1000  +17 more"
    ));
    assert!(line.ends_with("container"), "{line}");
    let text = Text::new(Some(80), false, TimeZone::UTC);
    let narrow = text.failure(Timestamp::UNIX_EPOCH, &failed);
    assert!(narrow.lines().all(|line| line.width() <= 80), "{narrow}");
    assert!(
        narrow.ends_with("/kubepods/burstable/pod1234/some-container"),
        "{narrow}"
    );
}

#[test]
fn a_failure_names_the_limit_and_whose_it_is() {
    for (limit, expected) in [
        (r#""name":"pids.max","cgroup":"/a/b""#, "pids.max, 9 of 8"),
        (
            r#""name":"pids.max","cgroup":"/a""#,
            "pids.max of a, 9 of 8",
        ),
        (
            r#""name":"pids.max""#,
            "pids.max of a removed cgroup, 9 of 8",
        ),
        (
            r#""name":"RLIMIT_NPROC","uid":7"#,
            "RLIMIT_NPROC of user 7, 9 of 8",
        ),
        (r#""name":"kernel.pid_max""#, "kernel.pid_max, 9 of 8"),
    ] {
        let failed = failed(&format!(
            r#""cgroup":{{"id":5,"path":"/a/b"}},"reason":"pids_max","evidence":"measured",
                "limit":{{"value":8,"usage":9,{limit}}}"#
        ));
        assert_eq!(why(&failed), expected);
    }
}

#[test]
fn nothing_of_a_recording_gets_to_the_terminal_raw() {
    let esc = r"\u001b[2J";
    let lines = [
        format!(
            r#""type":"clone_failed","errno":"{esc}","reason":"{esc}","syscall":"{esc}",
                "suppressed":0,"cgroup":{{"id":5,"path":"{esc}"}},
                "proc":{{"comm":"{esc}","pid":1,"tid":1,"uid":1}}"#
        ),
        format!(
            r#""type":"state","cgroup":{{"id":5}},"from":"ok","to":"{esc}","tasks":1,
                "since":"1970-01-01T00:00:00Z","why":"{esc}""#
        ),
        format!(
            r#""type":"incident","id":"1","phase":"{esc}","limit":"{esc}","failures":0,
                "opened":"1970-01-01T00:00:00Z","culprits":[],"victims":[],"timeline":[],
                "summary":"{esc}""#
        ),
        format!(r#""type":"lost","where":"{esc}","count":1"#),
        format!(r#""type":"cgroup","cgroup":{{"id":5}},"change":"{esc}""#),
    ];
    for fields in lines {
        let mut out = Vec::new();
        let mut text = Text::new(None, false, TimeZone::UTC);
        text.line(&mut out, line(&fields)).unwrap();
        assert!(!out.is_empty() && !out.contains(&0x1b), "{fields}");
    }
}

#[test]
fn a_sentence_is_broken_between_words_below_its_beginning() {
    let sentence = "22:09:13  LEAKING: 12.5 tasks/s for 6 min, 46012 of 49152 IDs; \
                    kernel.pid_max is used up in 4 min  shop/web-7f9c/app";
    let wide = Text::new(None, false, TimeZone::UTC);
    assert_eq!(wide.sentence(sentence), sentence);
    let narrow = Text::new(Some(60), false, TimeZone::UTC);
    let broken = narrow.sentence(sentence);
    let lines: Vec<_> = broken.lines().collect();
    assert!(lines.len() > 1, "{broken}");
    for line in &lines {
        assert!(line.width() <= 60, "{broken}");
    }
    for line in &lines[1..] {
        assert!(line.starts_with(INDENT), "{broken}");
    }
    let words: Vec<_> = sentence.split_whitespace().collect();
    let kept: Vec<_> = broken.split_whitespace().collect();
    assert_eq!(kept.concat(), words.concat());
}

#[test]
fn a_limit_above_is_named_by_what_it_is() {
    let pod = "/kubepods/burstable/pod0c1d2e3f405162738495a6b7c8d9eafb";
    assert_eq!(phrases::above(pod), "its pod");
    assert_eq!(phrases::above("/system.slice/x.service"), "x.service");
}

#[test]
fn colour_only_when_asked_for_and_no_escape_from_outside() {
    assert!(!shown(None, false, "/a\x1b[31m").contains('\x1b'));
    let coloured = shown(None, true, "/a");
    assert!(coloured.contains("\x1b[1m"), "{coloured:?}");
}
