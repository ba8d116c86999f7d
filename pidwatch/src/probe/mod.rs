//! The only place that knows BPF: loads the kernel side, attaches it, drains its ring, sweeps its
//! counters. In: settings and the cgroup layout. Out: plain [`Event`]s.
//!
//! Invariant: totals told grow, and in the end equal the kernel map's. A ring record that is lost
//! only delays them: the cgroups it may have been about are read from the map.

mod attach;
mod btf;
mod error;
mod event;
mod losses;
mod mechanism;
mod offsets;
mod start;
mod sys;
mod tracefs;

use std::{io, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, RingBuf},
};
use aya_log::EbpfLogger;
use pidwatch_common::totals::{Cgroup, Phase};
use tokio::{io::unix::AsyncFd, time::Instant};

pub use self::{
    attach::ProbeStatus,
    error::ProbeError,
    event::{Charge, Event, Failure, SyscallName},
    losses::Losses,
    mechanism::{Choice, Hook, KernelVersion, Mechanism},
};
use crate::{cgroup::CgroupId, clock::BootTime};

/// Least time between two rate records of one cgroup.
pub const WINDOW: Duration = Duration::from_millis(100);

/// A cgroup that sent a record this long ago may have counted more since without sending another.
/// One window and two ticks of the slowest kernel (100 Hz).
const TAIL: Duration = Duration::from_millis(120);

/// How long tasks that ended before pidwatch came are told apart when they are freed. RCU frees
/// within milliseconds, on a loaded machine within a second or two.
const STARTING: Duration = Duration::from_secs(2);

/// What the user may choose.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Bytes of the ring: a power of two of whole pages.
    pub ring_size: u32,
    /// Mechanisms forced by the user.
    pub choices: Vec<Choice>,
    /// Let the kernel side log.
    pub kernel_log: bool,
}

/// The attached kernel side.
pub struct Probe {
    ring: AsyncFd<RingBuf<MapData>>,
    cgroups: HashMap<MapData, u64, Cgroup>,
    phase: Option<Array<MapData, u32>>,
    losses: Losses,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Cgroups that may have counted something since their last record.
    tails: hashbrown::HashMap<CgroupId, Instant>,
    started: Instant,
    status: Vec<ProbeStatus>,
    kernel: String,
    /// Keeps programs loaded and attached.
    _attached: attach::Attached,
    _ebpf: Ebpf,
}

impl Probe {
    /// A line for each hook: what it is attached by and why not by something better.
    pub fn status(&self) -> &[ProbeStatus] {
        &self.status
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
    pub fn drain(&mut self, now: Instant, events: &mut Vec<Event>) {
        let ring = self.ring.get_mut();
        while let Some(record) = ring.next() {
            let Some(event) = event::decode(&record) else {
                continue;
            };
            match &event {
                Event::Totals { cgroup, .. } | Event::CloneFailed(Failure { cgroup, .. }) => {
                    self.tails.insert(*cgroup, now);
                }
                Event::CgroupAdded(..) | Event::CgroupRemoved(..) | Event::CgroupRenamed(..) => {}
            }
            events.push(event);
        }
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Reads the totals of cgroups that fell silent after a record, or of all when records were
    /// lost. Call it once a [`WINDOW`].
    pub fn sweep(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.phase.is_some() && now.duration_since(self.started) >= STARTING {
            self.end_start();
        }
        if self.losses.ring_rates_grew() {
            self.sweep_all(events);
            return;
        }
        let time = BootTime::now();
        let cgroups = &self.cgroups;
        self.tails.retain(|&cgroup, &mut told| {
            let waiting = now.duration_since(told) < TAIL;
            if !waiting && let Ok(entry) = cgroups.get(&cgroup.0, 0) {
                events.push(totals_event(cgroup, time, &entry));
            }
            waiting
        });
    }

    /// Reads the totals of every cgroup: at the end, or when records were lost.
    pub fn sweep_all(&mut self, events: &mut Vec<Event>) {
        let time = BootTime::now();
        for (id, entry) in self.cgroups.iter().flatten() {
            events.push(totals_event(CgroupId(id), time, &entry));
        }
        self.tails.clear();
    }

    /// What was lost since the last call, by where.
    pub fn take_losses(&mut self) -> Vec<(&'static str, u64)> {
        self.losses.take()
    }

    /// Forgets a cgroup that is gone, so that its place in the map is free again.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.tails.remove(&cgroup);
        // It may never have had an entry.
        let _ = self.cgroups.remove(&cgroup.0);
    }

    fn end_start(&mut self) {
        if let Some(mut phase) = self.phase.take()
            && let Err(error) = phase.set(0, Phase::Running as u32, 0)
        {
            log::warn!("cannot end the start phase of the kernel side: {error}");
        }
    }
}

fn totals_event(cgroup: CgroupId, time: BootTime, entry: &Cgroup) -> Event {
    Event::Totals {
        cgroup,
        time,
        totals: entry.totals,
        charge: Charge::Unknown,
        entered: false,
    }
}
