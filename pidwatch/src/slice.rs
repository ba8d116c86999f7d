//! A slice of the one thread's time: work that may be long stops when its slice is over and goes on at
//! the loop's next turn, so that signals, HTTP and keys wait for one slice and not for all of the work.

use std::time::{Duration, Instant};

/// Of the 50 ms that a turn of the loop may take, what follows in the same turn (writing, serving) needs
/// most.
const LENGTH: Duration = Duration::from_millis(10);

/// Until when work may go on.
#[derive(Clone, Copy, Debug)]
pub struct Slice(Option<Instant>);

impl Slice {
    /// From now on.
    pub fn begin() -> Self {
        Self(Some(Instant::now() + LENGTH))
    }

    /// Work is done to its end: at the start and at the end, when nobody waits.
    pub const ENDLESS: Self = Self(None);

    /// Over from the beginning: one step of work a turn.
    #[cfg(test)]
    pub fn shortest() -> Self {
        Self(Some(Instant::now()))
    }

    /// Whether the rest is for the next turn. Ask after a step and not before it, so that each turn gets
    /// on by one step at least.
    pub fn is_over(&self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}
