use super::*;
use crate::limits::LimitOwner;

const ID: CgroupId = CgroupId(7);

/// One node limit, used by everything that was told of.
struct Room {
    value: u64,
    usage: u64,
}

impl Limits for Room {
    fn chain(&self, _: CgroupId) -> Vec<Limit> {
        vec![Limit {
            name: "kernel.pid_max",
            value: self.value,
            usage: self.usage,
            owner: LimitOwner::Node,
        }]
    }
}

/// Feeds a series, a reading a second, and tells each change with its second.
fn states(value: u64, tasks: impl IntoIterator<Item = u64>) -> Vec<(u64, State)> {
    let mut detector = Detector::default();
    let mut changes = Vec::new();
    for (second, tasks) in tasks.into_iter().enumerate() {
        let second = second as u64;
        let time = BootTime::from_seconds(1000 + second);
        let sample = Sample {
            tasks,
            created: tasks,
            ended: 0,
            zombies: 0,
        };
        detector.observe(ID, time, sample);
        for change in detector.look(
            time,
            &Room {
                value,
                usage: tasks + 300,
            },
        ) {
            changes.push((second, change.verdict.state));
        }
    }
    changes
}

#[test]
fn a_hundred_a_second_is_growing_in_ten_seconds_and_leaking_in_thirty() {
    let changes = states(49_152, (0..60).map(|s| 40 + 100 * s));
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(matches!(changes[0], (..=10, State::Growing)), "{changes:?}");
    assert!(matches!(changes[1], (..=30, State::Leaking)), "{changes:?}");
}

#[test]
fn one_a_second_is_growing_in_a_minute_and_leaking_before_three_percent_are_gone() {
    let changes = states(49_152, (0..1500).map(|s| 40 + s));
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(matches!(changes[0], (..=60, State::Growing)), "{changes:?}");
    assert!(
        matches!(changes[1], (..=1464, State::Leaking)),
        "{changes:?}"
    );
}

#[test]
fn one_a_minute_is_growing_in_an_hour_and_leaking_in_a_day() {
    let changes = states(49_152, (0..90_000).map(|s| 40 + s / 60));
    assert!(
        matches!(changes[0], (..=3600, State::Growing)),
        "{changes:?}"
    );
    assert!(
        matches!(changes.last(), Some((..=87_900, State::Leaking))),
        "{changes:?}"
    );
    assert_eq!(changes.len(), 2, "{changes:?}");
}

#[test]
fn a_pool_that_fills_and_stays_is_never_a_leak() {
    for (size, per_s) in [(200, 1), (400, 50), (800, 10)] {
        let pool = (0..3000u64).map(|s| (40 + per_s * s).min(size));
        let changes = states(49_152, pool);
        assert!(
            changes.iter().all(|(_, state)| *state != State::Leaking),
            "{changes:?}"
        );
        assert_eq!(
            changes.last().map_or(State::Ok, |(_, state)| *state),
            State::Ok,
            "{changes:?}"
        );
    }
}

#[test]
fn a_leak_that_stopped_is_over_after_a_while_and_one_given_back_at_once() {
    let stopped = (0..400u64).map(|s| 40 + 100 * s.min(50));
    let changes = states(49_152, stopped);
    assert!(
        matches!(changes.last(), Some((100..=170, State::Ok))),
        "{changes:?}"
    );
    let given_back = (0..100u64).map(|s| if s < 50 { 40 + 100 * s } else { 40 });
    let changes = states(49_152, given_back);
    assert_eq!(changes.last(), Some(&(50, State::Ok)), "{changes:?}");
}

#[test]
fn a_leak_at_a_full_limit_is_not_over_because_it_cannot_grow() {
    let changes = states(3000, (0..600u64).map(|s| (40 + 50 * s).min(2699)));
    assert_eq!(changes.last().unwrap().1, State::Leaking, "{changes:?}");
}

#[test]
fn many_creations_with_as_many_ends_are_a_storm() {
    let mut detector = Detector::default();
    let mut last = State::Ok;
    for second in 0..40 {
        let time = BootTime::from_seconds(second);
        let sample = Sample {
            tasks: 20 + second % 7,
            created: 400 * second,
            ended: 400 * second,
            zombies: 0,
        };
        detector.observe(ID, time, sample);
        for change in detector.look(
            time,
            &Room {
                value: 49_152,
                usage: 300,
            },
        ) {
            last = change.verdict.state;
        }
    }
    assert_eq!(last, State::Storm);
    let verdict = detector.verdict(ID).unwrap();
    assert!(verdict.why.contains("400 creations/s"), "{}", verdict.why);
    assert!(detector.growers().is_empty());
}

