//! Whole leaks and look-alikes, task by task: what the detector calls them, with evidence and without.

use std::time::Duration;

use super::super::*;
use crate::{
    detect::evidence::{EvidenceKind, Task, TaskTally, Wait, Zombie},
    limits::LimitOwner,
};

const ID: CgroupId = CgroupId(7);
const BEGIN: u64 = 1000;
/// Tasks that were there before.
const BASE: u64 = 20;
/// Seconds between two passes.
const PACE: u64 = 5;

struct Below(Limit);

impl Limits for Below {
    fn chain(&self, _: CgroupId) -> Vec<Limit> {
        vec![self.0]
    }
}

/// What becomes of a task of which the last second is known.
#[derive(Clone, Copy)]
struct Load {
    per_s: f64,
    /// Seconds that tasks keep coming for.
    grows_for: u64,
    pids_max: u64,
    name: fn(u64) -> String,
    /// Seconds since a task of this age last ran.
    idle: fn(u64) -> u64,
    wait: Wait,
    /// They end at once.
    are_zombies: bool,
    /// And are reaped, all at once, so many seconds after the first.
    reaped_after: u64,
    /// What passes miss.
    hidden: f64,
}

const LEAK: Load = Load {
    per_s: 1.0,
    grows_for: u64::MAX,
    pids_max: 1000,
    name: |_| "leaky".into(),
    idle: |age| age,
    wait: Wait::Other,
    are_zombies: false,
    reaped_after: u64::MAX,
    hidden: 0.0,
};

/// What came of a load.
struct Outcome {
    growing: Option<u64>,
    leaking: Option<u64>,
    tasks: u64,
    kinds: Vec<EvidenceKind>,
    lapses: usize,
    /// Of the events that only report one.
    doubts: Vec<EvidenceKind>,
    why: String,
}

impl Outcome {
    fn used(&self, load: Load) -> f64 {
        (self.tasks - BASE) as f64 / (load.pids_max - BASE) as f64
    }
}

/// Plays a load until it is called a leak, or for so long.
fn play(load: Load, has_evidence: bool, seconds: u64) -> Outcome {
    let mut detector = Detector::default();
    let mut outcome = Outcome {
        growing: None,
        leaking: None,
        tasks: BASE,
        kinds: Vec::new(),
        lapses: 0,
        doubts: Vec::new(),
        why: String::new(),
    };
    let mut births: Vec<u64> = Vec::new();
    let mut created = BASE;
    for second in 0..120 + seconds {
        let time = BootTime::from_seconds(BEGIN + second);
        let since = second.saturating_sub(120);
        if since >= load.reaped_after && since % load.reaped_after == 0 {
            births.clear();
        }
        let due = (load.per_s * since.min(load.grows_for) as f64) as u64;
        while second >= 120 && created < BASE + due {
            created += 1;
            if BASE + (births.len() as u64) < load.pids_max {
                births.push(second);
            }
        }
        let tasks = BASE + births.len() as u64;
        let ended = if load.are_zombies {
            created - BASE
        } else {
            created - tasks
        };
        let sample = Sample {
            tasks,
            created,
            ended,
            zombies: if load.are_zombies { tasks - BASE } else { 0 },
        };
        detector.observe(ID, time, sample);
        let limit = Limit {
            name: "pids.max",
            value: load.pids_max,
            usage: tasks,
            owner: LimitOwner::Cgroup(CgroupId(1)),
        };
        for change in detector.look(time, &Below(limit)) {
            let verdict = change.verdict;
            if change.from == verdict.state {
                let kinds = verdict.evidence.iter().map(|it| it.kind);
                outcome
                    .doubts
                    .extend(kinds.filter(|kind| *kind != EvidenceKind::Growth));
            }
            match verdict.state {
                State::Growing => {
                    outcome.growing.get_or_insert(since);
                }
                State::Ok => outcome.lapses += 1,
                _ => {}
            }
            if matches!(verdict.state, State::Leaking | State::Saturated) {
                outcome.leaking = Some(since);
                outcome.tasks = tasks;
            }
        }
        if let Some(verdict) = detector.verdict(ID) {
            outcome.kinds = verdict.evidence.iter().map(|it| it.kind).collect();
            outcome.why.clone_from(&verdict.why);
        }
        if outcome.leaking.is_some() {
            return outcome;
        }
        if has_evidence && second % PACE == 0 {
            examine(&mut detector, time, second, &births, load);
        }
    }
    outcome
}

