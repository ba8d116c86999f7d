//! `cargo xtask build`: the release binary, the kernel side embedded.
//!
//! In: the sources. Out: `target/release/pidwatch`, which needs no other file.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, setup, workspace};

/// Builds the program and tells where it is.
pub fn build() -> Result<PathBuf> {
    setup::setup()?;
    let mut build = process::cargo();
    build.args(["build", "--release", "--package", "pidwatch"]);
    // A stub is for editors; what is built here has to run.
    process::run(build.env_remove("PIDWATCH_BPF_STUB"))?;
    Ok(workspace::binary())
}
