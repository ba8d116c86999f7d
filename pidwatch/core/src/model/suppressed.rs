//! What failures were of which no record was sent: the kernel side's short look tells their kind, the last
//! record of the same cgroup the reason within it.

use pidwatch_common::totals::{Suppressed, Totals};

use crate::limits::Reason;

/// The last reasons of a cgroup's records that a kind alone does not tell apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    ids: Option<Reason>,
    memory: Option<Reason>,
    space: Option<Reason>,
}

impl Last {
    /// A record told a reason.
    pub(super) fn note(&mut self, reason: Reason) {
        match reason {
            Reason::PidMax | Reason::PidNamespaceMax => self.ids = Some(reason),
            Reason::Memory
            | Reason::MemoryCgroup
            | Reason::Overcommit
            | Reason::PidNamespaceDying => self.memory = Some(reason),
            Reason::UserNamespaces => self.space = Some(reason),
            _ => {}
        }
    }

    fn of(self, kind: usize) -> Option<Reason> {
        const KINDS: [Suppressed; Suppressed::COUNT] = [
            Suppressed::PidsMax,
            Suppressed::RlimitNproc,
            Suppressed::ThreadsMax,
            Suppressed::Ids,
            Suppressed::Deadline,
            Suppressed::ExecInProgress,
            Suppressed::NoMemory,
            Suppressed::NoSpace,
        ];
        match KINDS.get(kind)? {
            Suppressed::PidsMax => Some(Reason::PidsMax),
            Suppressed::RlimitNproc => Some(Reason::RlimitNproc),
            Suppressed::ThreadsMax => Some(Reason::ThreadsMax),
            Suppressed::Deadline => Some(Reason::Deadline),
            Suppressed::ExecInProgress => Some(Reason::ExecInProgress),
            Suppressed::Ids => self.ids,
            Suppressed::NoMemory => self.memory,
            Suppressed::NoSpace => self.space,
        }
    }

    /// Adds to the reasons what totals have more of than before. What has no reason stays unknown.
    pub(super) fn add(self, before: &Totals, now: &Totals, reasons: &mut [u64; Reason::ALL.len()]) {
        let counts = before.suppressed_by.iter().zip(&now.suppressed_by);
        for (kind, (before, now)) in counts.enumerate() {
            if let Some(reason) = self.of(kind) {
                reasons[reason as usize] += now.saturating_sub(*before);
            }
        }
    }
}
