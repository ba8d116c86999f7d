//! Owners that do not leak, of every kind that grows now and then.
//!
//! Sizes: what an owner adds to itself at once or over a day is at most 1,000 tasks and at most
//! 30 % of its own `pids.max`. A pool that needs more of a limit looks like a leak until it stops,
//! to any rule that only sees tasks.

use super::case::{Case, Node};
use super::owner::Owner;
use super::part::{Batch, Fill, Jobs, Load, Moves, Part, Pool, ReapedLate, Walk, Workers};
use super::random::Random;

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// A kind of benign owner.
pub struct Kind {
    pub name: &'static str,
    /// Owners and seconds of a case, and cases.
    owners: usize,
    duration: u64,
    pub cases: u64,
    make: fn(&mut Random) -> Owner,
}

const fn kind(
    name: &'static str,
    owners: usize,
    duration: u64,
    cases: u64,
    make: fn(&mut Random) -> Owner,
) -> Kind {
    Kind {
        name,
        owners,
        duration,
        cases,
        make,
    }
}

/// All kinds.
pub const KINDS: [Kind; 20] = [
    kind("start-up burst", 8, 6 * HOUR, 6, startup),
    kind("pool that fills", 8, 8 * HOUR, 12, pool),
    kind("autoscaling pool", 6, DAY, 6, autoscaling),
    kind("build", 6, 12 * HOUR, 6, build),
    kind("fork per request", 4, 12 * HOUR, 6, requests),
    kind("cron", 6, 2 * DAY, 3, cron),
    kind("CI job", 30, 12 * HOUR, 3, ci),
    kind("JVM warm-up", 8, 6 * HOUR, 9, jvm),
    kind("Go warm-up", 8, 6 * HOUR, 3, go),
    kind("daily cycle", 6, 4 * DAY, 9, daily),
    kind("deployment", 12, DAY, 6, deployment),
    kind("log rotation", 4, 2 * DAY, 3, log_rotation),
    kind("database connections", 4, DAY, 6, database),
    kind("random walk", 5, 3 * DAY, 6, walk),
    kind("nightly batch", 5, 3 * DAY, 6, nightly),
    kind("restart in place", 5, DAY, 6, restarts),
    kind("moved by a runtime", 4, 6 * HOUR, 3, moves),
    kind("storm", 3, 6 * HOUR, 6, storm),
    kind("idle", 10, 3 * DAY, 3, idle),
    kind("batch that reaps at its end", 6, 12 * HOUR, 6, reaped_late),
];

/// One case of a kind.
pub fn case(kind: &Kind, number: u64, random: &mut Random) -> Case {
    Case {
        class: kind.name,
        number,
        is_unseen: number % 3 == 2,
        node: Node::any(random),
        owners: (0..kind.owners).map(|_| (kind.make)(random)).collect(),
        warm_up: 600,
        duration: kind.duration,
    }
}

/// A benign owner of any kind but those that last days, to be noise beside a leak.
pub fn noise(random: &mut Random) -> Owner {
    let kinds = [
        startup,
        pool,
        autoscaling,
        build,
        requests,
        cron,
        ci,
        jvm,
        database,
        restarts,
        storm,
        moves,
    ];
    random.pick(&kinds)(random)
}

/// `pids.max` of the pod, often none.
pub fn pids_max(random: &mut Random) -> Option<u64> {
    random.pick(&[
        None,
        None,
        None,
        Some(1000),
        Some(2048),
        Some(4096),
        Some(8192),
        Some(16_384),
    ])
}

/// The most that an owner below this limit adds to itself.
fn most(pids_max: Option<u64>) -> f64 {
    pids_max.map_or(1000.0, |max| (0.3 * max as f64).min(1000.0))
}

fn boxed(part: impl Part + 'static) -> Box<dyn Part> {
    Box::new(part)
}

fn fill(random: &mut Random, size: f64) -> Fill {
    match random.whole(0, 5) {
        0 => Fill::AtOnce,
        1 | 2 => Fill::Saturating(random.magnitude(5.0, 1800.0)),
        _ => Fill::Linear(size / random.magnitude(2.0, 3600.0)),
    }
}

