//! How a node is watched.

use std::{path::PathBuf, time::Duration};

use crate::{identity::Sockets, probe::Choice, thresholds::Thresholds};

/// How the node is watched.
#[derive(Debug)]
pub struct NodeSettings {
    /// The host's /proc.
    pub proc_root: PathBuf,
    /// The host's cgroup file systems.
    pub cgroup_root: PathBuf,
    /// Bytes of the ring.
    pub ring_size: u32,
    /// Mechanisms forced by the user.
    pub probes: Vec<Choice>,
    /// When something is a leak, or an incident.
    pub thresholds: Thresholds,
    /// Where the open incidents are remembered.
    pub state_file: Option<PathBuf>,
    /// Let the kernel side log.
    pub kernel_log: bool,
    /// Which container runtimes are asked for names.
    pub cri_sockets: Sockets,
    /// Length of a rate window.
    pub window: Duration,
    /// Show cgroups with nothing to say too.
    pub all: bool,
}
