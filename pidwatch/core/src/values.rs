//! What the text of a value means: times and sizes; and numbers of things as text.

use std::time::Duration;

use jiff::{SpanRelativeTo, fmt::friendly::SpanParser};

static PARSER: SpanParser = SpanParser::new();

/// `1 task`, `2 tasks`.
pub fn count(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

/// `12 s`, `9 min`, `3 h`, `5 days`: as exact as a forecast is.
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", (seconds + 30) / 60),
        7200..=172_799 => format!("{} h", (seconds + 1800) / 3600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// A time, each number with its unit: `500ms`, `10s`, `1h30m`, `2d`. A day has 24 hours.
///
/// # Errors
/// When there is no number, no unit, or one that is not known.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    // The parser also takes signs, fractions and words in between.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let parsed = PARSER.parse_span(text).ok().filter(|_| is_plain);
    parsed
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| format!("invalid duration `{text}`: expected e.g. 10s, 1h30m or 2d"))
}

/// A number of bytes, with or without a unit of 1,024 or 1,000 (`64MiB`, `1G`, `500MB`); at least a
/// mebibyte.
///
/// # Errors
/// When it is no number, has another unit, or is too small or large.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| format!("`{text}` is no size such as 64MiB"))?;
    let unit = match unit {
        "" | "B" => 1,
        "K" | "Ki" | "KiB" => 1 << 10,
        "M" | "Mi" | "MiB" => 1 << 20,
        "G" | "Gi" | "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(format!("`{text}` has no unit of KiB, MiB, GiB, kB, MB, GB")),
    };
    let bytes = number
        .checked_mul(unit)
        .ok_or_else(|| format!("`{text}` is too large"))?;
    if bytes < 1 << 20 {
        return Err(format!("`{text}` is less than 1MiB"));
    }
    Ok(bytes)
}

/// A number of bytes as [`parse_size`] takes it, or `0` for nothing.
///
/// # Errors
/// As [`parse_size`].
pub fn parse_room(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    parse_size(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse_duration("2d"), Ok(Duration::from_hours(48)));
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "1h 30m",
            "1mo",
            "PT10S",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
