//! How fast a recording is shown.

use std::{str::FromStr, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::stream::{Event, Line};

/// How fast a recording is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplaySpeed {
    /// So many times as fast as it happened.
    Times(f64),
    /// Without waiting.
    Max,
}

impl FromStr for ReplaySpeed {
    type Err = String;

    /// `max`, or how many times as fast as it happened.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(speed) if speed > 0.0 && f64::is_finite(speed) => Ok(Self::Times(speed)),
            _ => Err(format!("`{text}` is neither `max` nor a number above 0")),
        }
    }
}

/// When which line is due.
pub struct Pace {
    speed: ReplaySpeed,
    began: Instant,
    /// The line before.
    last: Option<Timestamp>,
    /// Seconds of the recording that were shown, gaps left out.
    shown_s: f64,
    window_s: f64,
}

/// Time between two lines that is more than a window's, by so much or so many windows.
const GAP_S: f64 = 10.0;
const GAP_WINDOWS: f64 = 3.0;
/// How long a gap is shown.
const GAP_SHOWN_S: f64 = 1.0;

impl Pace {
    /// Begins now.
    pub fn new(speed: ReplaySpeed) -> Self {
        Self {
            speed,
            began: Instant::now(),
            last: None,
            shown_s: 0.0,
            window_s: 0.0,
        }
    }

    /// Goes on to a line; a gap before it, in seconds. After a step of the clock back it is due at once.
    pub fn go_to(&mut self, line: &Line) -> Option<f64> {
        if let Event::Node(node) = &line.event {
            self.window_s = node.window_s;
        }
        let last = self.last.replace(line.time).unwrap_or(line.time);
        let step_s = line.time.duration_since(last).as_secs_f64().max(0.0);
        let is_gap = step_s > GAP_S.max(GAP_WINDOWS * self.window_s);
        self.shown_s += if is_gap { GAP_SHOWN_S } else { step_s };
        is_gap.then_some(step_s)
    }

    /// Waits until the line that was gone to is due.
    pub async fn wait(&self) {
        let ReplaySpeed::Times(speed) = self.speed else {
            return;
        };
        let since = Duration::try_from_secs_f64(self.shown_s / speed).unwrap_or_default();
        if let Some(due) = self.began.checked_add(since) {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::NodeWindow;

    fn line(second: i64, event: Event) -> Line {
        Line {
            time: Timestamp::from_second(second).unwrap(),
            node: "n".into(),
            event,
        }
    }

    fn lost(second: i64) -> Line {
        let place = "ring_rate".into();
        line(second, Event::Lost { place, count: 1 })
    }

    #[test]
    fn a_gap_is_told_and_shown_for_a_second() {
        let mut pace = Pace::new(ReplaySpeed::Max);
        assert_eq!(pace.go_to(&lost(1000)), None);
        assert_eq!(pace.go_to(&lost(1009)), None);
        assert_eq!(pace.go_to(&lost(8209)), Some(7200.0), "suspended, say");
        assert_eq!(pace.shown_s, 10.0);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let mut pace = Pace::new(ReplaySpeed::Max);
        for second in [1000, 1002, 400, 403] {
            assert_eq!(pace.go_to(&lost(second)), None);
        }
        assert_eq!(pace.shown_s, 5.0);
    }

    #[test]
    fn long_windows_are_no_gaps() {
        let window = |second| {
            let node = NodeWindow {
                window_s: 60.0,
                tasks: None,
                knows_frees: true,
                knows_failures: true,
                limits: Vec::new(),
                incidents: Vec::new(),
                exhaustion: None,
            };
            line(second, Event::Node(node))
        };
        let mut pace = Pace::new(ReplaySpeed::Max);
        assert_eq!(pace.go_to(&window(0)), None);
        assert_eq!(pace.go_to(&window(60)), None);
        assert_eq!(pace.go_to(&window(300)), Some(240.0));
    }
}
