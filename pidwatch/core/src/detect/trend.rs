//! Growth that does not come back, measured on the points of one horizon.
//!
//! The *lasting* series of some points is, at each, the least of it and all after it: what was
//! there then and was never given up since. It only rises, and how it rises tells a leak (a bit
//! in nearly every bucket, to the end) from a step, a pool that fills, or noise. The slope is
//! Theil and Sen's (the median of the slopes of all pairs; P. K. Sen, JASA 63, 1968), and how
//! surely it rises Mann and Kendall's tau: neither minds outliers.

use super::series::Point;

/// Growth on one horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// When it began, seconds.
    pub onset: u64,
    /// For how long, seconds.
    pub for_s: u64,
    /// Tasks before it.
    pub base: u64,
    /// Tasks that came to stay.
    pub gain: u64,
    /// Tasks a second: the median, and the span that half of all pairs of points lie in.
    pub per_s: f64,
    /// Lower quartile.
    pub low_per_s: f64,
    /// Upper quartile.
    pub high_per_s: f64,
    /// Share of pairs of points that rise, less that of those that fall: -1 to 1.
    pub tau: f64,
    /// The last third's gain over a third of the whole: 1 for a straight line, less when it ebbs.
    pub late: f64,
}

/// What growth must be like to be called sustained.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Steps between points, at least.
    pub steps: usize,
    /// Least share of steps that rise.
    pub rising: f64,
    /// Most that a single step may bring, of the whole.
    pub top_step: f64,
    /// Least of [`Growth::late`].
    pub late: f64,
    /// Least of [`Growth::tau`].
    pub tau: f64,
    /// Least tasks gained.
    pub gain: u64,
    /// What was there before this is forgotten: it was a leak's.
    pub known_from: u64,
}

/// Shares of the points, newest ones, that are looked at when the whole shows no sustained growth:
/// something else may lie before it.
const SUFFIXES: [usize; 3] = [usize::MAX, 17, 11];
/// The gain begins where the first twentieth of it is there.
const ONSET: f64 = 0.05;
/// From twice as many points on, slopes are taken of every other.
const SLOPE_POINTS: usize = 10;
/// The gain must be this much larger than what usually comes and goes above it.
const OVER_NOISE: f64 = 2.0;

/// The longest growth up to now that is as sustained as demanded.
pub fn sustained(points: &[Point], demand: &Demand) -> Option<Growth> {
    let last = points.last()?.floor;
    let least = points.iter().map(|point| point.floor).min()?;
    if u64::from(last - least) < demand.gain {
        // Most owners, most of the time.
        return None;
    }
    let mut looked_at = 0;
    for suffix in SUFFIXES {
        let len = points.len().min(suffix);
        if len == looked_at {
            continue;
        }
        looked_at = len;
        if let Some(growth) = of(&points[points.len() - len..], demand)
            && is_news(points, &growth, demand.known_from)
        {
            return Some(growth);
        }
    }
    None
}

/// Whether half of what was gained is more than there was before, as far as the points reach back:
/// what only returns to where it was comes and goes.
fn is_news(points: &[Point], growth: &Growth, known_from: u64) -> bool {
    let before = points
        .iter()
        .filter(|point| (known_from..growth.onset).contains(&point.time));
    let had = before
        .map(|point| u64::from(point.floor))
        .max()
        .unwrap_or(0);
    let now = growth.base + growth.gain;
    now.saturating_sub(had.max(growth.base)) * 2 >= growth.gain
}

fn of(points: &[Point], demand: &Demand) -> Option<Growth> {
    let mut lasting: Vec<u32> = points.iter().map(|point| point.floor).collect();
    for i in (1..lasting.len()).rev() {
        lasting[i - 1] = lasting[i - 1].min(lasting[i]);
    }
    let (first, last) = (*lasting.first()?, *lasting.last()?);
    let begun = f64::from(first) + ONSET * f64::from(last - first);
    let onset = lasting
        .iter()
        .rposition(|&tasks| f64::from(tasks) <= begun)?;
    let (points, lasting) = (&points[onset..], &lasting[onset..]);
    let base = lasting[0];
    let gain = last - base;
    let steps = lasting.len() - 1;
    if steps < demand.steps || u64::from(gain) < demand.gain {
        return None;
    }
    let rises = || lasting.windows(2).map(|pair| pair[1] - pair[0]);
    let rising = rises().filter(|&rise| rise > 0).count() as f64 / steps as f64;
    let top_step = f64::from(rises().max()?) / f64::from(gain);
    if rising < demand.rising || top_step > demand.top_step {
        return None;
    }
    let (begin, end) = (points[0].time, points.last()?.time);
    let for_s = end - begin;
    let third = end as f64 - for_s as f64 / 3.0;
    let late_gain = f64::from(last) - value_at(points, lasting, third);
    let late = late_gain / (f64::from(gain) / 3.0);
    if late < demand.late {
        return None;
    }
    let noise = points
        .iter()
        .zip(lasting)
        .map(|(point, &lasting)| f64::from(point.floor - lasting))
        .sum::<f64>()
        / points.len() as f64;
    if f64::from(gain) < OVER_NOISE * noise {
        return None;
    }
    let Slopes {
        low,
        median,
        high,
        tau,
    } = slopes(points)?;
    (tau >= demand.tau && median > 0.0).then_some(Growth {
        onset: begin,
        for_s,
        base: base.into(),
        gain: gain.into(),
        per_s: median,
        low_per_s: low,
        high_per_s: high,
        tau,
        late,
    })
}

