//! The only place that knows BPF: loads the kernel side, attaches it, drains its ring, sweeps its
//! counters. In: settings and the cgroup layout. Out: plain [`KernelEvent`]s.
//!
//! Invariant: totals told grow, and in the end equal the kernel map's. A ring record that is lost
//! only delays them: the cgroups it may have been about are read from the map.

mod activity;
mod attach;
mod btf;
mod error;
mod losses;
mod offsets;
#[cfg(test)]
mod pending_tests;
mod start;
mod symbols;
mod sys;
mod tracefs;
mod zombies;

use std::{io, path::PathBuf, time::Duration};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, RingBuf},
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun},
};
use aya_log::EbpfLogger;
use pidwatch_common::{
    control::{self, Request},
    totals::Cgroup,
};
use tokio::{io::unix::AsyncFd, time::Instant};

pub use pidwatch_core::probe::*;

pub use self::{activity::Pass, error::ProbeError, losses::LossCounts};
use crate::{cgroup::CgroupId, procfs};

/// Least time between two rate records of one cgroup.
pub const WINDOW: Duration = Duration::from_millis(100);

/// A cgroup that sent a record this long ago may have counted more since without sending another:
/// a window and two ticks of the slowest kernel (100 Hz). Asked for its totals, the kernel side
/// sends a record at the next event in any case, so that this need not be exact.
const TAIL: Duration = Duration::from_millis(120);

/// How often every cgroup is read after rate records were lost, a window apart: the last time begins after
/// whatever was silent for a [`TAIL`] by then.
const SWEEPS: u32 = 3;

/// What ended so long ago and is not reaped is a zombie: before that its parent may be about to.
const LASTING: Duration = Duration::from_secs(1);

/// What the user may choose.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Bytes of the ring: a power of two of whole pages.
    pub ring_size: u32,
    /// Mechanisms forced by the user.
    pub choices: Vec<Choice>,
    /// Let the kernel side log.
    pub kernel_log: bool,
    /// The host's /proc.
    pub proc_root: PathBuf,
}

/// The attached kernel side.
pub struct Probe {
    ring: AsyncFd<RingBuf<MapData>>,
    cgroups: HashMap<MapData, u64, Cgroup>,
    /// How often every cgroup is still to be read, because records were lost.
    sweeps: u32,
    losses: LossCounts,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Cgroups that may have counted something since their last record.
    tails: hashbrown::HashMap<CgroupId, Instant>,
    status: Vec<ProbeStatus>,
    kernel: String,
    /// Keeps programs loaded and attached.
    attached: attach::Attached,
    zombies: Option<zombies::Zombies>,
    /// Addresses of ended tasks that were freed without the hook, to be settled.
    stale: Vec<u64>,
    /// Cgroups whose totals are still to be read.
    sweeping: Vec<CgroupId>,
    activities: Option<activity::Activities>,
    /// Cgroups whose tasks the next pass writes.
    watched: hashbrown::HashSet<CgroupId>,
    ebpf: Ebpf,
}

impl Probe {
    /// A line for each hook: what it is attached by and why not by something better.
    pub fn status(&self) -> &[ProbeStatus] {
        &self.status
    }

    /// Whether a hook is attached, so that what it counts is known.
    pub fn is_attached(&self, hook: Hook) -> bool {
        self.attached.has(hook)
    }

    /// The kernel's release.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Waits until the kernel side has something urgent: a failure, a cgroup that came or went.
    ///
    /// # Errors
    /// When the runtime cannot watch the ring.
    pub async fn ready(&mut self) -> io::Result<()> {
        let mut guard = self.ring.readable_mut().await?;
        guard.clear_ready();
        Ok(())
    }

