//! What an owner did over the last hours, for charts, in bounded room.
//!
//! In: one reading a window. Out: columns of a chart over any span up to four hours. Three levels hold
//! the same time ever more coarsely. Only windows in which something was told take room: a silent
//! owner keeps its tasks and has rates of nothing, which is what a gap means.
//!
//! Invariant: at most [`MOST_POINTS`] points, whatever the time.

use std::collections::VecDeque;

/// Seconds of a point, by level, and how many points a level keeps: 2 min, 15 min, 4 h.
const LEVELS: [(u64, usize); 3] = [(1, 120), (10, 90), (60, 240)];
/// Points of an owner that always had something to tell; each has 24 bytes.
pub const MOST_POINTS: usize = LEVELS[0].1 + LEVELS[1].1 + LEVELS[2].1;
/// The longest span that is known, in seconds.
pub const LONGEST_S: u64 = LEVELS[2].0 * LEVELS[2].1 as u64;

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Tasks at the end of the window; `None` keeps what was.
    pub tasks: Option<u64>,
    /// Created in the window.
    pub created: u64,
    /// Ended in it.
    pub exited: u64,
    /// Refused in it.
    pub failed: u64,
}

/// One column of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChartColumn {
    /// The most tasks in its time; `None` before anything was known.
    pub tasks: Option<u64>,
    /// Created a second.
    pub created: f64,
    /// Ended a second.
    pub exited: f64,
    /// Refused a second.
    pub failed: f64,
}

#[derive(Clone, Copy, Debug)]
struct HistoryPoint {
    /// Time over the level's width.
    index: u32,
    /// The most.
    tasks: u32,
    /// At its end.
    end: u32,
    created: u32,
    exited: u32,
    failed: u32,
}

/// The past of one owner, or of the node.
#[derive(Clone, Debug, Default)]
pub struct History {
    levels: [VecDeque<HistoryPoint>; LEVELS.len()],
    /// Tasks at the last reading.
    last: Option<u32>,
    /// Seconds of a window, of late.
    window_s: f64,
}

impl History {
    /// Takes the reading of a window that ended at `time_s` of a clock that never steps back. An older
    /// one than the newest is taken for now.
    pub fn push(&mut self, time_s: u64, window_s: f64, reading: Reading) {
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.window_s = window_s;
        if let Some(tasks) = reading.tasks {
            self.last = Some(narrow(tasks));
        }
        let tasks = self.last.unwrap_or(0);
        for (level, (width, most)) in self.levels.iter_mut().zip(LEVELS) {
            let index = narrow(time_s / width);
            match level.back_mut() {
                Some(point) if point.index >= index => {
                    point.tasks = point.tasks.max(tasks);
                    point.end = tasks;
                    point.created = point.created.saturating_add(narrow(reading.created));
                    point.exited = point.exited.saturating_add(narrow(reading.exited));
                    point.failed = point.failed.saturating_add(narrow(reading.failed));
                }
                _ => level.push_back(HistoryPoint {
                    index,
                    tasks,
                    end: tasks,
                    created: narrow(reading.created),
                    exited: narrow(reading.exited),
                    failed: narrow(reading.failed),
                }),
            }
            // One more than is shown, so that what was before a silence is known.
            let oldest = index.saturating_sub(most as u32);
            while level.len() > most || level.get(1).is_some_and(|point| point.index < oldest) {
                level.pop_front();
            }
        }
    }

    /// Tasks at the last reading.
    pub fn last(&self) -> Option<u64> {
        self.last.map(u64::from)
    }

