use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use tempfile::TempDir;

use super::*;
use crate::{
    cgroup::LayoutKind,
    detect,
    incident::Phase,
    limits::Reason,
    output::{Lines, json::Json, text::Text},
    stream::{
        CgroupEvent, Change, CloneFailure, Event, IncidentEvent, Line, NodeWindow, OwnerRef,
        RateEvent, Started, StateEvent, StateNow,
    },
};

/// One event of every kind but the first.
fn events() -> Vec<Event> {
    let above = OwnerRef::example(2, Some("/demo"));
    let leaker = OwnerRef::example(3, Some("/demo/a\"\n\\xff"));
    let leaks = StateEvent::example(leaker.clone(), detect::State::Leaking);
    let mut rate = RateEvent::example(leaker.clone(), Some(1500));
    rate.counts.created.threads = 41;
    rate.counts.failed = Some([(Reason::PidsMax, 2)].into_iter().collect());
    rate.total = rate.counts.clone();
    rate.verdict = Some(Box::new(StateNow::from(&leaks)));
    let failed = CloneFailure {
        on_behalf_of: Some(above.clone()),
        suppressed: 17,
        ..CloneFailure::example(leaker.clone(), Reason::PidsMax)
    };
    let limit = crate::stream::LimitId {
        cgroup: above.cgroup.path.clone(),
        ..crate::stream::LimitId::of_node("pids.max")
    };
    let incident = IncidentEvent {
        summary: "pids.max of /demo".into(),
        ..IncidentEvent::example("pids.max-2-1", limit, Phase::Opened)
    };
    let changed = |owner, change: Change| {
        let change = change.into();
        Event::Cgroup(CgroupEvent { owner, change })
    };
    vec![
        changed(above, Change::Added),
        Event::State(Box::new(leaks)),
        Event::CloneFailed(Box::new(failed)),
        Event::Incident(Box::new(incident)),
        Event::Lost {
            place: "ring_rate".into(),
            count: 7,
        },
        Event::Rate(Box::new(rate)),
        Event::Node(NodeWindow::example(2000)),
        changed(leaker, Change::Removed),
    ]
}

fn of_second(second: u64) -> impl Iterator<Item = Line> {
    let events = events().into_iter();
    events.map(move |event| Line::example(second, event))
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
    let first = Line::example(seconds.start, Event::Started(started()));
    Json::write(writer.lines(), &first).unwrap();
    writer.end_preamble();
    for second in seconds {
        for line in of_second(second) {
            Json::write(writer.lines(), &line).unwrap();
        }
        writer.write().unwrap();
    }
}

fn lines(path: &Path) -> Vec<Line> {
    Reader::open(path).unwrap().map(Result::unwrap).collect()
}

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.pidwatch");
    (folder, path)
}

/// As `trace` shows it.
fn text(lines: impl IntoIterator<Item = Line>) -> String {
    let mut text = Text::for_stdout();
    let mut out = Vec::new();
    for line in lines {
        text.line(&mut out, line).unwrap();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_recording_is_shown_as_the_node_was() {
    let (_folder, path) = file();
    record(&path, 1 << 20, 100..103);
    let first = Line::example(100, Event::Started(started()));
    let live = text([first].into_iter().chain((100..103).flat_map(of_second)));
    assert_eq!(text(lines(&path)), live);
    assert!(live.contains("LEAKING") && live.contains("INCIDENT") && live.contains("LOST 7"));
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
    let is_start = |line: &&Line| matches!(line.event, Event::Started(_));
    assert_eq!(
        lines.iter().filter(is_start).count(),
        2,
        "each file can be read alone"
    );
    assert_eq!(lines.last().unwrap().time.as_second(), 199);
    assert!(lines.windows(2).skip(1).all(|pair| {
        pair[0].time <= pair[1].time
            || matches!(pair[1].event, Event::Started(_))
            || matches!(pair[0].event, Event::Started(_))
    }));
}

#[test]
fn a_plain_stream_is_read_as_well() {
    let (_folder, path) = file();
    let mut out = Vec::new();
    for line in of_second(100) {
        Json::write(&mut out, &line).unwrap();
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