/// A burst of processes, then a steady service.
fn startup(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let size = random.magnitude(5.0, 0.7 * most(limit));
    let over = random.magnitude(1.0, 30.0);
    let helpers = random.between(1.0, 20.0);
    let born = random.whole(700, 3 * HOUR);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, size, Fill::Linear(size / over)),
            Jobs::boxed(
                helpers,
                1.5,
                (1, 3),
                Load::Square {
                    period: 10 * DAY,
                    on: born + 40,
                    offset: 0,
                },
            ),
        ]
    })
    .under(limit)
    .living(born, u64::MAX)
}

/// A pool that fills at its start or upon the first load, and stays.
fn pool(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let base = random.magnitude(3.0, 0.2 * most(limit));
    let size = random.magnitude(10.0, 0.8 * most(limit));
    let fill = fill(random, size);
    let born = if random.chance(0.5) {
        random.whole(700, HOUR)
    } else {
        0
    };
    let from = random.pick(&[0, 5, 120, 1000, 5000]);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, base, Fill::AtOnce),
            Pool::boxed(from, size, fill),
            Jobs::boxed(0.05, 5.0, (1, 2), Load::Full),
        ]
    })
    .under(limit)
    .living(born, u64::MAX)
}

/// Workers that follow a load which comes and goes within minutes or hours.
fn autoscaling(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let least = random.magnitude(4.0, 50.0);
    let span = random.magnitude(20.0, 0.7 * most(limit));
    let load = if random.chance(0.5) {
        Load::Cycle {
            period: random.magnitude(600.0, 14_400.0),
            phase: random.unit(),
        }
    } else {
        let period = random.magnitude(300.0, 10_000.0) as u64;
        Load::Square {
            period,
            on: period / random.whole(2, 5),
            offset: random.whole(0, period),
        }
    };
    let noise = span * random.between(0.01, 0.08);
    let (up, down) = (random.magnitude(1.0, 50.0), random.magnitude(0.5, 50.0));
    let idle = random.pick(&[10, 60, 300]);
    Owner::new(random, move |_| {
        let mut workers = Workers::new(least, least + span, load, noise);
        (workers.up_per_s, workers.down_per_s, workers.idle_s) = (up, down, idle);
        vec![boxed(workers)]
    })
    .under(limit)
}

/// `make -j`, cargo: some minutes of many short processes, now and then.
fn build(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let width = random.magnitude(2.0, 100.0);
    let life = random.magnitude(0.3, 8.0);
    let period = random.magnitude(1200.0, 20_000.0) as u64;
    let on = period / random.whole(2, 8);
    let offset = random.whole(0, period);
    let load = Load::Square { period, on, offset };
    let linker = random.magnitude(2.0, 40.0);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 2.0, Fill::AtOnce),
            Jobs::boxed(width / life / 2.0, life, (1, 3), load),
            Batch::boxed(period, period - offset + on / 2, linker, 20, on / 3),
        ]
    })
    .under(limit)
}

/// A process a request.
fn requests(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let per_s = random.magnitude(1.0, 300.0);
    let life = random.magnitude(0.02, 2.0).min(0.2 * most(limit) / per_s);
    let period = random.magnitude(1800.0, 40_000.0);
    let phase = random.unit();
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 5.0, Fill::AtOnce),
            Jobs::boxed(per_s, life, (1, 1), Load::Cycle { period, phase }),
        ]
    })
    .under(limit)
}

/// Minutely, hourly and daily jobs.
fn cron(random: &mut Random) -> Owner {
    let often = random.pick(&[60, 300, 900]);
    let (small, large) = (random.magnitude(1.0, 20.0), random.magnitude(5.0, 200.0));
    let (ramp, lasts) = (random.whole(1, 120), random.whole(120, 1500));
    let offset = random.whole(0, HOUR);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 1.0, Fill::AtOnce),
            Batch::boxed(often, 0, small, 3, often / 3),
            Batch::boxed(HOUR, offset, large, ramp, lasts),
            Jobs::boxed(0.02, 20.0, (1, 4), Load::Full),
        ]
    })
}

