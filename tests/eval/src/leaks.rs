//! Owners that leak, in every way that leaks are known to go.

use super::benign::{noise, pids_max};
use super::case::{Case, Node};
use super::owner::Owner;
use super::part::{Fill, Jobs, Leak, Load, Part, Pool, Rate, Workers};
use super::random::Random;
use super::tasks::Manner;

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// What a case is made of before the leak begins.
const FROM: u64 = 1200;
/// No case is longer.
const LONGEST: u64 = 40 * DAY;

/// A kind of leak.
pub struct Kind {
    pub name: &'static str,
    pub cases: u64,
    make: fn(u64, &mut Random) -> (Node, Vec<Owner>, u64),
}

const fn kind(
    name: &'static str,
    cases: u64,
    make: fn(u64, &mut Random) -> (Node, Vec<Owner>, u64),
) -> Kind {
    Kind { name, cases, make }
}

/// All kinds.
pub const KINDS: [Kind; 19] = [
    kind("steady, 10/s and more", 15, fast),
    kind("steady, 1/s to 10/s", 9, medium),
    kind("steady, 1/min to 1/s", 9, slow),
    kind("accelerating", 6, accelerating),
    kind("sawtooth", 6, sawtooth),
    kind("bursts", 6, bursts),
    kind("under heavy churn", 6, churn),
    kind("with the day's load", 6, with_load),
    kind("split over replicas", 6, replicas),
    kind("zombies", 6, zombies),
    kind("after days of calm", 6, calm),
    kind("restarted, leaks again", 6, restarted),
    kind("during start-up", 6, startup),
    kind("from before the watch", 6, before),
    kind("the incident", 6, incident),
    kind("among noisy neighbours", 9, among),
    kind("beside a pool in one owner", 9, mixed),
    kind("stops by itself", 6, stops),
    kind("replicas below one limit", 6, pod),
];

/// One case of a kind.
pub fn case(kind: &Kind, number: u64, random: &mut Random) -> Case {
    let (node, owners, duration) = (kind.make)(number, random);
    Case {
        class: kind.name,
        number,
        is_unseen: number % 3 == 2,
        node,
        owners,
        warm_up: 600,
        duration,
    }
}

/// An ordinary service: a pool and some short-lived helpers.
fn service(random: &mut Random) -> impl Fn() -> Vec<Box<dyn Part>> + use<> {
    let pool = random.magnitude(5.0, 150.0);
    let helpers = random.magnitude(0.01, 2.0);
    move || {
        vec![
            Pool::boxed(0, pool, Fill::AtOnce),
            Jobs::boxed(helpers, 3.0, (1, 2), Load::Full),
        ]
    }
}

/// A service that leaks at a rate.
fn leaker(random: &mut Random, leak: impl Fn() -> Leak + 'static) -> Owner {
    let service = service(random);
    Owner::new(random, move |_| {
        let mut parts = service();
        parts.push(Box::new(leak()));
        parts
    })
}

/// Long enough for a leak to reach any limit of its node or pod, if that is not ages.
fn until_full(node: &Node, pids_max: Option<u64>, per_s: f64) -> u64 {
    let limit = pids_max.unwrap_or(node.pid_max.min(node.threads_max));
    (FROM + (1.3 * limit as f64 / per_s) as u64 + 600).min(LONGEST)
}

fn steady(random: &mut Random, per_s: f64) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let from = FROM + random.whole(0, 100);
    let owner = leaker(random, move || Leak::new(from, Rate::Steady(per_s)))
        .under(limit)
        .leaking(from, Some(per_s));
    let duration = until_full(&node, limit, per_s);
    (node, vec![owner], duration)
}

fn fast(number: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let rates = [10.0, 20.0, 50.0, 100.0, 300.0, 1000.0, 12.0, 200.0];
    steady(random, rates[number as usize % rates.len()])
}

fn medium(number: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let rates = [1.0, 2.0, 5.0, 1.5];
    steady(random, rates[number as usize % rates.len()])
}

fn slow(number: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let rates = [1.0 / 60.0, 0.1, 0.3, 1.0 / 60.0, 0.03];
    steady(random, rates[number as usize % rates.len()])
}

fn accelerating(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let (first, doubles) = (random.magnitude(0.02, 2.0), random.magnitude(60.0, 3000.0));
    let owner = leaker(random, move || {
        Leak::new(FROM, Rate::Doubling(first, doubles))
    })
    .under(limit)
    .leaking(FROM, None);
    (node, vec![owner], 3 * DAY)
}

