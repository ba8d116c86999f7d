//! Which cgroup hierarchy counts tasks, and where it is mounted.

use serde::{Deserialize, Serialize};

use std::path::PathBuf;

/// How the machine uses cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutKind {
    /// Version 1 hierarchies only.
    V1,
    /// The controllers on v1, and an empty v2 hierarchy beside them.
    Hybrid,
    /// Version 2 only.
    V2,
}

impl LayoutKind {
    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
        }
    }
}

/// The hierarchy that counts tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How the machine uses cgroups.
    pub kind: LayoutKind,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// Its number: 0 for v2.
    pub hierarchy_id: u32,
    /// It is the v2 hierarchy.
    pub unified: bool,
    /// The pids controller counts in it.
    pub has_pids: bool,
}
