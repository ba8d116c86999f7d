//! How times and measures are written.

use jiff::Timestamp;
use serde::Serializer;

/// RFC 3339 in UTC, always with nine digits of a second.
pub(super) fn nanoseconds<S: Serializer>(
    time: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.9}"))
}

/// To three digits behind the point.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