/// Given back in part, every now and then.
fn sawtooth(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let per_s = random.magnitude(0.2, 30.0);
    let (every, share) = (
        random.magnitude(20.0, 1800.0) as u64,
        random.between(0.2, 0.7),
    );
    let owner = leaker(random, move || Leak {
        release: Some((every, share)),
        ..Leak::new(FROM, Rate::Steady(per_s))
    })
    .under(limit)
    .leaking(FROM, None);
    let duration = until_full(&node, limit, per_s * (1.0 - share));
    (node, vec![owner], duration)
}

/// Many at once, now and then: a job that leaks each time that it runs.
fn bursts(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let tasks = random.magnitude(10.0, 150.0) as u64;
    let every = random.magnitude(20.0, 900.0);
    let owner = leaker(random, move || Leak::new(FROM, Rate::Bursts(tasks, every)))
        .under(limit)
        .leaking(FROM, None);
    let duration = until_full(&node, limit, tasks as f64 / every);
    (node, vec![owner], duration)
}

fn churn(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let per_s = random.magnitude(1.0, 60.0);
    let (storm, life) = (random.magnitude(50.0, 1000.0), random.magnitude(0.02, 0.3));
    let owner = Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 10.0, Fill::AtOnce),
            Jobs::boxed(storm, life, (1, 1), Load::Full),
            Box::new(Leak::new(FROM, Rate::Steady(per_s))),
        ]
    })
    .under(limit)
    .leaking(FROM, Some(per_s));
    let duration = until_full(&node, limit, per_s);
    (node, vec![owner], duration)
}

/// Leaks with each request, so by the hour; and its workers follow the load too.
fn with_load(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let per_s = random.magnitude(0.05, 3.0);
    let workers = random.magnitude(10.0, 200.0);
    let load = Load::Cycle {
        period: DAY as f64,
        phase: random.unit(),
    };
    let owner = Owner::new(random, move |_| {
        vec![
            Box::new(Workers::new(10.0, 10.0 + workers, load, 0.02 * workers)) as Box<dyn Part>,
            Box::new(Leak::new(FROM, Rate::WithLoad(per_s, load))),
        ]
    })
    .under(limit)
    .leaking(FROM, None);
    let duration = until_full(&node, limit, per_s / 2.0);
    (node, vec![owner], duration)
}

fn replicas(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::small(random);
    let count = random.whole(3, 20);
    let per_s = random.magnitude(1.0, 200.0) / count as f64;
    // They are one program. Drawn apart, so that it changes no other number.
    let manner = Manner::leaked(&mut Random::new("replicas", count));
    let owners = (0..count)
        .map(|_| {
            let share = per_s * random.between(0.7, 1.3);
            let leak = move || Leak {
                manner: Some(manner),
                ..Leak::new(FROM, Rate::Steady(share))
            };
            leaker(random, leak).leaking(FROM, None)
        })
        .collect();
    let duration = until_full(&node, None, per_s * count as f64);
    (node, owners, duration)
}

fn zombies(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let per_s = random.magnitude(0.1, 30.0);
    let owner = leaker(random, move || Leak {
        zombies: true,
        ..Leak::new(FROM, Rate::Steady(per_s))
    })
    .under(limit)
    .leaking(FROM, Some(per_s));
    let duration = until_full(&node, limit, per_s);
    (node, vec![owner], duration)
}

/// Three days of ordinary load, then a leak.
fn calm(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let per_s = random.magnitude(0.3, 100.0);
    let from = 3 * DAY + random.whole(0, DAY / 2);
    let most = limit.map_or(500.0, |max| 0.2 * max as f64).min(500.0);
    let span = random.magnitude(20.0, most);
    let phase = random.unit();
    let owner = Owner::new(random, move |_| {
        let load = Load::Cycle {
            period: DAY as f64,
            phase,
        };
        vec![
            Box::new(Workers::new(10.0, 10.0 + span, load, 0.02 * span)) as Box<dyn Part>,
            Box::new(Leak::new(from, Rate::Steady(per_s))),
        ]
    })
    .under(limit)
    .leaking(from, None);
    let duration = from + until_full(&node, limit, per_s);
    (node, vec![owner], duration)
}

/// Leaks a good part of the headroom, is restarted, and leaks again.
fn restarted(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::small(random);
    let limit = pids_max(random);
    let headroom = limit.unwrap_or(node.pid_max - node.background) as f64 * 0.8;
    // A pod's own limit is small: what is leaked of it in an episode is a larger share.
    let share = if limit.is_some_and(|max| max < 5000) {
        random.between(0.65, 0.9)
    } else {
        random.between(0.15, 0.7)
    };
    let every = random.magnitude(600.0, 20_000.0) as u64;
    let per_s = share * headroom / every as f64;
    let restarts: Vec<u64> = (1..4).map(|i| FROM + i * every).collect();
    let mut starts = vec![FROM];
    starts.extend(&restarts);
    let episodes = starts
        .iter()
        .map(|&start| (start, start + every))
        .collect::<Vec<_>>();
    // The first life begins with the case, the later ones with the leak.
    let service = service(random);
    let owner = Owner::new(random, move |_| {
        let mut parts = service();
        parts.push(Box::new(Leak::new(FROM, Rate::Steady(per_s))));
        parts
    })
    .under(limit)
    .restarted(restarts)
    .leaking_in(episodes);
    (node, vec![owner], FROM + 4 * every - 1)
}

