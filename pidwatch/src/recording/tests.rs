use std::{
    fs::{self, OpenOptions},
    io::Write,
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::{
    cgroup::{CgroupId, LayoutKind, TaskNames},
    clock::{BootTime, WallClock},
    detect::{self, Change},
    event::{StateChange, Update},
    identity::Owner,
    incident::{self, Incident, LimitKey},
    limits::{Basis, FailedClone, Limit, LimitOwner, Reason, Verdict},
    model::{Counts, Creator},
    output::{Lines, json::Json, text::Text},
    probe::{Failure, SyscallName, Who},
    snapshot::{NodeState, Row, Snapshot},
    stream::{Event, Started},
};

const LIMIT: Limit = Limit {
    name: "pids.max",
    value: 1500,
    usage: 1500,
    owner: LimitOwner::Cgroup(CgroupId(2)),
};

fn owner(id: u64, path: &[u8]) -> Owner {
    Owner::new(CgroupId(id), Some(path.into()))
}

/// One update of every kind, at a second of boot time.
fn updates(second: u64) -> Vec<Update> {
    let time = BootTime::from_nanos(second * 1_000_000_000 + 123_456_789);
    let (above, leaker) = (owner(2, b"/demo"), owner(3, b"/demo/a\"\n\xff"));
    let mut counts = Counts::NONE;
    counts.created.threads = 41;
    counts.freed = 3;
    counts.failed[Reason::PidsMax as usize] = 2;
    let exhaustion = detect::Exhaustion {
        limit: LIMIT,
        in_s: 540.5,
        low_s: 500.0,
        high_s: f64::INFINITY,
    };
    let verdict = detect::Verdict {
        state: detect::State::Leaking,
        since: BootTime::from_seconds(second - 1),
        tasks: 1500,
        growth_per_s: Some(41.125),
        confidence: Some(0.5),
        exhaustion: Some(exhaustion),
        why: "+41 tasks/s".into(),
    };
    let failed = FailedClone {
        owner: leaker.clone(),
        failure: Failure {
            cgroup: leaker.id,
            time,
            totals: pidwatch_common::totals::Totals::ZERO,
            errno: libc::EAGAIN as u32,
            syscall: SyscallName::known("clone3"),
            pid: 10,
            tid: 11,
            uid: 1000,
            comm: b"java \xfe".into(),
            parent: Some(Who {
                pid: 9,
                comm: b"sh".into(),
            }),
            origin: None,
            evidence: Box::default(),
        },
        verdict: Verdict {
            reason: Reason::PidsMax,
            basis: Some(Basis::Measured),
            limit: Some(LIMIT),
        },
        limit_owner: Some(above.clone()),
        suppressed: 17,
        exec_probe: true,
        on_behalf_of: Some(above.clone()),
    };
    let incident = Incident {
        id: "pids.max-2-1".into(),
        phase: incident::Phase::Opened,
        limit: LimitKey {
            name: "pids.max",
            owner: LimitOwner::Cgroup(above.id),
            path: above.path.clone(),
        },
        value: Some(1500),
        usage: Some(1500),
        peak: Some(1500),
        opened: time,
        culprits: vec![incident::Culprit {
            owner: leaker.clone(),
            inside: None,
            share: 0.925,
            growth_per_s: Some(41.125),
            tasks: 1500,
        }],
        victims: vec![incident::Victim {
            owner: above.clone(),
            failures: 4,
            comms: vec![(b"runc".into(), 4)],
        }],
        failures: 22,
        timeline: vec![incident::Moment {
            time,
            what: incident::What::Flagged,
            text: "flagged".into(),
        }],
        summary: "pids.max of /demo".into(),
    };
    let row = Row {
        owner: leaker.clone(),
        tasks: Some(1500),
        subtree_tasks: None,
        processes: Some(1),
        zombies: Some(4),
        counts,
        total: counts,
        creators: vec![Creator {
            who: Who {
                pid: 10,
                comm: b"java".into(),
            },
            share: 0.75,
        }],
        verdict: Some(verdict.clone()),
        limit: Some((LIMIT, Some(above.clone()))),
    };
    let change = Change {
        owner: leaker.id,
        from: detect::State::Growing,
        verdict,
    };
    vec![
        Update::Added(above.clone(), time),
        Update::State(Box::new(StateChange {
            owner: leaker.clone(),
            time,
            change,
            limit_owner: Some(above.clone()),
            limits: Some(vec![(LIMIT, Some(above.clone()))]),
            task_names: Some(TaskNames {
                sampled: 500,
                patterns: vec![(b"pool-*".into(), 490)],
                largest: (b"java".into(), 4711, 1480),
            }),
        })),
        Update::Failed(Box::new(failed)),
        Update::Incident(Box::new(incident.clone()), time),
        Update::Lost {
            place: "ring_rate".into(),
            count: 7,
            time,
        },
        Update::Window(Snapshot {
            time,
            window: Duration::from_millis(1500),
            rows: vec![row],
            knows_frees: true,
            knows_failures: false,
            node: NodeState {
                tasks: Some(2000),
                limits: vec![LIMIT],
                exhaustion: Some(exhaustion),
            },
            incidents: vec![incident],
        }),
        Update::Removed(leaker, time),
    ]
}

fn started() -> Started {
    Started {
        version: "0.1.0".into(),
        kernel: "6.12".into(),
        cgroup_layout: LayoutKind::V2.into(),
        cgroups: 4,
        probes: Vec::new(),
    }
}

/// Records so many seconds, each a frame.
fn record(path: &Path, max_size: u64, seconds: std::ops::Range<u64>) {
    let mut writer = Writer::create(path, max_size).unwrap();
    let mut json = Json::new(WallClock::now());
    json.started(writer.lines(), &started()).unwrap();
    writer.end_preamble();
    for second in seconds {
        for update in updates(second) {
            json.update(writer.lines(), &update).unwrap();
        }
        writer.write().unwrap();
    }
}

fn lines(path: &Path) -> Vec<crate::stream::Line> {
    Reader::open(path).unwrap().map(Result::unwrap).collect()
}

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.pidwatch");
    (folder, path)
}

