//! The account of what the kernel side could not count or tell.

use std::os::fd::{AsFd, OwnedFd};

use pidwatch_common::totals::Loss;

use super::{Hook, sys};

/// Name of a loss in events and metrics.
fn name(loss: Loss) -> &'static str {
    match loss {
        Loss::RingRate => "ring_rate",
        Loss::RingFailure => "ring_failure",
        Loss::RingCgroup => "ring_cgroup",
        Loss::CgroupMapFull => "cgroup_map_full",
        Loss::CgroupFolded => "cgroup_folded",
        Loss::CreationUnresolved => "creation_unresolved",
        Loss::PendingMapFull => "pending_map_full",
        // As what is lost there in another way.
        Loss::FreeUnseen => Hook::SchedProcessFree.name(),
    }
}

/// Keeps every loss counter: the kernel side's own, and the `recursion_misses` of its programs
/// (5.12; classic tracepoint programs' from 6.7).
pub struct LossCounts {
    counted: [u64; Loss::ALL.len()],
    told: [u64; Loss::ALL.len()],
    swept: u64,
    missed: u64,
    programs: Vec<Misses>,
}

struct Misses {
    hook: Hook,
    program: OwnedFd,
    told: u64,
}

impl LossCounts {
    /// Watches programs as well.
    pub(super) fn new(programs: Vec<(Hook, OwnedFd)>) -> Self {
        let programs = programs
            .into_iter()
            .map(|(hook, program)| Misses {
                hook,
                program,
                told: 0,
            })
            .collect();
        let none = [0; Loss::ALL.len()];
        Self {
            counted: none,
            told: none,
            swept: 0,
            missed: 0,
            programs,
        }
    }

    /// Where the kernel side itself can lose something.
    pub fn places() -> impl Iterator<Item = &'static str> {
        Loss::ALL.into_iter().map(name)
    }

    /// Takes what the kernel side counted.
    pub(super) fn count(&mut self, counted: [u64; Loss::ALL.len()]) {
        self.counted = counted;
    }

    /// Whether rate records were lost since the last call.
    pub(super) fn ring_rates_grew(&mut self) -> bool {
        let now = self.counted[Loss::RingRate as usize];
        std::mem::replace(&mut self.swept, now) != now
    }

    /// What was lost since the last call. `missed` so far by a hook's probe itself, before any program.
    pub(super) fn take(&mut self, hook: Hook, missed: u64) -> Vec<(&'static str, u64)> {
        let mut lost = Vec::new();
        if missed > self.missed {
            lost.push((hook.name(), missed - self.missed));
            self.missed = missed;
        }
        for loss in Loss::ALL {
            let (now, told) = (self.counted[loss as usize], &mut self.told[loss as usize]);
            if now > *told {
                lost.push((name(loss), now - *told));
                *told = now;
            }
        }
        for Misses {
            hook,
            program,
            told,
        } in &mut self.programs
        {
            let now =
                sys::program_info(program.as_fd()).map_or(*told, |info| info.recursion_misses);
            if now > *told {
                lost.push((hook.name(), now - *told));
                *told = now;
            }
        }
        lost
    }
}
