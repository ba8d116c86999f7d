//! Maintains a brake until its lease ends, in a separate process or in the foreground.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{ActError, Ended, Leases, maintain, release, restore};
use crate::runtime::{self, Signals};

/// Steps that the holder reports on its standard output: it handles signals; it has claimed the brake.
const READY: u8 = b'r';
const HELD: u8 = b'h';
/// Interval between checks of `pids.max`: pidwatch's default window.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A process that maintains a brake. Started before the limit is lowered, when a process can still be created.
pub struct Holder {
    process: Child,
}

impl Holder {
    /// Starts one for a cgroup that is about to be braked; `arguments` make this program call [`wait_for_brake`]. It
    /// begins when this process closes the pipe to it, or is killed.
    ///
    /// # Errors
    /// When no process can be created, or it ends.
    pub fn start(arguments: &[&std::ffi::OsStr], cgroup_id: u64) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // A Ctrl-C in the terminal must not reach it.
        command.process_group(0);
        let mut holder = Self {
            process: command.spawn()?,
        };
        holder.expect(READY)?;
        let pipe = holder.process.stdin.as_mut();
        writeln!(pipe.ok_or(io::ErrorKind::BrokenPipe)?, "{cgroup_id}")?;
        holder.expect(HELD)?;
        Ok(holder)
    }

    /// Waits until the process reports a step.
    fn expect(&mut self, step: u8) -> io::Result<()> {
        let pipe = self
            .process
            .stdout
            .as_mut()
            .ok_or(io::ErrorKind::BrokenPipe)?;
        let mut byte = [0];
        pipe.read_exact(&mut byte)?;
        if byte == [step] {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Waits for its end; there is no brake.
    pub fn dismiss(mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Main function of the holder: reads the cgroup id from standard input and claims its brake. At the end of the input
/// the brake is in force, or was refused, or the process that lowers the limit was killed before or after that; a
/// lease tells which, and is maintained.
///
/// # Errors
/// When standard input cannot be read, or as [`hold`].
pub fn wait_for_brake(leases: &Leases, mount: &Path) -> Result<(), HoldError> {
    let runtime = runtime::single_threaded().map_err(HoldError::Process)?;
    // Before it reports to be ready: a signal from then on ends the brake, not only the process.
    let signals = {
        let _runtime = runtime.enter();
        Signals::new().map_err(HoldError::Process)?
    };
    report_step(READY).map_err(HoldError::Process)?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(HoldError::Process)?;
    let Ok(cgroup_id) = line.trim().parse() else {
        return Ok(());
    };
    let claim = leases.hold(cgroup_id).map_err(ActError::from)?;
    report_step(HELD).map_err(HoldError::Process)?;
    if claim.is_none() {
        // Another process maintains it already.
        return Ok(());
    }
    io::stdin()
        .read_to_end(&mut Vec::new())
        .map_err(HoldError::Process)?;
    if leases.load(cgroup_id).is_ok_and(|lease| lease.is_none()) {
        let locked = leases.lock().map_err(ActError::from)?;
        return Ok(locked.remove(cgroup_id).map_err(ActError::from)?);
    }
    runtime.block_on(maintain_until_end(
        leases,
        mount,
        cgroup_id,
        signals,
        |_| {},
    ))
}

fn report_step(step: u8) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(&[step])?;
    out.flush()
}

/// A brake cannot be maintained.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The process cannot wait or read.
    #[error("cannot wait for the end of the lease: {0}")]
    Process(io::Error),
    /// The brake failed.
    #[error(transparent)]
    Act(#[from] ActError),
}

/// Maintains a brake until its lease ends; SIGINT and SIGTERM end it immediately. `report` receives every change.
/// Returns immediately if another process maintains the brake.
///
/// # Errors
/// When the process cannot wait, or the limit cannot be restored on a signal.
pub fn hold(
    leases: &Leases,
    mount: &Path,
    cgroup_id: u64,
    report: impl FnMut(&Ended),
) -> Result<(), HoldError> {
    let Some(_claim) = leases.hold(cgroup_id).map_err(ActError::from)? else {
        return Ok(());
    };
    let runtime = runtime::single_threaded().map_err(HoldError::Process)?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(HoldError::Process)?;
        maintain_until_end(leases, mount, cgroup_id, signals, report).await
    })
}

async fn maintain_until_end(
    leases: &Leases,
    mount: &Path,
    cgroup_id: u64,
    mut signals: Signals,
    mut report: impl FnMut(&Ended),
) -> Result<(), HoldError> {
    let mut is_over = false;
    // Without the folder, the previous limit is known here only.
    let mut known = leases.load(cgroup_id).ok().flatten();
    loop {
        tokio::select! {
            biased;
            () = signals.recv() => is_over = true,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let step = if is_over {
            release(leases, mount, cgroup_id)
        } else {
            maintain(leases, mount, cgroup_id)
        };
        let step = match &known {
            Some(lease) if step.is_err() && leases.is_removed() => restore(mount, lease),
            _ => step,
        };
        // Errors are retried: the limit must be restored.
        let Ok(ended) = step else {
            if known.is_none() && leases.is_removed() {
                return Ok(());
            }
            continue;
        };
        match &ended {
            Ended::Not(lease) => known = Some(lease.clone()),
            Ended::SetBack(lease, _) => {
                known = Some(lease.clone());
                report(&ended);
            }
            Ended::Restored(_) | Ended::Otherwise(_) | Ended::Earlier => {
                report(&ended);
                return Ok(());
            }
        }
    }
}
