//! Limits of the whole machine, lowered for a scenario.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A limit of the whole machine that is put back at the end.
#[derive(Debug)]
pub struct Lowered {
    file: &'static Path,
    before: String,
}

impl Lowered {
    /// Writes a value; what was there comes back when this is dropped.
    pub fn to(file: &'static str, value: u64) -> Result<Self> {
        let file = Path::new(file);
        let before = fs::read_to_string(file)?;
        fs::write(file, value.to_string())
            .with_context(|| format!("cannot write {value} to {}", file.display()))?;
        Ok(Self { file, before })
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.file, self.before.trim()) {
            eprintln!("cannot restore {}: {error}", self.file.display());
        }
    }
}

/// The node's tasks, as threads-max counts them.
pub fn tasks_of_node() -> Result<u64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let tasks = text.split(['/', ' ']).nth(4).context("no task count")?;
    Ok(tasks.parse()?)
}
