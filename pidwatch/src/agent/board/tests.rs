use std::sync::Arc;

use super::*;
use crate::{
    cgroup::LayoutKind,
    detect,
    limits::Reason,
    output::prometheus::{Format, text},
    stream::{LimitId, OwnerRef},
};

fn started() -> Started {
    Started {
        version: "1".into(),
        kernel: "6".into(),
        cgroup_layout: LayoutKind::V2.into(),
        cgroups: 0,
        probes: Vec::new(),
    }
}

fn board(most_owners: usize) -> Board {
    Board::new(started(), most_owners * MOST_SAMPLES)
}

fn rate(id: u64, path: &str, tasks: Option<u64>, created: u64) -> RateEvent {
    let mut rate = RateEvent::example(OwnerRef::example(id, Some(path)), tasks);
    rate.processes = tasks;
    rate.total.created.threads = created;
    rate
}

fn take(board: &mut Board, second: u64, event: Event) {
    let line = Line::example(second, event);
    board.take(line, BootTime::from_seconds(second));
}

fn window(board: &mut Board, second: u64, rates: Vec<RateEvent>) {
    for rate in rates {
        take(board, second, Event::Rate(Box::new(rate)));
    }
    take(board, second, Event::Node(NodeWindow::example(100)));
}

fn removed(board: &mut Board, second: u64, owner: &Arc<OwnerRef>) {
    let change = CgroupEvent {
        owner: owner.clone(),
        change: Change::Removed.into(),
    };
    take(board, second, Event::Cgroup(change));
}

/// The created threads of each path that is exported, and `other`'s.
fn created(board: &Board) -> Vec<(String, u64)> {
    let text = text(&board.view(), Format::Classic);
    let mut all: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("pidwatch_container_created_total"))
        .filter(|line| line.contains("kind=\"thread\""))
        .map(|line| {
            let id = line.split('"').nth(1).unwrap().to_owned();
            (id, line.rsplit(' ').next().unwrap().parse().unwrap())
        })
        .collect();
    all.sort();
    all
}

fn expected(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect()
}

#[test]
fn an_owner_keeps_its_counters_while_it_tells_nothing() {
    let mut board = board(10);
    assert!(!board.is_ready());
    window(&mut board, 1, vec![rate(1, "/a", Some(3), 7)]);
    assert!(board.is_ready());
    for second in 2..500 {
        window(&mut board, second, Vec::new());
    }
    assert_eq!(created(&board), expected(&[("/a", 7)]));
    assert_eq!(board.rates()[0].tasks, Some(3));
}

#[test]
fn what_was_counted_in_an_old_window_is_not_told_as_of_now() {
    let mut board = board(10);
    let mut busy = rate(1, "/a", Some(3), 7);
    busy.counts = busy.total.clone();
    window(&mut board, 1, vec![busy.clone()]);
    let threads = |board: &Board| {
        let rate = board.rates().remove(0);
        (rate.counts.created.threads, rate.total.created.threads)
    };
    assert_eq!(threads(&board), (7, 7));
    window(&mut board, 2, Vec::new());
    assert_eq!(threads(&board), (0, 7));
}

#[test]
fn who_is_gone_leaves_after_a_while_and_nobody_else_s_counters_move() {
    let mut board = board(10);
    let both = vec![rate(1, "/a", Some(3), 7), rate(2, "/b", Some(1), 5)];
    window(&mut board, 1, both);
    removed(&mut board, 2, &OwnerRef::example(1, Some("/a")));
    window(&mut board, 3, Vec::new());
    assert_eq!(created(&board), expected(&[("/a", 7), ("/b", 5)]));
    let shown = text(&board.view(), Format::Classic);
    assert!(!shown.contains("pidwatch_container_tasks{id=\"/a\""));
    assert!(shown.contains("unit=\"\",state=\"gone\"} 1"), "{shown}");
    assert_eq!(board.rates().len(), 1);
    window(&mut board, 2 + GRACE.as_secs(), Vec::new());
    assert_eq!(created(&board), expected(&[("/b", 5)]));
}