/// The lasting series at a time, between its points.
fn value_at(points: &[Point], lasting: &[u32], time: f64) -> f64 {
    let after = points.partition_point(|point| (point.time as f64) < time);
    let (Some(a), Some(b)) = (after.checked_sub(1), points.get(after)) else {
        return f64::from(lasting[after.min(lasting.len() - 1)]);
    };
    let (from, to) = (points[a].time as f64, b.time as f64);
    let share = (time - from) / (to - from).max(f64::EPSILON);
    f64::from(lasting[a]) + share * (f64::from(lasting[after]) - f64::from(lasting[a]))
}

struct Slopes {
    low: f64,
    median: f64,
    high: f64,
    tau: f64,
}

fn slopes(points: &[Point]) -> Option<Slopes> {
    let mut sign = 0i64;
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            sign += (i64::from(b.floor) - i64::from(a.floor)).signum();
        }
    }
    let pairs = points.len() * (points.len() - 1) / 2;
    // Of a long row every other point: a quarter of the work, and as good a median.
    let skip = points.len() / (2 * SLOPE_POINTS) + 1;
    let points: Vec<Point> = points.iter().rev().step_by(skip).rev().copied().collect();
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let rise = i64::from(b.floor) - i64::from(a.floor);
            if b.time > a.time {
                slopes.push(rise as f32 / (b.time - a.time) as f32);
            }
        }
    }
    let mut quantile = |share: f64| {
        let index = ((slopes.len().checked_sub(1)?) as f64 * share) as usize;
        Some(f64::from(
            *slopes.select_nth_unstable_by(index, f32::total_cmp).1,
        ))
    };
    Some(Slopes {
        low: quantile(0.25)?,
        median: quantile(0.5)?,
        high: quantile(0.75)?,
        tau: sign as f64 / pairs as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        steps: 8,
        rising: 0.6,
        top_step: 0.4,
        late: 0.4,
        tau: 0.6,
        gain: 20,
        known_from: 0,
    };

    fn points(floors: impl IntoIterator<Item = u32>) -> Vec<Point> {
        let floors = floors.into_iter().enumerate();
        floors
            .map(|(i, floor)| Point {
                time: 100 + i as u64,
                floor,
            })
            .collect()
    }

    #[test]
    fn a_straight_line_is_measured_as_it_is() {
        let growth = sustained(&points((0..20).map(|i| 50 + 10 * i)), &DEMAND).unwrap();
        assert_eq!((growth.per_s, growth.tau), (10.0, 1.0));
        assert!((growth.late - 1.0).abs() < 0.1, "{growth:?}");
        assert_eq!(growth.base + growth.gain, 240);
    }

    #[test]
    fn what_came_back_was_no_growth() {
        let up_and_down = (0..20).map(|i| if i < 10 { 10 * i } else { 10 * (19 - i) });
        assert_eq!(sustained(&points(up_and_down), &DEMAND), None);
    }

    #[test]
    fn a_step_is_no_growth_however_large() {
        let step = (0..33).map(|i| if i < 20 { 10 } else { 2000 });
        assert_eq!(sustained(&points(step), &DEMAND), None);
        let two = (0..33).map(|i| {
            if i < 10 {
                10
            } else if i < 25 {
                900
            } else {
                2000
            }
        });
        assert_eq!(sustained(&points(two), &DEMAND), None);
    }

    #[test]
    fn a_pool_that_has_nearly_filled_ebbs() {
        let filling = (0..33).map(|i| (200.0 * (1.0 - (-f64::from(i) / 6.0).exp())) as u32);
        assert_eq!(sustained(&points(filling), &DEMAND), None);
    }

    #[test]
    fn a_sawtooth_that_keeps_a_part_grows_by_what_it_keeps() {
        let sawtooth = (0..33).map(|i| 100 + 10 * i + if i % 3 == 0 { 25 } else { 0 });
        let growth = sustained(&points(sawtooth), &DEMAND).unwrap();
        assert!((growth.per_s - 10.0).abs() < 1.0, "{growth:?}");
    }

    #[test]
    fn growth_after_a_calm_begins_where_the_calm_ends() {
        let calm_then_leak = (0..33).map(|i: u32| 40 + 10 * i.saturating_sub(22));
        let growth = sustained(&points(calm_then_leak), &DEMAND).unwrap();
        assert_eq!(growth.base, 40);
        assert!((122..=123).contains(&growth.onset), "{growth:?}");
    }

    #[test]
    fn growth_behind_a_step_is_found() {
        let floors = (0..33).map(|i: u32| if i < 8 { 10 } else { 800 } + 5 * i.saturating_sub(20));
        let growth = sustained(&points(floors), &DEMAND).unwrap();
        assert_eq!((growth.base, growth.per_s), (800, 5.0));
    }

    #[test]
    fn noise_is_no_growth() {
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            100 + (seed >> 33) as u32 % 60
        };
        for _ in 0..20_000 {
            let floors: Vec<u32> = (0..33).map(|_| noise()).collect();
            assert_eq!(sustained(&points(floors), &DEMAND), None);
        }
    }
}