    /// Takes every record that is in the ring.
    pub fn drain(&mut self, now: Instant, events: &mut Vec<KernelEvent>) {
        let ring = self.ring.get_mut();
        while let Some(record) = ring.next() {
            if let Some(counted) = decode_losses(&record) {
                self.losses.count(counted);
            } else if let Some(event) = decode(&record) {
                match &event {
                    // An answer is no news of something that may go on.
                    KernelEvent::Totals {
                        cause: TotalsCause::Asked,
                        ..
                    } => {}
                    KernelEvent::Totals { cgroup, .. }
                    | KernelEvent::CloneFailed(Failure { cgroup, .. }) => {
                        self.tails.insert(*cgroup, now);
                    }
                    KernelEvent::CgroupAdded(..)
                    | KernelEvent::CgroupRemoved(..)
                    | KernelEvent::CgroupRenamed(..)
                    | KernelEvent::PidNamespaces { .. } => {}
                }
                events.push(event);
            }
        }
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Takes the totals of cgroups that fell silent after a record, or of all when records were
    /// lost. Call it once a [`WINDOW`].
    pub fn sweep(&mut self, now: Instant, events: &mut Vec<KernelEvent>) {
        self.ask(Request::Losses, CgroupId(0));
        self.drain(now, events);
        if self.losses.ring_rates_grew() {
            // Any cgroup may have lost its record, and may count on in silence for a window.
            self.sweeps = SWEEPS;
        }
        if self.sweeps > 0 || !self.sweeping.is_empty() {
            if self.sweeping.is_empty() {
                self.sweeps -= 1;
                self.sweeping = self.all();
            }
            return;
        }
        let silent: Vec<CgroupId> = self
            .tails
            .extract_if(|_, told| now.duration_since(*told) >= TAIL)
            .map(|(cgroup, _)| cgroup)
            .collect();
        self.sweep_some(silent.into_iter(), now, events);
    }

    /// Failures of all reasons that the hooks have counted in a cgroup by now; `None` where the map cannot be read.
    pub fn failures(&self, cgroup: CgroupId) -> Option<u64> {
        match self.cgroups.get(&cgroup.0, 0) {
            Ok(entry) => Some(entry.failed),
            Err(MapError::KeyNotFound) => Some(0),
            Err(_) => None,
        }
    }

    /// Goes on with what takes long where there are many cgroups or many ended tasks: reads some totals, and
    /// settles some frees that no hook saw.
    pub fn go_on(&mut self, now: Instant, events: &mut Vec<KernelEvent>) {
        /// Some milliseconds, at some microseconds each.
        const AT_A_TIME: usize = 512;
        let some = self.sweeping.len().saturating_sub(AT_A_TIME);
        let cgroups = self.sweeping.split_off(some);
        self.sweep_some(cgroups.into_iter(), now, events);
        self.settle(AT_A_TIME);
    }

    /// Whether there is something to go on with.
    pub fn is_busy(&self) -> bool {
        !(self.sweeping.is_empty() && self.stale.is_empty())
    }

    fn settle(&mut self, most: usize) {
        for address in self.stale.split_off(self.stale.len().saturating_sub(most)) {
            self.ask(Request::Settle, CgroupId(address));
        }
    }

    /// Takes everything that was counted, at the end.
    pub fn finish(&mut self, now: Instant, events: &mut Vec<KernelEvent>) {
        /// While more is lost, at most so often.
        const ROUNDS: usize = 10;
        self.settle(usize::MAX);
        self.drain(now, events);
        for _ in 0..ROUNDS {
            self.sweep_all(now, events);
            self.ask(Request::Losses, CgroupId(0));
            self.drain(now, events);
            if !self.losses.ring_rates_grew() {
                break;
            }
        }
    }

    /// Takes the totals of every cgroup: at first, since no record tells the baseline, and when
    /// records were lost.
    pub fn sweep_all(&mut self, now: Instant, events: &mut Vec<KernelEvent>) {
        self.sweeping.clear();
        let all = self.all();
        self.sweep_some(all.into_iter(), now, events);
    }

    fn all(&self) -> Vec<CgroupId> {
        self.cgroups.keys().flatten().map(CgroupId).collect()
    }

    /// Asks for the totals of cgroups, a few at a time so that the ring has room for the answers.
    fn sweep_some(
        &mut self,
        cgroups: impl Iterator<Item = CgroupId>,
        now: Instant,
        events: &mut Vec<KernelEvent>,
    ) {
        /// Fits into the smallest ring, a page.
        const AT_A_TIME: usize = 8;
        let mut asked = cgroups.peekable();
        while asked.peek().is_some() {
            for cgroup in asked.by_ref().take(AT_A_TIME) {
                self.ask(Request::Totals, cgroup);
            }
            self.drain(now, events);
        }
    }

    /// The zombies there are, by the cgroup that they are charged to; `None` when that cannot be known.
    /// Removed cgroups' are those of the nearest one above that is there. Takes what no hook saw freed
    /// for lost.
    pub fn zombies(&mut self) -> Option<hashbrown::HashMap<CgroupId, u64>> {
        let scan = match self.zombies.as_ref()?.scan() {
            Ok(scan) => scan,
            Err(error) => {
                tracing::warn!("cannot scan the ended tasks: {error}");
                return None;
            }
        };
        // Those of the last scan that are not settled yet are among them.
        self.stale = scan.stale;
        Some(scan.zombies)
    }

    /// Begins a pass over the tasks of these cgroups; `None` where there are no passes.
    pub fn tasks_of(&mut self, cgroups: &hashbrown::HashSet<CgroupId>) -> Option<Pass> {
        let activities = self.activities.as_ref()?;
        let pass = match activities.begin() {
            Ok(pass) => pass,
            Err(error) => {
                tracing::warn!("cannot read the tasks of owners that grow: {error}");
                return None;
            }
        };
        for &cgroup in self.watched.difference(cgroups) {
            self.ask(Request::Unwatch, cgroup);
        }
        for &cgroup in cgroups.difference(&self.watched) {
            self.ask(Request::Watch, cgroup);
        }
        self.watched.clone_from(cgroups);
        Some(pass)
    }

    /// What was lost since the last call, by where.
    pub fn take_losses(&mut self) -> Vec<(&'static str, u64)> {
        self.losses
            .take(Hook::KernelClone, self.attached.missed_returns())
    }

    /// Forgets a cgroup that is gone, so that its place in the map is free again.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.tails.remove(&cgroup);
        self.ask(Request::Forget, cgroup);
    }