#[test]
fn the_verdict_says_what_it_stands_on() {
    let mut detector = Detector::default();
    for second in 0..=40 {
        let time = BootTime::from_seconds(second);
        let sample = Sample {
            tasks: 40 + 41 * second,
            created: 42 * second,
            ended: second,
            zombies: 0,
        };
        detector.observe(ID, time, sample);
        detector.look(
            time,
            &Room {
                value: 49_152,
                usage: 300 + 41 * second,
            },
        );
    }
    let verdict = detector.verdict(ID).unwrap();
    assert_eq!(verdict.state, State::Leaking);
    assert_eq!(verdict.growth_per_s, Some(41.0));
    let exhaustion = verdict.exhaustion.unwrap();
    let true_s = (49_152.0 - 300.0 - 41.0 * 40.0) / 41.0;
    assert!(
        (exhaustion.in_s / true_s - 1.0).abs() < 0.01,
        "{exhaustion:?}"
    );
    assert!(
        verdict.why.starts_with("+41 tasks/s for 3"),
        "{}",
        verdict.why
    );
    assert!(
        verdict.why.ends_with("kernel.pid_max in 19 min"),
        "{}",
        verdict.why
    );
}

#[test]
fn an_owner_that_vanishes_in_the_midst_of_a_leak_is_gone() {
    let mut detector = Detector::default();
    for second in 0..40 {
        let time = BootTime::from_seconds(second);
        let sample = Sample {
            tasks: 100 * second,
            created: 100 * second,
            ended: 0,
            zombies: 0,
        };
        detector.observe(ID, time, sample);
        detector.look(
            time,
            &Room {
                value: 49_152,
                usage: 0,
            },
        );
    }
    let change = detector.gone(ID, BootTime::from_seconds(41)).unwrap();
    assert_eq!(
        (change.from, change.verdict.state),
        (State::Leaking, State::Gone)
    );
    assert!(detector.is_empty() && detector.growers().is_empty());
    assert_eq!(detector.gone(ID, BootTime::from_seconds(42)), None);
}

/// Feeds a series of one owner, a reading whenever it changes, and tells each change.
fn sparse(value: u64, tasks: impl IntoIterator<Item = u64>) -> Vec<(u64, State)> {
    let mut detector = Detector::default();
    let mut changes = Vec::new();
    let mut last = None;
    for (second, tasks) in tasks.into_iter().enumerate() {
        let second = second as u64;
        let time = BootTime::from_seconds(1000 + second);
        if last != Some(tasks) {
            last = Some(tasks);
            let sample = Sample {
                tasks,
                created: tasks,
                ended: 0,
                zombies: 0,
            };
            detector.observe(ID, time, sample);
        }
        let room = Room {
            value,
            usage: tasks + 300,
        };
        for change in detector.look(time, &room) {
            changes.push((second, change.verdict.state));
        }
    }
    changes
}

#[test]
fn who_grows_a_little_while_another_fills_the_node_is_not_accused() {
    let mut detector = Detector::default();
    let (leaker, other) = (CgroupId(1), CgroupId(2));
    for second in 0..=470u64 {
        let time = BootTime::from_seconds(second);
        let tasks = |owner| {
            if owner == leaker {
                100 * second
            } else {
                30 + second
            }
        };
        for owner in [leaker, other] {
            let sample = Sample {
                tasks: tasks(owner),
                created: tasks(owner),
                ended: 0,
                zombies: 0,
            };
            detector.observe(owner, time, sample);
        }
        let room = Room {
            value: 49_152,
            usage: 1600 + tasks(leaker) + tasks(other),
        };
        for change in detector.look(time, &room) {
            let is_leaking = change.verdict.state == State::Leaking;
            assert!(
                change.owner == leaker || !is_leaking,
                "{second}: {change:?}"
            );
        }
    }
    assert_eq!(detector.verdict(leaker).unwrap().state, State::Leaking);
}

#[test]
fn a_job_of_every_night_is_known_from_the_night_before() {
    let night = |s: u64| {
        if s % 86_400 < 3000 {
            (s % 86_400).min(600)
        } else {
            0
        }
    };
    let changes = sparse(8192, (0..2 * 86_400).map(|s| 40 + night(s + 80_000)));
    assert!(
        changes.iter().all(|(second, _)| *second < 20_000),
        "{changes:?}"
    );
    assert!(
        changes.iter().all(|(_, state)| *state != State::Leaking),
        "{changes:?}"
    );
}