/// A cgroup of its own for some minutes: check-out, build, tests, gone.
fn ci(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let born = random.whole(700, 11 * HOUR);
    let lasts = random.magnitude(120.0, 2700.0) as u64;
    let width = random.magnitude(2.0, 40.0);
    let tests = random.magnitude(5.0, 0.6 * most(limit));
    let over = random.magnitude(1.0, lasts as f64 / 2.0);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 4.0, Fill::AtOnce),
            Jobs::boxed(width / 2.0, 2.0, (1, 3), Load::Full),
            Pool::boxed(lasts / 3, tests, Fill::Linear(tests / over)),
        ]
    })
    .under(limit)
    .living(born, born + lasts)
}

/// The JVM's own threads at once, its compiler's by and by, then the application's pools.
fn jvm(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let most = most(limit);
    let own = random.between(15.0, 40.0);
    let (web, other) = (
        random.magnitude(10.0, 0.3 * most),
        random.magnitude(5.0, 0.4 * most),
    );
    let (slow, late) = (random.magnitude(10.0, 600.0), random.whole(5, 90));
    let per_s = random.magnitude(0.5, 100.0);
    let born = random.whole(700, HOUR);
    let restart = random
        .chance(0.3)
        .then(|| born + random.whole(HOUR, 4 * HOUR));
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, own, Fill::Saturating(2.0)),
            Pool::boxed(3, 12.0, Fill::Saturating(60.0)),
            Pool::boxed(late, other, Fill::Linear(per_s)),
            Pool::boxed(late + 20, web, Fill::Saturating(slow)),
            Jobs::boxed(0.2, 30.0, (1, 1), Load::Full),
        ]
    })
    .under(limit)
    .living(born, u64::MAX)
    .restarted(restart.into_iter().collect())
}

/// A Go program's threads: few, and slowly more where system calls block.
fn go(random: &mut Random) -> Owner {
    let first = random.between(5.0, 16.0);
    let blocked = random.magnitude(4.0, 250.0);
    let constant = random.magnitude(30.0, 5000.0);
    let born = random.whole(700, HOUR);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, first, Fill::Saturating(2.0)),
            Pool::boxed(10, blocked, Fill::Saturating(constant)),
        ]
    })
    .living(born, u64::MAX)
}

/// Follows the day, on all days alike.
fn daily(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let span = random.magnitude(30.0, most(limit));
    let base = random.magnitude(10.0, 100.0);
    let load = if random.chance(0.5) {
        Load::Cycle {
            period: DAY as f64,
            phase: random.unit(),
        }
    } else {
        let from = random.between(0.0, 40_000.0);
        Load::Day {
            from,
            to: from + random.between(20_000.0, 40_000.0),
            ramp: random.magnitude(600.0, 14_000.0),
        }
    };
    let noise = span * random.between(0.005, 0.05);
    Owner::new(random, move |_| {
        let mut workers = Workers::new(base, base + span, load, noise);
        workers.idle_s = 120;
        vec![boxed(workers), Jobs::boxed(0.1, 10.0, (1, 2), Load::Full)]
    })
    .under(limit)
}

/// One of a row of releases: comes when the last one goes, with all its pools.
fn deployment(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let born = random.whole(700, 20 * HOUR);
    let lasts = random.magnitude(1800.0, 30_000.0) as u64;
    let size = random.magnitude(10.0, 0.6 * most(limit));
    let fill = fill(random, size);
    let span = random.magnitude(5.0, 0.4 * most(limit));
    Owner::new(random, move |_| {
        let load = Load::Cycle {
            period: 20_000.0,
            phase: 0.25,
        };
        vec![
            Pool::boxed(2, size, fill),
            boxed(Workers::new(1.0, 1.0 + span, load, 0.02 * span)),
        ]
    })
    .under(limit)
    .living(born, born + lasts)
}

/// A daemon whose logs are rotated.
fn log_rotation(random: &mut Random) -> Owner {
    let every = random.pick(&[HOUR, DAY]);
    let offset = random.whole(0, every);
    let tasks = random.magnitude(2.0, 60.0);
    let threads = random.magnitude(2.0, 100.0);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, threads, Fill::AtOnce),
            Batch::boxed(every, offset, tasks, 4, 20),
        ]
    })
}

