//! What an owner's tasks are made of: pools, jobs, loads that come and go, leaks.
//!
//! A part tells, second by second, how many tasks it creates and ends. An owner is the sum of some
//! parts ([`super::owner`]).

use pidwatch_core::detect::evidence::Task;

use super::random::Random;
use super::step::Step;
use super::tasks::Manner;

/// Now, for a part.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Seconds of the case.
    pub at: u64,
    /// Seconds since its owner started, or was restarted.
    pub age: u64,
}

/// A component of an owner.
pub trait Part {
    fn step(&mut self, clock: Clock, random: &mut Random) -> Step;

    /// What its tasks do.
    fn manner(&self, random: &mut Random) -> Manner {
        Manner::benign(random)
    }

    /// Shows each of its tasks as a pass does; false where they are only known by what they do.
    fn each_task(&self, _: u64, _: &mut dyn FnMut(&Task)) -> bool {
        false
    }
}

/// How load goes over time, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    Full,
    /// A sine with this period and phase (a share of the period), and noise.
    Cycle {
        period: f64,
        phase: f64,
    },
    /// Business hours: up within `ramp` seconds at `from`, down again at `to`, every day.
    Day {
        from: f64,
        to: f64,
        ramp: f64,
    },
    /// On for a time, then off.
    Square {
        period: u64,
        on: u64,
        offset: u64,
    },
}

impl Load {
    pub fn at(self, second: u64) -> f64 {
        match self {
            Self::Full => 1.0,
            Self::Cycle { period, phase } => {
                let angle = std::f64::consts::TAU * (second as f64 / period + phase);
                0.5 - 0.5 * angle.cos()
            }
            Self::Day { from, to, ramp } => {
                let time = second as f64 % 86_400.0;
                let up = ((time - from) / ramp).clamp(0.0, 1.0);
                let down = ((time - to) / ramp).clamp(0.0, 1.0);
                up - down
            }
            Self::Square { period, on, offset } => {
                f64::from(u8::from((second + offset) % period < on))
            }
        }
    }
}

/// A pool that fills once and stays.
pub struct Pool {
    pub from: u64,
    pub size: f64,
    pub fill: Fill,
    pub level: u64,
}

/// How a pool fills.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    AtOnce,
    /// So many a second until it is full.
    Linear(f64),
    /// Ever slower, with this time constant.
    Saturating(f64),
}

impl Pool {
    pub fn boxed(from: u64, size: f64, fill: Fill) -> Box<dyn Part> {
        let level = 0;
        Box::new(Self {
            from,
            size,
            fill,
            level,
        })
    }
}

impl Part for Pool {
    fn step(&mut self, clock: Clock, _: &mut Random) -> Step {
        let Some(age) = clock.age.checked_sub(self.from) else {
            return Step::default();
        };
        let age = (age + 1) as f64;
        let target = match self.fill {
            Fill::AtOnce => self.size,
            Fill::Linear(per_s) => (per_s * age).min(self.size),
            Fill::Saturating(constant) => self.size * (1.0 - (-age / constant).exp()),
        };
        let target = target.round() as u64;
        let step = Step::between(self.level, target);
        self.level = target;
        step
    }
}

/// Workers that follow the load: added fast, given up once idle for a while.
pub struct Workers {
    pub least: f64,
    pub most: f64,
    pub load: Load,
    /// Noise of the load, in workers, with a memory of some minutes.
    pub noise: f64,
    /// Most workers that come or go a second.
    pub up_per_s: f64,
    pub down_per_s: f64,
    /// How long they are kept idle.
    pub idle_s: u64,
    state: (u64, f64, u64),
}

impl Workers {
    pub fn new(least: f64, most: f64, load: Load, noise: f64) -> Self {
        Self {
            least,
            most,
            load,
            noise,
            up_per_s: 20.0,
            down_per_s: 5.0,
            idle_s: 60,
            state: (0, 0.0, 0),
        }
    }
}

impl Part for Workers {
    fn step(&mut self, clock: Clock, random: &mut Random) -> Step {
        let (level, drift, busy) = &mut self.state;
        if self.noise > 0.0 {
            // An Ornstein-Uhlenbeck process with a memory of three minutes.
            *drift += -*drift / 180.0 + self.noise * (2.0f64 / 180.0).sqrt() * random.normal();
        }
        let wanted = self.least + (self.most - self.least) * self.load.at(clock.at) + *drift;
        let wanted = wanted.clamp(self.least, self.most + 3.0 * self.noise) as u64;
        let before = *level;
        if wanted >= before {
            let step = random.poisson(self.up_per_s).max(1);
            *level = wanted.min(before + step);
            *busy = clock.at;
        } else if clock.at - *busy >= self.idle_s {
            let step = random.poisson(self.down_per_s);
            *level = wanted.max(before.saturating_sub(step));
        }
        Step::between(before, *level)
    }
}

