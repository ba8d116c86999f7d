//! Load generator of the tests: does one thing to the kernel's task list, counts what it did, and
//! prints the count as one line of JSON ([`pidwatch_load::truth::Truth`]).
//!
//! Loads that keep something until told to go on print `{"ready":true}` first and then wait for
//! the end of their standard input, or SIGTERM. The program never has a task besides those that
//! the load is about. The loads are one a file; here are their arguments.

mod churn;
mod clone_into;
mod exec;
mod fail;
mod forks;
mod hold;
mod io_uring;
mod memory;
mod moves;
mod pace;
mod pid_namespace;
mod shared;
mod sys;
mod threads;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pidwatch_load::truth::Truth;

/// Makes one kind of load and prints what it did.
#[derive(Parser)]
struct Arguments {
    /// Join this cgroup first; the program's own end is then part of the truth
    #[arg(long, global = true)]
    cgroup: Option<PathBuf>,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Processes that each create and join threads, one after the other
    Threads {
        #[arg(long, default_value_t = 2)]
        processes: u64,
        /// Threads of each process
        #[arg(long)]
        count: u64,
    },
    /// fork and wait
    Forks {
        #[arg(long)]
        count: u64,
        /// Meanwhile be signalled so often, so that the kernel restarts some of them
        #[arg(long)]
        alarm_us: Option<u32>,
    },
    /// vfork; the child ends at once
    Vfork {
        #[arg(long)]
        count: u64,
    },
    /// clone3 with CLONE_INTO_CGROUP, from outside
    CloneInto {
        #[arg(long)]
        count: u64,
        /// The cgroup v2 directory that the children are born in
        #[arg(long)]
        target: PathBuf,
        /// They stay until standard input ends, and those that are refused are counted
        #[arg(long)]
        hold: bool,
    },
    /// A second thread that execs
    ExecFromThread {
        #[arg(long)]
        count: u64,
    },
    /// Workers of io_uring: io-wq and SQPOLL
    IoUring {
        /// Operations that block, each in a worker of its own
        #[arg(long, default_value_t = 4)]
        workers: u64,
        /// Rings with a polling thread
        #[arg(long, default_value_t = 2)]
        pollers: u64,
    },
    /// Rings of io_uring with a polling thread each, of which some are refused by a limit, until standard
    /// input ends
    RefusedIoUring {
        #[arg(long)]
        rings: u64,
    },
    /// Creations refused by a limit: creates until the limit, then goes on trying
    Fail(fail::Options),
    /// Creations refused by a limit that has room again at once
    ChurnLimit(fail::Churn),
    /// execve refused because the user is over RLIMIT_NPROC
    FailExec {
        #[arg(long)]
        count: u64,
        #[arg(long)]
        uid: u32,
    },
    /// Clones with flags that the kernel rejects (EINVAL)
    Reject {
        #[arg(long)]
        count: u64,
        /// clone3 instead, which a seccomp filter answers with this error number
        #[arg(long)]
        seccomp: Option<u16>,
    },
    /// Clones refused by the pid_max of a PID namespace (6.14 and later)
    FailInPidNamespace {
        #[arg(long)]
        count: u64,
        #[arg(long)]
        pid_max: u32,
    },
    /// Threads that are started and stay in a PID namespace with this pid_max (6.14 and later), at a pace,
    /// until standard input ends
    LeakInPidNamespace {
        #[arg(long)]
        per_second: f64,
        #[arg(long)]
        pid_max: u32,
    },
    /// A process with threads in a PID namespace with this pid_max (6.14 and later), until standard input ends
    HoldInPidNamespace {
        #[arg(long)]
        threads: u64,
        #[arg(long)]
        pid_max: u32,
    },
    /// Processes of a user with this RLIMIT_NPROC, some in user namespaces of their own (each as another
    /// user), until standard input ends
    HoldInUserNamespaces {
        #[arg(long)]
        uid: u32,
        #[arg(long)]
        limit: u64,
        #[arg(long)]
        outside: u64,
        #[arg(long)]
        inside: u64,
    },
    /// Clones refused because the PID namespace has lost its init
    FailInDyingPidNamespace {
        #[arg(long)]
        count: u64,
    },
    /// Keeps processes, each with threads, until standard input ends
    Hold {
        #[arg(long)]
        processes: u64,
        /// Threads of each process besides the first
        #[arg(long, default_value_t = 0)]
        threads: u64,
    },
    /// Children that have ended and are not reaped until standard input ends
    Zombies(hold::Zombies),
    /// Processes whose main thread has ended while another one lives, until standard input ends
    Headless {
        #[arg(long)]
        processes: u64,
    },
    /// Threads that cannot start for want of room for their stacks, until standard input ends
    WithoutRoom {
        #[arg(long)]
        room: memory::Room,
    },
    /// Clones of a SCHED_DEADLINE task
    FailAsDeadline {
        #[arg(long)]
        count: u64,
    },
    /// Clones that ask for more user namespaces than there may be
    FailNamespaces {
        #[arg(long)]
        count: u64,
        #[arg(long)]
        uid: u32,
    },
    /// Cgroups made, used and removed, one after the other
    ChurnCgroups(churn::Options),
    /// Children forked in one cgroup that end in another
    Move {
        #[arg(long)]
        count: u64,
        #[arg(long)]
        from: PathBuf,
        #[arg(long)]
        to: PathBuf,
    },
    /// Threads that are started and stay, at a pace, until standard input ends
    Leak {
        #[arg(long)]
        per_second: f64,
        /// They wake up twice a second, as the workers of a pool do
        #[arg(long)]
        works: bool,
    },
    /// Children that end and are not reaped, at a pace, until standard input ends
    LeakZombies {
        #[arg(long)]
        per_second: f64,
    },
    /// fork and wait at a pace, until standard input ends
    Pace {
        #[arg(long)]
        per_second: f64,
    },
    /// Nothing
    Noop,
}

