//! How many tasks come over time from several that grow, each at its own speed and only until something
//! stops it. Pure.

/// Share of a sum that adding and taking away again may leave.
const ROUNDING: f64 = 1e-9;

/// Growth whose speed falls, step by step, as one after the other is stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Curve {
    /// Tasks a second, at first.
    per_s: f64,
    /// When something is stopped, in seconds, and the speed that goes with it; in order.
    stops: Vec<(f64, f64)>,
}

impl Curve {
    /// One that nothing stops.
    pub fn steady(per_s: f64) -> Self {
        Self {
            per_s,
            stops: Vec::new(),
        }
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.per_s += other.per_s;
        self.stops.extend(&other.stops);
        self.stops.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// Tasks a second, at first.
    pub fn per_s(&self) -> f64 {
        self.per_s
    }

    /// After how many seconds so many tasks have come; `None` if they never do.
    pub fn reaches(&self, tasks: f64) -> Option<f64> {
        if self.per_s <= 0.0 {
            return None;
        }
        let (mut at, mut come, mut per_s) = (0.0, 0.0, self.per_s);
        for &(stop, less) in &self.stops {
            let by_then = come + per_s * (stop - at);
            if by_then >= tasks * (1.0 - ROUNDING) {
                break;
            }
            (at, come) = (stop, by_then);
            per_s -= less;
        }
        let goes_on = per_s > ROUNDING * self.per_s;
        goes_on.then(|| at + (tasks - come).max(0.0) / per_s)
    }

    /// The same, stopped for good once so many tasks have come.
    pub fn until(mut self, tasks: f64) -> Self {
        if let Some(end) = self.reaches(tasks) {
            self.stops.retain(|&(stop, _)| stop < end);
            let stopped: f64 = self.stops.iter().map(|&(_, less)| less).sum();
            self.stops.push((end, self.per_s - stopped));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stopped_brings_no_more() {
        let mut curve = Curve::steady(10.0).until(100.0);
        assert_eq!(curve.reaches(100.0), Some(10.0));
        assert_eq!(curve.reaches(101.0), None);
        curve.add(&Curve::steady(1.0));
        assert_eq!(curve.reaches(110.0), Some(10.0));
        assert_eq!(curve.reaches(120.0), Some(20.0));
        let curve = curve.until(120.0);
        assert_eq!(curve.reaches(120.0), Some(20.0));
        assert_eq!(curve.reaches(121.0), None);
    }

    #[test]
    fn what_has_no_room_brings_nothing() {
        let full = Curve::steady(10.0).until(0.0);
        assert_eq!(full.reaches(0.0), Some(0.0));
        assert_eq!(full.reaches(1.0), None);
        assert_eq!(Curve::default().reaches(0.0), None);
        assert_eq!(Curve::steady(-1.0).reaches(5.0), None);
    }

    #[test]
    fn a_curve_is_the_sum_of_its_parts_at_every_moment() {
        // Speeds and rooms; what has come by a moment, simply added up.
        let parts = [
            (3.0, 50.0),
            (0.1, 1e9),
            (7.5, 20.0),
            (2.0, 0.0),
            (11.0, 400.0),
        ];
        let mut curve = Curve::default();
        for (per_s, room) in parts {
            curve.add(&Curve::steady(per_s).until(room));
        }
        for at in 1..200 {
            let at = f64::from(at) / 3.0;
            let come: f64 = parts
                .iter()
                .map(|(per_s, room)| (per_s * at).min(*room))
                .sum();
            let reached = curve.reaches(come).unwrap();
            assert!((reached - at).abs() < 1e-6, "{reached} {at}");
        }
    }
}
