//! What goes into everything that is made.

use std::fs;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::arch::Arch;
use crate::workspace;

/// What is the same in everything that is made.
pub struct Release {
    pub version: String,
    /// Seconds since 1970 that every file bears.
    pub time: u64,
}

/// A binary with what belongs to it.
pub struct Binary {
    pub arch: Arch,
    pub program: Vec<u8>,
    pub licences: String,
}

/// SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A file of the workspace.
pub fn read(name: &str) -> Result<Vec<u8>> {
    fs::read(workspace::root().join(name)).with_context(|| format!("cannot read {name}"))
}
