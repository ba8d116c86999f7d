//! Real programs, task by task: what `tests/fixtures/programs/extract-tasks.py` has of them, played as they
//! were. They ran side by side for twelve minutes, and what leaks does from the fiftieth second on.

use std::time::Duration;

use pidwatch_core::detect::evidence::{Task, Wait, Zombie};

use super::case::{Case, Node};
use super::owner::Owner;
use super::part::{Clock, Part};
use super::random::Random;
use super::step::Step;

/// A program's recording by its name.
macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/programs/", $name, ".tasks"))
    };
}

/// Second of a case at which the recordings begin.
const BEGIN: u64 = 700;
/// Second of a recording from which on what leaks does.
const LEAK: u64 = 50;

/// What does not leak, with its `pids.max`: a pool that fills evenly and works, a thread for each of some
/// quiet connections, a batch that reaps at its end.
const BENIGN: [(&str, u64); 3] = [
    (recording!("python-pool"), 1000),
    (recording!("connections"), 1000),
    (recording!("batch"), 2000),
];
/// A JVM that makes a pool for each request, and a Python program that waits for none of its children.
const LEAKS: [(&str, u64); 2] = [
    (recording!("jvm-executor"), 1500),
    (recording!("python-popen"), 1500),
];
/// Replicas whose threads have a heartbeat, and the `pids.max` of their pod.
const REPLICAS: ([&str; 3], u64) = (
    [
        recording!("replica-1"),
        recording!("replica-2"),
        recording!("replica-3"),
    ],
    1500,
);

/// All that do not leak; each leak; the replicas.
pub fn cases(random: &mut Random) -> Vec<Case> {
    let mut case = |class, number, owners: Vec<Owner>| Case {
        class,
        number,
        is_unseen: false,
        node: Node::small(random),
        duration: BEGIN + Recording::new(BENIGN[0].0).length(),
        owners,
        warm_up: 600,
    };
    let seed = &mut Random::new("recorded tasks", 0);
    let benign = BENIGN.map(|(text, pids_max)| owner(seed, text).under(Some(pids_max)));
    let mut cases = vec![case("recorded tasks", 0, benign.into())];
    for (number, (text, pids_max)) in (0..).zip(LEAKS) {
        let leak = owner(seed, text)
            .under(Some(pids_max))
            .leaking(BEGIN + LEAK, None);
        cases.push(case("recorded leaks by task", number, vec![leak]));
    }
    let (replicas, pids_max) = REPLICAS;
    let replicas = replicas.map(|text| {
        owner(seed, text)
            .sharing(pids_max)
            .leaking(BEGIN + LEAK, None)
    });
    cases.push(case("recorded leaks by task", 2, replicas.into()));
    cases
}

fn owner(random: &mut Random, text: &'static str) -> Owner {
    Owner::new(random, move |_| vec![Box::new(Recording::new(text))]).living(BEGIN, u64::MAX)
}

/// A recorded task; seconds are those of the case.
#[derive(Clone, Debug)]
struct Line {
    is_process: bool,
    born: u64,
    ended: Option<u64>,
    gone: Option<u64>,
    /// Seconds of the rounds in which it had run.
    ran: Vec<u64>,
    wait: Wait,
    comm: [u8; 16],
}

