//! Words of a report: text with marks, and how numbers, times and names are written in it.
//!
//! What comes from outside (names, paths) is a [`Span`] of its own, so that every writer can make it
//! safe in its own way, and nothing that is in a name is taken for markup.

use std::{borrow::Cow, fmt};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer};

use crate::{escape, stream};

/// A piece of text with one mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// As it is.
    Plain(Cow<'static, str>),
    /// What matters.
    Strong(Cow<'static, str>),
    /// A term, a value to type, a name from outside; safe to show, but not escaped for any markup.
    Code(String),
}

impl Span {
    /// Its text without its mark.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Strong(text) => text,
            Self::Code(text) => text,
        }
    }
}

impl From<&'static str> for Span {
    fn from(text: &'static str) -> Self {
        Self::Plain(text.into())
    }
}

impl From<String> for Span {
    fn from(text: String) -> Self {
        Self::Plain(text.into())
    }
}

/// What matters.
pub fn strong(text: impl Into<Cow<'static, str>>) -> Span {
    Span::Strong(text.into())
}

/// A term or a name. It is made safe to show, and cut to [`NAME`] characters in its midst.
pub fn code(text: &str) -> Span {
    Span::Code(shown(text))
}

/// Text with marks. As JSON it is the text alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<Span>);

impl Words {
    /// Appends a piece.
    pub fn push(&mut self, span: impl Into<Span>) {
        self.0.push(span.into());
    }

    /// Appends other words.
    pub fn append(&mut self, mut words: Self) {
        self.0.append(&mut words.0);
    }

    /// Pieces with `, ` between them and `and` before the last.
    pub fn list(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        let last = parts.len().saturating_sub(1);
        let mut words = Self::default();
        for (i, part) in parts.into_iter().enumerate() {
            match i {
                0 => {}
                _ if i == last => words.push(" and "),
                _ => words.push(", "),
            }
            words.append(part);
        }
        words
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|span| f.write_str(span.text()))
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T: Into<Span>> From<T> for Words {
    fn from(span: T) -> Self {
        Self(vec![span.into()])
    }
}

/// `words!["the ", code(name), " grows"]`.
macro_rules! words {
    ($($part:expr),* $(,)?) => {
        $crate::report::words::Words(vec![$($crate::report::words::Span::from($part)),*])
    };
}
pub(super) use words;

/// Characters of a name that are shown.
pub const NAME: usize = 72;

/// A text from outside, safe to show and no longer than [`NAME`].
pub fn shown(text: &str) -> String {
    shortened(&escape::for_terminal(text.as_bytes()), NAME)
}

/// At most `room` characters: the front and, as a path's end says the most, more of the end.
pub fn shortened(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let front = room / 3;
    let back = room - front - 1;
    let head: String = text.chars().take(front).collect();
    let tail: String = text.chars().skip(length - back).collect();
    format!("{head}\u{2026}{tail}")
}

/// Digits of a container's id that people know it by.
const SHORT_ID: usize = 12;

/// What people call an owner: `namespace/pod/container`, the pod's and the container's id, a unit, or a path; not made safe.
pub fn name_of(owner: &stream::OwnerRef) -> String {
    if let Some(k8s) = &owner.k8s
        && let Some(pod) = &k8s.pod_name
    {
        let parts = [
            k8s.namespace.as_ref(),
            Some(pod),
            k8s.container_name.as_ref(),
        ];
        return parts
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/");
    }
    if let (Some(pod), Some(runtime)) = (
        owner.k8s.as_ref().and_then(|k8s| k8s.pod_uid.as_ref()),
        &owner.runtime,
    ) {
        let id: String = runtime.container_id.chars().take(SHORT_ID).collect();
        return format!("pod {pod}/{id}");
    }
    match (&owner.unit, &owner.cgroup.path) {
        (Some(unit), _) => unit.clone(),
        (None, Some(path)) => path.clone(),
        (None, None) => format!("(gone cgroup {})", owner.cgroup.id),
    }
}

/// `46,012`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `46,012 tasks`.
pub fn count(n: u64, what: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{} {what}{ending}", number(n))
}

/// `46 %`; tiny shares are not shown as nothing, nor large ones as all.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p > 0.0 && p < 1.0 => "under 1 %".to_owned(),
        p if p > 99.0 && p < 100.0 => "over 99 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

/// `85 tasks/s`, or per minute or hour where that is less than one.
pub fn pace(per_s: f64) -> String {
    match per_s {
        p if p >= 9.95 => format!("{p:.0} tasks/s"),
        p if p >= 0.95 => format!("{p:.1} tasks/s"),
        p if p * 60.0 >= 0.95 => format!("{:.1} tasks/min", p * 60.0),
        p => format!("{:.1} tasks/h", p * 3600.0),
    }
}

/// `0.3 s`, `16 s`, `9 min 12 s`, `3 h 5 min`, `4 d 2 h`.
pub fn lasting(seconds: f64) -> String {
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {small_unit}"),
    };
    let seconds = seconds.max(0.0);
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.05 => "0 s".to_owned(),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..=99 => format!("{whole} s"),
        100..=7199 => two(whole / 60, "min", whole % 60, "s"),
        7200..=172_799 => two(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// Seconds since 1970.
pub fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

/// The moment so many seconds after 1970; that of 1970 for what is none.
pub fn moment(seconds: f64) -> Timestamp {
    // Microseconds: an f64 has no more of today's seconds.
    Timestamp::from_microsecond((seconds * 1e6) as i64).unwrap_or_default()
}

/// Writes moments; with the day where there is more than one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    with_day: bool,
}

impl Clock {
    /// For moments between these.
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        Self {
            with_day: day(from) != day(to),
        }
    }

    /// `22:09:13`, in UTC.
    pub fn show(self, time: Timestamp) -> String {
        let format = if self.with_day {
            "%Y-%m-%d %H:%M:%S"
        } else {
            "%H:%M:%S"
        };
        time.strftime(format).to_string()
    }
}

/// `2026-11-22 22:00:12 to 22:19:40 UTC (19 min 28 s)`.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let end = Clock::new(from, to).show(to);
    let long = lasting(seconds(to) - seconds(from));
    format!(
        "{} to {end} UTC ({long})",
        from.strftime("%Y-%m-%d %H:%M:%S")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(number(0), "0");
        assert_eq!(number(46_012), "46,012");
        assert_eq!(number(4_194_304), "4,194,304");
        assert_eq!(count(1, "task"), "1 task");
        for (seconds, text) in [
            (0.01, "0 s"),
            (0.3, "0.3 s"),
            (16.02, "16 s"),
            (552.0, "9 min 12 s"),
            (600.0, "10 min"),
            (11_100.0, "3 h 5 min"),
            (352_800.0, "4 d 2 h"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
        assert_eq!(percent(0.999), "over 99 %");
        assert_eq!(percent(0.001), "under 1 %");
        assert_eq!(pace(0.02), "1.2 tasks/min");
    }

    #[test]
    fn a_name_from_outside_is_safe_and_short() {
        assert_eq!(shown("a\u{202e}b\x1b"), "a\\u{202e}b\\u{1b}");
        let long = shown(&format!("/front/{}/end", "x".repeat(10_000)));
        assert_eq!(long.chars().count(), NAME);
        assert!(long.starts_with("/front/") && long.ends_with("/end"));
    }

    #[test]
    fn a_list_has_an_and() {
        let list = |n: usize| Words::list((0..n).map(|i| words![i.to_string()])).to_string();
        assert_eq!((list(1), list(3)), ("0".into(), "0, 1 and 2".into()));
    }
}
