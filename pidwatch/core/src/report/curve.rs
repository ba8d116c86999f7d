//! Values over time in bounded room: a few hundred points, wherever they tell the most.

/// Points that a curve has at most when it is read.
const POINTS: usize = 240;

/// A value that is read now and then and holds in between.
///
/// When there are too many points, those go first that a straight line between their neighbours
/// shows best. So a week of calm takes a few, and the nine minutes of an incident keep theirs.
#[derive(Clone, Debug, Default)]
pub struct SampledCurve {
    points: Vec<(f64, f64)>,
}

impl SampledCurve {
    /// Takes a value in; `at` in seconds. One that is not later than the last is taken for the last's
    /// moment (a clock was set back).
    pub fn push(&mut self, at: f64, value: f64) {
        if let Some(last) = self.points.last_mut()
            && at <= last.0
        {
            last.1 = value;
            return;
        }
        if let [.., before, last] = &mut self.points[..]
            && before.1 == value
            && last.1 == value
        {
            last.0 = at;
            return;
        }
        self.points.push((at, value));
        if self.points.len() >= 2 * POINTS {
            self.thin();
        }
    }

    /// The value has not changed until this moment, though nobody said so.
    pub fn hold(&mut self, until: f64) {
        if let Some(&(at, value)) = self.points.last()
            && until > at
        {
            self.push(until, value);
        }
    }

    /// Removes the points that are missed the least.
    fn thin(&mut self) {
        while self.points.len() > POINTS {
            let points = &self.points;
            let mut inner: Vec<(f64, usize)> = (1..points.len() - 1)
                .map(|i| {
                    let line = between(points[i - 1], points[i + 1], points[i].0);
                    ((points[i].1 - line).abs(), i)
                })
                .collect();
            inner.sort_by(|a, b| a.0.total_cmp(&b.0));
            // Only the least: once these are gone, what the others are missed by has changed.
            inner.truncate(points.len() / 4);
            let mut goes = vec![false; points.len()];
            let mut left = points.len() - POINTS;
            for (_, i) in inner {
                // Not both of two neighbours on the word of each other.
                if left > 0 && !goes[i - 1] && !goes[i + 1] {
                    goes[i] = true;
                    left -= 1;
                }
            }
            let mut goes = goes.into_iter();
            self.points.retain(|_| !goes.next().unwrap_or(false));
        }
    }

    /// The value at a moment; that of the nearest end outside, `None` when there is none at all.
    pub fn at(&self, time: f64) -> Option<f64> {
        let next = self.points.partition_point(|point| point.0 < time);
        match (next.checked_sub(1), self.points.get(next)) {
            (Some(i), Some(&after)) => Some(between(self.points[i], after, time)),
            (Some(i), None) => Some(self.points[i].1),
            (None, after) => after.map(|point| point.1),
        }
    }

    /// The highest point between two moments: when and how high.
    pub fn peak(&self, from: f64, to: f64) -> Option<(f64, f64)> {
        let inside = self.within(from, to).into_iter();
        inside.reduce(|best, point| if point.1 > best.1 { point } else { best })
    }

    /// The first moment from `from` on at which the value is at least this.
    pub fn first_at_least(&self, value: f64, from: f64) -> Option<f64> {
        let later = self.within(from, f64::MAX);
        let mut before: Option<(f64, f64)> = None;
        for point in later {
            if point.1 >= value {
                return Some(match before {
                    Some(last) => {
                        last.0 + (point.0 - last.0) * (value - last.1) / (point.1 - last.1)
                    }
                    None => point.0,
                });
            }
            before = Some(point);
        }
        None
    }

    /// The points between two moments, with what lies on the line at the ends.
    pub fn within(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return Vec::new();
        };
        let (from, to) = (from.max(first.0), to.min(last.0));
        if from > to {
            return Vec::new();
        }
        let mut inside = Vec::new();
        inside.extend(self.at(from).map(|value| (from, value)));
        let strictly = |point: &&(f64, f64)| point.0 > from && point.0 < to;
        inside.extend(self.points.iter().filter(strictly));
        if to > from {
            inside.extend(self.at(to).map(|value| (to, value)));
        }
        inside
    }

    /// The last value.
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|point| point.1)
    }
}

/// On the straight line through two points.
fn between(a: (f64, f64), b: (f64, f64), at: f64) -> f64 {
    if b.0 <= a.0 {
        return b.1;
    }
    a.1 + (b.1 - a.1) * (at - a.0) / (b.0 - a.0)
}

/// Slots that a histogram has at most.
const SLOTS: usize = 240;

/// How often something happened when: slots of one length, which doubles when there are too many.
#[derive(Clone, Debug)]
pub struct Histogram {
    start: f64,
    width: f64,
    slots: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            start: 0.0,
            width: 1.0,
            slots: Vec::new(),
        }
    }
}

impl Histogram {
    /// Takes `n` events in, at a moment in seconds; what is before the first counts with it.
    pub fn push(&mut self, at: f64, n: u64) {
        if self.slots.is_empty() {
            self.start = at.floor();
        }
        let mut slot = ((at - self.start) / self.width).max(0.0) as usize;
        while slot >= SLOTS {
            self.slots = self.slots.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.width *= 2.0;
            slot /= 2;
        }
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += n;
    }

    /// Slots that are not empty: when they begin, how long they are, in seconds, and how often.
    pub fn slots(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let Self { start, width, .. } = *self;
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, n)| **n > 0)
            .map(move |(i, &n)| (start + i as f64 * width, width, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_of_calm_leaves_the_incident_its_points() {
        let mut curve = SampledCurve::default();
        let week = 7 * 86_400;
        let incident = week - 3600;
        for second in 0..week {
            let noise = f64::from(second * 7 % 5);
            let leak = f64::from((second - incident).clamp(0, 540)) * 85.0;
            curve.push(f64::from(second), 100.0 + noise + leak);
        }
        assert!(curve.points.len() < 2 * POINTS);
        for second in [
            0,
            100_000,
            incident,
            incident + 17,
            incident + 270,
            week - 1,
        ] {
            let leak = f64::from((second - incident).clamp(0, 540)) * 85.0;
            let at = curve.at(f64::from(second)).unwrap();
            assert!((at - 102.0 - leak).abs() < 100.0, "{second}: {at} {leak}");
        }
        let (when, most) = curve.peak(0.0, f64::from(week)).unwrap();
        assert!(most >= 46_000.0 && when >= f64::from(incident + 540));
    }

    #[test]
    fn what_lies_between_is_on_the_line() {
        let mut curve = SampledCurve::default();
        curve.push(10.0, 0.0);
        curve.push(20.0, 100.0);
        curve.hold(30.0);
        curve.push(25.0, 100.0);
        assert_eq!(curve.at(5.0), Some(0.0));
        assert_eq!(curve.at(15.0), Some(50.0));
        assert_eq!(curve.at(99.0), Some(100.0));
        assert_eq!(curve.first_at_least(80.0, 0.0), Some(18.0));
        assert_eq!(curve.first_at_least(101.0, 0.0), None);
        assert_eq!(curve.within(12.0, 15.0), [(12.0, 20.0), (15.0, 50.0)]);
        assert_eq!(SampledCurve::default().at(1.0), None);
    }

    #[test]
    fn a_histogram_loses_no_count() {
        let mut histogram = Histogram::default();
        for second in 0..10_000 {
            histogram.push(f64::from(second), 3);
        }
        assert!(histogram.slots.len() <= SLOTS);
        assert_eq!(histogram.slots().map(|slot| slot.2).sum::<u64>(), 30_000);
    }
}
