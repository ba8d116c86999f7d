//! Licences and sources of everything that is linked in, by cargo-deny and the rules in deny.toml.
//!
//! Advisories are left out: they need a database from the network, and a check that passes today
//! must not fail tomorrow on the same sources.

use std::process::Command;

use anyhow::Result;

use crate::tools::Tool;
use crate::{process, workspace};

/// Checks what the workspace depends on.
pub fn check() -> Result<()> {
    let deny = Tool {
        name: "cargo-deny",
        version: "0.20.2",
        variant: String::new(),
        args: Vec::new(),
        env: Vec::new(),
    };
    let mut check = Command::new(deny.ensure("about two minutes")?);
    check
        .current_dir(workspace::root())
        .args(["--workspace", "--all-features", "--log-level", "error"])
        .args(["check", "licenses", "bans", "sources"]);
    process::run(&mut check)
}
