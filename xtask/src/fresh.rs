//! `cargo xtask fresh`: the README's commands on a machine as it ships.
//!
//! In: the last commit, this machine's mirror of Debian and its Rust toolchain. Out: the exit status of
//! the commands, run in a root of its own that was made of Debian's packages a minute before: nothing of
//! this machine is in it but the kernel, the toolchain, and how the network is reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::apt::mirror::Mirror;
use crate::{apt, cache, process, workspace};

/// The suite of the root.
const SUITE: &str = "bookworm";

/// What a person has who can clone a repository and compile with rustup's toolchain.
const THERE: &str = "ca-certificates,git,gcc,libc6-dev";

/// What the README says first: see the node, run every test.
const COMMANDS: &str = "cargo xtask run -- trace --duration 5s && CI=true cargo xtask test";

/// What follows `cargo xtask fresh`.
#[derive(clap::Args)]
pub struct Options {
    /// With packages that exclude those that tests take: qemu-utils from backports, and one that excludes
    /// Debian's containerd and runc as Docker's does
    #[arg(long)]
    conflicting: bool,
    /// Keep the root, and use the one that was kept
    #[arg(long)]
    keep: bool,
    /// A command for the shell, instead of the README's
    #[arg(last = true)]
    command: Vec<String>,
}

/// Makes the root and runs the commands in it.
pub fn fresh(options: &Options) -> Result<ExitCode> {
    if !process::is_root() {
        bail!("a root of its own takes root: run this as root");
    }
    let root = workspace::target_dir().join("fresh");
    if !options.keep || !root.join("root").is_dir() {
        make(&root)?;
        if options.conflicting {
            conflict(&root)?;
        }
    }
    let clone = root.join("root/pidwatch");
    let _ = fs::remove_dir_all(&clone);
    process::run(
        Command::new("git")
            .args(["clone", "--quiet", "--no-hardlinks"])
            .arg(workspace::root())
            .arg(&clone),
    )?;
    let commands = match &options.command[..] {
        [] => COMMANDS.to_owned(),
        words => words.join(" "),
    };
    eprintln!("xtask: in {}: {commands}", root.display());
    let status = inside(&root, &format!("cd /root/pidwatch && {commands}")).status();
    let status = status.context("cannot start a shell in the root")?;
    if !options.keep {
        fs::remove_dir_all(&root)?;
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn make(root: &Path) -> Result<()> {
    let is_whole = |folder: &Path| folder.join("usr/sbin/debootstrap").is_file();
    let tool = cache::ensure("programs/debootstrap/root", is_whole, |work, ready| {
        apt::unpack_for_this_host("debootstrap", work, ready)
    })?;
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let mirror = Mirror::of_this_host()?;
    let mut debootstrap = Command::new(tool.join("usr/sbin/debootstrap"));
    debootstrap
        .env("DEBOOTSTRAP_DIR", tool.join("usr/share/debootstrap"))
        .arg(format!("--include={THERE}"))
        .arg(SUITE)
        .arg(root)
        .arg(mirror.main());
    process::run(&mut debootstrap).context("cannot make a root of Debian's packages")?;
    let sources = root.join("etc/apt/sources.list");
    fs::write(&sources, mirror.sources(SUITE)).context("cannot write its sources")?;
    process::run(&mut inside(root, "apt-get --quiet update"))
}

/// Installs what excludes what tests take.
fn conflict(root: &Path) -> Result<()> {
    let backports = format!("{SUITE}-backports");
    let line = Mirror::of_this_host()?.source(&backports);
    fs::write(root.join("etc/apt/sources.list.d/backports.list"), line)?;
    let folder = root.join("root/containerd.io/DEBIAN");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("control"),
        "Package: containerd.io\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
         Conflicts: containerd, runc\nDescription: excludes what Docker's own package excludes\n",
    )?;
    let install = format!(
        "export DEBIAN_FRONTEND=noninteractive && apt-get --quiet update \
         && apt-get --quiet --yes --no-install-recommends -t {backports} install qemu-utils \
         && dpkg-deb --build /root/containerd.io /root/containerd.io.deb \
         && dpkg --install /root/containerd.io.deb"
    );
    process::run(&mut inside(root, &install))
}

/// A shell in the root, with mounts of its own. It is no chroot, in which no container could start.
fn inside(root: &Path, command: &str) -> Command {
    const ENTER: &str = r#"
        set -e
        mount --rbind "$root" "$root"
        for place in proc sys dev; do mount --rbind "/$place" "$root/$place"; done
        mount -t tmpfs none "$root/run"
        mkdir -p "$root/root/.rustup" "$root/root/.cargo/bin" "$root/old"
        mount --rbind "$rustup" "$root/root/.rustup"
        mount --rbind "$cargo/bin" "$root/root/.cargo/bin"
        # Whatever stands between this machine and the network, the root has to pass too.
        mount --rbind /etc/ssl/certs "$root/etc/ssl/certs"
        cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
        cd "$root"
        pivot_root . old
        umount -l /old
        rmdir /old
        exec env -i HOME=/root LC_ALL=C.UTF-8 \
            ${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} ${PIP_CERT:+PIP_CERT="$PIP_CERT"} \
            ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
            PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "$command"
    "#;
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let folder = |variable: &str, name: &str| {
        std::env::var_os(variable).map_or_else(|| home.join(name), PathBuf::from)
    };
    let mut shell = Command::new("unshare");
    shell
        .args(["--mount", "sh", "-c", ENTER])
        .env("root", root)
        .env("rustup", folder("RUSTUP_HOME", ".rustup"))
        .env("cargo", folder("CARGO_HOME", ".cargo"))
        .env("command", command);
    shell
}