fn examine(detector: &mut Detector, time: BootTime, second: u64, births: &[u64], load: Load) {
    for examinee in detector.to_examine(time) {
        let mut tally = TaskTally::new(examinee.scope, detector.evidence_settings());
        for number in 0..BASE {
            tally.add(&task(load, number, second, 0, false));
        }
        let shown = births.len() - (load.hidden * births.len() as f64) as usize;
        for (number, &born) in births.iter().enumerate().take(shown) {
            tally.add(&task(load, number as u64, second, born, load.are_zombies));
        }
        detector.examined(examinee.owner, time, &tally.finish());
    }
}

fn task(load: Load, number: u64, second: u64, born: u64, is_zombie: bool) -> Task {
    let age = second - born;
    let mut comm = [0; 16];
    let name = (load.name)(number);
    let name = &name.as_bytes()[..name.len().min(15)];
    comm[..name.len()].copy_from_slice(name);
    Task {
        process: 7,
        is_process: is_zombie,
        parent: 1,
        comm,
        age: Duration::from_secs(age),
        idle: Some(Duration::from_secs((load.idle)(age))),
        wait: load.wait,
        zombie: is_zombie.then_some(Zombie {
            ended: Some(Duration::from_secs(age)),
        }),
    }
}

#[test]
fn stale_threads_are_a_leak_within_four_minutes() {
    for (per_s, pids_max) in [(0.5, 1000), (1.0, 1000), (1.0, 2000), (2.0, 2000)] {
        let load = Load {
            per_s,
            pids_max,
            ..LEAK
        };
        let with = play(load, true, 2000);
        assert_eq!(with.kinds, [EvidenceKind::Growth, EvidenceKind::Stale]);
        assert!(
            with.leaking.is_some_and(|after| after <= 240),
            "{:?}",
            with.leaking
        );
        assert!(with.used(load) < 0.2, "{}", with.used(load));
        let without = play(load, false, 2000);
        assert!(without.leaking > Some(450), "{:?}", without.leaking);
    }
}

#[test]
fn different_pools_are_a_leak_within_two_minutes() {
    let load = Load {
        per_s: 1.4,
        pids_max: 1500,
        name: |number| format!("pool-{}-thread-{}", 2 + number / 3, 1 + number % 3),
        ..LEAK
    };
    let outcome = play(load, true, 2000);
    assert_eq!(outcome.kinds, [EvidenceKind::Growth, EvidenceKind::Names]);
    assert!(
        outcome.leaking.is_some_and(|after| after <= 120),
        "{:?}",
        outcome.leaking
    );
}

#[test]
fn zombies_that_accumulate_are_a_leak_and_a_batch_is_none() {
    let zombies = Load {
        are_zombies: true,
        ..LEAK
    };
    let slow = Load {
        per_s: 0.5,
        pids_max: 2000,
        ..zombies
    };
    let outcome = play(slow, true, 2000);
    assert!(
        outcome.leaking.is_some_and(|after| after <= 310),
        "{:?}",
        outcome.leaking
    );
    let fast = Load {
        per_s: 2.2,
        pids_max: 1500,
        ..zombies
    };
    let outcome = play(fast, true, 2000);
    assert!(outcome.used(fast) <= 0.31, "{}", outcome.used(fast));
    // Two a second, waited for every four minutes.
    let batch = Load {
        per_s: 2.0,
        pids_max: 2000,
        reaped_after: 240,
        ..zombies
    };
    assert_eq!(play(batch, true, 3000).leaking, None);
}

#[test]
fn a_pool_at_work_that_takes_more_than_half_of_its_limit_is_not_accused() {
    let pool = Load {
        grows_for: 600,
        idle: |age| age % 4,
        ..LEAK
    };
    let outcome = play(pool, true, 3000);
    assert_eq!(outcome.leaking, None);
    assert!(
        play(pool, false, 3000).leaking.is_some(),
        "the curve alone does not tell"
    );
}