/// Joins the cgroup, makes the load, prints the truth.
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut truth = Truth::default();
    if let Some(cgroup) = &arguments.cgroup {
        shared::join(cgroup)?;
        truth.here.exited.processes += 1;
    }
    let truth = &mut truth;
    match arguments.load {
        Load::Threads { processes, count } => threads::run(processes, count, truth)?,
        Load::Forks { count, alarm_us } => {
            if let Some(interval) = alarm_us {
                sys::alarm_every(Duration::from_micros(interval.into()))?;
            }
            forks::forks(count, truth)?;
        }
        Load::Vfork { count } => forks::vforks(count, truth)?,
        Load::CloneInto {
            count,
            target,
            hold: false,
        } => clone_into::run(count, &target, truth)?,
        Load::CloneInto { count, target, .. } => clone_into::fill(count, &target, truth)?,
        Load::ExecFromThread { count } => exec::from_thread(count, truth)?,
        Load::IoUring { workers, pollers } => io_uring::run(workers, pollers, truth)?,
        Load::RefusedIoUring { rings } => io_uring::refused(rings, truth)?,
        Load::Fail(options) => fail::run(&options, truth)?,
        Load::ChurnLimit(options) => fail::churn(&options, truth)?,
        Load::FailExec { count, uid } => exec::over_nproc(count, uid, truth)?,
        Load::Reject { count, seccomp } => fail::reject(count, seccomp, truth)?,
        Load::FailInPidNamespace { count, pid_max } => {
            return pid_namespace::full(count, pid_max, truth);
        }
        Load::LeakInPidNamespace {
            per_second,
            pid_max,
        } => return pid_namespace::leak(per_second, pid_max, truth),
        Load::HoldInPidNamespace { threads, pid_max } => {
            return pid_namespace::hold(threads, pid_max, truth);
        }
        Load::HoldInUserNamespaces {
            uid,
            limit,
            outside,
            inside,
        } => hold::in_user_namespaces(uid, limit, [outside, inside], truth)?,
        Load::FailInDyingPidNamespace { count } => pid_namespace::dying(count, truth)?,
        Load::Hold { processes, threads } => hold::hold(processes, threads, truth)?,
        Load::Zombies(options) => hold::zombies(&options, truth)?,
        Load::Headless { processes } => hold::headless(processes, truth)?,
        Load::WithoutRoom { room } => memory::without_room(room, truth)?,
        Load::FailAsDeadline { count } => fail::as_deadline(count, truth)?,
        Load::FailNamespaces { count, uid } => fail::of_namespaces(count, uid, truth)?,
        Load::ChurnCgroups(options) => churn::run(&options, truth)?,
        Load::Move { count, from, to } => moves::run(count, &from, &to, truth)?,
        Load::Leak { per_second, works } => pace::leak(per_second, works, truth)?,
        Load::LeakZombies { per_second } => pace::zombies(per_second, truth)?,
        Load::Pace { per_second } => pace::forks(per_second, truth)?,
        Load::Noop => return Ok(()),
    }
    shared::tell(truth)
}
