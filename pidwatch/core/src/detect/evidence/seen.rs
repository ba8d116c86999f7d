//! What a pass saw of an owner's tasks, counted by kind.

use std::time::Duration;

use hashbrown::HashMap;

use super::{
    EvidenceSettings, Task, Wait,
    names::{Numbers, stem},
};
use crate::cgroup::pattern;

/// Kinds of tasks that are kept apart; all others are one.
const MOST_CLASSES: usize = 64;
/// A task that is older is asked whether it ran within as long a time.
const MINUTE: Duration = Duration::from_mins(1);
/// Share of its life for which one that came lately has not run: what runs now and then rarely has.
const IDLE: f64 = 0.8;
/// Ends are timed to a tick, and passes take a while.
const BLUR: Duration = Duration::from_secs(1);

/// Which tasks a tally is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExaminationScope {
    /// Those that were created within this time: since the growth began.
    pub born_within: Duration,
    /// Zombies that ended so long ago were old at the pass before this one.
    pub were_old: Option<Duration>,
}

/// What a pass saw of an owner's tasks.
#[derive(Clone, Debug, Default)]
pub struct TaskSummary {
    /// All of them, also older ones.
    pub tasks: u64,
    /// Living ones that are new since the growth began.
    pub born: u64,
    /// Of those, such as are older than a minute.
    pub settled: u64,
    /// Of those, such as ran within the last one.
    pub active: u64,
    /// Living ones that are new, by their kind.
    pub classes: Vec<Class>,
    /// Ended ones that are new.
    pub zombies: ZombieSummary,
    /// Zombies, new or not, that were old at the pass before and are still there.
    pub still_old: u64,
}

/// Tasks of one kind: processes or threads, by their name with its numbers left out.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// Processes, or threads.
    pub are_processes: bool,
    /// `pool-*-thread-*`; empty for the rest, of more kinds than are kept.
    pub pattern: Vec<u8>,
    /// How many.
    pub tasks: u64,
    /// When they came.
    pub pace: ArrivalPace,
    /// Of them, those that are old enough to be stale.
    pub aged: u64,
    /// Of those, such as are.
    pub stale: u64,
    /// Of those, such as wait for a connection, or for what cannot be read.
    pub stale_in_connections: u64,
    /// The process that has most of the threads, or the parent of most of the processes.
    pub parent: Option<u32>,
    /// In how many different pools they are, by their names.
    pub pools: Option<u64>,
    /// Whether the pools are numbered in turn.
    pub are_in_turn: bool,
    /// Of those older than a minute, such as ran within the last one.
    pub active: u64,
    /// Those older than a minute.
    pub settled: u64,
}

/// Tasks that ended and are not reaped.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZombieSummary {
    /// Those that ended since the growth began.
    pub tasks: u64,
    /// Of those, such as ended long ago.
    pub old: u64,
    /// When they ended.
    pub pace: ArrivalPace,
    /// Zombies that ended long ago, whenever that was.
    pub all_old: u64,
}

/// When some tasks came, or ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArrivalPace {
    /// How many did within the last minute.
    late: u64,
    /// How many did before that, but not long ago.
    lately: u64,
    /// Since the first did.
    pub oldest: Duration,
}

impl ArrivalPace {
    /// `stays`: what is a part of the growth, and not one of those that come and go.
    fn add(&mut self, age: Duration, settings: &EvidenceSettings, stays: bool) {
        let (from, to) = window(settings);
        self.late += u64::from(age < MINUTE);
        self.lately += u64::from(stays && age >= from && age < to);
        self.oldest = self.oldest.max(age);
    }

    /// Whether of so many at least this share of what an even pace brings came within the last minute.
    pub fn goes_on(&self, tasks: u64, share: f64) -> bool {
        self.is_even(self.late, MINUTE, tasks, share)
    }

    /// Whether as many came after those that are stale, and stayed: since the stale ones stopped, but long
    /// enough ago not to be of those that come and go.
    pub fn went_on(&self, tasks: u64, share: f64, settings: &EvidenceSettings) -> bool {
        let (from, to) = window(settings);
        self.is_even(self.lately, to.saturating_sub(from), tasks, share)
    }

    fn is_even(&self, came: u64, within: Duration, tasks: u64, share: f64) -> bool {
        let even = within.as_secs_f64() / self.oldest.max(within).as_secs_f64();
        came as f64 >= share * even * tasks as f64
    }
}

