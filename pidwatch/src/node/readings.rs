//! What the cgroup file system and /proc say of limits now, for what the kernel side could not read.

use crate::{
    cgroup::{CgroupId, Files, Tree},
    limits::refusal::{Memory, Outlook},
    survey::processes,
};

/// The files as they are now.
pub struct Readings<'a> {
    /// The reader.
    pub files: &'a Files,
    /// The cgroups.
    pub tree: &'a Tree,
}

impl Outlook for Readings<'_> {
    fn threads(&self) -> Option<(u64, u64)> {
        Some((
            self.files.proc().node_tasks()?,
            self.files.proc().sysctl("threads-max")?,
        ))
    }

    fn pid_max(&self) -> Option<u64> {
        self.files.proc().sysctl("pid_max")
    }

    fn cgroups(&self, cgroup: CgroupId) -> Vec<(CgroupId, u64, u64)> {
        let limit = |(id, path): (CgroupId, &[u8])| {
            let limit = self.files.pids_max(path).ok()??;
            Some((id, self.files.charge_below(path, limit)?, limit))
        };
        self.tree.upwards(cgroup).filter_map(limit).collect()
    }

    fn memory(&self) -> Option<Memory> {
        self.files.proc().memory()
    }

    fn rlimit_nproc(&self, pid: u32) -> Option<u64> {
        processes::read_nproc(self.files.proc().root(), pid)?.value()
    }
}
