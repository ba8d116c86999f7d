//! What the screen of `top` costs: `cargo bench --package pidwatch --bench screen`.
//!
//! With so many owners, all of which do something in every window (the worst there is): taking a
//! window's updates and putting the rows in order, and drawing a frame into a terminal's bytes.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use pidwatch::{
    cli::args::ThemeName,
    filter::Filter,
    stream::{Event, LimitUse, Line, NodeWindow, OwnerRef, RateEvent},
    tui::{
        ansi::Ansi,
        app::{App, Areas, Origin, column::Column, table::Mode},
        render,
        theme::Theme,
    },
};
use ratatui::{Terminal, TerminalOptions, Viewport, layout::Rect};

/// Windows that are taken and drawn.
const WINDOWS: u64 = 200;

fn window(second: u64, owners: u64) -> Vec<Line> {
    let rate = |i: u64| {
        let path = format!("/kubepods/burstable/pod{i:08}/container-{i:064}");
        let owner = OwnerRef::example(i, Some(&path));
        let mut rate = RateEvent::example(owner, Some(1 + (i * 7919 + second * i) % 500));
        rate.processes = Some(1 + i % 9);
        rate.counts.created.threads = i % 7;
        rate.counts.exited.threads = (i + second) % 5;
        rate.total = rate.counts.clone();
        Event::Rate(Box::new(rate))
    };
    let node = NodeWindow {
        limits: vec![LimitUse {
            name: "kernel.pid_max".into(),
            value: 49_152,
            usage: 46_000,
            cgroup: None,
            uid: None,
            pid_namespace: None,
        }],
        ..NodeWindow::example(46_000)
    };
    let events = (0..owners).map(rate).chain([Event::Node(node)]);
    events
        .map(|event| Line::example(1_000_000 + second, event))
        .collect()
}

fn median(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    (at(50), at(99))
}

fn main() {
    println!(
        "| owners | rows | screen | window taken, ms (median, p99) | frame drawn, ms (median, p99) |"
    );
    println!("|---:|---|---|---:|---:|");
    for owners in [100, 1_000, 5_000] {
        for (mode, name) in [(Mode::Flat, "flat"), (Mode::Tree, "tree")] {
            for (width, height) in [(80, 24), (200, 60)] {
                let (took, drew) = measure(owners, mode, Rect::new(0, 0, width, height));
                println!(
                    "| {owners} | {name} | {width}x{height} | {:.2}, {:.2} | {:.2}, {:.2} |",
                    took.0, took.1, drew.0, drew.1
                );
            }
        }
    }
}

fn measure(owners: u64, mode: Mode, screen: Rect) -> ((f64, f64), (f64, f64)) {
    let mut app = App::new(Filter::default(), jiff::tz::TimeZone::UTC);
    app.origin = Origin::Live;
    app.order.mode = mode;
    app.order.sort = Column::Tasks;
    let theme = Theme::new(ThemeName::Terminal, true);
    let mut out = Vec::new();
    let viewport = Viewport::Fixed(screen);
    let backend = Ansi::new(&mut out, screen.as_size());
    let Ok(mut terminal) = Terminal::with_options(backend, TerminalOptions { viewport }) else {
        return Default::default();
    };
    let (mut took, mut drew) = (Vec::new(), Vec::new());
    for second in 0..WINDOWS {
        let lines = window(second, owners);
        let began = Instant::now();
        black_box(app.take(lines));
        took.push(began.elapsed());
        let began = Instant::now();
        let mut areas = Areas::default();
        let drawn = terminal.draw(|frame| areas = render::draw(&app, &theme, frame.buffer_mut()));
        drew.push(began.elapsed());
        assert!(drawn.is_ok());
        app.drawn(areas);
    }
    (median(took), median(drew))
}
