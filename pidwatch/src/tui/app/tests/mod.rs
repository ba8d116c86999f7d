//! What keys, clicks and updates make of the state.

use std::sync::Arc;

use jiff::Timestamp;

use super::{owner::Badge, table::Mode, world::LogKind, *};
use crate::{
    detect::State,
    identity::{self, Names},
    incident::Phase,
    limits::{Basis, Reason},
    stream::{
        self, Caller, CgroupEvent, Change, CloneFailure, Creator, CulpritEntry, Event, IncidentNow,
        LimitForecast, LimitId, NodeWindow, OwnerRef, RateEvent, StateNow, TimelinePoint,
        VictimEntry,
    },
    tui::keys::{Gesture, KeyPress},
};

/// 22:09 on some day.
const AT_S: u64 = 1_763_762_940;

pub fn at(second: u64) -> Timestamp {
    line(second, Event::Node(NodeWindow::default())).time
}

pub fn line(second: u64, event: Event) -> Line {
    Line::example(AT_S + second, event)
}

pub fn owner(id: u64, path: &str) -> Arc<OwnerRef> {
    OwnerRef::example(id, Some(path))
}

pub fn pod(id: u64, namespace: &str, pod: &str, container: &str) -> Arc<OwnerRef> {
    let path = format!("/kubepods/burstable/pod3f2a7c1e-9b40-4d1c-8a55-{id:012}/{id:064}");
    let owner = identity::Owner {
        names: Some(Arc::new(Names {
            namespace: Some(namespace.into()),
            pod: Some(pod.into()),
            container: Some(container.into()),
            ..Names::default()
        })),
        ..identity::Owner::from(&*owner(id, &path))
    };
    Arc::new((&owner).into())
}

pub fn rate(owner: Arc<OwnerRef>, tasks: u64) -> RateEvent {
    RateEvent {
        processes: Some(tasks.min(4)),
        ..RateEvent::example(owner, Some(tasks))
    }
}

pub fn limit(id: LimitId, value: u64, usage: u64) -> LimitUse {
    LimitUse {
        name: id.name,
        value,
        usage,
        cgroup: id.cgroup,
        uid: None,
        pid_namespace: None,
    }
}

pub fn pid_max(usage: u64) -> LimitUse {
    limit(LimitId::of_node("kernel.pid_max"), 49_152, usage)
}

fn exhaustion() -> LimitForecast {
    LimitForecast {
        limit: "kernel.pid_max".into(),
        cgroup: None,
        pid_namespace: None,
        value: 49_152,
        usage: 46_012,
        in_s: 372.0,
        in_s_low: 300.0,
        in_s_high: Some(500.0),
    }
}

pub fn window(second: u64, rates: Vec<RateEvent>) -> Vec<Line> {
    window_with(second, rates, &[])
}

/// A window with the incidents as they are then.
pub fn window_with(second: u64, rates: Vec<RateEvent>, incidents: &[IncidentEvent]) -> Vec<Line> {
    let usage = rates.iter().filter_map(|rate| rate.tasks).sum();
    let threads_max = LimitId::of_node("kernel.threads-max");
    let now = |incident: &IncidentEvent| IncidentNow {
        id: incident.id.clone(),
        value: incident.value,
        usage: incident.usage,
        peak: None,
        failures: incident.failures,
        culprits: Vec::new(),
        victims: Vec::new(),
    };
    let node = NodeWindow {
        limits: vec![pid_max(usage), limit(threads_max, 1_545_000, usage)],
        exhaustion: (usage > 40_000).then(exhaustion),
        incidents: incidents.iter().map(now).collect(),
        ..NodeWindow::example(usage)
    };
    let rates = rates.into_iter().map(|rate| Event::Rate(Box::new(rate)));
    let events = rates.chain([Event::Node(node)]);
    events.map(|event| line(second, event)).collect()
}

pub fn state(owner: Arc<OwnerRef>, state: State, tasks: u64) -> stream::StateEvent {
    stream::StateEvent {
        since: at(0),
        tasks,
        growth_per_s: Some(41.5),
        confidence: Some(0.97),
        exhaustion: Some(exhaustion()),
        why: format!("+42 tasks/s for 9 min, 40 to {tasks} tasks; kernel.pid_max in 6 min"),
        ..stream::StateEvent::example(owner, state)
    }
}

