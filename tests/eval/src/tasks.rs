//! The tasks of a part one by one: when each was created, and what it does from then on. What a pass over the
//! tasks of the owner would see.

use std::collections::VecDeque;
use std::time::Duration;

use pidwatch_core::detect::evidence::{Task, Wait, Zombie};

use super::random::Random;
use super::step::Step;

/// What the tasks of a part do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Run every so many seconds at most.
    Busy(u64),
    /// Idle workers are used before one more is made: whenever there is one more, all have run.
    Reused,
    /// Idle, in one pool that makes a worker for each job until it is full.
    OnePool,
    /// Idle, and waiting for their clients.
    Connections,
    /// Never run again.
    Stale,
    /// Never run again, in pools of so many.
    Pools(u64),
    /// Never run again, under the names of a pool at work.
    Disguised,
    /// Nobody knows.
    Unknown,
}

impl Manner {
    /// Of tasks that are somebody's.
    pub fn benign(random: &mut Random) -> Self {
        match random.whole(0, 99) {
            0..45 => Self::Busy(random.whole(1, 45)),
            45..70 => Self::Reused,
            70..85 => Self::OnePool,
            _ => Self::Connections,
        }
    }

    /// Of tasks that leaked.
    pub fn leaked(random: &mut Random) -> Self {
        match random.whole(0, 99) {
            0..40 => Self::Stale,
            40..60 => Self::Pools(random.whole(1, 4)),
            60..75 => Self::Busy(random.whole(2, 30)),
            75..85 => Self::Disguised,
            _ => Self::Connections,
        }
    }

    fn name(self, number: u64) -> String {
        match self {
            Self::OnePool => format!("pool-3-thread-{number}"),
            Self::Pools(workers) => {
                format!(
                    "pool-{}-thread-{}",
                    5 + number / workers,
                    1 + number % workers
                )
            }
            Self::Disguised => format!("http-nio-1-exec-{number}"),
            _ => "app".into(),
        }
    }
}

/// Tasks that were created in the same second.
#[derive(Clone, Copy, Debug)]
struct Born {
    at: u64,
    tasks: u64,
    /// Number of the first of them.
    number: u64,
}

/// The tasks of a part.
#[derive(Debug)]
pub struct Tasks {
    manner: Manner,
    living: VecDeque<Born>,
    /// By the second of their end.
    zombies: VecDeque<Born>,
    created: u64,
    level: u64,
    /// When there were last more than before.
    grew: u64,
}

impl Tasks {
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            living: VecDeque::new(),
            zombies: VecDeque::new(),
            created: 0,
            level: 0,
            grew: 0,
        }
    }

    /// Takes in what happened in a second. The oldest end first.
    pub fn step(&mut self, at: u64, step: &Step) {
        let came = step.created + step.moved.max(0).unsigned_abs();
        let went = step.ended + step.moved.min(0).unsigned_abs();
        push(&mut self.living, at, came, self.created);
        self.created += came;
        take(&mut self.living, went);
        let unreaped = step.unreaped.unsigned_abs();
        if step.unreaped >= 0 {
            push(&mut self.zombies, at, unreaped, 0);
        } else {
            take(&mut self.zombies, unreaped);
        }
        let level = (self.level + came).saturating_sub(went);
        if level > self.level {
            self.grew = at;
        }
        self.level = level;
    }

    /// Shows each as a pass does.
    pub fn each(&self, at: u64, mut show: impl FnMut(&Task)) {
        if self.manner == Manner::Unknown {
            return;
        }
        for born in &self.living {
            let age = at - born.at;
            for number in born.number..born.number + born.tasks {
                let idle = match self.manner {
                    Manner::Busy(period) => (age + number) % period,
                    Manner::Reused => at - self.grew,
                    _ => age,
                };
                show(&task(
                    &self.manner.name(number),
                    age,
                    idle.min(age),
                    self.wait(),
                    None,
                ));
            }
        }
        for ended in &self.zombies {
            let age = at - ended.at;
            for _ in 0..ended.tasks {
                show(&task("job", age, age, Wait::Unknown, Some(age)));
            }
        }
    }

    fn wait(&self) -> Wait {
        match self.manner {
            Manner::Connections => Wait::Connection,
            _ => Wait::Other,
        }
    }
}

fn push(all: &mut VecDeque<Born>, at: u64, tasks: u64, number: u64) {
    if tasks > 0 {
        all.push_back(Born { at, tasks, number });
    }
}

fn take(all: &mut VecDeque<Born>, mut tasks: u64) {
    while tasks > 0
        && let Some(oldest) = all.front_mut()
    {
        let taken = oldest.tasks.min(tasks);
        oldest.tasks -= taken;
        oldest.number += taken;
        tasks -= taken;
        if oldest.tasks == 0 {
            all.pop_front();
        }
    }
}

fn task(name: &str, age: u64, idle: u64, wait: Wait, ended: Option<u64>) -> Task {
    let mut comm = [0; 16];
    // As the kernel cuts it.
    let name = &name.as_bytes()[..name.len().min(15)];
    comm[..name.len()].copy_from_slice(name);
    Task {
        process: 1,
        is_process: ended.is_some(),
        parent: 1,
        comm,
        age: Duration::from_secs(age),
        idle: Some(Duration::from_secs(idle)),
        wait,
        zombie: ended.map(|ended| Zombie {
            ended: Some(Duration::from_secs(ended)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_end_first_and_the_others_keep_their_numbers() {
        let mut tasks = Tasks::new(Manner::Pools(1));
        let step = |created, ended, unreaped| Step {
            created,
            ended,
            unreaped,
            moved: 0,
        };
        tasks.step(10, &step(3, 0, 0));
        tasks.step(20, &step(2, 4, 1));
        let mut seen = Vec::new();
        tasks.each(25, |task| {
            let name = String::from_utf8_lossy(&task.comm).into_owned();
            seen.push((name, task.age.as_secs(), task.zombie.is_some()));
        });
        let living = ("pool-9-thread-1\0".to_owned(), 5, false);
        assert_eq!(seen[0], living);
        assert_eq!(seen.len(), 2);
        assert!(seen[1].2);
    }

    #[test]
    fn a_pool_that_is_reused_has_run_when_it_last_grew() {
        let mut tasks = Tasks::new(Manner::Reused);
        for at in [0, 100] {
            tasks.step(
                at,
                &Step {
                    created: 1,
                    ..Step::default()
                },
            );
        }
        let mut idle = Vec::new();
        tasks.each(130, |task| idle.push(task.idle.unwrap().as_secs()));
        assert_eq!(idle, [30, 30]);
    }
}