/// A hash table doubles once its slots were used often enough, however few are in use: it must not
/// be a table of all that is known.
#[test]
fn room_does_not_grow_with_the_number_of_those_that_came_and_went() {
    const A_WINDOW: u64 = 70;
    let mut board = board(1_000);
    let seconds = 2_000;
    for second in 1..=seconds {
        let came = (0..A_WINDOW).map(|n| {
            let id = second * A_WINDOW + n;
            rate(id, &format!("/{id}"), Some(0), 1)
        });
        let came: Vec<_> = came.collect();
        window(&mut board, second, came.clone());
        for rate in came {
            removed(&mut board, second, &rate.owner);
        }
    }
    assert!(board.owners.len() as u64 <= (GRACE.as_secs() + 1) * A_WINDOW);
    let bytes = board.owners.allocation_size();
    assert!(bytes < 1 << 20, "{bytes} bytes for {}", board.owners.len());
}

#[test]
fn one_that_comes_again_by_the_same_path_is_there_once() {
    let mut board = board(10);
    window(&mut board, 1, vec![rate(1, "/a", Some(3), 7)]);
    removed(&mut board, 2, &OwnerRef::example(1, Some("/a")));
    window(&mut board, 2, vec![rate(2, "/a", Some(1), 1)]);
    assert_eq!(created(&board), expected(&[("/a", 1)]));
    // The tail of the old one.
    window(&mut board, 3, vec![rate(1, "/a", None, 8)]);
    assert_eq!(created(&board), expected(&[("/a", 1)]));
}

#[test]
fn for_whom_there_is_no_room_is_in_a_sum_that_only_grows() {
    let mut board = board(1);
    window(&mut board, 1, vec![rate(1, "/a", Some(3), 7)]);
    let others = vec![rate(2, "/b", Some(1), 5), rate(3, "/c", Some(2), 5)];
    window(&mut board, 2, others);
    assert_eq!(created(&board), expected(&[("/a", 7), ("other", 10)]));
    assert_eq!(board.view().folded, 2);
    window(&mut board, 3, vec![rate(2, "/b", Some(1), 8)]);
    assert_eq!(created(&board), expected(&[("/a", 7), ("other", 13)]));
    for id in [1, 2] {
        removed(&mut board, 4, &OwnerRef::example(id, None));
    }
    let later = 4 + GRACE.as_secs();
    window(&mut board, later, vec![rate(4, "/d", Some(1), 1)]);
    assert_eq!(
        created(&board),
        expected(&[("/c", 0), ("other", 14)]),
        "free room is given to who has waited for longest"
    );
    window(&mut board, later + 1, vec![rate(4, "/d", Some(1), 2)]);
    let sum: u64 = created(&board).iter().map(|(_, n)| n).sum();
    assert_eq!(sum, 15, "nothing is counted twice or not at all");
}

#[test]
fn the_living_get_the_series_of_the_gone() {
    let mut board = board(2);
    let short = |id: u64| rate(id, &format!("/short/{id}"), Some(1), 1);
    for second in 1..=60 {
        let came: Vec<_> = (0..10).map(|n| short(second * 10 + n)).collect();
        window(&mut board, second, came.clone());
        for rate in came {
            removed(&mut board, second, &rate.owner);
        }
    }
    let others = |board: &Board| -> u64 { created(board).iter().map(|(_, n)| n).sum() };
    assert_eq!(others(&board), 600);
    window(
        &mut board,
        61,
        vec![rate(1, "/a", Some(3), 7), rate(2, "/b", Some(1), 5)],
    );
    assert_eq!(
        created(&board),
        expected(&[("/a", 7), ("/b", 5), ("other", 600)])
    );
    // A third one waits, and is told from the moment on that there is room.
    window(&mut board, 62, vec![rate(3, "/c", Some(1), 9)]);
    removed(&mut board, 63, &OwnerRef::example(1, Some("/a")));
    window(&mut board, 64, vec![rate(3, "/c", Some(1), 11)]);
    assert_eq!(
        created(&board),
        expected(&[("/b", 5), ("/c", 0), ("other", 600 + 7 + 11)])
    );
}