/// A level that wanders slowly within bounds.
pub struct Walk {
    pub least: f64,
    pub most: f64,
    /// Standard deviation of what an hour changes.
    pub per_hour: f64,
    level: Option<f64>,
}

impl Walk {
    pub fn boxed(least: f64, most: f64, per_hour: f64) -> Box<dyn Part> {
        Box::new(Self {
            least,
            most,
            per_hour,
            level: None,
        })
    }
}

impl Part for Walk {
    fn step(&mut self, _: Clock, random: &mut Random) -> Step {
        let middle = f64::midpoint(self.least, self.most);
        let before = self.level.map_or(0, |level| level as u64);
        let level = self.level.unwrap_or(middle) + self.per_hour / 60.0 * random.normal();
        let level = level.clamp(self.least, self.most);
        self.level = Some(level);
        Step::between(before, level as u64)
    }
}

/// Jobs that come at random, take some tasks and end: requests, compilers, connections.
pub struct Jobs {
    pub per_s: f64,
    pub load: Load,
    /// Mean seconds that one lives; exponential.
    pub life_s: f64,
    pub tasks: (u64, u64),
    ends: Vec<u64>,
}

impl Jobs {
    pub fn boxed(per_s: f64, life_s: f64, tasks: (u64, u64), load: Load) -> Box<dyn Part> {
        // Longer lives than eight times the mean are cut.
        let longest = (life_s * 8.0) as usize + 2;
        Box::new(Self {
            per_s,
            load,
            life_s,
            tasks,
            ends: vec![0; longest],
        })
    }
}

impl Part for Jobs {
    fn step(&mut self, clock: Clock, random: &mut Random) -> Step {
        let slots = self.ends.len();
        let mut step = Step {
            ended: std::mem::take(&mut self.ends[clock.age as usize % slots]),
            ..Step::default()
        };
        let rate = self.per_s * self.load.at(clock.at);
        for _ in 0..random.poisson(rate) {
            let tasks = random.whole(self.tasks.0, self.tasks.1);
            let life = (random.exponential(self.life_s) + random.unit()) as usize;
            step.created += tasks;
            match life.min(slots - 1) {
                // Came and went between two readings.
                0 => step.ended += tasks,
                life => self.ends[(clock.age as usize + life) % slots] += tasks,
            }
        }
        step
    }

    fn manner(&self, random: &mut Random) -> Manner {
        // What lives for minutes is a connection.
        if self.life_s < 30.0 {
            Manner::Busy(random.whole(1, 20))
        } else {
            Manner::Connections
        }
    }
}

/// A batch that starts on time, works with some tasks for a while and ends: nightly jobs, builds.
pub struct Batch {
    pub every: u64,
    pub offset: u64,
    pub tasks: f64,
    /// Seconds in which its tasks come.
    pub ramp: u64,
    pub lasts: u64,
    level: u64,
}

impl Batch {
    pub fn boxed(every: u64, offset: u64, tasks: f64, ramp: u64, lasts: u64) -> Box<dyn Part> {
        Box::new(Self {
            every,
            offset,
            tasks,
            ramp,
            lasts,
            level: 0,
        })
    }
}

impl Part for Batch {
    fn step(&mut self, clock: Clock, _: &mut Random) -> Step {
        let into = (clock.at + self.every - self.offset % self.every) % self.every;
        let share = if into < self.lasts && clock.at >= self.offset {
            ((into + 1) as f64 / self.ramp.max(1) as f64).min(1.0)
        } else {
            0.0
        };
        let target = (self.tasks * share) as u64;
        let step = Step::between(self.level, target);
        self.level = target;
        step
    }

    fn manner(&self, random: &mut Random) -> Manner {
        Manner::Busy(random.whole(1, 20))
    }
}

/// Children that end at once, and are reaped all together when the last one was made.
pub struct ReapedLate {
    pub from: u64,
    pub per_s: f64,
    pub lasts: u64,
    pub every: u64,
    waiting: u64,
}

impl ReapedLate {
    pub fn boxed(from: u64, per_s: f64, lasts: u64, every: u64) -> Box<dyn Part> {
        Box::new(Self {
            from,
            per_s,
            lasts,
            every,
            waiting: 0,
        })
    }
}

impl Part for ReapedLate {
    fn step(&mut self, clock: Clock, random: &mut Random) -> Step {
        let Some(since) = clock.at.checked_sub(self.from) else {
            return Step::default();
        };
        if since % self.every < self.lasts {
            let new = random.poisson(self.per_s);
            self.waiting += new;
            return Step {
                created: new,
                ended: new,
                unreaped: new as i64,
                moved: 0,
            };
        }
        Step {
            unreaped: -(std::mem::take(&mut self.waiting) as i64),
            ..Step::default()
        }
    }
}

/// A runtime that forks here and moves what it forked elsewhere.
pub struct Moves {
    pub per_s: f64,
    pub tasks: u64,
}

impl Part for Moves {
    fn step(&mut self, _: Clock, random: &mut Random) -> Step {
        let tasks = self.tasks * random.poisson(self.per_s);
        Step {
            created: tasks,
            moved: -(tasks as i64),
            ..Step::default()
        }
    }
}

