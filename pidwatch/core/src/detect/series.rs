//! The series of one owner's tasks, on several horizons at once, in bounded memory.
//!
//! Each horizon is a row of buckets that hold the *least* tasks seen in their time. What comes and
//! goes within a bucket leaves no trace in it; what stays raises it. A bucket in which nothing was
//! heard holds what the owner had, since a charge that nobody changes stays.
//!
//! Beside them, for each bucket of the longest horizon, its *peak*: the most that stayed for eight
//! seconds. What an hour's job needs every night is no news then.

/// Buckets of a horizon that are closed.
pub const BUCKETS: usize = 32;

/// Seconds of a bucket, by horizon: 32 s, 4 min, 34 min, 4.5 h and 36 h in all. The last covers a day
/// and a half, so that yesterday's peak is known today.
pub const WIDTHS: [u64; 5] = [1, 8, 64, 512, 4096];

/// Tasks over time. Times are seconds of a clock that never steps.
#[derive(Clone, Debug)]
pub struct Series {
    levels: [Level; WIDTHS.len()],
    peaks: Peaks,
    last: u32,
}

/// The horizon whose buckets make peaks ...
const STAYED: usize = 1;
/// ... and the one whose buckets have them.
const LONGEST: usize = WIDTHS.len() - 1;

#[derive(Clone, Debug)]
struct Peaks {
    closed: [u32; BUCKETS],
    open_index: u32,
    open: u32,
}

#[derive(Clone, Debug)]
struct Level {
    floors: [u32; BUCKETS],
    /// Index (time over width) of the bucket that is open.
    open_index: u32,
    open: u32,
    filled: u8,
}

/// One point: when its bucket began, and the least tasks in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Seconds.
    pub time: u64,
    /// Tasks.
    pub floor: u32,
}

impl Series {
    /// Begins with a first reading.
    pub fn new(time: u64, tasks: u64) -> Self {
        let tasks = narrow(tasks);
        Self {
            levels: WIDTHS.map(|width| Level {
                floors: [0; BUCKETS],
                filled: 0,
                open_index: (time / width) as u32,
                open: tasks,
            }),
            peaks: Peaks {
                closed: [0; BUCKETS],
                open_index: (time / WIDTHS[LONGEST]) as u32,
                open: 0,
            },
            last: tasks,
        }
    }

    /// Takes a reading. One that is older than the newest is taken for now.
    pub fn push(&mut self, time: u64, tasks: u64) {
        let tasks = narrow(tasks);
        let Level {
            open_index, open, ..
        } = self.levels[STAYED];
        let index = (time / WIDTHS[STAYED]) as u32;
        if index > open_index {
            let width = (WIDTHS[LONGEST] / WIDTHS[STAYED]) as u32;
            self.peaks.push(open_index / width, open);
            if index > open_index + 1 {
                self.peaks.silence((index - 1) / width, self.last);
            }
        }
        for (level, width) in self.levels.iter_mut().zip(WIDTHS) {
            level.push((time / width) as u32, self.last, tasks);
        }
        self.last = tasks;
    }

    /// Time has passed and nothing was heard.
    pub fn advance(&mut self, time: u64) {
        self.push(time, u64::from(self.last));
    }

    /// Tasks at the last reading.
    pub fn last(&self) -> u64 {
        u64::from(self.last)
    }

    /// What stays: the least of the last eight seconds, as far as they are known.
    pub fn stays(&self) -> u64 {
        let Level {
            floors,
            filled,
            open,
            ..
        } = &self.levels[0];
        let known = usize::from(*filled).min(WIDTHS[STAYED] as usize);
        let least = floors[BUCKETS - known..].iter().copied().min();
        u64::from(least.map_or(*open, |least| least.min(*open)))
    }

    /// How much more there is now than at the least in a horizon.
    pub fn gain(&self, level: usize) -> u64 {
        let Level { floors, filled, .. } = &self.levels[level];
        let closed = &floors[BUCKETS - usize::from(*filled)..];
        let least = closed.iter().copied().min().unwrap_or(self.last);
        u64::from(self.last.saturating_sub(least))
    }

    /// The closed buckets of a horizon, oldest first, and at the end what there is now.
    pub fn points(&self, level: usize, now: u64) -> Vec<Point> {
        let Level {
            floors,
            filled,
            open_index,
            ..
        } = &self.levels[level];
        let filled = usize::from(*filled);
        let first = u64::from(*open_index) - filled as u64;
        let closed = floors[BUCKETS - filled..].iter().enumerate();
        closed
            .map(|(i, &floor)| Point {
                time: (first + i as u64) * WIDTHS[level],
                floor,
            })
            .chain([Point {
                time: now.max(u64::from(*open_index) * WIDTHS[level]),
                floor: self.last,
            }])
            .collect()
    }

