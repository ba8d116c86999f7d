use super::*;
use crate::{
    cgroup::LayoutKind,
    detect::Verdict,
    identity::Owner,
    output::prometheus::{Format, text},
    snapshot::NodeState,
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
    Board::new(
        started(),
        BootTime::from_seconds(0),
        most_owners * MOST_SAMPLES,
    )
}

fn row(id: u64, path: &str, tasks: Option<u64>, created: u64) -> Row {
    let mut total = Counts::NONE;
    total.created.threads = created;
    Row {
        owner: Owner::new(CgroupId(id), Some(path.as_bytes().into())),
        tasks,
        subtree_tasks: tasks,
        processes: tasks,
        zombies: Some(0),
        counts: Counts::NONE,
        total,
        verdict: None,
        creators: Vec::new(),
        limit: None,
    }
}

fn window(second: u64, rows: Vec<Row>) -> Update {
    Update::Window(Snapshot {
        time: BootTime::from_seconds(second),
        window: Duration::from_secs(1),
        rows,
        knows_frees: true,
        knows_failures: true,
        node: NodeState::default(),
        incidents: Vec::new(),
    })
}

fn take(board: &mut Board, update: &Update) {
    board.take(update, |_| Timestamp::UNIX_EPOCH);
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

fn flagged(second: u64, state: State) -> Verdict {
    Verdict {
        state,
        since: BootTime::from_seconds(second),
        tasks: 1,
        growth_per_s: Some(2.5),
        confidence: None,
        exhaustion: None,
        why: String::new(),
    }
}

#[test]
fn an_owner_keeps_its_counters_while_it_tells_nothing() {
    let mut board = board(10);
    assert!(!board.is_ready());
    take(&mut board, &window(1, vec![row(1, "/a", Some(3), 7)]));
    assert!(board.is_ready());
    for second in 2..500 {
        take(&mut board, &window(second, Vec::new()));
    }
    assert_eq!(created(&board), expected(&[("/a", 7)]));
    let snapshot = board.snapshot();
    assert_eq!(snapshot.rows[0].tasks, Some(3));
}

#[test]
fn what_was_counted_in_an_old_window_is_not_told_as_of_now() {
    let mut board = board(10);
    let mut busy = row(1, "/a", Some(3), 7);
    busy.counts = busy.total;
    take(&mut board, &window(1, vec![busy.clone()]));
    assert_eq!(board.snapshot().rows[0].counts, busy.counts);
    take(&mut board, &window(2, Vec::new()));
    assert_eq!(board.snapshot().rows[0].counts, Counts::NONE);
    assert_eq!(board.snapshot().rows[0].total, busy.total);
}

#[test]
fn who_is_gone_leaves_after_a_while_and_nobody_else_s_counters_move() {
    let mut board = board(10);
    let both = vec![row(1, "/a", Some(3), 7), row(2, "/b", Some(1), 5)];
    take(&mut board, &window(1, both));
    let owner = Owner::new(CgroupId(1), Some((*b"/a").into()));
    take(
        &mut board,
        &Update::Removed(owner, BootTime::from_seconds(2)),
    );
    take(&mut board, &window(3, Vec::new()));
    assert_eq!(created(&board), expected(&[("/a", 7), ("/b", 5)]));
    let shown = text(&board.view(), Format::Classic);
    assert!(!shown.contains("pidwatch_container_tasks{id=\"/a\""));
    assert!(shown.contains("unit=\"\",state=\"gone\"} 1"), "{shown}");
    assert_eq!(board.snapshot().rows.len(), 1);
    take(&mut board, &window(2 + GRACE.as_secs(), Vec::new()));
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
            row(id, &format!("/{id}"), Some(0), 1)
        });
        let came: Vec<_> = came.collect();
        take(&mut board, &window(second, came.clone()));
        for row in came {
            let gone = Update::Removed(row.owner, BootTime::from_seconds(second));
            take(&mut board, &gone);
        }
    }
    assert!(board.owners.len() as u64 <= (GRACE.as_secs() + 1) * A_WINDOW);
    let bytes = board.owners.allocation_size();
    assert!(bytes < 1 << 20, "{bytes} bytes for {}", board.owners.len());
}

#[test]
fn one_that_comes_again_by_the_same_path_is_there_once() {
    let mut board = board(10);
    take(&mut board, &window(1, vec![row(1, "/a", Some(3), 7)]));
    let owner = Owner::new(CgroupId(1), Some((*b"/a").into()));
    take(
        &mut board,
        &Update::Removed(owner, BootTime::from_seconds(2)),
    );
    take(&mut board, &window(2, vec![row(2, "/a", Some(1), 1)]));
    assert_eq!(created(&board), expected(&[("/a", 1)]));
    // The tail of the old one.
    take(&mut board, &window(3, vec![row(1, "/a", None, 8)]));
    assert_eq!(created(&board), expected(&[("/a", 1)]));
}