/// A process a connection; clients come, stay for minutes and go, and come back all at once.
fn database(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let level = random.magnitude(20.0, 0.5 * most(limit));
    let life = random.magnitude(10.0, 1800.0);
    let pooled = random.magnitude(5.0, 0.3 * most(limit));
    let (period, phase) = (random.magnitude(3000.0, 86_400.0), random.unit());
    let restart = random.whole(2 * HOUR, 20 * HOUR);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 8.0, Fill::AtOnce),
            Pool::boxed(10, pooled, Fill::Saturating(20.0)),
            Jobs::boxed(level / life, life, (1, 1), Load::Cycle { period, phase }),
        ]
    })
    .under(limit)
    .restarted(vec![restart])
}

/// A level that wanders without reason.
fn walk(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let least = random.magnitude(5.0, 50.0);
    let span = random.magnitude(30.0, 0.9 * most(limit));
    let per_hour = span * random.between(0.03, 0.25);
    Owner::new(random, move |_| {
        vec![
            Walk::boxed(least, least + span, per_hour),
            Jobs::boxed(0.1, 30.0, (1, 3), Load::Full),
        ]
    })
    .under(limit)
}

/// A service with a job that takes many workers at night, for hours.
fn nightly(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let base = random.magnitude(5.0, 100.0);
    let tasks = random.magnitude(50.0, 0.9 * most(limit));
    let offset = random.whole(1000, DAY);
    let lasts = random.whole(HOUR, 4 * HOUR);
    let ramp = random.magnitude(10.0, 3600.0) as u64;
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, base, Fill::AtOnce),
            Batch::boxed(DAY, offset, tasks, ramp, lasts),
            Jobs::boxed(0.1, 30.0, (1, 3), Load::Full),
        ]
    })
    .under(limit)
}

/// A service that is restarted in its cgroup, now and then, and fills its pools again.
fn restarts(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let size = random.magnitude(10.0, 0.7 * most(limit));
    let fill = fill(random, size);
    let every = random.magnitude(600.0, 20_000.0) as u64;
    let at = (1..DAY / every)
        .map(|i| i * every + random.whole(0, every / 2))
        .collect();
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 3.0, Fill::AtOnce),
            Pool::boxed(2, size, fill),
            Jobs::boxed(0.5, 3.0, (1, 2), Load::Full),
        ]
    })
    .under(limit)
    .restarted(at)
}

/// A container runtime: forks in its own cgroup, and moves what it forked.
fn moves(random: &mut Random) -> Owner {
    let per_s = random.magnitude(0.05, 20.0);
    let tasks = random.whole(1, 5);
    let shims = random.magnitude(10.0, 200.0);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, shims, Fill::Linear(0.1)),
            boxed(Moves { per_s, tasks }),
        ]
    })
}

/// Hundreds or thousands of creations a second, all of which end.
fn storm(random: &mut Random) -> Owner {
    let per_s = random.magnitude(100.0, 3000.0);
    let life = random.magnitude(0.01, 0.4).min(300.0 / per_s);
    let period = random.magnitude(300.0, 20_000.0) as u64;
    let on = period / random.whole(1, 4);
    let offset = random.whole(0, period);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 4.0, Fill::AtOnce),
            Jobs::boxed(per_s, life, (1, 1), Load::Square { period, on, offset }),
        ]
    })
}

/// A script that starts its jobs, waits for all of them at its end, and begins anew after a while.
fn reaped_late(random: &mut Random) -> Owner {
    let limit = pids_max(random);
    let lasts = random.magnitude(30.0, 270.0);
    let per_s = random.between(0.2, 0.8) * most(limit) / lasts;
    let every = lasts as u64 + random.whole(10, 2 * HOUR);
    let from = random.whole(700, HOUR);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 3.0, Fill::AtOnce),
            ReapedLate::boxed(from, per_s, lasts as u64, every),
        ]
    })
    .under(limit)
}

/// Next to nothing.
fn idle(random: &mut Random) -> Owner {
    let size = random.magnitude(1.0, 200.0);
    let per_s = random.magnitude(1e-4, 1e-2);
    Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, size, Fill::AtOnce),
            Jobs::boxed(per_s, 2.0, (1, 2), Load::Full),
        ]
    })
}