    /// Makes sure of a place in the map for an owner's cgroup: some are kept for those.
    pub fn keep(&self, owner: CgroupId) {
        self.ask(Request::Keep, owner);
    }

    /// Whether the pass over the tasks from before the start saw all of them: it sees those of pidwatch's own PID
    /// namespace.
    pub fn sees_old_tasks(&self) -> bool {
        procfs::is_in_initial_pid_namespace()
    }

    /// Whether PID namespaces have a `pid_max` of their own (6.14).
    pub fn has_namespace_limits(&self) -> bool {
        KernelVersion::parse(&self.kernel)
            .is_some_and(|kernel| kernel >= KernelVersion::PID_MAX_PER_NAMESPACE)
    }

    /// Has an [`KernelEvent::PidNamespaces`] of each of these processes (in the initial PID namespace) that is
    /// there.
    pub fn ask_namespaces(&mut self, pids: &[u32], now: Instant, events: &mut Vec<KernelEvent>) {
        /// Fits into the smallest ring, a page.
        const AT_A_TIME: usize = 16;
        for pids in pids.chunks(AT_A_TIME) {
            for &pid in pids {
                self.ask(Request::PidNamespaces, CgroupId(pid.into()));
            }
            self.drain(now, events);
        }
    }

    fn ask(&self, request: Request, cgroup: CgroupId) {
        if let Err(error) = self.try_ask(request, cgroup) {
            tracing::warn!("the kernel side does not answer to {request:?}: {error}");
        }
    }

    fn try_ask(&self, request: Request, cgroup: CgroupId) -> Result<(), ProgramError> {
        let program = self
            .ebpf
            .program(control::PROGRAM)
            .ok_or(ProgramError::NotLoaded)?;
        let program: &RawTracePoint = program.try_into()?;
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = request as u64;
        options.args[1] = cgroup.0;
        program.test_run(options).map(drop)
    }
}
