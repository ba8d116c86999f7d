//! The node's memory, and memory cgroups of processes, as /proc tells them.

use std::fs;

use super::Proc;
use crate::limits::refusal::Memory;

impl Proc {
    /// The node's memory.
    pub fn memory(&self) -> Option<Memory> {
        let meminfo = fs::read_to_string(self.root().join("meminfo")).ok()?;
        Some(Memory {
            total: field(&meminfo, "MemTotal")?,
            swap: field(&meminfo, "SwapTotal")?,
            available: field(&meminfo, "MemAvailable")?,
            committed: field(&meminfo, "Committed_AS")?,
            commit_limit: field(&meminfo, "CommitLimit")?,
            overcommit: self.vm("overcommit_memory")?,
            page: rustix::param::page_size() as u64,
            limit_name: if self.has_v1_memory() {
                "memory.limit_in_bytes"
            } else {
                "memory.max"
            },
        })
    }

    /// Path of the memory cgroup of a process, or of one so many levels above it; `None` when the process is
    /// gone.
    pub fn memory_cgroup(&self, pid: u32, height: u32) -> Option<Vec<u8>> {
        let path = self.root().join(pid.to_string()).join("cgroup");
        of_memory(&fs::read(path).ok()?, height)
    }

    fn vm(&self, name: &str) -> Option<u64> {
        let path = self.root().join("sys/vm").join(name);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    fn has_v1_memory(&self) -> bool {
        let own = fs::read(self.root().join("self/cgroup")).unwrap_or_default();
        own.split(|&byte| byte == b'\n')
            .any(|line| controllers(line).is_some_and(|names| names == b"memory"))
    }
}

/// A field of /proc/meminfo, in bytes.
fn field(meminfo: &str, name: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The controllers of a line `4:memory:/path` of /proc/PID/cgroup.
fn controllers(line: &[u8]) -> Option<&[u8]> {
    line.splitn(3, |&byte| byte == b':').nth(1)
}

/// The memory cgroup, or one above it, of a /proc/PID/cgroup.
fn of_memory(text: &[u8], height: u32) -> Option<Vec<u8>> {
    let lines = || text.split(|&byte| byte == b'\n');
    let line = lines()
        .find(|line| controllers(line) == Some(b"memory"))
        .or_else(|| lines().find(|line| line.starts_with(b"0::")))?;
    let mut path = line.splitn(3, |&byte| byte == b':').nth(2)?;
    for _ in 0..height {
        path = &path[..path.iter().rposition(|&byte| byte == b'/')?];
    }
    Some(if path.is_empty() { b"/" } else { path }.to_vec())
}

#[cfg(test)]
mod tests {
    use super::{field, of_memory};

    #[test]
    fn the_memory_cgroup_is_that_of_its_own_hierarchy_or_of_v2() {
        let hybrid = b"5:memory:/a/b/c\n4:pids:/x\n0::/y\n";
        assert_eq!(of_memory(hybrid, 0).unwrap(), b"/a/b/c");
        assert_eq!(of_memory(hybrid, 1).unwrap(), b"/a/b");
        assert_eq!(of_memory(hybrid, 3).unwrap(), b"/");
        assert_eq!(of_memory(hybrid, 4), None);
        assert_eq!(of_memory(b"0::/y/z\n", 1).unwrap(), b"/y");
        assert_eq!(of_memory(b"", 0), None);
    }

    #[test]
    fn fields_are_in_kib() {
        let text = "MemTotal:       100 kB\nCommitted_AS:    7 kB\n";
        assert_eq!(field(text, "Committed_AS"), Some(7 * 1024));
        assert_eq!(field(text, "Committed"), None);
    }
}
