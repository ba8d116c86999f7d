//! The watch's own timer.
//!
//! A tick is 100 ms, and tokio's wheel of timers wakes twice for it: once where its slots of 64 ms end,
//! to sort the timer anew. A timerfd(2) wakes once. Wake-ups were a third of what an agent cost with 50 busy
//! containers (`perf record -g`).

use std::{io, os::fd::OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

/// Wakes its one waiter at a time.
#[derive(Debug)]
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Within the runtime.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: the descriptor is the timer's own, and is registered for as long as that lives.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(timer?))
    }

    /// Waits until `time`. When that is over, only for one look of the runtime at what else there is: a
    /// timer that has expired already is read without it, and a loop that is always late would hear
    /// neither signals nor connections. May be dropped half-way.
    ///
    /// # Errors
    /// Those of timerfd_settime(2): none, of a timer that is there.
    pub async fn until(&self, time: Instant) -> io::Result<()> {
        let left = time.duration_since(Instant::now());
        // Set to zero it would never expire.
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: none,
            it_value: Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        // Setting it also takes back that it has expired before.
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut guard = self.0.readable().await?;
            let mut expirations = [0; 8];
            match guard.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                Ok(read) => return read.map(drop),
                // It was of the time before.
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_wakes_not_before_its_time_and_again() {
        let runtime = crate::runtime::single_threaded().unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            for ms in [20, 0, 30] {
                let until = Instant::now() + Duration::from_millis(ms);
                timer.until(until).await.unwrap();
                assert!(Instant::now() >= until);
            }
            // What is over is over.
            timer
                .until(Instant::now() - Duration::from_secs(5))
                .await
                .unwrap();
        });
    }

    #[test]
    fn a_loop_that_is_always_late_hears_signals() {
        let runtime = crate::runtime::single_threaded().unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            // Not the first wait either: what was ready once stays so until somebody finds it is not.
            timer.until(Instant::now()).await.unwrap();
            let kind = tokio::signal::unix::SignalKind::user_defined2();
            let mut signals = tokio::signal::unix::signal(kind).unwrap();
            // SAFETY: there is a handler for it.
            unsafe { libc::raise(libc::SIGUSR2) };
            let mut turns = 0;
            loop {
                tokio::select! {
                    biased;
                    _ = signals.recv() => break,
                    late = timer.until(Instant::now() - Duration::from_secs(1)) => late.unwrap(),
                }
                turns += 1;
            }
            assert!(turns <= 3, "heard after {turns} turns");
        });
    }

    #[test]
    fn one_that_was_given_up_does_not_wake_the_next() {
        let runtime = crate::runtime::single_threaded().unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            let short = Instant::now() + Duration::from_millis(10);
            tokio::select! {
                biased;
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
                woken = timer.until(short) => woken.unwrap(),
            }
            std::thread::sleep(Duration::from_millis(20));
            let until = Instant::now() + Duration::from_millis(40);
            timer.until(until).await.unwrap();
            assert!(Instant::now() >= until);
        });
    }
}
