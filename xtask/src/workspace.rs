//! Where things are: the workspace, its build products, and what is kept between checkouts.
//!
//! In: the environment. Out: paths; nothing is created here.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    // Set by `cargo run`, so a checkout that was moved or copied still finds itself.
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo leaves what it builds.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty()) {
        Some(path) => env::current_dir().unwrap_or_else(|_| root()).join(path),
        None => root().join("target"),
    }
}

/// The program as `cargo xtask build` leaves it.
pub fn binary() -> PathBuf {
    target_dir().join("release").join("pidwatch")
}

/// What is dear to make and the same for every checkout: tools, kernels, the toolchain's record.
/// pidwatch's build script follows the same rule.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => env::var_os("HOME")
            .map(|home| PathBuf::from(home).join(".cache"))
            .context("no place for tools: neither XDG_CACHE_HOME nor HOME is set; set one")?,
    };
    Ok(base.join("pidwatch"))
}

/// Whether this is a run whose left-out parts count as failures.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}
