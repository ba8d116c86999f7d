//! The kernel's boot-time clock, and what the wall clock says to it.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A moment of the boot-time clock (`CLOCK_BOOTTIME`): grows through suspend, never steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    /// From nanoseconds since boot.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since boot.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since boot.
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// Now.
    pub fn now() -> Self {
        Self(read(ClockId::Boottime) as u64)
    }

    /// Whole seconds since boot.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Time from `earlier` to this moment; zero when it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The offset from boot time to wall time, taken once and again when the wall clock was stepped,
/// so that times of one stream do not drift against each other.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset_ns: i128,
}

/// A change of the offset beyond this is a step (somebody set the clock), not slewing.
const STEP: i128 = 50_000_000;

impl WallClock {
    /// Takes the offset.
    pub fn now() -> Self {
        Self {
            offset_ns: offset(),
        }
    }

    /// Takes the offset again if the wall clock was stepped.
    pub fn follow_steps(&mut self) {
        let offset = offset();
        if (offset - self.offset_ns).abs() > STEP {
            self.offset_ns = offset;
        }
    }

    /// The moment of a wall time; those before boot are the boot.
    pub fn boot_time(&self, time: Timestamp) -> BootTime {
        let nanos = time.as_nanosecond() - self.offset_ns;
        BootTime(u64::try_from(nanos).unwrap_or(0))
    }

    /// Wall time of a moment.
    pub fn at(&self, time: BootTime) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(time.0) + self.offset_ns)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

fn offset() -> i128 {
    read(ClockId::Realtime) - read(ClockId::Boottime)
}

fn read(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Time from one moment to a later one; zero when it is earlier.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// Whole seconds since 1970.
pub fn seconds(time: Timestamp) -> u64 {
    time.as_second().try_into().unwrap_or(0)
}
