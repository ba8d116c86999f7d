//! What a load did, told by the load itself. In: nothing. Out: the one line of JSON that
//! `pidwatch-load` prints and that every scenario compares pidwatch's counts with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A number of tasks by kind: `process` is a thread-group leader, `thread` any other task.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// Thread-group leaders.
    #[serde(default)]
    pub processes: u64,
    /// Other tasks of a thread group.
    #[serde(default)]
    pub threads: u64,
}

impl Kinds {
    /// Tasks of either kind: what stays the same when an exec changes a task's kind.
    pub fn sum(self) -> u64 {
        self.processes + self.threads
    }
}

impl std::ops::AddAssign for Kinds {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.threads += other.threads;
    }
}

/// Tasks that were born and that ended in one cgroup.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Tasks born there.
    pub created: Kinds,
    /// Tasks that ended there.
    pub exited: Kinds,
}

/// One creation (or execve) that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The system call, by the name that pidwatch uses.
    pub syscall: String,
    /// The error number, positive.
    pub errno: i32,
    /// `CLOCK_REALTIME` right after the call, in nanoseconds.
    pub realtime_ns: u64,
    /// `CLOCK_BOOTTIME` right after the call, in nanoseconds.
    pub boottime_ns: u64,
}

/// Everything that one run of a load did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// In the load's own cgroup. The load's own end counts when it was moved in (`--cgroup`).
    #[serde(flatten)]
    pub here: Ends,
    /// In other cgroups, by directory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<String, Ends>,
    /// Refused creations, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// The id of each cgroup that the load made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<u64>,
}

impl Truth {
    /// The failures of one system call.
    pub fn failures_of(&self, syscall: &str) -> usize {
        self.failures
            .iter()
            .filter(|failure| failure.syscall == syscall)
            .count()
    }
}
