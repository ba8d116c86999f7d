//! Every view as it looks, at the sizes that people have.
//!
//! The text of a screen is kept as a snapshot (`src/tui/render/snapshots`); `INSTA_UPDATE=always cargo
//! test` writes them anew, and the difference is to be looked at.

use insta::assert_snapshot;
use ratatui::{Terminal, backend::TestBackend, layout::Rect};

use super::*;
use crate::{
    brake::ControlRequest,
    cli::args::ThemeName,
    incident::Phase,
    stream::Event,
    tui::{
        app::{
            Action, Origin,
            tests::{
                at, at_2209, calico, empty, incident, line, owner, pid_max, pod, rate, window,
            },
        },
        keys::KeyPress,
    },
};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn screen(app: &mut App, (width, height): (u16, u16), theme: &Theme) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut areas = Areas::default();
    terminal
        .draw(|frame| areas = draw(app, theme, frame.buffer_mut()))
        .unwrap();
    app.drawn(areas);
    terminal.backend().to_string()
}

fn check(name: &str, app: &mut App) {
    let theme = Theme::new(ThemeName::Mono, true);
    for size in SIZES {
        let text = screen(app, size, &theme);
        assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), text);
    }
}

fn press(app: &mut App, keys: &[KeyPress]) -> Action {
    keys.iter().fold(Action::None, |_, key| app.on_key(*key))
}

#[test]
fn overview_of_the_incident() {
    check("overview", &mut at_2209());
}

#[test]
fn overview_of_nothing() {
    check("starting", &mut empty());
    let mut app = empty();
    app.take(window(1, Vec::new()));
    check("no_owners", &mut app);
}

#[test]
fn overview_of_many_owners() {
    let mut app = empty();
    let owners = (0..1000).map(|i| rate(pod(i, "shop", &format!("web-{i:04}"), "nginx"), i));
    app.take(window(1, owners.collect()));
    press(&mut app, &[KeyPress::End]);
    check("many", &mut app);
}

#[test]
fn names_of_any_length_and_content() {
    let mut app = empty();
    let names = [
        "/a\u{1b}[2J\u{1b}[31mred",
        "/日本語の名前はとても長いので切られるはずですがどちらの端も残ります",
        "/right\u{202e}left\u{200d}",
        "/tab\tnewline\n",
        &format!("/{}", "long/".repeat(100)),
    ];
    let mut rows: Vec<_> = (1..)
        .zip(names)
        .map(|(i, name)| rate(owner(i, name), i))
        .collect();
    let bytes =
        crate::identity::Owner::new(crate::cgroup::CgroupId(99), Some((*b"/bad\xff\xfe").into()));
    rows.push(rate(std::sync::Arc::new((&bytes).into()), 99));
    app.take(window(1, rows));
    check("hostile", &mut app);
}

#[test]
fn tree_and_groups() {
    let mut app = at_2209();
    press(&mut app, &[KeyPress::Char('t')]);
    check("tree", &mut app);
    press(&mut app, &[KeyPress::Char('n')]);
    check("by_namespace", &mut app);
}

#[test]
fn an_owners_page() {
    let mut app = at_2209();
    press(&mut app, &[KeyPress::Enter]);
    check("culprit", &mut app);
    press(&mut app, &[KeyPress::Esc, KeyPress::Down, KeyPress::Enter]);
    app.world
        .tell_limits(calico().id(), Some(vec![pid_max(49_152)]));
    check("victim", &mut app);
}

#[test]
fn incidents_and_events() {
    let mut app = at_2209();
    press(&mut app, &[KeyPress::Char('2')]);
    check("incidents", &mut app);
    press(&mut app, &[KeyPress::Enter]);
    check("incident", &mut app);
    app.take([incident(Phase::Closed)]);
    press(&mut app, &[KeyPress::Esc, KeyPress::Char('c')]);
    check("incident_over", &mut app);
}

