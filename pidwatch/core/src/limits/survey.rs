//! Every limit on tasks in force on a node, as data. What could not be read is unknown and noted in
//! [`Survey::unseen`], never zero and never "no limit".

use std::path::PathBuf;

use super::{Kubelet, advice, memory::MemoryLimit};
use crate::{
    brake::Lease,
    cgroup::{CgroupId, Layout},
};

/// `PID_MAX_LIMIT` of 64-bit kernels (include/linux/threads.h): no PID is beyond.
pub const PID_MAX_LIMIT: u64 = 4 * 1024 * 1024;

/// A limit that may be none, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many.
    At(u64),
    /// `max`.
    None,
    /// Could not be read.
    Unknown,
}

impl Bound {
    /// The number, if there is one.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::At(value) => Some(value),
            Self::None | Self::Unknown => None,
        }
    }
}

/// The node's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// Tasks now, zombies included (`nr_threads`, /proc/loadavg). PIDs in use are at least as many.
    pub tasks: Option<u64>,
    /// IDs that are free and not given out again (below 300).
    pub unusable_ids: u64,
    /// `kernel.pid_max`.
    pub pid_max: Option<u64>,
    /// `kernel.threads-max`.
    pub threads_max: Option<u64>,
    /// What the kernel sets `pid_max` to at boot (`pid_idr_init`, kernel/pid.c): 1,024 for each
    /// possible CPU and at least 32,768.
    pub default_pid_max: Option<u64>,
    /// `kernel.pid_max` as the sysctl files set it at boot, and in which file.
    pub persisted_pid_max: Option<(u64, PathBuf)>,
    /// `kernel.threads-max` likewise.
    pub persisted_threads_max: Option<(u64, PathBuf)>,
    /// Whether the sysctl files could be read.
    pub knows_persisted: bool,
}

/// One cgroup's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Its id.
    pub id: CgroupId,
    /// From the hierarchy's root.
    pub path: Box<[u8]>,
    /// Tasks, with descendants'.
    pub usage: Option<u64>,
    /// Tasks, without.
    pub own: Option<u64>,
    /// `pids.max`.
    pub max: Bound,
    /// Most tasks there ever were (`pids.peak`, 6.6).
    pub peak: Option<u64>,
    /// How often the limit has refused (`pids.events`).
    pub refused: Option<u64>,
}

/// One ordinary user's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// The user.
    pub uid: u32,
    /// Tasks that count for it: of its processes and, from 5.14 on, of all processes in user namespaces that
    /// it owns.
    pub tasks: u64,
    /// No process may be missing among them: else there are at least as many.
    pub is_whole: bool,
    /// The lowest soft RLIMIT_NPROC among its processes that were looked at.
    pub nproc: Bound,
    /// That process.
    pub pid: u32,
    /// Its name.
    pub comm: Vec<u8>,
}

/// A PID namespace with a `pid_max` of its own (6.14), below the node's or full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidNamespaceLimits {
    /// Its inode number.
    pub inum: u32,
    /// Tasks in it and in the namespaces below it.
    pub tasks: u64,
    /// `pid_max`; `None` where no process could be started inside to read it.
    pub pid_max: Option<u64>,
    /// A fork in it was refused, and one outside was not.
    pub is_full: bool,
    /// The first of its processes.
    pub pid: u32,
    /// Its name.
    pub comm: Vec<u8>,
}

/// A process with children that have ended and that it does not reap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreaped {
    /// The parent.
    pub parent: u32,
    /// Its name.
    pub comm: Vec<u8>,
    /// Its dead children.
    pub zombies: u64,
    /// What most of them were called, and how many of each.
    pub names: Vec<(Vec<u8>, u64)>,
    /// The cgroup in which they are charged, if that could be read.
    pub cgroup: Option<Box<[u8]>>,
}

