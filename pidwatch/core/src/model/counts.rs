//! Counts, and sums and differences of them.

use pidwatch_common::totals::{Kinds, REJECTIONS, Totals};

use crate::limits::Reason;

/// Counts of one cgroup, over a window or since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks created.
    pub created: Kinds,
    /// Tasks that ended.
    pub exited: Kinds,
    /// Tasks that gave their PID back.
    pub freed: u64,
    /// Creations refused for want of something, by [`Reason`].
    pub failed: [u64; Reason::ALL.len()],
    /// Creations refused for another reason.
    pub rejected: u64,
    /// Those by error: [`REJECTIONS`], and any other at the end.
    pub rejected_by: [u64; REJECTIONS.len() + 1],
}

impl Counts {
    /// Nothing counted.
    pub const NONE: Self = Self {
        created: Kinds {
            processes: 0,
            threads: 0,
        },
        exited: Kinds {
            processes: 0,
            threads: 0,
        },
        freed: 0,
        failed: [0; Reason::ALL.len()],
        rejected: 0,
        rejected_by: [0; REJECTIONS.len() + 1],
    };

    /// Creations refused for want of something.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// What was counted since an earlier moment.
    pub fn minus(&self, earlier: &Self) -> Self {
        let kinds = |now: Kinds, then: Kinds| Kinds {
            processes: now.processes.saturating_sub(then.processes),
            threads: now.threads.saturating_sub(then.threads),
        };
        Self {
            created: kinds(self.created, earlier.created),
            exited: kinds(self.exited, earlier.exited),
            freed: self.freed.saturating_sub(earlier.freed),
            failed: std::array::from_fn(|i| self.failed[i].saturating_sub(earlier.failed[i])),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            rejected_by: std::array::from_fn(|i| {
                self.rejected_by[i].saturating_sub(earlier.rejected_by[i])
            }),
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        let kinds = |a: Kinds, b: Kinds| Kinds {
            processes: a.processes.saturating_add(b.processes),
            threads: a.threads.saturating_add(b.threads),
        };
        Self {
            created: kinds(self.created, other.created),
            exited: kinds(self.exited, other.exited),
            freed: self.freed.saturating_add(other.freed),
            failed: std::array::from_fn(|i| self.failed[i].saturating_add(other.failed[i])),
            rejected: self.rejected.saturating_add(other.rejected),
            rejected_by: std::array::from_fn(|i| {
                self.rejected_by[i].saturating_add(other.rejected_by[i])
            }),
        }
    }

    /// Whether anything was counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::NONE
    }
}

pub(super) fn larger(a: &Totals, b: &Totals) -> Totals {
    by_counter(a, b, u64::max)
}

pub(super) fn plus(a: &Totals, b: &Totals) -> Totals {
    by_counter(a, b, u64::saturating_add)
}

pub(super) fn minus(a: &Totals, b: &Totals) -> Totals {
    by_counter(a, b, u64::saturating_sub)
}

fn by_counter(a: &Totals, b: &Totals, of: fn(u64, u64) -> u64) -> Totals {
    let kinds = |a: Kinds, b: Kinds| Kinds {
        processes: of(a.processes, b.processes),
        threads: of(a.threads, b.threads),
    };
    Totals {
        created: kinds(a.created, b.created),
        exited: kinds(a.exited, b.exited),
        held_threads: of(a.held_threads, b.held_threads),
        freed: kinds(a.freed, b.freed),
        zombies_before: of(a.zombies_before, b.zombies_before),
        unseen_frees: of(a.unseen_frees, b.unseen_frees),
        unnoted: of(a.unnoted, b.unnoted),
        failed: of(a.failed, b.failed),
        rejected: of(a.rejected, b.rejected),
        suppressed: of(a.suppressed, b.suppressed),
        suppressed_by: std::array::from_fn(|i| of(a.suppressed_by[i], b.suppressed_by[i])),
        rejected_by: std::array::from_fn(|i| of(a.rejected_by[i], b.rejected_by[i])),
    }
}
