//! The event log: states, incidents and losses as JSON lines on standard output.
//!
//! Nobody need read it: it is written when there is room, and what does not fit is lost and counted.

use crate::runtime::Stdout;

/// Most bytes that wait for room.
const MOST_WAITING: usize = 1 << 20;
/// Where lines are lost, in metrics.
pub const PLACE: &str = "event_log";

/// Standard output, until it is closed.
pub struct EventLog(Option<Stdout>);

impl EventLog {
    /// Takes standard output, if it is open.
    pub fn new() -> Self {
        Self(Stdout::new().ok())
    }

    /// Takes a line, and says how many were lost.
    pub fn push(&mut self, line: &[u8]) -> u64 {
        // Closed on purpose: nobody misses it.
        let Some(out) = &mut self.0 else { return 0 };
        let waiting = out.buffer();
        if waiting.len() + line.len() > MOST_WAITING {
            return 1;
        }
        waiting.extend_from_slice(line);
        0
    }

    /// Writes what there is room for.
    pub fn write(&mut self) {
        if let Some(out) = &mut self.0
            && let Err(error) = out.flush_now()
        {
            tracing::warn!("the event log ends: cannot write to standard output: {error}");
            self.0 = None;
        }
    }
}
