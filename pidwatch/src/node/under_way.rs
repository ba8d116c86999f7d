//! Work that is done in slices, as far as it is done: a look, the end of a window, walks of the tree.

use std::time::Duration;

use hashbrown::HashSet;
use tokio::time::Instant;

use crate::{
    cgroup::{CgroupId, Walk},
    clock::BootTime,
    model::Activity,
    stream::RateEvent,
};

/// A look that is under way.
pub(super) struct Looking {
    /// Owners that are still to be read.
    pub rest: Vec<CgroupId>,
    /// Refusals are compared as well.
    pub compares: bool,
}

/// A window that is over, and whose rows are being read.
pub(super) struct Closing {
    pub time: BootTime,
    pub window: Duration,
    pub rest: std::vec::IntoIter<(CgroupId, Activity)>,
    /// Cgroups in which nothing happened, and that are read all the same.
    pub polled: std::vec::IntoIter<CgroupId>,
    pub rates: Vec<RateEvent>,
    pub budget: u64,
}

/// When there is a walk.
#[derive(Debug, Default)]
pub(super) struct Walks {
    /// Something is not known.
    pub is_asked: bool,
    pub not_before: Option<Instant>,
    pub running: Option<Running>,
}

/// A walk that is under way.
#[derive(Debug)]
pub(super) struct Running {
    pub walk: Walk,
    pub began: Instant,
    /// Of its slices.
    pub took: Duration,
    /// Those that were not known at its beginning.
    pub sought: HashSet<CgroupId>,
}

impl Walks {
    /// Whether one is to be gone on with at once.
    pub fn is_under_way(&self) -> bool {
        self.running.is_some()
    }

    /// A cgroup came, with its path, or went.
    pub fn announced(&mut self, id: CgroupId, path: Option<&[u8]>) {
        if let Some(running) = &mut self.running {
            running.walk.announced(id, path);
        }
    }

    /// Whether one may begin.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_asked && self.running.is_none() && self.not_before.is_none_or(|at| now >= at)
    }
}
