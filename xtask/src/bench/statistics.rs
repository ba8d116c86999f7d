//! Medians and their uncertainty; pure.

/// A median with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// Resamples for an interval.
const RESAMPLES: usize = 2000;

/// Median of the values, and the interval in which the medians of 95 % of resamples lie
/// (percentile bootstrap). The resampling is seeded: the same values give the same interval.
pub fn estimate(values: &[f64]) -> Estimate {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            median(
                (0..values.len())
                    .map(|_| values[random.below(values.len())])
                    .collect(),
            )
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Estimate {
        median: median(values.to_vec()),
        low: medians[RESAMPLES / 40],
        high: medians[RESAMPLES - 1 - RESAMPLES / 40],
    }
}

/// Median of the values; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// Marsaglia's xorshift64: enough to draw samples with.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn an_interval_holds_the_median_and_shrinks_with_agreement() {
        let spread: Vec<f64> = (0..40).map(f64::from).collect();
        let wide = estimate(&spread);
        assert!(wide.low < wide.median && wide.median < wide.high);
        let narrow = estimate(&[5.0; 40]);
        assert_eq!((narrow.low, narrow.high), (5.0, 5.0));
    }
}