#[test]
fn who_is_flagged_has_series_in_any_case() {
    let mut board = board(1);
    let both = vec![rate(1, "/a", Some(3), 7), rate(2, "/b", Some(1), 5)];
    window(&mut board, 1, both);
    let told = created(&board);
    let folded = told.iter().any(|(id, _)| id == "/b");
    let (id, path) = if folded { (1, "/a") } else { (2, "/b") };
    let mut leaky = rate(id, path, Some(9), 20);
    let leaks = StateEvent::example(leaky.owner.clone(), detect::State::Leaking);
    leaky.verdict = Some(Box::new(StateNow::from(&leaks)));
    window(&mut board, 2, vec![leaky]);
    let shown = text(&board.view(), Format::Classic);
    assert!(shown.contains("state=\"leaking\"} 1"), "{shown}");
    assert!(shown.contains("growth_tasks_per_second{id=\""), "{shown}");
    let sum: u64 = created(&board).iter().map(|(_, n)| n).sum();
    let expected = 20 + if folded { 5 } else { 7 };
    assert_eq!(sum, expected, "{:?}", created(&board));
}

#[test]
fn an_inner_cgroup_without_tasks_has_no_series() {
    let mut board = board(10);
    let rows = vec![rate(1, "/kubepods", Some(0), 0), rate(2, "/b", Some(1), 0)];
    window(&mut board, 1, rows);
    assert_eq!(created(&board), expected(&[("/b", 0)]));
}

#[test]
fn a_container_s_series_begin_with_its_names_or_after_a_while() {
    let id = "0123456789abcdef".repeat(4);
    let path = format!("/kubepods/burstable/pod0c1d2e3f405162738495a6b7c8d9eafb/crio-{id}");
    let mut board = board(10);
    window(&mut board, 1, vec![rate(1, &path, Some(1), 1)]);
    assert_eq!(created(&board), []);
    window(&mut board, 6, Vec::new());
    assert_eq!(created(&board).len(), 1);
}

#[test]
fn failures_of_the_node_stay_when_their_owner_goes() {
    let mut board = board(10);
    let mut refused = rate(1, "/a", Some(3), 7);
    refused.total.failed = Some([(Reason::PidsMax, 4)].into_iter().collect());
    refused.counts = refused.total.clone();
    window(&mut board, 1, vec![refused]);
    removed(&mut board, 2, &OwnerRef::example(1, Some("/a")));
    window(&mut board, 500, Vec::new());
    let shown = text(&board.view(), Format::Classic);
    assert!(!shown.contains("/a"), "{shown}");
    let line = "pidwatch_node_clone_failures_total{reason=\"pids_max\"} 4\n";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn an_incident_is_counted_once_and_not_again_after_a_restart() {
    let mut board = board(1);
    let mut told = |id: &str, second, phase| {
        let limit = LimitId {
            cgroup: Some("/a".into()),
            ..LimitId::of_node("pids.max")
        };
        let incident = IncidentEvent::example(id, limit, phase);
        take(&mut board, second, Event::Incident(Box::new(incident)));
        let view = board.view();
        let mut of = view.incidents.iter();
        let (_, opened, open) = of.find(|(name, ..)| *name == "pids.max").unwrap();
        (*opened, *open, board.closed().count())
    };
    assert_eq!(told("of before the restart", 1, Phase::Updated), (0, 1, 0));
    assert_eq!(told("new", 15, Phase::Opened), (1, 2, 0));
    assert_eq!(told("new", 16, Phase::Updated), (1, 2, 0));
    assert_eq!(told("new", 17, Phase::Closed), (1, 1, 1));
}

#[test]
fn an_open_incident_has_the_numbers_of_the_last_window() {
    let mut board = board(1);
    let incident = IncidentEvent::example("1", LimitId::of_node("kernel.pid_max"), Phase::Opened);
    take(&mut board, 1, Event::Incident(Box::new(incident)));
    let mut node = NodeWindow::example(100);
    node.incidents = serde_json::from_str(r#"[{"id":"1","usage":7,"failures":5}]"#).unwrap();
    take(&mut board, 2, Event::Node(node));
    let [open] = board.open() else {
        panic!("{:?}", board.open())
    };
    assert_eq!((open.usage, open.failures), (Some(7), 5));
}
