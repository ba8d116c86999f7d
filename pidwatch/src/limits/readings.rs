//! What the cgroup file system and /proc say of limits now, for what the kernel side could not read.

use super::{processes, reason::Outlook};
use crate::cgroup::{CgroupId, Files, Tree};

/// The files as they are now.
pub struct Readings<'a> {
    /// The reader.
    pub files: &'a Files,
    /// The cgroups.
    pub tree: &'a Tree,
}

impl Outlook for Readings<'_> {
    fn threads(&self) -> Option<(u64, u64)> {
        Some((self.files.node_tasks()?, self.files.sysctl("threads-max")?))
    }

    fn pid_max(&self) -> Option<u64> {
        self.files.sysctl("pid_max")
    }

    fn cgroups(&self, cgroup: CgroupId) -> Vec<(CgroupId, u64, u64)> {
        let mut found = Vec::new();
        let mut path = self.tree.get(cgroup).map(|node| &*node.path);
        // The root has no limit.
        while let Some(below_root) = path.filter(|path| *path != b"/") {
            if let (Some(id), Some(usage), Ok(Some(limit))) = (
                self.tree.find(below_root),
                self.files.subtree_charge(below_root),
                self.files.pids_max(below_root),
            ) {
                found.push((id, usage, limit));
            }
            path = below_root
                .iter()
                .rposition(|&byte| byte == b'/')
                .map(|end| &below_root[..end.max(1)]);
        }
        found
    }

    fn rlimit_nproc(&self, pid: u32) -> Option<u64> {
        processes::read_nproc(self.files.proc_root(), pid)?.value()
    }
}