/// A new owner that fills its pools and leaks from its first second.
fn startup(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = pids_max(random);
    let per_s = random.magnitude(0.5, 300.0);
    let (pool, constant) = (random.magnitude(10.0, 150.0), random.magnitude(3.0, 60.0));
    let owner = Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 20.0, Fill::AtOnce),
            Pool::boxed(2, pool, Fill::Saturating(constant)),
            Box::new(Leak::new(FROM, Rate::Steady(per_s))),
        ]
    })
    .under(limit)
    .living(FROM, u64::MAX)
    .leaking(FROM, None);
    let duration = until_full(&node, limit, per_s);
    (node, vec![owner], duration)
}

/// Leaks already when the detector begins.
fn before(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::small(random);
    let per_s = random.magnitude(0.1, 30.0);
    let owner = leaker(random, move || Leak::new(0, Rate::Steady(per_s))).leaking(600, None);
    let duration = until_full(&node, None, per_s);
    (node, vec![owner], duration)
}

/// 22:00 to 22:09: to 46 thousand in nine minutes, against 49 thousand; straight, and faster and
/// faster.
fn incident(number: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node {
        background: random.whole(2500, 3100),
        ..Node::small(random)
    };
    let power = [1.0, 1.15, 1.3, 1.5][number as usize % 4];
    let rate = Rate::Power {
        tasks: 46_000.0,
        seconds: 540.0,
        power,
    };
    let owner = leaker(random, move || Leak::new(FROM, rate)).leaking(FROM, None);
    (node, vec![owner], FROM + 1200)
}

/// A leak on a node that is busy with other things.
fn among(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::small(random);
    let per_s = random.magnitude(0.5, 200.0);
    let from = FROM + random.whole(0, 2 * HOUR);
    let mut owners: Vec<Owner> = (0..14).map(|_| noise(random)).collect();
    let place = random.whole(0, 14) as usize;
    let leaker =
        leaker(random, move || Leak::new(from, Rate::Steady(per_s))).leaking(from, Some(per_s));
    owners.insert(place, leaker);
    let duration = from + until_full(&node, None, per_s);
    (node, owners, duration)
}

/// A pool at work grows in the same owner.
fn mixed(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = random.pick(&[1000, 2048, 4096]);
    let per_s = random.magnitude(0.3, 3.0);
    let size = random.between(0.1, 0.3) * limit as f64;
    let over = random.magnitude(300.0, 3000.0);
    let owner = Owner::new(random, move |_| {
        vec![
            Pool::boxed(0, 20.0, Fill::AtOnce),
            Pool::boxed(FROM, size, Fill::Linear(size / over)),
            Box::new(Leak::new(FROM, Rate::Steady(per_s))),
        ]
    })
    .under(Some(limit))
    .leaking(FROM, None);
    let duration = until_full(&node, Some(limit), per_s);
    (node, vec![owner], duration)
}

/// Leaks four fifths of its limit, and no more: less is not told from a pool, where its tasks run now and then.
fn stops(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::any(random);
    let limit = random.pick(&[1000, 2048]);
    let lasts = random.magnitude(400.0, 4000.0) as u64;
    let per_s = 0.8 * limit as f64 / lasts as f64;
    let stopped = Load::Square {
        period: 10 * DAY,
        on: FROM + lasts,
        offset: 0,
    };
    let owner = leaker(random, move || {
        Leak::new(FROM, Rate::WithLoad(per_s, stopped))
    })
    .under(Some(limit))
    .leaking(FROM, None);
    (node, vec![owner], FROM + lasts + 1200)
}

/// Replicas that share one limit, each with a leak of the same kind.
fn pod(_: u64, random: &mut Random) -> (Node, Vec<Owner>, u64) {
    let node = Node::small(random);
    let count = random.whole(2, 6);
    let limit = random.pick(&[1000, 1500, 4096]);
    // They are one program.
    let manner = Manner::leaked(random);
    let per_s = random.magnitude(1.0, 6.0) / count as f64;
    let owners = (0..count)
        .map(|_| {
            let share = per_s * random.between(0.8, 1.2);
            let leak = move || Leak {
                manner: Some(manner),
                ..Leak::new(FROM, Rate::Steady(share))
            };
            leaker(random, leak).sharing(limit).leaking(FROM, None)
        })
        .collect();
    let duration = until_full(&node, Some(limit), per_s * count as f64);
    (node, owners, duration)
}
