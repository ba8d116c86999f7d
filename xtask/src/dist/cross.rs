//! What building for another CPU architecture takes: a linker with the C library, and Rust's own.
//!
//! Rust's library comes from rustup; where rustup cannot have it, from the distribution's package of
//! the other architecture, unpacked beside and not installed, for the packaged compiler of that version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use crate::apt::mirror::Mirror;
use crate::{apt, cache, packages, process};

const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
/// The packaged compiler, and its library.
const PACKAGES: (&str, &str) = ("rustc-web", "libstd-rust-web");

/// Makes sure of both and tells cargo; `flags` are those of the compiler.
pub fn prepare(arch: Arch, build: &mut Command, flags: &mut String) -> Result<()> {
    let (gcc, libc) = match arch {
        Arch::Arm64 => ("aarch64-linux-gnu-gcc", "libc6-dev-arm64-cross"),
        Arch::X86_64 => ("x86_64-linux-gnu-gcc", "libc6-dev-amd64-cross"),
    };
    let package = match arch {
        Arch::Arm64 => "gcc-aarch64-linux-gnu",
        Arch::X86_64 => "gcc-x86-64-linux-gnu",
    };
    if process::find(gcc).is_none() {
        packages::ensure(&[package, libc], &format!("building for {}", arch.name()))?;
    }
    let target = arch.triple().to_uppercase().replace('-', "_");
    build.env(format!("CARGO_TARGET_{target}_LINKER"), gcc);
    let no_target = match with_rustup(arch) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let sysroot = packaged(arch).with_context(|| {
        format!(
            "no Rust library for {}; by rustup: {no_target:#}; by packages",
            arch.name()
        )
    })?;
    build.env("RUSTC", PACKAGED_RUSTC);
    flags.push_str(&format!(" --sysroot={}", sysroot.display()));
    Ok(())
}

fn with_rustup(arch: Arch) -> Result<()> {
    let has_it = || {
        let mut libdir = Command::new("rustc");
        libdir.args(["--print", "target-libdir", "--target", arch.triple()]);
        process::output(&mut libdir).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
    };
    if has_it() {
        return Ok(());
    }
    if process::find("rustup").is_none() {
        bail!("there is no rustup here");
    }
    process::output(Command::new("rustup").args(["target", "add", arch.triple()]))?;
    if !has_it() {
        bail!("rustup added the target, and its library is not there");
    }
    Ok(())
}

/// A folder that the packaged compiler takes as its sysroot, with the other architecture's library.
fn packaged(arch: Arch) -> Result<PathBuf> {
    let compiler = PACKAGES.0;
    if !packages::is_installed(compiler) {
        bail!("{compiler} is not installed; `cargo xtask setup` installs it");
    }
    let mut query = Command::new("dpkg-query");
    let version = process::output(query.args(["-W", "-f", "${Version}", compiler]))?;
    let name = format!("rust-{}-{version}", arch.name());
    let libraries = Path::new("usr/lib/rustlib").join(arch.triple()).join("lib");
    let is_whole = |folder: &Path| folder.join(&libraries).is_dir();
    let fetch = |work: &Path, ready: &Path| fetch(arch, &version, work, ready);
    let folder = cache::ensure(&format!("tools/{name}"), is_whole, fetch)?;
    Ok(folder.join("usr"))
}

/// Fetches the library of the compiler's version, and unpacks it.
fn fetch(arch: Arch, version: &str, work: &Path, ready: &Path) -> Result<()> {
    let library = PACKAGES.1;
    // `1.96.0+dfsg1-1~deb12u1` is of the library 1.96.
    let series: Vec<&str> = version.split('.').take(2).collect();
    let suite = Mirror::of_this_host()?.open_here(work)?;
    let dpkg_arch = arch.oci();
    let foreign = |command: &mut Command| {
        command
            .arg("-o")
            .arg(format!("APT::Architecture={dpkg_arch}"));
        command
            .arg("-o")
            .arg(format!("APT::Architectures={dpkg_arch}"));
    };
    let mut update = suite.command("apt-get");
    foreign(&mut update);
    process::run(update.args(["--quiet", "update"]))?;
    let download = work.join("download");
    fs::create_dir_all(&download)?;
    let dev = format!("{library}-dev={version}");
    let own = format!("{library}-{}={version}", series.join("."));
    eprintln!("xtask: fetching {dev} and {own} for {}", arch.name());
    let mut fetch = suite.command("apt-get");
    foreign(&mut fetch);
    process::run(
        fetch
            .args(["--quiet", "download", &dev, &own])
            .current_dir(&download),
    )?;
    apt::extract(&download, ready)
}
