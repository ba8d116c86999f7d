//! Reasons of failed creations, limits, and verdicts: what refused, and how that is known.

use pidwatch_common::evidence::NAMESPACES;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupId;

/// Why a creation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Reason {
    /// The node's `kernel.pid_max`.
    PidMax,
    /// `pids.max` of a cgroup or one above it.
    PidsMax,
    /// `kernel.threads-max`.
    ThreadsMax,
    /// RLIMIT_NPROC of the user.
    RlimitNproc,
    /// `pid_max` of a PID namespace (6.14).
    PidNamespaceMax,
    /// The PID namespace has lost its init.
    PidNamespaceDying,
    /// A memory cgroup is full.
    MemoryCgroup,
    /// The copy of the memory is more than the kernel promises (`vm.overcommit_memory`).
    Overcommit,
    /// The node has no memory.
    Memory,
    /// The user has as many namespaces as there may be (`user.max_*_namespaces`).
    UserNamespaces,
    /// SCHED_DEADLINE is not inherited: no limit.
    Deadline,
    /// Another thread of the process execs or ends it: no limit.
    ExecInProgress,
    /// Something else; the error says what.
    Other,
    /// Not known.
    Unknown,
}

impl Reason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 14] = [
        Self::PidMax,
        Self::PidsMax,
        Self::ThreadsMax,
        Self::RlimitNproc,
        Self::PidNamespaceMax,
        Self::PidNamespaceDying,
        Self::MemoryCgroup,
        Self::Overcommit,
        Self::Memory,
        Self::UserNamespaces,
        Self::Deadline,
        Self::ExecInProgress,
        Self::Other,
        Self::Unknown,
    ];

    /// Whether a limit on tasks refused.
    pub fn is_task_limit(self) -> bool {
        matches!(
            self,
            Self::PidMax
                | Self::PidsMax
                | Self::ThreadsMax
                | Self::RlimitNproc
                | Self::PidNamespaceMax
        )
    }

    /// Name in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PidMax => "pid_max",
            Self::PidsMax => "pids_max",
            Self::ThreadsMax => "threads_max",
            Self::RlimitNproc => "rlimit_nproc",
            Self::PidNamespaceMax => "pid_namespace_max",
            Self::PidNamespaceDying => "pid_namespace_dying",
            Self::MemoryCgroup => "memory_cgroup",
            Self::Overcommit => "overcommit",
            Self::Memory => "memory",
            Self::UserNamespaces => "user_namespaces",
            Self::Deadline => "deadline",
            Self::ExecInProgress => "exec_in_progress",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// How a reason was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Read in the kernel in the moment of the failure.
    Measured,
    /// Concluded from what user space read a moment later.
    Inferred,
}

impl Basis {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Measured, Self::Inferred];

    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Inferred => "inferred",
        }
    }
}

/// Whose a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitOwner {
    /// The node's.
    Node,
    /// A cgroup's.
    Cgroup(CgroupId),
    /// A user's.
    User(u32),
    /// A PID namespace's, by its inode number if known.
    PidNamespace(u32),
}

/// The limit that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name as people set it.
    pub name: &'static str,
    /// The limit.
    pub value: u64,
    /// What it counts: PIDs, threads, tasks of the cgroup, tasks of the user; bytes, namespaces.
    pub usage: u64,
    /// Whose it is.
    pub owner: LimitOwner,
}

impl Limit {
    /// Every name.
    pub const NAMES: [&str; 15] = [
        "kernel.pid_max",
        "kernel.threads-max",
        "pids.max",
        "RLIMIT_NPROC",
        "pid_max",
        "memory.max",
        "memory.limit_in_bytes",
        NAMESPACES[0].1,
        NAMESPACES[1].1,
        NAMESPACES[2].1,
        NAMESPACES[3].1,
        NAMESPACES[4].1,
        NAMESPACES[5].1,
        NAMESPACES[6].1,
        NAMESPACES[7].1,
    ];

    /// Tasks that may still come.
    pub fn room(&self) -> u64 {
        self.value.saturating_sub(self.usage)
    }

    /// Whether limits of this name are set on cgroups.
    pub fn is_of_cgroups(name: &str) -> bool {
        matches!(name, "pids.max" | "memory.max" | "memory.limit_in_bytes")
    }

    /// A name as this program has it; `None` for one that it does not know.
    pub fn known_name(name: &str) -> Option<&'static str> {
        Self::NAMES.into_iter().find(|known| *known == name)
    }
}

/// Why a creation failed, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalVerdict {
    /// Why.
    pub reason: Reason,
    /// `None` for [`Reason::Unknown`].
    pub basis: Option<Basis>,
    /// The limit, where one refused.
    pub limit: Option<Limit>,
}

impl RefusalVerdict {
    pub(super) const UNKNOWN: Self = Self {
        reason: Reason::Unknown,
        basis: None,
        limit: None,
    };

    pub(super) fn measured(reason: Reason, limit: Option<Limit>) -> Self {
        Self {
            reason,
            basis: Some(Basis::Measured),
            limit,
        }
    }

    pub(super) fn inferred(reason: Reason, limit: Option<Limit>) -> Self {
        Self {
            reason,
            basis: Some(Basis::Inferred),
            limit,
        }
    }
}
