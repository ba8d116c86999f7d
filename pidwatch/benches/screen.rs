//! What the screen of `top` costs: `cargo bench --package pidwatch --bench screen`.
//!
//! With so many owners, all of which do something in every window (the worst there is): taking a
//! window's updates and putting the rows in order, and drawing a frame into a terminal's bytes.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use pidwatch::{
    cgroup::CgroupId,
    cli::args::ThemeName,
    clock::{BootTime, WallClock},
    event::Update,
    filter::Filter,
    identity::Owner,
    limits::{Limit, LimitOwner},
    model::Counts,
    snapshot::{NodeState, Row, Snapshot},
    tui::{
        ansi::Ansi,
        app::{App, Origin, column::Column, table::Mode},
        render,
        theme::Theme,
    },
};
use ratatui::{Terminal, TerminalOptions, Viewport, layout::Rect};

/// Windows that are taken and drawn.
const WINDOWS: u64 = 200;

fn window(second: u64, owners: u64) -> Update {
    let row = |i: u64| {
        let mut counts = Counts::NONE;
        counts.created.threads = i % 7;
        counts.exited.threads = (i + second) % 5;
        let path = format!("/kubepods/burstable/pod{i:08}/container-{i:064}");
        Row {
            owner: Owner::new(CgroupId(i), Some(path.into_bytes().into())),
            tasks: Some(1 + (i * 7919 + second * i) % 500),
            subtree_tasks: None,
            processes: Some(1 + i % 9),
            zombies: Some(0),
            counts,
            total: counts,
            verdict: None,
            creators: Vec::new(),
            limit: None,
        }
    };
    Update::Window(Snapshot {
        time: BootTime::from_seconds(1_000_000 + second),
        window: Duration::from_secs(1),
        rows: (0..owners).map(row).collect(),
        knows_frees: true,
        knows_failures: true,
        node: NodeState {
            tasks: Some(46_000),
            limits: vec![Limit {
                name: "kernel.pid_max",
                value: 49_152,
                usage: 46_000,
                owner: LimitOwner::Node,
            }],
            exhaustion: None,
        },
        incidents: Vec::new(),
    })
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
    let mut app = App::new(
        Filter::default(),
        WallClock::recorded(),
        jiff::tz::TimeZone::UTC,
    );
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
        let update = window(second, owners);
        let began = Instant::now();
        black_box(app.take([update]));
        took.push(began.elapsed());
        let began = Instant::now();
        let mut areas = Default::default();
        let drawn = terminal.draw(|frame| areas = render::draw(&app, &theme, frame.buffer_mut()));
        drew.push(began.elapsed());
        assert!(drawn.is_ok());
        app.drawn(areas);
    }
    (median(took), median(drew))
}