pub fn refused(second: u64, owner: Arc<OwnerRef>, comm: &str) -> Line {
    let example = CloneFailure::example(owner, Reason::PidMax);
    let failed = CloneFailure {
        syscall: Some("clone3".into()),
        evidence: Some(Basis::Measured.into()),
        limit: Some(pid_max(49_152)),
        proc: Caller {
            comm: comm.into(),
            tid: 4711,
            uid: 0,
            exec_probe: true,
            ..example.proc
        },
        suppressed: 2,
        ..example
    };
    line(second, Event::CloneFailed(Box::new(failed)))
}

pub fn changed(second: u64, owner: Arc<OwnerRef>, change: Change) -> Line {
    let change = change.into();
    line(second, Event::Cgroup(CgroupEvent { owner, change }))
}

pub fn leaky() -> Arc<OwnerRef> {
    pod(7, "shop", "cart-7d9f-x2k4p", "app")
}

pub fn calico() -> Arc<OwnerRef> {
    pod(8, "kube-system", "calico-node-x7k2p", "calico-node")
}

pub fn told(second: u64, incident: IncidentEvent) -> Line {
    line(second, Event::Incident(Box::new(incident)))
}

/// The incident of docs: `cart` leaks, calico suffers.
pub fn incident(phase: Phase) -> Line {
    let limit = LimitId::of_node("kernel.pid_max");
    let incident = IncidentEvent {
        value: Some(49_152),
        usage: Some(49_152),
        peak: Some(49_152),
        opened: at(2),
        culprits: vec![CulpritEntry {
            owner: (*leaky()).clone(),
            inside: None,
            share: 0.98,
            growth_per_s: Some(41.5),
            tasks: 46_012,
        }],
        victims: vec![VictimEntry {
            owner: (*calico()).clone(),
            failures: 31,
            comms: [("runc:[2:INIT]".to_owned(), 31)].into(),
        }],
        failures: 31,
        timeline: vec![TimelinePoint {
            time: at(2),
            what: crate::incident::What::Flagged.into(),
            text: "shop/cart-7d9f-x2k4p/app is leaking".into(),
        }],
        summary:
            "kernel.pid_max, 49152 of 49152: shop/cart-7d9f-x2k4p/app (+41.5 tasks/s, 98 % of the \
                  growth, 46012 tasks); 31 creations refused; victims: \
                  kube-system/calico-node-x7k2p/calico-node"
                .into(),
        ..IncidentEvent::example("kernel.pid_max-1", limit, phase)
    };
    told(9, incident)
}

pub fn empty() -> App {
    let mut app = App::new(Filter::default(), jiff::tz::TimeZone::UTC);
    app.world.node_name = "node-7".into();
    app.origin = Origin::Live;
    app
}

/// The node at 22:09.
pub fn at_2209() -> App {
    let mut app = empty();
    for second in 0..10 {
        let tasks = 45_640 + 41 * second;
        let mut leak = rate(leaky(), tasks);
        leak.counts.created.threads = 44;
        leak.counts.exited.threads = 3;
        let leaks = state(leaky(), State::Leaking, tasks);
        leak.verdict = Some(Box::new(StateNow::from(&leaks)));
        leak.creators = vec![Creator {
            comm: "java".into(),
            pid: 8123,
            share: 0.99,
        }];
        let mut victim = rate(calico(), 18);
        if second > 6 {
            victim.counts.failed = Some([(Reason::PidMax, 3)].into_iter().collect());
            let total = 3 * (second - 6);
            victim.total.failed = Some([(Reason::PidMax, total)].into_iter().collect());
        }
        let rates = vec![
            leak,
            victim,
            rate(owner(2, "/system.slice/kubelet.service"), 22),
            rate(owner(3, "/system.slice/ssh.service"), 3),
            rate(pod(9, "shop", "web-6c5b-q8z2n", "nginx"), 9),
        ];
        app.take(window(second, rates));
    }
    app.take([
        refused(8, calico(), "runc:[2:INIT]"),
        refused(9, calico(), "runc:[2:INIT]"),
        incident(Phase::Opened),
        changed(9, owner(30, "/system.slice/cron.service"), Change::Added),
    ]);
    app.arrange();
    app
}

