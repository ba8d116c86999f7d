//! What people use today, on the same series: a share of the limit, `predict_linear`, a fork rate.
//!
//! Each is evaluated every 15 s, as Prometheus commonly scrapes, with the `for` that people write.

use std::collections::VecDeque;

/// Seconds between two scrapes.
pub const SCRAPE: u64 = 15;

/// Names, in the order of [`Baselines::scrape`].
pub const NAMES: [&str; 3] = [
    "usage > 0.8 for 5 min",
    "predict_linear, 1 h, 4 h ahead, for 5 min",
    "creations > 50/s for 1 min",
];

/// Share of a limit, and for how long.
const USAGE: (f64, u64) = (0.8, 300);
/// Window, look-ahead, and for how long.
const PREDICT: (u64, f64, u64) = (3600, 14_400.0, 300);
/// Creations a second, and over how long.
const FORKS: (f64, u64) = (50.0, 60);

/// An alert with a `for`.
#[derive(Clone, Debug, Default)]
struct Pending {
    since: Option<u64>,
    fires: bool,
}

impl Pending {
    /// Whether it begins to fire now.
    fn update(&mut self, now: u64, holds: bool, for_s: u64) -> bool {
        if !holds {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let before = self.fires;
        self.fires = now - since >= for_s;
        self.fires && !before
    }
}

/// The three rules for one owner.
#[derive(Clone, Debug, Default)]
pub struct Baselines {
    usage: Pending,
    predict: Pending,
    forks: Pending,
    window: Line,
    created: VecDeque<u64>,
}

impl Baselines {
    /// Takes a scrape in; which of the rules begin to fire. `room` is how many tasks the owner may
    /// still create, `ratio` its pod's usage over its limit.
    pub fn scrape(
        &mut self,
        now: u64,
        tasks: u64,
        created: u64,
        room: u64,
        ratio: f64,
    ) -> [bool; 3] {
        self.window.push(now, tasks as f64, PREDICT.0);
        let predicted = self.window.predict(now as f64 + PREDICT.1);
        let will_fill = predicted.is_some_and(|predicted| predicted > (tasks + room) as f64);
        self.created.push_back(created);
        let slots = (FORKS.1 / SCRAPE) as usize + 1;
        if self.created.len() > slots {
            self.created.pop_front();
        }
        let is_whole = self.created.len() == slots;
        let per_s = (created - self.created[0]) as f64 / FORKS.1 as f64;
        [
            self.usage.update(now, ratio > USAGE.0, USAGE.1),
            self.predict.update(now, will_fill, PREDICT.2),
            self.forks.update(now, is_whole && per_s > FORKS.0, 0),
        ]
    }
}

/// The first rule, for the node.
#[derive(Clone, Debug, Default)]
pub struct NodeRule(Pending);

impl NodeRule {
    /// Whether it begins to fire.
    pub fn scrape(&mut self, now: u64, ratio: f64) -> bool {
        self.0.update(now, ratio > USAGE.0, USAGE.1)
    }
}

/// Least squares over a sliding window, as Prometheus' `predict_linear` does it.
#[derive(Clone, Debug, Default)]
struct Line {
    points: VecDeque<(f64, f64)>,
    /// Times are taken from here, so that squares stay small.
    origin: Option<f64>,
    sums: [f64; 4],
}

impl Line {
    fn push(&mut self, now: u64, value: f64, window: u64) {
        let origin = *self.origin.get_or_insert(now as f64);
        let x = now as f64 - origin;
        self.add(x, value, 1.0);
        self.points.push_back((x, value));
        while let Some(&(x0, y0)) = self.points.front()
            && x - x0 > window as f64
        {
            self.add(x0, y0, -1.0);
            self.points.pop_front();
        }
    }

    fn add(&mut self, x: f64, y: f64, sign: f64) {
        for (sum, term) in self.sums.iter_mut().zip([x, y, x * x, x * y]) {
            *sum += sign * term;
        }
    }

    fn predict(&self, at: f64) -> Option<f64> {
        let n = self.points.len() as f64;
        let [x, y, xx, xy] = self.sums;
        let spread = xx - x * x / n;
        if self.points.len() < 2 || spread <= 0.0 {
            return None;
        }
        let slope = (xy - x * y / n) / spread;
        Some(y / n + slope * (at - self.origin? - x / n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_predicted_as_by_hand() {
        let mut line = Line::default();
        // Least squares through (0, 1), (10, 2), (20, 6): slope 1/4, through (10, 3).
        for (time, value) in [(1000, 1.0), (1010, 2.0), (1020, 6.0)] {
            line.push(time, value, 3600);
        }
        assert_eq!(line.predict(1030.0), Some(8.0));
        // What left the window counts no more: (20, 6), (30, 7).
        line.push(1030, 7.0, 10);
        assert!((line.predict(1050.0).unwrap() - 9.0).abs() < 1e-9);
        assert_eq!(Line::default().predict(1.0), None);
    }

    #[test]
    fn an_alert_fires_once_after_its_for() {
        let mut rules = Baselines::default();
        let fired: Vec<u64> = (0..60)
            .map(|i| i * SCRAPE)
            .filter(|&now| rules.scrape(now, 100, 0, 10, 0.9)[0])
            .collect();
        assert_eq!(fired, [300]);
    }

    #[test]
    fn a_fork_rate_is_that_of_a_minute() {
        let mut rules = Baselines::default();
        let fired: Vec<u64> = (0..20)
            .map(|i| i * SCRAPE)
            .filter(|&now| rules.scrape(now, 10, 60 * now, 1000, 0.1)[2])
            .collect();
        assert_eq!(fired, [60]);
    }
}