    /// The most that stayed for a while in a span of time, as far as is known.
    pub fn peak(&self, from: u64, before: u64) -> Option<u64> {
        let within = |begin: u64, width: u64| begin >= from && begin + width <= before;
        let mut peak = None;
        for (level, width) in self.levels.iter().zip(WIDTHS) {
            let filled = usize::from(level.filled);
            let first = u64::from(level.open_index) - filled as u64;
            for (i, &floor) in level.floors[BUCKETS - filled..].iter().enumerate() {
                if within((first + i as u64) * width, width) {
                    peak = peak.max(Some(floor));
                }
            }
        }
        let last = self.peaks.open_index;
        for (age, &most) in (1..).zip(self.peaks.closed.iter().rev()) {
            let known = last.checked_sub(age);
            if known
                .is_some_and(|index| within(u64::from(index) * WIDTHS[LONGEST], WIDTHS[LONGEST]))
            {
                peak = peak.max(Some(most));
            }
        }
        peak.map(u64::from)
    }
}

impl Peaks {
    /// So many stayed for a while, in this bucket.
    fn push(&mut self, index: u32, tasks: u32) {
        self.close_until(index, 0);
        self.open = self.open.max(tasks);
    }

    /// Nothing was heard up to this bucket.
    fn silence(&mut self, index: u32, tasks: u32) {
        self.open = self.open.max(tasks);
        self.close_until(index, tasks);
    }

    fn close_until(&mut self, index: u32, tasks: u32) {
        let quiet = index.saturating_sub(self.open_index);
        for _ in 0..quiet.min(BUCKETS as u32 + 1) {
            self.closed.copy_within(1.., 0);
            self.closed[BUCKETS - 1] = std::mem::replace(&mut self.open, tasks);
        }
        self.open_index = self.open_index.max(index);
    }
}

impl Level {
    fn push(&mut self, index: u32, before: u32, tasks: u32) {
        if index <= self.open_index {
            self.open = self.open.min(tasks);
            return;
        }
        self.close(self.open);
        let quiet = (index - self.open_index - 1).min(BUCKETS as u32);
        for _ in 0..quiet {
            self.close(before);
        }
        self.open_index = index;
        self.open = before.min(tasks);
    }

    fn close(&mut self, floor: u32) {
        self.floors.copy_within(1.., 0);
        self.floors[BUCKETS - 1] = floor;
        self.filled = (self.filled + 1).min(BUCKETS as u8);
    }
}

fn narrow(tasks: u64) -> u32 {
    tasks.min(u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors(series: &Series, level: usize, now: u64) -> Vec<u32> {
        let points = series.points(level, now);
        points.iter().map(|point| point.floor).collect()
    }

    #[test]
    fn a_bucket_holds_the_least_that_was_there_in_its_time() {
        let mut series = Series::new(0, 10);
        for (time, tasks) in [(1, 50), (2, 90), (3, 20), (5, 60), (8, 60), (9, 55)] {
            series.push(time, tasks);
        }
        assert_eq!(
            floors(&series, 0, 9),
            [10, 10, 50, 20, 20, 20, 60, 60, 60, 55]
        );
        assert_eq!(floors(&series, 1, 9), [10, 55]);
    }

    #[test]
    fn silence_is_filled_with_what_stays() {
        let mut series = Series::new(1000, 7);
        series.push(1001, 9);
        series.advance(100_000);
        let points = series.points(0, 100_000);
        assert_eq!(points.len(), BUCKETS + 1);
        assert!(points.iter().all(|point| point.floor == 9));
        assert_eq!(points[0].time, 100_000 - BUCKETS as u64);
        assert_eq!(floors(&series, 4, 100_000)[0], 7);
    }

    #[test]
    fn a_reading_out_of_order_does_not_turn_time_back() {
        let mut series = Series::new(100, 5);
        series.push(110, 6);
        series.push(90, 1);
        assert_eq!(series.points(0, 110).last().unwrap().time, 110);
        assert_eq!(series.last(), 1);
    }

    #[test]
    fn a_short_peak_is_known_a_day_later() {
        let mut series = Series::new(0, 10);
        for time in 5000..5200 {
            series.push(time, if time < 5100 { 300 } else { 10 });
        }
        // What does not stay is no peak.
        series.push(5300, 900);
        series.push(5301, 10);
        series.advance(100_000);
        assert_eq!(series.peak(0, 90_000), Some(300));
        assert_eq!(series.peak(10_000, 90_000), Some(10));
        series.advance(300_000);
        assert_eq!(series.peak(0, 290_000), Some(10));
    }

    #[test]
    fn a_peak_is_found_on_any_horizon() {
        let mut series = Series::new(0, 10);
        series.push(10_000, 500);
        series.push(30_000, 20);
        for time in 30_000..30_100 {
            series.push(time, 20);
        }
        assert_eq!(series.peak(0, 30_000), Some(500));
        assert_eq!(series.peak(30_000, 30_090), Some(20));
        assert_eq!(series.peak(40_000, 50_000), None);
    }
}
