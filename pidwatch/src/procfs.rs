//! What /proc says of the node and of its processes. A file that cannot be read is an unknown value.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Reader of the host's /proc.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Proc {
    /// Where the host's /proc is mounted.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
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
