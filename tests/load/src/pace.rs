//! Creations at a pace, until standard input ends: a leak, a churn, a probe.

use std::time::{Duration, Instant};

use anyhow::Result;
use libc::c_void;
use pidwatch_load::truth::{Failure, Truth};

use super::{fail, sys};

/// More tasks than a test needs: the load gives up rather than fill the machine.
const MOST: u64 = 20_000;
/// As short as a pause may be: an emulated guest is slow.
const STEP: Duration = Duration::from_millis(20);

pub extern "C" fn sleep(_: *mut c_void) -> *mut c_void {
    sys::pause_for_ever()
}

/// How often threads that stay wake up.
const BEAT: Duration = Duration::from_millis(500);

extern "C" fn work(_: *mut c_void) -> *mut c_void {
    loop {
        std::thread::sleep(BEAT);
    }
}

/// Threads that stay, and do nothing or wake up now and then. Refused ones are tried again, as a program
/// does whose pool never fills.
pub fn leak(per_second: f64, works: bool, truth: &mut Truth) -> Result<()> {
    let mut kept = 0;
    let body = if works { work } else { sleep };
    at(
        per_second,
        |truth| {
            if kept < MOST && created(sys::thread(body), "clone3", truth).is_some() {
                kept += 1;
                truth.here.created.threads += 1;
                // They end with this program.
                truth.here.exited.threads += 1;
            }
            Ok(())
        },
        truth,
    )
}

/// Children that end at once and are not reaped before this program ends.
pub fn zombies(per_second: f64, truth: &mut Truth) -> Result<()> {
    let mut kept = 0;
    at(
        per_second,
        |truth| {
            if kept < MOST && created(sys::fork(|| Ok(())), "clone", truth).is_some() {
                kept += 1;
                truth.here.created.processes += 1;
                truth.here.exited.processes += 1;
            }
            Ok(())
        },
        truth,
    )
}

/// Children that end at once and are reaped: a probe, or a server that forks for each request.
pub fn forks(per_second: f64, truth: &mut Truth) -> Result<()> {
    at(
        per_second,
        |truth| {
            if let Some(child) = created(sys::fork(|| Ok(())), "clone", truth) {
                sys::reap(child)?;
                truth.here.created.processes += 1;
                truth.here.exited.processes += 1;
            }
            Ok(())
        },
        truth,
    )
}

fn created<T>(result: std::io::Result<T>, syscall: &str, truth: &mut Truth) -> Option<T> {
    match result {
        Ok(created) => Some(created),
        Err(error) => {
            truth.failures.push(Failure {
                syscall: syscall.into(),
                ..fail::now(error.raw_os_error().unwrap_or(0))
            });
            None
        }
    }
}

/// Does something so often a second, as evenly as the machine can.
fn at(
    per_second: f64,
    mut work: impl FnMut(&mut Truth) -> Result<()>,
    truth: &mut Truth,
) -> Result<()> {
    println!("{{\"ready\":true}}");
    let pause = Duration::from_secs_f64(1.0 / per_second).max(STEP);
    let began = Instant::now();
    let mut done = 0;
    while !sys::input_ends_within(pause) {
        let due = (began.elapsed().as_secs_f64() * per_second) as u64;
        // Behind by more than a second, the machine is too slow: what was missed is not made up.
        done = done.max(due.saturating_sub(per_second.ceil() as u64));
        while done < due {
            work(truth)?;
            done += 1;
        }
    }
    Ok(())
}
