//! Numbers on screen are those of this moment, and of the limit that is reached first.

use super::*;

#[test]
fn gauges_and_banner_are_of_this_moment() {
    let mut app = empty();
    let rates = || vec![rate(owner(5, "/shop/a"), 90)];
    app.take(window(0, rates()));
    app.take([told(1, of_cgroup("/shop", 200, 1))]);
    for second in 1..4 {
        let now = of_cgroup("/shop", 200 + 50 * second, 10 * second);
        app.take(window_with(second, rates(), &[now]));
        let gauge = &app.gauges()[1];
        assert_eq!(
            (gauge.usage, gauge.failures),
            (200 + 50 * second, 10 * second)
        );
        let words = &app.open_incidents()[0].summary;
        assert!(
            words.contains(&format!("{} creations", 10 * second)),
            "{words}"
        );
    }
}

#[test]
fn what_is_refused_now_comes_before_the_most_refusals_of_the_past() {
    let mut app = empty();
    let old = || of_cgroup("/old", 100, 5000);
    let soon = || of_cgroup("/soon", 390, 0);
    app.take([told(0, old()), told(0, soon())]);
    app.take(window_with(1, Vec::new(), &[old(), soon()]));
    let first = |app: &App| app.open_incidents()[0].id.clone();
    assert_eq!(first(&app), old().id, "it refused a second ago");
    app.take(window_with(60, Vec::new(), &[old(), soon()]));
    assert_eq!(
        first(&app),
        soon().id,
        "nothing is refused, and it is fuller"
    );
    let calm = app.world.calm(&old()).unwrap();
    assert!((58..=60).contains(&calm.as_secs()), "{calm:?}");
    let now = of_cgroup("/now", 400, 3);
    app.take([told(61, now.clone())]);
    app.take(window_with(61, Vec::new(), &[old(), soon(), now.clone()]));
    assert_eq!(first(&app), now.id);
    assert_eq!(
        app.gauges()[1].name,
        "pids.max /now",
        "gauges are in the same order"
    );
}

#[test]
fn shares_are_of_the_limit_that_is_reached_first_and_are_not_mixed() {
    let mut app = empty();
    let limited = |id: u64, path: &str, tasks: u64, of: &str, value: u64| {
        let of = LimitId {
            cgroup: Some(of.to_owned()),
            ..LimitId::of_node("pids.max")
        };
        RateEvent {
            limit: Some(limit(of, value, tasks)),
            ..rate(owner(id, path), tasks)
        }
    };
    app.take(window(
        1,
        vec![
            limited(10, "/a/x", 50, "/a/x", 100),
            limited(11, "/a/y", 62, "/a/y", 100),
            limited(20, "/b/x", 50, "/b", 400),
            limited(21, "/b/y", 62, "/b", 400),
        ],
    ));
    let share = |app: &App, name: &str| {
        let mut rows = app.rows.iter();
        let row = rows.find(|row| row.name == name).unwrap();
        row.share.map(|share| (share * 100.0).round() as u64)
    };
    assert_eq!(share(&app, "/a/x"), Some(50));
    // Of a silent owner too: others have filled what it shares.
    let full = of_cgroup("/b", 400, 1);
    let own = limited(12, "/b/own", 10, "/b/own", 50);
    app.take([told(2, full.clone())]);
    app.take(window_with(2, vec![own], std::slice::from_ref(&full)));
    app.take(window_with(3, Vec::new(), &[full]));
    assert_eq!(share(&app, "/b/own"), Some(3), "10 of 400, not of 50");
    press(&mut app, "t");
    assert_eq!(
        share(&app, "a"),
        None,
        "50 % of one and 62 % of another are not 112 %"
    );
    assert_eq!(share(&app, "b"), Some(31), "122 of 400");
}

#[test]
fn a_filter_is_for_incidents_too() {
    let mut app = at_2209();
    app.take([told(10, of_cgroup("/other", 400, 1))]);
    assert_eq!(app.open_incidents().len(), 2);
    for (typed, id) in [("other", "pids.max-/other"), ("calico", "kernel.pid_max-1")] {
        app.order.filter = typed.to_owned();
        let open: Vec<_> = app
            .open_incidents()
            .into_iter()
            .map(|open| &*open.id)
            .collect();
        assert_eq!(open, [id], "{typed}");
    }
    app.order.filter = "nobody".to_owned();
    assert_eq!(app.entries().count(), 0);
}

/// A growth that goes on changes no state: the numbers of now come with each rate.
#[test]
fn growth_and_forecast_are_of_this_moment() {
    let mut app = empty();
    let leaks = state(leaky(), State::Leaking, 100);
    app.take([line(1, Event::State(Box::new(leaks.clone())))]);
    let mut now = StateNow::from(&leaks);
    now.growth_per_s = Some(5.0);
    let rate = RateEvent {
        verdict: Some(Box::new(now)),
        ..rate(leaky(), 100)
    };
    app.take(window(2, vec![rate]));
    assert_eq!(app.rows[0].growth, Some(5.0));
    // 0.1.0 wrote none: what its lines of state said stays.
    app.take(window(3, vec![self::rate(leaky(), 100)]));
    assert_eq!(app.rows[0].growth, Some(5.0));
}

#[test]
fn what_happened_is_the_newest_first() {
    let mut app = at_2209();
    app.take([
        changed(10, owner(31, "/a"), Change::Added),
        refused(10, calico(), "runc:[2:INIT]"),
        refused(11, calico(), "sh"),
        refused(11, calico(), "runc:[2:INIT]"),
    ]);
    app.shows_cgroups = true;
    let times: Vec<_> = app
        .entries()
        .filter_map(|entry| match entry {
            super::commands::ListEntry::Event(event) => Some(event.time),
            super::commands::ListEntry::Incident(_) => None,
        })
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}
