//! Real programs: what `tests/fixtures/programs/record.sh` recorded of them, played as they were.
//!
//! Nothing in the detector was set by looking at them: all cases count as unseen.

use super::case::{Case, Node};
use super::owner::Owner;
use super::part::{Clock, Part};
use super::random::Random;
use super::step::Step;
use super::tasks::Manner;

/// `pids.max` of each service's cgroup, as it was recorded.
const PIDS_MAX: u64 = 3000;
/// Second of a case at which the recording begins.
const BEGIN: u64 = 700;

/// A program's recording by its name.
macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/programs/", $name, ".series"))
    };
}

const SERVICES: [&str; 7] = [
    recording!("nginx"),
    recording!("postgresql"),
    recording!("redis"),
    recording!("python-threads"),
    recording!("jvm-pools"),
    recording!("build"),
    recording!("stress-ng"),
];

/// A leak: its recording, the second of it at which it begins, and `pids.max` of its pod: less than the
/// recorded one for those that came nowhere near that while they were recorded.
type Leak = (&'static str, u64, u64);

const LEAKS: [Leak; 5] = [
    (recording!("jvm-executor-leak"), 300, 2000),
    // The garbage collector finds some of them, now and then.
    (recording!("jvm-executors-forgotten"), 300, 3000),
    (recording!("python-thread-leak"), 300, 1000),
    (recording!("postgresql-connection-leak"), 305, 1000),
    (recording!("zombie-leak"), 300, 3000),
];

/// All services at once; then each leak among them.
pub fn cases(random: &mut Random) -> Vec<Case> {
    let case = |class, number, leak: Option<Leak>, random: &mut Random| {
        let services = SERVICES.iter();
        let mut owners: Vec<_> = services.map(|text| owner(random, text, PIDS_MAX)).collect();
        owners.extend(leak.map(|(text, from, pids_max)| {
            owner(random, text, pids_max).leaking(BEGIN + from, None)
        }));
        Case {
            class,
            number,
            is_unseen: true,
            node: Node::small(random),
            duration: BEGIN + length(leak.map_or(SERVICES[0], |(text, ..)| text)),
            owners,
            warm_up: 600,
        }
    };
    let mut cases = vec![case("recorded programs", 0, None, random)];
    for (number, leak) in (0..).zip(LEAKS) {
        cases.push(case("recorded leaks", number, Some(leak), random));
    }
    cases
}

fn owner(random: &mut Random, text: &'static str, pids_max: u64) -> Owner {
    let first = readings(text).next().map_or(0, |reading| reading.second);
    Owner::new(random, move |_| vec![Box::new(Recorded::new(text))])
        .under(Some(pids_max))
        .living(BEGIN + first, u64::MAX)
}

/// What a line says: totals since the cgroup came, and what it has.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    second: u64,
    created: u64,
    ended: u64,
    tasks: u64,
    zombies: u64,
}

fn readings(text: &str) -> impl Iterator<Item = Reading> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut numbers = line
                .split(' ')
                .map(|number| number.parse().expect("a number in a fixture"));
            let mut next = || numbers.next().expect("five numbers in a line of a fixture");
            Reading {
                second: next(),
                created: next(),
                ended: next(),
                tasks: next(),
                zombies: next(),
            }
        })
}

/// Seconds that a recording lasts: to the last one in which something changed.
fn length(text: &str) -> u64 {
    readings(text).last().map_or(0, |reading| reading.second)
}

/// A recording as a part.
struct Recorded {
    readings: std::iter::Peekable<std::vec::IntoIter<Reading>>,
    last: Reading,
}

impl Recorded {
    fn new(text: &str) -> Self {
        let readings: Vec<_> = readings(text).collect();
        Self {
            readings: readings.into_iter().peekable(),
            last: Reading::default(),
        }
    }
}

impl Part for Recorded {
    fn step(&mut self, clock: Clock, _: &mut Random) -> Step {
        let second = clock.at.saturating_sub(BEGIN);
        let Some(reading) = self.readings.next_if(|reading| reading.second <= second) else {
            return Step::default();
        };
        let before = std::mem::replace(&mut self.last, reading);
        let unreaped = reading.zombies as i64 - before.zombies as i64;
        let created = reading.created - before.created;
        let ended = reading.ended - before.ended;
        let grown = reading.tasks as i64 - before.tasks as i64;
        Step {
            created,
            ended,
            unreaped,
            // What was there when the recording began, and what was moved in.
            moved: grown - (created as i64 - ended as i64 + unreaped),
        }
    }

    /// The recordings have numbers of tasks alone.
    fn manner(&self, _: &mut Random) -> Manner {
        Manner::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_played_as_it_was() {
        let mut part = Recorded::new("# x\n0 5 1 4 0\n2 9 3 6 1\n3 9 4 4 0\n");
        let mut random = Random::new("recorded", 1);
        let (mut tasks, mut zombies) = (0, 0);
        let seen: Vec<_> = (0..5)
            .map(|age| {
                let at = BEGIN + age;
                let step = part.step(Clock { at, age }, &mut random);
                tasks += step.created as i64 - step.ended as i64 + step.unreaped + step.moved;
                zombies += step.unreaped;
                (tasks, zombies)
            })
            .collect();
        assert_eq!(seen, [(4, 0), (4, 0), (6, 1), (4, 0), (4, 0)]);
    }

    #[test]
    fn every_recording_is_long_and_the_leaks_leak() {
        for text in SERVICES {
            assert!(readings(text).count() > 5);
        }
        for (text, from, _) in LEAKS {
            let before = readings(text).take_while(|reading| reading.second < from);
            let before = before.last().unwrap().tasks;
            let after = readings(text).last().unwrap();
            assert!(after.second > 2000, "{}", after.second);
            assert!(after.tasks > before + 200, "{before} {}", after.tasks);
        }
    }
}