/// Tasks that come to stay.
pub struct Leak {
    /// Second of the case.
    pub from: u64,
    pub rate: Rate,
    /// Every so many seconds, the share of what leaked meanwhile that is given back.
    pub release: Option<(u64, f64)>,
    /// Whether what leaks has ended and is not reaped.
    pub zombies: bool,
    /// What leaked tasks do; drawn where it is not said.
    pub manner: Option<Manner>,
    /// Leaked since the last release.
    pub held: u64,
}

/// How fast a leak is.
#[derive(Clone, Copy, Debug)]
pub enum Rate {
    /// Independent events, so many a second.
    Steady(f64),
    /// Begins so and doubles in so many seconds.
    Doubling(f64, f64),
    /// So many tasks at once, at random, every so many seconds on average.
    Bursts(u64, f64),
    /// By a power of the time: `tasks` at `seconds`.
    Power {
        tasks: f64,
        seconds: f64,
        power: f64,
    },
    /// Only while there is load: so many a second at full load.
    WithLoad(f64, Load),
}

impl Leak {
    pub fn new(from: u64, rate: Rate) -> Self {
        Self {
            from,
            rate,
            release: None,
            zombies: false,
            manner: None,
            held: 0,
        }
    }
}

impl Part for Leak {
    fn step(&mut self, clock: Clock, random: &mut Random) -> Step {
        let Some(age) = clock.at.checked_sub(self.from) else {
            return Step::default();
        };
        let new = match self.rate {
            Rate::Steady(per_s) => random.poisson(per_s),
            Rate::Doubling(per_s, seconds) => {
                random.poisson((per_s * (age as f64 / seconds).exp2()).min(5000.0))
            }
            Rate::Bursts(tasks, every) => tasks * random.poisson(1.0 / every),
            Rate::Power {
                tasks,
                seconds,
                power,
            } => {
                let until = |age: u64| tasks * (age as f64 / seconds).powf(power);
                random.poisson(until(age + 1) - until(age))
            }
            Rate::WithLoad(per_s, load) => random.poisson(per_s * load.at(clock.at)),
        };
        let mut step = Step {
            created: new,
            ..Step::default()
        };
        if self.zombies {
            (step.ended, step.unreaped) = (new, new as i64);
        }
        self.held += new;
        if let Some((every, share)) = self.release
            && age > 0
            && age % every == 0
        {
            step.ended += (std::mem::take(&mut self.held) as f64 * share) as u64;
        }
        step
    }

    fn manner(&self, random: &mut Random) -> Manner {
        self.manner.unwrap_or_else(|| Manner::leaked(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(part: &mut dyn Part, seconds: u64) -> Vec<i64> {
        let mut random = Random::new("part", 1);
        let mut level = 0;
        (0..seconds)
            .map(|at| {
                let step = part.step(Clock { at, age: at }, &mut random);
                level += step.created as i64 - (step.ended as i64 - step.unreaped) + step.moved;
                level
            })
            .collect()
    }

    #[test]
    fn a_pool_fills_and_stays() {
        let mut pool = Pool::boxed(2, 10.0, Fill::Linear(4.0));
        assert_eq!(levels(&mut *pool, 7), [0, 0, 4, 8, 10, 10, 10]);
    }

    #[test]
    fn jobs_all_end() {
        let mut jobs = Jobs::boxed(
            50.0,
            3.0,
            (1, 4),
            Load::Square {
                period: 1000,
                on: 50,
                offset: 0,
            },
        );
        let levels = levels(&mut *jobs, 200);
        assert!(levels[40] > 200, "{levels:?}");
        assert_eq!(levels[199], 0);
    }

    #[test]
    fn a_leak_keeps_what_it_does_not_release() {
        let mut leak = Leak::new(0, Rate::Steady(10.0));
        leak.release = Some((100, 0.5));
        let levels = levels(&mut leak, 1000);
        assert!((4500..6500).contains(&levels[999]), "{}", levels[999]);
        assert!(levels[100] < levels[99]);
        let mut zombies = Leak::new(0, Rate::Steady(1.0));
        zombies.zombies = true;
        let step = zombies.step(Clock { at: 5, age: 5 }, &mut Random::new("z", 3));
        assert_eq!(step.created as i64, step.unreaped);
    }

    #[test]
    fn what_is_forked_and_moved_away_leaves_nothing() {
        let mut moves = Moves {
            per_s: 3.0,
            tasks: 2,
        };
        assert!(levels(&mut moves, 50).iter().all(|&level| level == 0));
    }

    #[test]
    fn a_batch_comes_and_goes_on_time() {
        let mut batch = Batch::boxed(10, 3, 4.0, 2, 4);
        assert_eq!(
            levels(&mut *batch, 14),
            [0, 0, 0, 2, 4, 4, 4, 0, 0, 0, 0, 0, 0, 2]
        );
    }
}
