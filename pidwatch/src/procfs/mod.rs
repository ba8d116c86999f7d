//! What /proc says of the node and of its processes. A file that cannot be read is an unknown value.

mod memory;

use std::{
    cell::Cell,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pidwatch_common::evidence::RESERVED_PIDS;

use crate::limits::{Limit, LimitOwner};

/// Low IDs are those of kernel threads, which stay: 300 look-ups, some half a millisecond, now and then.
const IDS_EVERY: Duration = Duration::from_secs(10);

/// Inode number of the initial PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether pidwatch runs in the initial PID namespace.
pub fn is_in_initial_pid_namespace() -> bool {
    let own = fs::read_link("/proc/self/ns/pid");
    own.is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE)
}

/// Reader of the host's /proc.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
    unusable_ids: Cell<Option<(Instant, u64)>>,
}

impl Proc {
    /// Where the host's /proc is mounted.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            unusable_ids: Cell::default(),
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Tasks of the whole node, zombies included (`nr_threads`): /proc/loadavg, `0.0 0.0 0.0
    /// 2/103 4711` has it behind the slash.
    pub fn node_tasks(&self) -> Option<u64> {
        let text = fs::read_to_string(self.root.join("loadavg")).ok()?;
        text.split_whitespace()
            .nth(3)?
            .split_once('/')?
            .1
            .parse()
            .ok()
    }

    /// `kernel.pid_max` and `kernel.threads-max`, used by so many tasks. The usage of `pid_max` includes the IDs that
    /// are free and not given out again, so that it is full when creations fail.
    pub fn node_limits(&self, tasks: u64) -> Vec<Limit> {
        let limits = [
            ("kernel.pid_max", "pid_max", self.unusable_ids()),
            ("kernel.threads-max", "threads-max", 0),
        ];
        let set = limits.into_iter().filter_map(|(name, file, unusable)| {
            let value = self.sysctl(file)?;
            Some(Limit {
                name,
                value,
                usage: (tasks + unusable).min(value.max(tasks)),
                owner: LimitOwner::Node,
            })
        });
        set.collect()
    }

    /// IDs that are free and not given out again: those below `RESERVED_PIDS` (kernel/pid.c), once the search
    /// has passed them. Where it stands is the last number of /proc/loadavg. As few as can be told.
    pub fn unusable_ids(&self) -> u64 {
        let known = self.unusable_ids.get();
        if let Some((_, ids)) = known.filter(|(read, _)| read.elapsed() < IDS_EVERY) {
            return ids;
        }
        let ids = self.read_unusable_ids();
        self.unusable_ids.set(Some((Instant::now(), ids)));
        ids
    }

    fn read_unusable_ids(&self) -> u64 {
        let text = fs::read_to_string(self.root.join("loadavg")).unwrap_or_default();
        let last = text.split_whitespace().nth(4);
        let last = last.and_then(|last| last.parse::<u32>().ok());
        if last.is_none_or(|last| last < RESERVED_PIDS) {
            return 0;
        }
        // A thread's ID is found as well as a process's, though it is in no listing.
        let is_free = |id: &u32| !self.root.join(id.to_string()).exists();
        (1..RESERVED_PIDS).filter(is_free).count() as u64 + 1
    }

    /// A number of /proc/sys/kernel.
    pub fn sysctl(&self, name: &str) -> Option<u64> {
        let path = self.root.join("sys/kernel").join(name);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// A process's arguments, each with a NUL behind it, as far as they are of use; empty when it is gone.
    pub fn command_line(&self, pid: u32) -> Vec<u8> {
        const ENOUGH: u64 = 4096;
        let path = self.root.join(pid.to_string()).join("cmdline");
        let mut line = Vec::new();
        if let Ok(file) = fs::File::open(path) {
            let _ = file.take(ENOUGH).read_to_end(&mut line);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_below_300_are_lost_once_the_search_has_passed_them() {
        let proc = tempfile::tempdir().unwrap();
        let node = Proc::new(proc.path());
        assert_eq!(node.read_unusable_ids(), 0, "not known");
        for id in [1, 2, 250, 299, 300, 4711] {
            fs::create_dir(proc.path().join(id.to_string())).unwrap();
        }
        fs::write(proc.path().join("loadavg"), "0 0 0 2/103 299\n").unwrap();
        assert_eq!(node.read_unusable_ids(), 0);
        fs::write(proc.path().join("loadavg"), "0 0 0 2/103 4711\n").unwrap();
        // Of 0 to 299, and 0 is nobody's.
        assert_eq!(node.read_unusable_ids(), 296);
    }
}
