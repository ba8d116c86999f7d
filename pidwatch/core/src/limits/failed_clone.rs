//! A creation that failed, with the limit that refused it.

use super::RefusalVerdict;
use crate::{identity::Owner, probe::Failure};

/// A creation that failed, and why.
#[derive(Debug)]
pub struct FailedClone {
    /// Its cgroup.
    pub owner: Owner,
    /// The failure.
    pub failure: Failure,
    /// Why.
    pub verdict: RefusalVerdict,
    /// Whose limit it was, if a cgroup's.
    pub limit_owner: Option<Owner>,
    /// Failures of the cgroup that were not shown since the last one.
    pub suppressed: u64,
    /// The caller came into the container from outside (or what it started did), at a probe's pace.
    pub exec_probe: bool,
    /// The caller is a container runtime's, at work for this container or pod.
    pub on_behalf_of: Option<Owner>,
}

impl FailedClone {
    /// Who suffers from it.
    pub fn sufferer(&self) -> &Owner {
        self.on_behalf_of.as_ref().unwrap_or(&self.owner)
    }
}