/// A brake on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBrake {
    /// Its lease.
    pub lease: Lease,
    /// Whether a process is alive that restores the limit at the end.
    pub is_held: bool,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The node's limits.
    pub node: NodeLimits,
    /// The kernel's release.
    pub kernel: String,
    /// Where the cgroups are, and how they are used.
    pub layout: Option<Layout>,
    /// Every cgroup but the root, by path.
    pub cgroups: Vec<CgroupLimits>,
    /// Ordinary users (root has no RLIMIT_NPROC), most tasks first.
    pub users: Vec<UserLimits>,
    /// PID namespaces that allow less than the node does.
    pub pid_namespaces: Vec<PidNamespaceLimits>,
    /// Parents that do not reap, most zombies first.
    pub unreaped: Vec<Unreaped>,
    /// Processes that hardly can start a thread, though no clone is refused.
    pub memory: Vec<MemoryLimit>,
    /// Brakes on this node.
    pub brakes: Vec<SeenBrake>,
    /// RLIMIT_NPROC of the node's init, which services inherit.
    pub init_nproc: Option<Bound>,
    /// What the kubelet is told, if there is one.
    pub kubelet: Option<Kubelet>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

impl Survey {
    /// Most tasks that the node can have: the lower of what pid_max and threads-max allow.
    pub fn node_most(&self) -> Option<u64> {
        // With one of them unknown, the other is no answer.
        Some(self.usable_ids()?.min(self.node.threads_max?))
    }

    /// The lower of pid_max and threads-max: what the kubelet takes for the node's capacity.
    pub fn node_capacity(&self) -> Option<u64> {
        Some(self.node.pid_max?.min(self.node.threads_max?))
    }

    /// What of the node's limit that binds is used: tasks, and IDs that are not given out again.
    pub fn node_usage(&self) -> Option<(u64, u64)> {
        let value = match self.node_binding() {
            "kernel.pid_max" => self.node.pid_max?,
            _ => self.node.threads_max?,
        };
        let most = self.node_most()?;
        Some((self.node.tasks? + (value - most), value))
    }

    /// `kernel.pid_max` without the IDs that are not given out again: so many tasks it allows.
    fn usable_ids(&self) -> Option<u64> {
        Some(self.node.pid_max?.saturating_sub(self.node.unusable_ids))
    }

    /// Which of the two that is.
    pub fn node_binding(&self) -> &'static str {
        match (self.usable_ids(), self.node.threads_max) {
            (Some(pid_max), Some(threads_max)) if threads_max < pid_max => "kernel.threads-max",
            _ => "kernel.pid_max",
        }
    }

    /// A file of a cgroup, as a shell takes it; `None` where no command is safe.
    pub fn file_of(&self, path: &[u8], file: &str) -> Option<String> {
        advice::file(&self.layout.as_ref()?.mount, path, file)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cgroup::LayoutKind;

    /// A node with so many tasks, and its cgroups at /cg.
    pub fn survey(tasks: u64, pid_max: u64, threads_max: u64) -> Survey {
        Survey {
            node: NodeLimits {
                tasks: Some(tasks),
                unusable_ids: 0,
                pid_max: Some(pid_max),
                threads_max: Some(threads_max),
                default_pid_max: Some(32_768),
                persisted_pid_max: None,
                persisted_threads_max: None,
                knows_persisted: true,
            },
            layout: Some(Layout {
                kind: LayoutKind::V2,
                mount: "/cg".into(),
                hierarchy_id: 0,
                unified: true,
                has_pids: true,
            }),
            ..Survey::default()
        }
    }

    /// A cgroup whose tasks are all its own.
    pub fn cgroup(path: &str, usage: u64, max: Bound) -> CgroupLimits {
        CgroupLimits {
            id: CgroupId(path.len() as u64),
            path: path.as_bytes().into(),
            usage: Some(usage),
            own: Some(usage),
            max,
            peak: None,
            refused: None,
        }
    }
}