/// An incident of a cgroup's limit.
pub fn of_cgroup(path: &str, usage: u64, failures: u64) -> IncidentEvent {
    let limit = LimitId {
        cgroup: Some(path.to_owned()),
        ..LimitId::of_node("pids.max")
    };
    IncidentEvent {
        value: Some(400),
        usage: Some(usage),
        peak: Some(49_152),
        opened: at(2),
        failures,
        summary: format!("pids.max of {path}, {usage} of 400; {failures} creations refused"),
        ..IncidentEvent::example(&format!("pids.max-{path}"), limit, Phase::Updated)
    }
}

fn press(app: &mut App, keys: &str) -> Action {
    let mut last = Action::None;
    for key in keys.chars() {
        last = app.on_key(match key {
            '\n' => KeyPress::Enter,
            '\u{1b}' => KeyPress::Esc,
            '\t' => KeyPress::Tab,
            key => KeyPress::Char(key),
        });
    }
    last
}

fn names(app: &App) -> Vec<&str> {
    app.rows.iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn the_culprit_comes_first_and_then_who_suffers() {
    let app = at_2209();
    let badges: Vec<_> = app.rows.iter().map(|row| row.badge).collect();
    assert_eq!(badges[..3], [Badge::Leak, Badge::Victim, Badge::Ok]);
    assert_eq!(names(&app)[0], "shop/cart-7d9f-x2k4p/app");
    let share = app.rows[0].share.unwrap();
    assert!((share - 46_009.0 / 49_152.0).abs() < 0.001, "{share}");
}

#[test]
fn a_filter_works_as_it_is_typed_and_escape_drops_it() {
    let mut app = at_2209();
    press(&mut app, "/CALI");
    assert_eq!(names(&app), ["kube-system/calico-node-x7k2p/calico-node"]);
    // Keys are text while one is typed.
    press(&mut app, "q");
    assert!(names(&app).is_empty());
    app.on_key(KeyPress::Backspace);
    press(&mut app, "\n");
    assert!(!app.typing);
    assert_eq!(app.rows.len(), 1);
    press(&mut app, "\u{1b}");
    assert_eq!(app.rows.len(), 5);
}

#[test]
fn columns_are_sorted_by_and_reversed() {
    let mut app = at_2209();
    press(&mut app, "s");
    assert_eq!(app.order.sort, column::Column::Name);
    assert_eq!(names(&app)[0], "kube-system/calico-node-x7k2p/calico-node");
    press(&mut app, "r");
    assert_eq!(names(&app)[0], "ssh.service");
    press(&mut app, "<");
    assert_eq!(
        (app.order.sort, app.order.reverse),
        (column::Column::State, false)
    );
}

#[test]
fn the_selection_stays_with_its_owner_when_rows_move() {
    let mut app = at_2209();
    press(&mut app, "jj");
    let name = app.selected().unwrap().name.clone();
    press(&mut app, "s");
    assert_eq!(app.selected().unwrap().name, name);
    press(&mut app, "g<");
    assert_eq!(app.cursor.selected, 0, "the first row, whoever that is");
    press(&mut app, "G");
    assert_eq!(app.cursor.selected, 4);
}

#[test]
fn while_paused_data_goes_on_behind() {
    let mut app = at_2209();
    press(&mut app, "p");
    assert!(app.is_paused());
    app.take(window(20, vec![rate(leaky(), 48_000)]));
    assert_eq!(app.rows[0].tasks, Some(46_009));
    press(&mut app, " ");
    assert_eq!(app.rows[0].tasks, Some(48_000));
}

#[test]
fn views_and_pages_are_left_the_way_they_were_entered() {
    let mut app = at_2209();
    let action = press(&mut app, "\n");
    assert_eq!(action, Action::LookAbove(CgroupId(7)));
    assert_eq!(app.page, Some(Page::Owner(CgroupId(7))));
    press(&mut app, "\u{1b}");
    assert_eq!(app.page, None);
    press(&mut app, "2\n");
    assert_eq!(app.page, Some(Page::Incident("kernel.pid_max-1".into())));
    assert_eq!(
        press(&mut app, "w"),
        Action::SaveReport("kernel.pid_max-1".into())
    );
    assert_eq!(press(&mut app, "\t"), Action::LookAtLimits);
    assert_eq!((app.view, &app.page), (View::Limits, &None));
    press(&mut app, "\u{1b}?");
    assert!(app.help && app.view == View::Owners);
    press(&mut app, "\u{1b}");
    assert!(!app.help);
    assert_eq!(press(&mut app, "q"), Action::Quit);
    assert_eq!(app.on_key(KeyPress::Ctrl('z')), Action::Suspend);
}

#[test]
fn the_tree_sums_what_is_below_and_folds() {
    let mut app = at_2209();
    press(&mut app, "t");
    assert_eq!(app.order.mode, Mode::Tree);
    assert_eq!(app.rows[0].name, "/");
    assert_eq!(app.rows[0].tasks, Some(46_009 + 18 + 22 + 3 + 9));
    let slice = app
        .rows
        .iter()
        .position(|row| row.name == "system.slice")
        .unwrap();
    assert_eq!(app.rows[slice].depth, 1);
    let kubelet = app
        .rows
        .iter()
        .find(|row| row.name == "kubelet.service")
        .unwrap();
    assert_eq!(kubelet.depth, 2);
    let before = app.rows.len();
    for _ in 0..slice {
        press(&mut app, "j");
    }
    press(&mut app, "\n");
    assert!(app.rows.len() < before);
    assert_eq!(app.rows[app.cursor.selected].fold, Some(true));
    press(&mut app, "+");
    assert_eq!(app.rows.len(), before);
}

#[test]
fn what_is_folded_stays_so_when_its_owner_becomes_known() {
    let mut app = at_2209();
    press(&mut app, "t+");
    assert_eq!(names(&app), ["/"]);
    app.take(window(11, vec![rate(owner(1, "/"), 90)]));
    app.arrange();
    assert_eq!(names(&app), ["/"]);
    press(&mut app, "+");
    assert!(app.rows.len() > 1);
}

#[test]
fn groups_have_the_worst_of_what_is_in_them() {
    let mut app = at_2209();
    press(&mut app, "n");
    assert_eq!(app.order.mode, Mode::Namespace);
    assert_eq!((names(&app)[0], app.rows[0].badge), ("shop", Badge::Leak));
    assert_eq!(app.rows[0].tasks, Some(46_018));
    assert!(names(&app).contains(&"(no pod)"));
    press(&mut app, "n");
    assert_eq!(names(&app)[0], "shop/cart-7d9f-x2k4p");
    press(&mut app, "n");
    assert_eq!(app.order.mode, Mode::Flat);
}

#[test]
fn a_thousand_of_the_same_failure_are_one_event() {
    let mut app = at_2209();
    let failures = |app: &App| -> Vec<u64> {
        let events = app.world.events.iter();
        let failures = events.filter(|event| event.what == LogKind::Failure);
        failures.map(|event| event.times).collect()
    };
    assert_eq!(failures(&app), [6]);
    for _ in 0..1000 {
        app.take([refused(9, calico(), "runc:[2:INIT]")]);
    }
    assert_eq!(failures(&app), [3006]);
    app.take([refused(9, calico(), "sh")]);
    assert_eq!(failures(&app), [3006, 3]);
}

#[test]
fn room_is_bounded_whatever_happens() {
    let mut app = empty();
    for i in 0..10_000 {
        let gone = owner(i, &format!("/churn/{i}"));
        app.take([
            refused(2, gone.clone(), &format!("comm{i}")),
            changed(2, gone.clone(), Change::Added),
            changed(3, gone, Change::Removed),
        ]);
    }
    assert!(app.world.events.len() <= 2_000);
    app.take(window(60, Vec::new()));
    assert_eq!(app.world.owners.len(), 0, "gone for long");
    // A stream that never ends a window, and one of cgroups that never go.
    for i in 0..50_000 {
        let of = owner(i, "/many");
        let state = Event::State(Box::new(state(of.clone(), State::Growing, 1)));
        let rate = Event::Rate(Box::new(rate(of.clone(), 1)));
        app.take([
            changed(61, of, Change::Added),
            line(61, state),
            line(61, rate),
        ]);
    }
    app.take(window(62, Vec::new()));
    assert_eq!(app.world.owners.len(), 32_768);
}

#[test]
fn who_ate_a_limit_is_no_victim_of_it() {
    let mut app = at_2209();
    let calm = state(leaky(), State::Ok, 100);
    let mut refused = rate(leaky(), 100);
    refused.counts.failed = Some([(Reason::PidMax, 9)].into_iter().collect());
    app.take([
        incident(Phase::Closed),
        line(11, Event::State(Box::new(calm))),
    ]);
    app.take(window(12, vec![refused]));
    let leaky = app
        .rows
        .iter()
        .find(|row| row.name.contains("cart"))
        .unwrap();
    assert_eq!(leaky.badge, Badge::Ok);
}

#[test]
fn a_state_is_told_and_taken_back() {
    let mut app = at_2209();
    let change = |to| {
        let state = stream::StateEvent {
            limits: Some(vec![pid_max(1)]),
            ..state(calico(), to, 18)
        };
        line(9, Event::State(Box::new(state)))
    };
    app.take([change(State::Growing)]);
    assert!(app.world.owners[&CgroupId(8)].verdict.is_some());
    app.take([change(State::Ok)]);
    assert!(app.world.owners[&CgroupId(8)].verdict.is_none());
    assert_eq!(
        app.world.owners[&CgroupId(8)]
            .limits
            .as_ref()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_click_selects_opens_and_sorts() {
    let mut app = at_2209();
    let click = |app: &mut App, column, row| {
        app.on_mouse(Mouse {
            gesture: Gesture::Click,
            column,
            row,
        })
    };
    let list = Area {
        x: 0,
        y: 8,
        width: 80,
        height: 10,
    };
    let title = Area {
        x: 40,
        y: 7,
        width: 7,
        height: 1,
    };
    app.drawn(Areas {
        list,
        lines: 5,
        titles: vec![(title, column::Column::Tasks)],
        ..Areas::default()
    });
    click(&mut app, 5, 9);
    assert_eq!(app.cursor.selected, 1);
    click(&mut app, 5, 9);
    assert_eq!(app.page, Some(Page::Owner(CgroupId(8))));
    press(&mut app, "\u{1b}");
    click(&mut app, 41, 7);
    assert_eq!(
        (app.order.sort, app.order.reverse),
        (column::Column::Tasks, false)
    );
    click(&mut app, 41, 7);
    assert!(app.order.reverse);
    assert_eq!(click(&mut app, 5, 17), Action::None, "below the last row");
}

#[test]
fn a_recording_is_paused_and_moved_in() {
    let mut app = at_2209();
    app.origin = Origin::Recording {
        from: at(0),
        to: at(60),
        at: at(9),
        is_playing: true,
    };
    assert_eq!(press(&mut app, "p"), Action::Play(false));
    assert!(app.is_paused());
    assert_eq!(app.on_key(KeyPress::Left), Action::Skip(-10.0));
    app.drawn(Areas {
        time_bar: Area {
            x: 10,
            y: 1,
            width: 61,
            height: 1,
        },
        ..Areas::default()
    });
    let middle = Mouse {
        gesture: Gesture::Click,
        column: 40,
        row: 1,
    };
    assert_eq!(app.on_mouse(middle), Action::Seek(0.5));
}

#[test]
fn a_question_is_answered_with_y_or_dropped() {
    let mut app = at_2209();
    let ask = |app: &mut App| {
        app.prompt = Some(Prompt {
            lines: vec!["would lower pids.max".into()],
            yes: "brake it",
            request: ControlRequest::Release(None),
        });
    };
    let selected = app.selected().map(|row| row.key.clone());
    let Some(RowKey::Owner(id)) = selected else {
        panic!("{selected:?}");
    };
    assert_eq!(press(&mut app, "b"), Action::AskToBrake(id));
    for other in ["n", "q", "j"] {
        ask(&mut app);
        assert_eq!(press(&mut app, other), Action::Draw, "{other}");
        assert_eq!(app.prompt, None);
    }
    ask(&mut app);
    let carried_out = Action::CarryOut(ControlRequest::Release(None));
    assert_eq!(press(&mut app, "y"), carried_out);
    assert_eq!(app.prompt, None);
    app.order.mode = Mode::Namespace;
    app.arrange();
    press(&mut app, "b");
    assert!(app.message.is_some_and(|text| text.contains("select")));
}

mod numbers;