    /// `n` columns that end at `now_s` and cover `span_s`, the oldest first. A column is never shorter
    /// than a window: one without any would look like a pause.
    pub fn columns(&self, now_s: u64, span_s: u64, n: usize) -> Vec<ChartColumn> {
        let n = n.max(1);
        let width_s = (span_s as f64 / n as f64).max(self.window_s).max(1.0);
        let span_s = width_s * n as f64;
        let covers = |&(width, most): &(u64, usize)| (width * most as u64) as f64 >= span_s;
        let level = LEVELS.iter().position(covers).unwrap_or(LEVELS.len() - 1);
        let point_s = LEVELS[level].0 as f64;
        let begin = (now_s + 1) as f64 - span_s;
        let mut columns = vec![ChartColumn::default(); n];
        // The most, and what it was at its end.
        let mut known: Vec<Option<(u32, u32)>> = vec![None; n];
        let mut before = None;
        for point in &self.levels[level] {
            let at = f64::from(point.index) * point_s - begin;
            if at < 0.0 {
                before = Some(point.end);
                continue;
            }
            // A point that is longer than a column is in all that it covers.
            let first = ((at / width_s) as usize).min(n);
            let beyond = (((at + point_s) / width_s) as usize).max(first + 1).min(n);
            let covered = columns[first..beyond]
                .iter_mut()
                .zip(&mut known[first..beyond]);
            for (column, tasks) in covered {
                let most = tasks.map_or(point.tasks, |(most, _)| most.max(point.tasks));
                *tasks = Some((most, point.end));
                column.created += f64::from(point.created);
                column.exited += f64::from(point.exited);
                column.failed += f64::from(point.failed);
            }
        }
        let seconds = width_s.max(point_s);
        for (column, tasks) in columns.iter_mut().zip(known) {
            column.tasks = tasks.map(|(most, _)| most).or(before).map(u64::from);
            before = tasks.map(|(_, end)| end).or(before);
            column.created /= seconds;
            column.exited /= seconds;
            column.failed /= seconds;
        }
        columns
    }

    /// Bytes on the heap.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        let points: usize = self.levels.iter().map(VecDeque::capacity).sum();
        points * size_of::<HistoryPoint>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(tasks: u64, created: u64) -> Reading {
        Reading {
            tasks: Some(tasks),
            created,
            ..Reading::default()
        }
    }

    #[test]
    fn columns_are_what_was_read_and_the_newest_is_last() {
        let mut history = History::default();
        for second in 0..10 {
            history.push(100 + second, 1.0, reading(second, 2 * second));
        }
        let columns = history.columns(109, 5, 5);
        let tasks: Vec<_> = columns.iter().map(|column| column.tasks).collect();
        assert_eq!(tasks, [Some(5), Some(6), Some(7), Some(8), Some(9)]);
        assert_eq!(columns[4].created, 18.0);
    }

    #[test]
    fn a_silence_keeps_the_tasks_and_has_no_rates() {
        let mut history = History::default();
        history.push(100, 1.0, reading(7, 7));
        let columns = history.columns(160, 10, 10);
        assert!(columns.iter().all(|column| column.tasks == Some(7)));
        assert!(columns.iter().all(|column| column.created == 0.0));
        assert_eq!(History::default().columns(160, 10, 10)[9].tasks, None);
    }

    #[test]
    fn after_a_burst_what_is_left_is_shown_and_not_its_peak() {
        let mut history = History::default();
        history.push(100, 1.0, reading(100, 100));
        history.push(101, 1.0, reading(5, 0));
        for (span, n) in [(300, 30), (60, 60)] {
            let columns = history.columns(160, span, n);
            assert_eq!(columns[n - 1].tasks, Some(5), "{span}");
        }
    }

    #[test]
    fn a_steady_rate_is_even_whatever_the_width() {
        let mut history = History::default();
        for second in 0..2000 {
            history.push(second, 1.0, reading(1, 3));
        }
        for n in [40, 60, 68, 188] {
            let columns = history.columns(1999, 300, n);
            // The last point is not over yet.
            let even = columns[..n - 3].iter();
            let even = even.filter(|column| (2.5..6.1).contains(&column.created));
            assert_eq!(even.count(), n - 3, "{n}: {columns:?}");
        }
    }

    #[test]
    fn hours_are_known_more_coarsely_and_room_is_bounded() {
        let mut history = History::default();
        for second in 0..20_000 {
            history.push(second, 1.0, reading(second, 3));
        }
        assert!(history.heap_bytes() <= 2 * 24 * MOST_POINTS);
        for span in [60, 600, 3600, LONGEST_S] {
            let columns = history.columns(19_999, span, 60);
            assert!(
                columns.iter().all(|column| column.tasks.is_some()),
                "{span}"
            );
            let newest = columns[59].tasks.unwrap_or(0);
            assert!(newest >= 19_990, "{span}: {newest}");
            let mean = columns[..59]
                .iter()
                .map(|column| column.created)
                .sum::<f64>()
                / 59.0;
            assert!((mean - 3.0).abs() < 0.5, "{span}: {mean}");
        }
    }

    #[test]
    fn long_windows_make_wide_columns() {
        let mut history = History::default();
        for second in (0..60).step_by(5) {
            history.push(second, 5.0, reading(1, 50));
        }
        let columns = history.columns(59, 8, 8);
        assert!(
            columns.iter().all(|column| column.created == 10.0),
            "{columns:?}"
        );
    }
}