#[test]
fn quiet_clients_and_a_pool_that_fills_are_not_accused_early() {
    let connections = Load {
        per_s: 1.1,
        grows_for: 360,
        wait: Wait::Connection,
        ..LEAK
    };
    assert_eq!(play(connections, true, 3000).leaking, None);
    let pool = Load {
        grows_for: 400,
        name: |number| format!("pool-1-thread-{}", 1 + number),
        ..LEAK
    };
    let outcome = play(pool, true, 3000);
    assert_eq!(outcome.leaking, None);
    let growing = play(pool, true, 350);
    assert!(growing.why.contains("in doubt: "), "{}", growing.why);
    assert_eq!(
        growing.doubts,
        [EvidenceKind::Pool],
        "each is reported once"
    );
}

#[test]
fn a_leak_with_a_heartbeat_is_found_before_its_limit_is_full() {
    let heartbeat = Load {
        idle: |age| age % 5,
        ..LEAK
    };
    let outcome = play(heartbeat, true, 3000);
    assert!(outcome.leaking.is_some());
    assert!(outcome.used(heartbeat) < 0.8, "{}", outcome.used(heartbeat));
}

#[test]
fn a_leak_in_disguise_is_found_as_soon_as_without_evidence() {
    let disguised = Load {
        name: |number| format!("http-nio-1-exec-{number}"),
        ..LEAK
    };
    assert_eq!(
        play(disguised, true, 3000).leaking,
        play(disguised, false, 3000).leaking
    );
}

#[test]
fn a_proof_delays_no_leak() {
    for name in [LEAK.name, |number| format!("pool-{number}-thread-1")] {
        let fast = Load {
            per_s: 60.0,
            pids_max: 40_000,
            name,
            ..LEAK
        };
        let (with, without) = (play(fast, true, 300), play(fast, false, 300));
        assert!(with.leaking.is_some() && with.leaking <= without.leaking);
    }
}

#[test]
fn what_a_pass_has_not_seen_is_not_judged() {
    // Most of them were gone, or are in a cgroup that was not watched.
    let hidden = Load {
        hidden: 0.5,
        ..LEAK
    };
    assert_eq!(
        play(hidden, true, 3000).leaking,
        play(hidden, false, 3000).leaking
    );
}

#[test]
fn an_even_leak_does_not_lapse() {
    for per_s in [0.5, 0.7, 1.0, 2.0] {
        let load = Load {
            per_s,
            pids_max: 4000,
            ..LEAK
        };
        let outcome = play(load, false, 3000);
        assert_eq!(outcome.lapses, 0, "at {per_s}");
        assert!(outcome.growing.is_some() && outcome.leaking.is_some());
    }
}

/// Replicas with a heartbeat, each slow, below one pod's limit.
#[test]
fn replicas_are_a_leak_together_when_half_of_their_limit_is_gone() {
    struct Pod(u64);
    impl Limits for Pod {
        fn chain(&self, _: CgroupId) -> Vec<Limit> {
            vec![Limit {
                name: "pids.max",
                value: 1500,
                usage: self.0,
                owner: LimitOwner::Cgroup(CgroupId(1)),
            }]
        }
    }
    let mut detector = Detector::default();
    let mut flagged = Vec::new();
    for second in 0..1000 {
        let time = BootTime::from_seconds(BEGIN + second);
        let tasks = 3 + second.saturating_sub(120) * 7 / 10;
        for id in [11, 12, 13] {
            let sample = Sample {
                tasks,
                created: tasks,
                ended: 0,
                zombies: 0,
            };
            detector.observe(CgroupId(id), time, sample);
        }
        for change in detector.look(time, &Pod(3 * tasks)) {
            if change.verdict.state == State::Leaking {
                let kinds: Vec<_> = change.verdict.evidence.iter().map(|it| it.kind).collect();
                assert_eq!(kinds, [EvidenceKind::Growth, EvidenceKind::Joint]);
                flagged.push((second - 120, change.owner.0));
            }
        }
        if flagged.len() == 3 {
            break;
        }
    }
    flagged.sort_unstable();
    assert_eq!(
        flagged.iter().map(|(_, id)| *id).collect::<Vec<_>>(),
        [11, 12, 13]
    );
    assert!(flagged[2].0 <= 370, "{flagged:?}");
}
