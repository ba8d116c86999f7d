//! Creations that the kernel refuses: fills a limit with sleeping children, then goes on trying.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Result, ensure};
use libc::pid_t;
use pidwatch_load::truth::{Failure, Truth};

use super::{shared, sys};

/// More children than any limit of a test: the load gives up rather than fill the machine.
const MOST_CHILDREN: usize = 5_000;

/// What limits, and how often to try.
#[derive(clap::Args)]
pub struct Options {
    /// Refused creations after the limit is reached; the one that found it comes on top
    #[arg(long)]
    count: u64,
    /// Pause between two of them
    #[arg(long, default_value_t = 0)]
    interval_us: u64,
    /// Become this user first
    #[arg(long, requires = "rlimit_nproc")]
    uid: Option<u32>,
    /// ... who may have so many tasks
    #[arg(long)]
    rlimit_nproc: Option<u64>,
    /// Stay at the limit until standard input ends
    #[arg(long)]
    hold: bool,
    /// Let every other child end as leader of a group that lives on: its PID stays in use, though no
    /// task has it
    #[arg(long)]
    pin: bool,
}

type Create = fn() -> std::io::Result<pid_t>;

/// Ways to create a process, by the name of the system call.
const WAYS: [(&str, Create); 4] = [
    ("clone", sys::clone),
    ("clone3", || sys::clone3(None)),
    ("fork", sys::old_fork),
    ("vfork", sys::vfork_that_ends),
];

/// A failure that happened right now.
pub fn now(errno: i32) -> Failure {
    Failure {
        syscall: String::new(),
        errno,
        realtime_ns: sys::clock_ns(libc::CLOCK_REALTIME),
        boottime_ns: sys::clock_ns(libc::CLOCK_BOOTTIME),
    }
}

/// Fills the limit, fails, empties it.
pub fn run(options: &Options, truth: &mut Truth) -> Result<()> {
    if let (Some(uid), Some(rlimit)) = (options.uid, options.rlimit_nproc) {
        sys::become_user(uid, rlimit)?;
    }
    let interval = Duration::from_micros(options.interval_us);
    fill_and_fail(options.count, interval, options.hold, options.pin, truth)
}

/// Fills whatever limit there is, makes `count` vain attempts over all system calls in turn.
pub fn fill_and_fail(
    count: u64,
    interval: Duration,
    hold: bool,
    pin: bool,
    truth: &mut Truth,
) -> Result<()> {
    let mut children = Vec::new();
    let outcome = fill(&mut children, pin, truth)
        .and_then(|()| attempt(count, interval, &mut children, truth));
    if hold && outcome.is_ok() {
        shared::keep();
    }
    truth.here.created.processes += children.len() as u64;
    truth.here.exited.processes += children.len() as u64;
    sys::kill_all(&children)?;
    outcome
}

fn fill(children: &mut Vec<pid_t>, pin: bool, truth: &mut Truth) -> Result<()> {
    let mut leader = None;
    while children.len() < MOST_CHILDREN {
        match sys::clone() {
            Ok(0) => sleep_as_child(),
            Ok(child) => {
                children.push(child);
                match leader.take() {
                    Some(dying) if pin => {
                        sys::join_group(child, dying)?;
                        children.retain(|&other| other != dying);
                        sys::kill_all(&[dying])?;
                        truth.here.created.processes += 1;
                        truth.here.exited.processes += 1;
                    }
                    _ if pin => {
                        sys::join_group(child, child)?;
                        leader = Some(child);
                    }
                    _ => {}
                }
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                truth.failures.push(Failure {
                    syscall: "clone".to_owned(),
                    ..now(errno)
                });
                return Ok(());
            }
        }
    }
    anyhow::bail!("{MOST_CHILDREN} children and no limit")
}

/// A PID may come free meanwhile where the limit is the machine's: then the attempt succeeds, its
/// child stays to fill the gap, and another attempt is made.
fn attempt(
    count: u64,
    interval: Duration,
    children: &mut Vec<pid_t>,
    truth: &mut Truth,
) -> Result<()> {
    let mut failed = 0;
    while failed < count {
        ensure!(children.len() < MOST_CHILDREN, "the limit is gone");
        let (syscall, create) = WAYS[failed as usize % WAYS.len()];
        match create() {
            Ok(0) => sleep_as_child(),
            Ok(child) => children.push(child),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                truth.failures.push(Failure {
                    syscall: syscall.to_owned(),
                    ..now(errno)
                });
                failed += 1;
                if !interval.is_zero() {
                    std::thread::sleep(interval);
                }
            }
        }
    }
    Ok(())
}

