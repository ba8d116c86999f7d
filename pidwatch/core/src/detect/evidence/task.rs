//! A task as a pass saw it.

use std::time::Duration;

/// A task of an owner that grows.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The id of its process.
    pub process: u32,
    /// Whether it leads that; otherwise it is another thread of it.
    pub is_process: bool,
    /// The id of its process's parent.
    pub parent: u32,
    /// Its name, padded with zeros. Any bytes.
    pub comm: [u8; 16],
    /// Since it was created.
    pub age: Duration,
    /// Since it last got a CPU; `None` where the kernel keeps no such account.
    pub idle: Option<Duration>,
    /// What it waits for.
    pub wait: Wait,
    /// Of one that ended and is not reaped.
    pub zombie: Option<Zombie>,
}

/// What a task that does not run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For the other end of a connection, or for one of many: it may have nothing to do because its client
    /// has not.
    Connection,
    /// For something else.
    Other,
    /// That cannot be read.
    Unknown,
}

/// A task that ended and is not reaped.
#[derive(Clone, Copy, Debug)]
pub struct Zombie {
    /// Since its end.
    pub ended: Option<Duration>,
}

impl Task {
    /// Its name without the padding.
    pub(super) fn name(&self) -> &[u8] {
        let end = self.comm.iter().position(|&byte| byte == 0);
        &self.comm[..end.unwrap_or(self.comm.len())]
    }
}