/// As `trace` shows it.
fn text(clock: WallClock, updates: impl IntoIterator<Item = Update>) -> String {
    let mut text = Text::for_stdout(clock);
    let mut out = Vec::new();
    for update in updates {
        text.update(&mut out, &update).unwrap();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_recording_is_shown_as_the_node_was() {
    let (_folder, path) = file();
    record(&path, 1 << 20, 100..103);
    let mut restorer = Restorer::default();
    let restored: Vec<_> = lines(&path)
        .into_iter()
        .filter_map(|line| restorer.restore(line))
        .collect();
    let live = (100..103).flat_map(updates);
    // A path that is not UTF-8 comes back as JSON had to write it.
    let live = text(WallClock::now(), live);
    let restored = text(WallClock::recorded(), restored);
    assert_eq!(restored.replace("\\\\x", "\\x"), live);
    assert!(live.contains("LEAKING") && live.contains("INCIDENT") && live.contains("LOST 7"));
}

#[test]
fn verdicts_and_incidents_are_in_the_snapshots_again() {
    let (_folder, path) = file();
    record(&path, 1 << 20, 100..101);
    let mut restorer = Restorer::default();
    let mut snapshots = lines(&path)
        .into_iter()
        .filter_map(|line| match restorer.restore(line) {
            Some(Update::Window(snapshot)) => Some(snapshot),
            _ => None,
        });
    let snapshot = snapshots.next().unwrap();
    assert_eq!(snapshot.incidents[0].id, "pids.max-2-1");
    let verdict = snapshot.rows[0].verdict.as_ref().unwrap();
    assert_eq!(verdict.growth_per_s, Some(41.125));
    assert_eq!(verdict.exhaustion.unwrap().limit, LIMIT);
    assert!(snapshot.knows_frees && !snapshot.knows_failures);
    assert_eq!(snapshot.window, Duration::from_millis(1500));
}

#[test]
fn what_a_crash_cuts_off_is_the_last_frame() {
    let (_folder, path) = file();
    record(&path, 1 << 20, 100..110);
    let whole = fs::read(&path).unwrap();
    let all = lines(&path).len();
    let per_second = (all - 1) / 10;
    for cut in [1, 17, whole.len() / 20] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert!(read.len() > 9 * per_second, "{} of {all}", read.len());
        assert!(read.len() < all);
        assert!(reader.was_cut());
    }
}

#[test]
fn a_recording_stays_within_its_size_and_keeps_the_newest() {
    let (_folder, path) = file();
    const MOST: u64 = 4096;
    record(&path, MOST, 100..200);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(size(&path) + size(&older(&path)) <= MOST);
    let lines = lines(&path);
    let is_start = |line: &&crate::stream::Line| matches!(line.event, Event::Started(_));
    assert_eq!(
        lines.iter().filter(is_start).count(),
        2,
        "each file can be read alone"
    );
    let expected = WallClock::now().at(BootTime::from_seconds(199));
    let last = lines.last().unwrap().time;
    assert!(
        last.duration_since(expected).as_secs().abs() <= 1,
        "{last} {expected}"
    );
    assert!(lines.windows(2).skip(1).all(|pair| {
        pair[0].time <= pair[1].time
            || matches!(pair[1].event, Event::Started(_))
            || matches!(pair[0].event, Event::Started(_))
    }));
}

#[test]
fn a_plain_stream_is_read_as_well() {
    let (_folder, path) = file();
    let mut json = Json::new(WallClock::now());
    let mut out = Vec::new();
    for update in updates(100) {
        json.update(&mut out, &update).unwrap();
    }
    out.extend(b"{\"time\":\"2026-11-22T00:00:00Z\",\"node\":\"n\",\"type\":\"of_2030\"}\n{\"cut");
    fs::write(&path, out).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), 8);
    assert!(reader.was_cut());
}

#[test]
fn other_files_are_refused_and_say_what_they_are() {
    let (_folder, path) = file();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Reader::open(&path).err().unwrap().to_string()
    };
    assert!(refused(b"").contains("it is empty"));
    assert!(refused(b"\x7fELF").contains("no recording of pidwatch"));
    let frame = |text: &[u8]| zstd::bulk::compress(text, 1).unwrap();
    assert!(refused(&frame(b"a log\n")).contains("its first line is another one's"));
    let newer = refused(&frame(
        b"{\"pidwatch_recording\":9,\"version\":\"7.0.0\"}\n",
    ));
    assert!(
        newer.contains("format 9") && newer.contains("7.0.0"),
        "{newer}"
    );
    assert!(refused(&frame(b"")).contains("no recording"));
    fs::remove_file(&path).unwrap();
    assert!(
        Reader::open(&path)
            .err()
            .unwrap()
            .to_string()
            .contains("night.pidwatch")
    );
}

#[test]
fn a_line_that_is_no_event_is_named() {
    let (_folder, path) = file();
    record(&path, 1 << 20, 100..101);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&zstd::bulk::compress(b"{\"type\":\"rate\"}\n", 1).unwrap())
        .unwrap();
    let error = Reader::open(&path)
        .unwrap()
        .find_map(Result::err)
        .unwrap()
        .to_string();
    assert!(error.contains("line 11 is no event"), "{error}");
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (_folder, path) = file();
    fs::write(&path, "precious").unwrap();
    assert!(Writer::create(&path, 1 << 20).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}