#[test]
fn limits_and_help() {
    let mut app = at_2209();
    press(&mut app, &[KeyPress::Char('3')]);
    app.limits = LimitsPage::Read(vec!["Limits of node-7".into(), "  CRITICAL x".into()]);
    check("limits", &mut app);
    app.limits = LimitsPage::Elsewhere;
    check("limits_elsewhere", &mut app);
    press(&mut app, &[KeyPress::Char('?')]);
    check("help", &mut app);
}

#[test]
fn a_recording_and_an_agent_that_is_away() {
    let mut app = at_2209();
    app.origin = Origin::Recording {
        from: at(0),
        to: at(60),
        at: at(9),
        is_playing: false,
    };
    check("recording", &mut app);
    app.origin = Origin::Agent {
        url: "http://10.0.0.7:9757".into(),
        trouble: Some("cannot connect: connection refused".into()),
    };
    check("agent_away", &mut app);
}

#[test]
fn ascii_is_enough() {
    let mut app = at_2209();
    let rates = vec![rate(owner(1, "/日本"), 5)];
    app.take(window(11, rates));
    let theme = Theme::new(ThemeName::Mono, false);
    let views: [&[KeyPress]; 5] = [
        &[],
        &[KeyPress::Char('t')],
        &[KeyPress::Char('t'), KeyPress::Enter],
        &[KeyPress::Esc, KeyPress::Char('2')],
        &[KeyPress::Char('?')],
    ];
    for keys in views {
        press(&mut app, keys);
        let text = screen(&mut app, (120, 40), &theme);
        // The test backend puts quotation marks around lines, and nothing else.
        assert!(text.is_ascii(), "{text}");
    }
}

/// Nothing overlaps and nothing panics, whatever the size: every size of every view is drawn.
#[test]
fn every_size_is_drawn() {
    let mut app = at_2209();
    let (place, count) = ("ring_rate".into(), 12);
    app.take([line(9, Event::Lost { place, count })]);
    let theme = Theme::new(ThemeName::Terminal, true);
    let views: [&[KeyPress]; 8] = [
        &[],
        &[KeyPress::Char('t')],
        &[KeyPress::Char('n')],
        &[KeyPress::Down, KeyPress::Enter],
        &[KeyPress::Esc, KeyPress::Char('2')],
        &[KeyPress::Enter],
        &[KeyPress::Char('3')],
        &[KeyPress::Char('?')],
    ];
    for keys in views {
        press(&mut app, keys);
        for width in (1..=40).step_by(3).chain([41, 60, 79, 80, 81, 119, 250]) {
            for height in [1, 2, 10, 11, 16, 24, 61] {
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                let areas = draw(&app, &theme, &mut buffer);
                let list = areas.list;
                assert!(list.x + list.width <= width && list.y + list.height <= height);
                app.drawn(areas);
            }
        }
    }
}

#[test]
fn what_matters_at_22_09_is_on_the_first_screen() {
    let mut app = at_2209();
    let theme = Theme::new(ThemeName::Mono, true);
    let text = screen(&mut app, (80, 24), &theme);
    for word in [
        "kernel.pid_max",
        "INCIDENT",
        "LEAK",
        "VICTIM",
        "app",
        "calico-node",
        "6 min",
    ] {
        assert!(text.contains(word), "{word} is not on\n{text}");
    }
    let line = |word: &str| text.lines().position(|line| line.contains(word));
    assert!(line("LEAK") < line("VICTIM"));
}

#[test]
fn a_question_is_below_the_view() {
    let mut app = at_2209();
    let line = "would lower pids.max of shop/cart-0/app from max to 30112; it has 30112 tasks";
    app.prompt = Some(Prompt {
        lines: vec![
            line.into(),
            "exec probes in it fail while it is braked".into(),
        ],
        yes: "brake it for 15 min",
        request: ControlRequest::Release(None),
    });
    check("question", &mut app);
}