impl Line {
    fn parse(line: &str, rounds: &[u64]) -> Option<Self> {
        let mut fields = line.splitn(7, ' ');
        let is_process = fields.next()? == "p";
        let mut second = || {
            let field = fields.next()?;
            Some(
                field
                    .parse()
                    .ok()
                    .map(|second: i64| BEGIN.saturating_add_signed(second)),
            )
        };
        let (born, ended, gone) = (second()??, second()?, second()?);
        let ran = fields.next()?.split(',').filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            rounds.get(from.parse().ok()?..=to.parse().ok()?)
        });
        let ran = ran.flatten().copied().collect();
        let wait = match fields.next()? {
            "c" => Wait::Connection,
            "o" => Wait::Other,
            _ => Wait::Unknown,
        };
        let name = fields.next()?.as_bytes();
        let mut comm = [0; 16];
        comm[..name.len().min(15)].copy_from_slice(&name[..name.len().min(15)]);
        Some(Self {
            is_process,
            born,
            ended,
            gone,
            ran,
            wait,
            comm,
        })
    }

    fn is_there(&self, at: u64) -> bool {
        self.born <= at && self.gone.is_none_or(|gone| at < gone)
    }

    fn seen(&self, at: u64) -> Task {
        let seconds = Duration::from_secs;
        // It may have run at any time before the round that shows it.
        let ran = self.ran.iter().take_while(|second| **second <= at);
        let ran = ran.last().copied().unwrap_or(self.born);
        let ended = self.ended.filter(|ended| *ended <= at);
        Task {
            process: 1,
            is_process: self.is_process,
            parent: 1,
            comm: self.comm,
            age: seconds(at - self.born),
            idle: Some(seconds(at - ran.max(self.born))),
            wait: self.wait,
            zombie: ended.map(|ended| Zombie {
                ended: Some(seconds(at - ended)),
            }),
        }
    }
}

/// A recording as a part.
pub struct Recording {
    tasks: Vec<Line>,
}

impl Recording {
    fn new(text: &str) -> Self {
        let mut lines = text.lines();
        let rounds = lines.next().unwrap_or_default().trim_start_matches("# ");
        let rounds: Vec<u64> = rounds
            .split(' ')
            .filter_map(|second| Some(BEGIN + second.parse::<u64>().ok()?))
            .collect();
        let tasks =
            lines.map(|line| Line::parse(line, &rounds).expect("seven fields in a fixture"));
        Self {
            tasks: tasks.collect(),
        }
    }

    /// Seconds that it lasts.
    fn length(&self) -> u64 {
        let ran = self.tasks.iter().filter_map(|task| task.ran.last());
        ran.max().map_or(0, |last| last - BEGIN)
    }
}

impl Part for Recording {
    fn step(&mut self, clock: Clock, _: &mut Random) -> Step {
        let count = |of: &dyn Fn(&Line) -> Option<u64>| {
            let now = self.tasks.iter().filter(|task| of(task) == Some(clock.at));
            now.count() as u64
        };
        let created = count(&|task| Some(task.born));
        // One that was a zombie had ended before it was gone.
        let ended = count(&|task| task.ended.or(task.gone));
        let new_zombies = count(&|task| task.ended);
        let reaped = count(&|task| task.ended.and(task.gone));
        Step {
            created,
            ended,
            unreaped: new_zombies as i64 - reaped as i64,
            moved: 0,
        }
    }

    fn each_task(&self, at: u64, show: &mut dyn FnMut(&Task)) -> bool {
        for task in self.tasks.iter().filter(|task| task.is_there(at)) {
            show(&task.seen(at));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_played_as_it_was() {
        let text = "# 0 20 40\np -3 - - 1-2 o app x\nt 5 - 40 - c conn\np 7 20 - - u job\n";
        let mut recording = Recording::new(text);
        let seen = |recording: &Recording, at: u64| {
            let mut seen = Vec::new();
            recording.each_task(BEGIN + at, &mut |task| {
                let idle = task.idle.unwrap().as_secs();
                seen.push((task.age.as_secs(), idle, task.zombie.is_some()));
            });
            seen
        };
        assert_eq!(
            seen(&recording, 30),
            [(33, 10, false), (25, 25, false), (23, 23, true)]
        );
        assert_eq!(seen(&recording, 45), [(48, 5, false), (38, 38, true)]);
        let mut random = Random::new("recorded tasks", 1);
        let mut step = |at: u64| {
            let at = BEGIN + at;
            let step = recording.step(Clock { at, age: at }, &mut random);
            (step.created, step.ended, step.unreaped)
        };
        assert_eq!(step(5), (1, 0, 0));
        assert_eq!(step(20), (0, 1, 1));
        assert_eq!(step(40), (0, 1, 0));
    }
}