#[test]
fn what_leaks_again_after_a_restart_is_found_as_soon_as_before() {
    let changes = states(49_152, (0..2800u64).map(|s| 40 + 9 * (s % 700)));
    let flags: Vec<u64> = changes
        .iter()
        .filter(|(_, state)| *state == State::Leaking)
        .map(|(second, _)| second % 700)
        .collect();
    assert_eq!(flags.len(), 4, "{changes:?}");
    assert!(
        flags.iter().all(|second| *second <= flags[0] + 40),
        "{changes:?}"
    );
}

#[test]
fn a_slow_leak_under_a_large_limit_is_found_within_a_day_and_a_half() {
    let changes = sparse(250_000, (0..130_000).map(|s| 40 + s / 60));
    assert_eq!(changes.last().unwrap().1, State::Leaking, "{changes:?}");
}

#[test]
fn who_is_refused_at_a_limit_that_another_one_fills_is_not_saturated() {
    struct FullPod;
    impl Limits for FullPod {
        fn chain(&self, _: CgroupId) -> Vec<Limit> {
            vec![Limit {
                name: "pids.max",
                value: 800,
                usage: 800,
                owner: LimitOwner::Cgroup(CgroupId(1)),
            }]
        }
    }
    let state = |tasks| {
        let mut detector = Detector::default();
        for second in 0..3 {
            let time = BootTime::from_seconds(second);
            let sample = Sample {
                tasks,
                created: 0,
                ended: 0,
                zombies: 0,
            };
            detector.observe(ID, time, sample);
            detector.refused(ID, time);
            detector.look(time, &FullPod);
        }
        detector.verdict(ID).map(|verdict| verdict.state)
    };
    assert_eq!(state(798), Some(State::Saturated));
    assert_eq!(state(2), None);
}

#[test]
fn zombies_that_come_to_stay_are_named_as_such() {
    let mut detector = Detector::default();
    for second in 0..=30 {
        let time = BootTime::from_seconds(second);
        let sample = Sample {
            tasks: 10 + 15 * second,
            created: 15 * second,
            ended: 15 * second,
            zombies: 15 * second,
        };
        let room = Room {
            value: 49_152,
            usage: 300,
        };
        detector.observe(ID, time, sample);
        detector.look(time, &room);
    }
    let why = &detector.verdict(ID).unwrap().why;
    assert!(why.contains("; 450 of its tasks are zombies"), "{why}");
}

#[test]
fn a_leak_on_a_node_with_few_pids_is_found_before_they_are_used_up() {
    let changes = states(1200, (0..60).map(|s| (5 + 15 * s).min(900)));
    let flagged = changes
        .iter()
        .find(|(_, state)| *state == State::Leaking)
        .unwrap();
    assert!(flagged.0 < 50, "{changes:?}");
}

/// A container with a `pid_max` of its own, which is read a while after the growth is seen.
#[test]
fn a_limit_that_is_known_later_is_flagged_before_it_is_full() {
    struct Inside(bool, u64);
    impl Limits for Inside {
        fn chain(&self, _: CgroupId) -> Vec<Limit> {
            let limit = |value, owner| Limit {
                name: "kernel.pid_max",
                value,
                usage: self.1,
                owner,
            };
            let own = limit(900, LimitOwner::PidNamespace(3));
            let own = self.0.then_some(own);
            own.into_iter()
                .chain([limit(32_768, LimitOwner::Node)])
                .collect()
        }
    }
    let mut detector = Detector::default();
    let mut changes = Vec::new();
    for second in 0..60 {
        let time = BootTime::from_seconds(1000 + second);
        let tasks = (10 + 30 * second).min(900);
        let sample = Sample {
            tasks,
            created: tasks,
            ended: 0,
            zombies: 0,
        };
        detector.observe(ID, time, sample);
        let is_known = detector.verdict(ID).is_some();
        for change in detector.look(time, &Inside(is_known, tasks)) {
            changes.push((tasks, change.verdict));
        }
    }
    let leak = changes
        .iter()
        .find(|(_, verdict)| verdict.state == State::Leaking);
    let (tasks, verdict) = leak.expect("flagged");
    assert!(*tasks < 800, "{tasks}");
    let limit = verdict.exhaustion.expect("a forecast").limit;
    assert_eq!(limit.owner, LimitOwner::PidNamespace(3));
    assert!(
        verdict
            .why
            .contains("kernel.pid_max of its PID namespace in")
    );
    let (_, last) = changes.last().expect("changes");
    assert_eq!(last.state, State::Saturated);
}
