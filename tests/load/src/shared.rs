//! What loads share: joining a cgroup, keeping things, telling the truth.

use std::path::Path;

use anyhow::{Context, Result};
use pidwatch_load::truth::Truth;

use super::sys;

/// Moves this process into a cgroup.
pub fn join(directory: &Path) -> Result<()> {
    let procs = directory.join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string())
        .with_context(|| format!("cannot join {}", procs.display()))
}

/// Prints the truth, the last line of a load.
pub fn tell(truth: &Truth) -> Result<()> {
    println!("{}", serde_json::to_string(truth)?);
    Ok(())
}

/// Says that everything to be kept is there, and waits to be told to let go.
pub fn keep() {
    println!("{{\"ready\":true}}");
    sys::wait_for_end_of_input();
}