fn sleep_as_child() -> ! {
    sys::end_with_parent();
    sys::pause_for_ever()
}

/// Clones that no limit refuses but the flags themselves, or seccomp, do.
pub fn reject(count: u64, seccomp: Option<u16>, truth: &mut Truth) -> Result<()> {
    if let Some(errno) = seccomp {
        sys::forbid_clone3(errno)?;
    }
    let (syscall, create): (_, Create) = if seccomp.is_some() {
        ("clone3", || sys::clone3(None))
    } else {
        ("clone", sys::clone_of_nonsense)
    };
    all_refused(count, syscall, create, truth)
}

/// Clones of a task that SCHED_DEADLINE schedules.
pub fn as_deadline(count: u64, truth: &mut Truth) -> Result<()> {
    sys::become_deadline()?;
    all_refused(count, "clone", sys::clone, truth)
}

/// Clones with a user namespace of their own, of which there may be none, in a user namespace of ours.
pub fn of_namespaces(count: u64, uid: u32, truth: &mut Truth) -> Result<()> {
    sys::enter_user_namespace_without_room(uid)?;
    all_refused(count, "clone", sys::clone_with_user_namespace, truth)
}

fn all_refused(count: u64, syscall: &str, create: Create, truth: &mut Truth) -> Result<()> {
    for _ in 0..count {
        match create() {
            Ok(_) => anyhow::bail!("a clone that is not allowed succeeded"),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                truth.failures.push(Failure {
                    syscall: syscall.to_owned(),
                    ..now(errno)
                });
            }
        }
    }
    Ok(())
}

/// How a limit is churned.
#[derive(clap::Args)]
pub struct Churn {
    /// Processes that fork
    #[arg(long)]
    forkers: u64,
    /// Forks that each tries
    #[arg(long)]
    count: u64,
    /// Children that each leaves unreaped at most
    #[arg(long)]
    ahead: usize,
}

/// Processes that all fork below one limit, whose children end at once: whoever is refused, there may be room
/// again by the time that somebody looks.
pub fn churn(options: &Churn, truth: &mut Truth) -> Result<()> {
    let mut forkers = Vec::new();
    // All of them are there before the first child fills the limit.
    let (mut begin, mut all_there) = std::io::pipe()?;
    for _ in 0..options.forkers {
        let (reader, mut writer) = std::io::pipe()?;
        let child = sys::fork(|| {
            sys::end_with_parent();
            begin.read_exact(&mut [0])?;
            let refused = fork_ahead(options)?;
            Ok(writer.write_all(&refused.to_ne_bytes())?)
        })?;
        drop(writer);
        forkers.push((child, reader));
    }
    all_there.write_all(&vec![0; forkers.len()])?;
    for (child, mut reader) in forkers {
        let mut refused = [0; 8];
        reader.read_exact(&mut refused)?;
        ensure!(sys::reap(child)?, "a forker failed");
        let refused = u64::from_ne_bytes(refused);
        for _ in 0..refused {
            truth.failures.push(Failure {
                syscall: "clone".to_owned(),
                ..now(libc::EAGAIN)
            });
        }
        for kinds in [&mut truth.here.created, &mut truth.here.exited] {
            kinds.processes += 1 + options.count - refused;
        }
    }
    Ok(())
}

/// How many of the forks were refused.
fn fork_ahead(options: &Churn) -> Result<u64> {
    let mut refused = 0;
    let mut ahead = VecDeque::new();
    for _ in 0..options.count {
        match sys::clone() {
            Ok(0) => sys::end(0),
            Ok(child) => ahead.push_back(child),
            Err(error) => {
                ensure!(error.raw_os_error() == Some(libc::EAGAIN), "{error}");
                refused += 1;
            }
        }
        if ahead.len() >= options.ahead
            && let Some(oldest) = ahead.pop_front()
        {
            ensure!(sys::reap(oldest)?, "a child failed");
        }
    }
    for child in ahead {
        ensure!(sys::reap(child)?, "a child failed");
    }
    Ok(refused)
}
