//! Bounds every scenario in time. Everything that a scenario waits for is a process that it
//! started: when the time is up all of them are killed, the waits end, and the scenario fails.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn started() -> std::sync::MutexGuard<'static, BTreeSet<u32>> {
    STARTED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn kill(pid: u32) {
    // SAFETY: kill has no preconditions; numbers are removed before they are reaped.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
}

/// A process that does not outlive its scenario.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        started().insert(child.id());
        Ok(Self(child))
    }

    /// Its PID.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its standard input, once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Its standard output, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Its standard error, once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill has no preconditions; the child is not reaped before `wait`.
        unsafe { libc::kill(self.id() as libc::pid_t, signal) };
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.0.wait();
        started().remove(&self.id());
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.wait();
    }
}

/// A thread that waits with a scenario; made early, since a scenario may use up all PIDs.
pub struct Watchdog {
    thread: Option<JoinHandle<bool>>,
    done: Option<Sender<()>>,
}

impl Watchdog {
    /// Begins to count.
    pub fn start(limit: Duration) -> Self {
        let (done, wait) = channel();
        let thread = std::thread::spawn(move || expired(&wait, limit));
        Self {
            thread: Some(thread),
            done: Some(done),
        }
    }

    /// Stops counting; true when the time was up.
    pub fn stop(mut self) -> bool {
        drop(self.done.take());
        self.thread
            .take()
            .is_some_and(|thread| thread.join().unwrap_or(true))
    }
}

fn expired(wait: &Receiver<()>, limit: Duration) -> bool {
    let mut wait_for = limit;
    let mut expired = false;
    // Goes on killing until the scenario has ended: it may start more.
    while wait.recv_timeout(wait_for) == Err(RecvTimeoutError::Timeout) {
        expired = true;
        started().iter().copied().for_each(kill);
        wait_for = Duration::from_millis(100);
    }
    expired
}