#[test]
fn for_whom_there_is_no_room_is_in_a_sum_that_only_grows() {
    let mut board = board(1);
    take(&mut board, &window(1, vec![row(1, "/a", Some(3), 7)]));
    let others = vec![row(2, "/b", Some(1), 5), row(3, "/c", Some(2), 5)];
    take(&mut board, &window(2, others));
    assert_eq!(created(&board), expected(&[("/a", 7), ("other", 10)]));
    assert_eq!(board.view().folded, 2);
    take(&mut board, &window(3, vec![row(2, "/b", Some(1), 8)]));
    assert_eq!(created(&board), expected(&[("/a", 7), ("other", 13)]));
    for id in [1, 2] {
        let owner = Owner::new(CgroupId(id), None);
        take(
            &mut board,
            &Update::Removed(owner, BootTime::from_seconds(4)),
        );
    }
    let later = 4 + GRACE.as_secs();
    take(&mut board, &window(later, vec![row(4, "/d", Some(1), 1)]));
    assert_eq!(
        created(&board),
        expected(&[("/d", 1), ("other", 13)]),
        "the room is given when it is free"
    );
    take(
        &mut board,
        &window(later + 1, vec![row(4, "/d", Some(1), 2)]),
    );
    let sum: u64 = created(&board).iter().map(|(_, n)| n).sum();
    assert_eq!(sum, 15, "nothing is counted twice or not at all");
}

#[test]
fn who_is_flagged_has_series_in_any_case() {
    let mut board = board(1);
    let both = vec![row(1, "/a", Some(3), 7), row(2, "/b", Some(1), 5)];
    take(&mut board, &window(1, both));
    let told = created(&board);
    let folded = told.iter().any(|(id, _)| id == "/b");
    let (id, path) = if folded { (1, "/a") } else { (2, "/b") };
    let mut row = row(id, path, Some(9), 20);
    row.verdict = Some(flagged(2, State::Leaking));
    take(&mut board, &window(2, vec![row]));
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
    let rows = vec![row(1, "/kubepods", Some(0), 0), row(2, "/b", Some(1), 0)];
    take(&mut board, &window(1, rows));
    assert_eq!(created(&board), expected(&[("/b", 0)]));
}

#[test]
fn a_container_s_series_begin_with_its_names_or_after_a_while() {
    let id = "0123456789abcdef".repeat(4);
    let path = format!("/kubepods/burstable/pod0c1d2e3f405162738495a6b7c8d9eafb/crio-{id}");
    let mut board = board(10);
    take(&mut board, &window(1, vec![row(1, &path, Some(1), 1)]));
    assert_eq!(created(&board), []);
    take(&mut board, &window(6, Vec::new()));
    assert_eq!(created(&board).len(), 1);
}

#[test]
fn failures_of_the_node_stay_when_their_owner_goes() {
    let mut board = board(10);
    let mut refused = row(1, "/a", Some(3), 7);
    refused.total.failed[Reason::PidsMax as usize] = 4;
    refused.counts = refused.total;
    take(&mut board, &window(1, vec![refused]));
    let owner = Owner::new(CgroupId(1), Some((*b"/a").into()));
    take(
        &mut board,
        &Update::Removed(owner, BootTime::from_seconds(2)),
    );
    take(&mut board, &window(500, Vec::new()));
    let shown = text(&board.view(), Format::Classic);
    assert!(!shown.contains("/a"), "{shown}");
    let line = "pidwatch_node_clone_failures_total{reason=\"pids_max\"} 4\n";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn an_incident_is_counted_once_and_not_again_after_a_restart() {
    let incident = |id: &str, second, phase| Incident {
        id: id.into(),
        phase,
        limit: crate::incident::LimitKey {
            name: "pids.max",
            owner: crate::limits::LimitOwner::Node,
            path: None,
        },
        value: None,
        usage: None,
        peak: None,
        opened: BootTime::from_seconds(second),
        culprits: Vec::new(),
        victims: Vec::new(),
        failures: 0,
        timeline: Vec::new(),
        summary: String::new(),
    };
    let told = |incident: &Incident| {
        Update::Incident(Box::new(incident.clone()), BootTime::from_seconds(20))
    };
    let mut board = Board::new(started(), BootTime::from_seconds(10), 100);
    let old = incident("old", 5, Phase::Updated);
    let new = incident("new", 15, Phase::Opened);
    let Update::Window(mut snapshot) = window(16, Vec::new()) else {
        panic!()
    };
    snapshot.incidents = vec![old.clone(), new.clone()];
    take(&mut board, &Update::Window(snapshot));
    take(&mut board, &told(&old));
    take(&mut board, &told(&new));
    let counts = |board: &Board| {
        let view = board.view();
        let mut of = view.incidents.iter();
        of.find(|(name, ..)| *name == "pids.max")
            .copied()
            .unwrap()
            .1
    };
    assert_eq!(counts(&board), 1);
    take(&mut board, &told(&incident("new", 15, Phase::Closed)));
    take(&mut board, &window(21, Vec::new()));
    assert_eq!(counts(&board), 1);
    assert_eq!(board.closed().count(), 1);
}
