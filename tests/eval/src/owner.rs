//! An owner of a case: parts, a life, restarts, and the label that says whether it leaks.

use pidwatch_core::detect::Sample;
use pidwatch_core::detect::evidence::Task;

use super::part::{Clock, Part};
use super::random::Random;
use super::step::Step;
use super::tasks::Tasks;

/// Whether and how an owner leaks.
#[derive(Clone, Debug)]
pub struct Label {
    /// When: from, and until (its restart, or the case's end).
    pub episodes: Vec<(u64, u64)>,
    /// Tasks a second at its beginning, if it is a steady one: what the targets are stated for.
    pub steady_per_s: Option<f64>,
}

type Make = Box<dyn Fn(&mut Random) -> Vec<Box<dyn Part>>>;

/// One owner.
pub struct Owner {
    pub label: Option<Label>,
    /// `pids.max` of its pod.
    pub pids_max: Option<u64>,
    /// That is the limit of one pod that all owners of the case are in.
    pub is_shared: bool,
    /// Its cgroup is made at this second; 0: it was there before.
    pub born: u64,
    /// And removed at this one.
    pub gone: u64,
    /// When all of it ends and begins anew in the same cgroup.
    pub restarts: Vec<u64>,
    make: Make,
    parts: Vec<Box<dyn Part>>,
    started: u64,
    now: Sample,
    random: Random,
    /// Of each part.
    tasks: Vec<Tasks>,
    /// Apart, so that what tasks do changes no number of them.
    manners: Random,
}

impl Owner {
    /// What its parts are is told by a function, so that a restart can make them anew.
    pub fn new(
        random: &mut Random,
        make: impl Fn(&mut Random) -> Vec<Box<dyn Part>> + 'static,
    ) -> Self {
        let seed = random.whole(0, u64::MAX - 1);
        let (mut random, mut manners) = (Random::new("owner", seed), Random::new("tasks", seed));
        let parts = make(&mut random);
        let tasks = tasks_of(&parts, &mut manners);
        Self {
            label: None,
            pids_max: None,
            is_shared: false,
            born: 0,
            gone: u64::MAX,
            restarts: Vec::new(),
            make: Box::new(make),
            parts,
            started: 0,
            now: Sample {
                tasks: 0,
                created: 0,
                ended: 0,
                zombies: 0,
            },
            random,
            tasks,
            manners,
        }
    }

    pub fn under(mut self, pids_max: Option<u64>) -> Self {
        self.pids_max = pids_max;
        self
    }

    /// In one pod with all others.
    pub fn sharing(mut self, pids_max: u64) -> Self {
        (self.pids_max, self.is_shared) = (Some(pids_max), true);
        self
    }

    pub fn living(mut self, born: u64, gone: u64) -> Self {
        (self.born, self.gone, self.started) = (born, gone, born);
        self
    }

    pub fn restarted(mut self, at: Vec<u64>) -> Self {
        self.restarts = at;
        self
    }

    /// Leaks from this second on, to the end; so many a second if it is steady.
    pub fn leaking(mut self, from: u64, steady_per_s: Option<f64>) -> Self {
        self.label = Some(Label {
            episodes: vec![(from, u64::MAX)],
            steady_per_s,
        });
        self
    }

    /// Leaks in these spans.
    pub fn leaking_in(mut self, episodes: Vec<(u64, u64)>) -> Self {
        self.label = Some(Label {
            episodes,
            steady_per_s: None,
        });
        self
    }

    pub fn is_alive(&self, at: u64) -> bool {
        (self.born..self.gone).contains(&at)
    }

    /// Shows each of its tasks as a pass does.
    pub fn each_task(&self, at: u64, mut show: impl FnMut(&Task)) {
        for (part, tasks) in self.parts.iter().zip(&self.tasks) {
            if !part.each_task(at, &mut show) {
                tasks.each(at, &mut show);
            }
        }
    }

    /// What it has.
    pub fn now(&self) -> Sample {
        self.now
    }

    /// Whether it leaks at this second.
    pub fn leaks(&self, at: u64) -> bool {
        self.label.as_ref().is_some_and(|label| {
            let mut episodes = label.episodes.iter();
            episodes.any(|(from, until)| (*from..*until).contains(&at))
        })
    }

    /// Goes a second on; whether anything changed. Creations beyond `room` are refused, and so told.
    pub fn step(&mut self, at: u64, room: u64) -> (bool, bool) {
        let mut sum = Step::default();
        if self.restarts.contains(&at) {
            sum.ended = self.now.tasks - self.now.zombies;
            self.now.tasks = 0;
            self.now.zombies = 0;
            self.started = at;
            self.parts = (self.make)(&mut self.random);
            self.tasks = tasks_of(&self.parts, &mut self.manners);
            self.now.ended += sum.ended;
        }
        let is_restarted = sum.ended > 0;
        sum = Step::default();
        let clock = Clock {
            at,
            age: at - self.started,
        };
        for (part, tasks) in self.parts.iter_mut().zip(&mut self.tasks) {
            let step = part.step(clock, &mut self.random);
            tasks.step(at, &step);
            sum.created += step.created;
            sum.ended += step.ended;
            sum.unreaped += step.unreaped;
            sum.moved += step.moved;
        }
        // More may be reaped or become zombies than ended in the same second.
        let grown = sum.created as i64 - (sum.ended as i64 - sum.unreaped) + sum.moved;
        let tasks = self.now.tasks.saturating_add_signed(grown);
        let most = self.now.tasks + room;
        let is_refused = tasks > most;
        self.now.created += sum.created;
        self.now.ended += sum.ended;
        self.now.zombies = self.now.zombies.saturating_add_signed(sum.unreaped);
        self.now.tasks = tasks.min(most);
        let changed = is_restarted || sum.created + sum.ended > 0 || sum.moved != 0;
        (changed, is_refused)
    }
}

fn tasks_of(parts: &[Box<dyn Part>], manners: &mut Random) -> Vec<Tasks> {
    let manners = parts.iter().map(|part| part.manner(manners));
    manners.map(Tasks::new).collect()
}

#[cfg(test)]
mod tests {
    use super::super::part::{Fill, Leak, Pool, Rate};
    use super::*;

    #[test]
    fn a_restart_begins_anew_and_totals_go_on() {
        let mut owner = Owner::new(&mut Random::new("o", 1), |_| {
            vec![
                Pool::boxed(0, 10.0, Fill::AtOnce),
                Box::new(Leak::new(5, Rate::Bursts(1, 1e-3))),
            ]
        })
        .restarted(vec![8]);
        let mut tasks = Vec::new();
        for at in 0..14 {
            owner.step(at, u64::MAX / 2);
            tasks.push(owner.now().tasks);
        }
        assert_eq!(tasks[4], 10);
        assert!(tasks[7] > 1000);
        assert!(tasks[8] < tasks[7]);
        assert_eq!(owner.now().created - owner.now().ended, owner.now().tasks);
    }

    #[test]
    fn a_limit_refuses_what_is_beyond_it() {
        let mut owner = Owner::new(&mut Random::new("o", 1), |_| {
            vec![Pool::boxed(0, 10.0, Fill::Linear(4.0))]
        });
        assert_eq!(owner.step(0, 6), (true, false));
        assert_eq!(owner.step(1, 2), (true, true));
        assert_eq!(owner.now().tasks, 6);
    }
}
