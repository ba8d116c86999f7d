//! A guest with systemd as its first process, to try the unit of deploy/ under the real one.
//!
//! In: Debian's packages, unpacked once into the cache. Out: an archive to come before that of the
//! scenarios, which systemd then runs as a unit of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::apt::mirror::Mirror;
use crate::cache;

/// The suite whose systemd it is, whatever the host has: 252.
const SUITE: &str = "bookworm";

/// What is for readers, or for programs that ask in other languages.
const UNREAD: [&str; 4] = ["doc", "lintian", "locale", "man"];

/// The kernel's words for it: what to start first, and what that is to start.
pub const COMMAND_LINE: &str =
    " rdinit=/lib/systemd/systemd systemd.unit=scenarios.service systemd.show_status=0";

/// The archive.
pub fn archive() -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.tree(&unpacked()?)?;
    // Missing, it would mean a first boot, with questions; empty, systemd makes up an id.
    archive.file("/etc/machine-id", b"");
    archive.file(
        "/etc/systemd/system/scenarios.service",
        include_bytes!("scenarios.service"),
    );
    Ok(archive.finish())
}

/// Where systemd and its libraries are, fetched if they are not in the cache.
fn unpacked() -> Result<PathBuf> {
    let is_whole = |folder: &Path| folder.join("lib/systemd/systemd").is_file();
    let fetch = |work: &Path, ready: &Path| {
        let apt = Mirror::of_this_host()?.open(work, SUITE, true)?;
        eprintln!("xtask: fetching systemd from {SUITE}");
        apt.extract_with_dependencies("systemd", ready)?;
        for name in UNREAD {
            let _ = fs::remove_dir_all(ready.join("usr/share").join(name));
        }
        Ok(())
    };
    cache::ensure(&format!("systemd/{SUITE}"), is_whole, fetch)
        .context("cannot fetch systemd for a guest")
}