/// Ages of tasks that came after the stale ones had stopped.
fn window(settings: &EvidenceSettings) -> (Duration, Duration) {
    (settings.stale_idle / 2, settings.stale_idle)
}

/// Counts the tasks of an owner while a pass goes on.
#[derive(Debug)]
pub struct TaskTally {
    scope: ExaminationScope,
    settings: EvidenceSettings,
    seen: TaskSummary,
    classes: HashMap<(bool, Vec<u8>), Building>,
}

#[derive(Debug, Default)]
struct Building {
    class: Class,
    numbers: Numbers,
    /// How far the process, or parent, that is taken for the commonest leads (Boyer and Moore's majority
    /// vote).
    lead: u64,
}

impl TaskTally {
    /// Begins with nothing.
    pub fn new(scope: ExaminationScope, settings: &EvidenceSettings) -> Self {
        Self {
            scope,
            settings: *settings,
            seen: TaskSummary::default(),
            classes: HashMap::new(),
        }
    }

    /// Takes a task in.
    pub fn add(&mut self, task: &Task) {
        self.seen.tasks += 1;
        if let Some(zombie) = task.zombie {
            self.add_zombie(zombie.ended);
        } else if task.age <= self.scope.born_within {
            self.add_living(task);
        }
    }

    fn add_zombie(&mut self, ended: Option<Duration>) {
        let Some(ended) = ended else {
            return;
        };
        let zombies = &mut self.seen.zombies;
        let is_old = ended >= self.settings.zombie_age;
        zombies.all_old += u64::from(is_old);
        if ended <= self.scope.born_within {
            zombies.tasks += 1;
            zombies.old += u64::from(is_old);
            zombies.pace.add(ended, &self.settings, true);
        }
        let were_old = self.scope.were_old;
        self.seen.still_old += u64::from(were_old.is_some_and(|age| ended + BLUR >= age));
    }

    fn add_living(&mut self, task: &Task) {
        let name = task.name();
        let pattern = pattern(name);
        let mut key = (task.is_process, stem(&pattern).to_vec());
        if self.classes.len() >= MOST_CLASSES && !self.classes.contains_key(&key) {
            key.1.clear();
        }
        let Building {
            class,
            numbers,
            lead,
        } = self.classes.entry(key).or_default();
        class.tasks += 1;
        // One that has done nothing for nearly all of its life, and waits for no client.
        let is_idle = task.idle.is_some_and(|idle| idle >= task.age.mul_f64(IDLE));
        let stays = is_idle && task.wait == Wait::Other;
        class.pace.add(task.age, &self.settings, stays);
        // The one of which least was cut.
        if pattern.len() > class.pattern.len() {
            class.pattern = pattern;
        }
        numbers.add(name);
        let parent = if task.is_process {
            task.parent
        } else {
            task.process
        };
        if *lead == 0 {
            class.parent = Some(parent);
        }
        *lead = if class.parent == Some(parent) {
            *lead + 1
        } else {
            *lead - 1
        };
        self.seen.born += 1;
        let Some(idle) = task.idle else {
            return;
        };
        if task.age >= MINUTE {
            let is_active = u64::from(idle < MINUTE);
            class.settled += 1;
            class.active += is_active;
            self.seen.settled += 1;
            self.seen.active += is_active;
        }
        if task.age >= self.settings.stale_age {
            class.aged += 1;
            if idle >= self.settings.stale_idle {
                class.stale += 1;
                class.stale_in_connections += u64::from(task.wait != Wait::Other);
            }
        }
    }

    /// What was seen, the largest class first.
    pub fn finish(mut self) -> TaskSummary {
        let classes = self
            .classes
            .into_iter()
            .map(|((are_processes, stem), built)| {
                let is_one_kind = !stem.is_empty();
                let pattern = built.class.pattern;
                Class {
                    are_processes,
                    pools: built.numbers.pools().filter(|_| is_one_kind),
                    are_in_turn: built.numbers.are_in_turn(),
                    pattern: if is_one_kind { pattern } else { Vec::new() },
                    ..built.class
                }
            });
        self.seen.classes = classes.collect();
        self.seen.classes.sort_unstable_by(|a, b| {
            b.tasks
                .cmp(&a.tasks)
                .then_with(|| a.pattern.cmp(&b.pattern))
        });
        self.seen
    }
}
