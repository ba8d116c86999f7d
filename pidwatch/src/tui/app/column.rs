//! Columns of the owners' table: what each is called, what it tells, which leave first where the
//! screen is narrow, and how rows are ordered by it. Pure.

use std::cmp::Ordering;

use super::{owner::Badge, row::TableRow};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The badge.
    State,
    /// Whose.
    Name,
    /// Its tasks.
    Tasks,
    /// Their share of the limit that matters.
    Share,
    /// Processes.
    Processes,
    /// Threads.
    Threads,
    /// Zombies.
    Zombies,
    /// Growth a second.
    Growth,
    /// Creations a second.
    Created,
    /// Ends a second.
    Exited,
    /// Failures a second.
    Failed,
    /// Time to exhaustion.
    FullIn,
    /// Tasks of late.
    Trend,
}

impl Column {
    /// All, as they stand from left to right.
    pub const ALL: [Self; 13] = [
        Self::State,
        Self::Name,
        Self::Tasks,
        Self::Share,
        Self::Growth,
        Self::FullIn,
        Self::Failed,
        Self::Created,
        Self::Exited,
        Self::Processes,
        Self::Threads,
        Self::Zombies,
        Self::Trend,
    ];

    /// Those that can leave, the first to leave last.
    const BY_WORTH: [Self; 11] = [
        Self::Tasks,
        Self::Share,
        Self::Growth,
        Self::Failed,
        Self::FullIn,
        Self::Trend,
        Self::Created,
        Self::Exited,
        Self::Threads,
        Self::Processes,
        Self::Zombies,
    ];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::Name => "OWNER",
            Self::Tasks => "TASKS",
            Self::Share => "LIM%",
            Self::Processes => "PROCS",
            Self::Threads => "THREADS",
            Self::Zombies => "ZOMB",
            Self::Growth => "GROW/s",
            Self::Created => "NEW/s",
            Self::Exited => "END/s",
            Self::Failed => "FAIL/s",
            Self::FullIn => "FULL IN",
            Self::Trend => "TREND",
        }
    }

    /// Its least width.
    pub fn width(self) -> u16 {
        match self {
            Self::Name => 24,
            Self::Trend => 8,
            Self::State | Self::Tasks | Self::Threads | Self::Growth | Self::FullIn => 7,
            Self::Failed | Self::Created | Self::Exited => 6,
            Self::Processes | Self::Zombies => 5,
            Self::Share => 4,
        }
    }

    /// Numbers stand at the right.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::State | Self::Name | Self::Trend)
    }

    /// Those that a width has room for, from left to right, each with its own width. What is left over
    /// goes to the name, and to the trend where the name has enough.
    pub fn fitting(width: u16) -> Vec<(Self, u16)> {
        /// A name of this width is `namespace/pod/container` of most.
        const ENOUGH: u16 = 48;
        const LONGEST_TREND: u16 = 32;
        let mut shown = vec![Self::State, Self::Name];
        let mut used = Self::State.width() + 1 + Self::Name.width();
        for column in Self::BY_WORTH {
            let with = used + 1 + column.width();
            if with <= width {
                used = with;
                shown.push(column);
            }
        }
        let mut left = width.saturating_sub(used);
        let to_name = left.min(ENOUGH - Self::Name.width());
        left -= to_name;
        let has_trend = shown.contains(&Self::Trend);
        let to_trend = left.min(LONGEST_TREND - Self::Trend.width());
        let to_trend = if has_trend { to_trend } else { 0 };
        let to_name = to_name + left - to_trend;
        let columns = Self::ALL
            .into_iter()
            .filter(|column| shown.contains(column));
        let widths = columns.map(|column| match column {
            Self::Name => (column, column.width() + to_name),
            Self::Trend => (column, column.width() + to_trend),
            _ => (column, column.width()),
        });
        widths.collect()
    }

    /// The order of two rows by this column, what a person looks for first.
    pub fn order(self, a: &TableRow, b: &TableRow) -> Ordering {
        let by_tasks = || b.tasks.cmp(&a.tasks);
        let by_name = || a.name.cmp(&b.name);
        let most = |a: f64, b: f64| b.total_cmp(&a);
        let known = |a: Option<f64>, b: Option<f64>| {
            most(
                a.unwrap_or(f64::NEG_INFINITY),
                b.unwrap_or(f64::NEG_INFINITY),
            )
        };
        let soonest = |row: &TableRow| match row.full_in {
            Some(in_s) => in_s,
            None if row.badge == Badge::Full => 0.0,
            None => f64::INFINITY,
        };
        let first = match self {
            Self::State => (b.badge.cmp(&a.badge))
                .then_with(|| most(a.failed, b.failed))
                .then_with(|| known(a.growth, b.growth)),
            Self::Name => by_name(),
            Self::Tasks | Self::Trend => by_tasks(),
            Self::Share => known(a.share, b.share),
            Self::Processes => b.processes.cmp(&a.processes),
            Self::Threads => b.threads.cmp(&a.threads),
            Self::Zombies => b.zombies.cmp(&a.zombies),
            Self::Growth => known(a.growth, b.growth),
            Self::Created => most(a.created, b.created),
            Self::Exited => most(a.exited, b.exited),
            Self::Failed => most(a.failed, b.failed).then_with(|| b.failures.cmp(&a.failures)),
            Self::FullIn => soonest(a).total_cmp(&soonest(b)),
        };
        first.then_with(by_tasks).then_with(by_name)
    }

    /// The next one to sort by, or the one before.
    pub fn next(self, step: isize) -> Self {
        let place = Self::ALL
            .iter()
            .position(|&column| column == self)
            .unwrap_or(0);
        let all = Self::ALL.len() as isize;
        Self::ALL[(place as isize + step).rem_euclid(all) as usize]
    }

    /// A column by its title.
    pub fn named(title: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.title() == title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_leave_by_worth_and_fill_the_width() {
        for width in 34..300 {
            let columns = Column::fitting(width);
            let sum: u16 = columns.iter().map(|(_, width)| width + 1).sum::<u16>() - 1;
            assert_eq!(sum, width, "{columns:?}");
        }
        let shown = |width| -> Vec<_> {
            let columns = Column::fitting(width).into_iter();
            columns.map(|(column, _)| column).collect()
        };
        let narrow = shown(80);
        for column in [
            Column::Tasks,
            Column::Share,
            Column::Growth,
            Column::Failed,
            Column::FullIn,
        ] {
            assert!(narrow.contains(&column), "{column:?} is not in {narrow:?}");
        }
        assert!(!narrow.contains(&Column::Zombies));
        assert_eq!(shown(200).len(), Column::ALL.len());
    }

    #[test]
    fn every_title_fits_its_column_and_is_its_own() {
        for column in Column::ALL {
            assert!(
                column.title().len() <= usize::from(column.width()),
                "{column:?}"
            );
            assert_eq!(Column::named(column.title()), Some(column));
        }
    }
}
