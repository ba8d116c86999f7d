//! `cargo xtask setup`: finds or installs a way to compile for BPF and records it.
//!
//! There are two ways. A packaged compiler that comes with `core` for the BPF target (Debian's
//! rustc-web) needs nothing but itself; rustup's nightly needs `rust-src`, from which cargo builds
//! `core`. Either needs a bpf-linker with the compiler's LLVM.
//!
//! In: the machine. Out: the record ([`Toolchain`]). Invariant: what works is left alone; a second
//! run only checks, without the network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::toolchain::{Toolchain, llvm_of};
use crate::{linker, packages, process};

const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
const TARGET: &str = "bpfel-unknown-none";
/// A compiler with `core` for the BPF target, as Debian packages it.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// `setup` as a command of its own, which says what it found.
pub fn report() -> Result<()> {
    let toolchain = setup()?;
    eprintln!(
        "xtask: ready to compile for BPF with {} and LLVM {}, as noted in {}",
        toolchain.rustc.display(),
        toolchain.llvm,
        Toolchain::record_path()?.display()
    );
    Ok(())
}

/// Makes sure that there is a working, recorded toolchain.
pub fn setup() -> Result<Toolchain> {
    if let Some(toolchain) = Toolchain::recorded() {
        match toolchain.check() {
            Ok(()) => return Ok(toolchain),
            Err(error) => eprintln!("xtask: setting up for BPF again: {error:#}"),
        }
    }
    let compiler = find_compiler()?;
    let llvm = llvm_of(&compiler.rustc)?;
    let toolchain = Toolchain {
        linker: linker::ensure(llvm)?,
        rustc: compiler.rustc,
        cargo: compiler.cargo,
        build_std: compiler.build_std,
        llvm,
    };
    toolchain.check()?;
    toolchain.write()?;
    Ok(toolchain)
}

/// A compiler that can make code for the BPF target.
struct Compiler {
    rustc: PathBuf,
    cargo: Option<PathBuf>,
    build_std: bool,
}

/// What is there already goes before what has to be installed.
fn find_compiler() -> Result<Compiler> {
    if let Some(nightly) = nightly_with_source()
        && llvm_of(&nightly.rustc).is_ok_and(linker::is_at_hand)
    {
        return Ok(nightly);
    }
    if let Some(packaged) = packaged() {
        return Ok(packaged);
    }
    let no_package = match install_packaged() {
        Ok(compiler) => return Ok(compiler),
        Err(error) => error,
    };
    let no_nightly = match install_nightly() {
        Ok(compiler) => return Ok(compiler),
        Err(error) => error,
    };
    bail!(
        "there is no way to compile for BPF on this machine\n  \
         a packaged compiler: {no_package:#}\n  \
         rustup's nightly: {no_nightly:#}\n\
         fix one of the two and run `cargo xtask setup` again; `cargo check` works without"
    )
}

fn packaged() -> Option<Compiler> {
    let rustc = PathBuf::from(PACKAGED_RUSTC);
    has_core_for_bpf(&rustc).then_some(Compiler {
        rustc,
        cargo: None,
        build_std: false,
    })
}

fn has_core_for_bpf(rustc: &Path) -> bool {
    let libraries = |sysroot: String| Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    sysroot(rustc).is_ok_and(|sysroot| libraries(sysroot).join("lib").is_dir())
}

fn sysroot(rustc: &Path) -> Result<String> {
    process::output(Command::new(rustc).args(["--print", "sysroot"]))
}

fn install_packaged() -> Result<Compiler> {
    if !packages::available() {
        bail!("there is no apt here");
    }
    // The two packages exclude each other, and someone may need the one that is there.
    if packages::is_installed("rustc") {
        bail!(
            "the package rustc is installed and excludes {}; remove it if nothing needs it",
            PACKAGES[0]
        );
    }
    if !PACKAGES.iter().all(|name| packages::is_known(name)) && process::can_be_root() {
        eprintln!(
            "xtask: fetching the package lists, to look for {}",
            PACKAGES.join(", ")
        );
        packages::update()?;
    }
    if let Some(unknown) = PACKAGES.iter().find(|name| !packages::is_known(name)) {
        bail!("this distribution's sources have no package {unknown}");
    }
    packages::ensure(&PACKAGES, "compiling for BPF")?;
    packaged().with_context(|| {
        format!(
            "{} are installed, but {PACKAGED_RUSTC} has no {TARGET}",
            PACKAGES.join(", ")
        )
    })
}

fn nightly_with_source() -> Option<Compiler> {
    let tool = |name: &str| {
        let mut which = Command::new("rustup");
        let path = process::output(which.args(["which", "--toolchain", "nightly", name]));
        Some(PathBuf::from(path.ok()?.trim()))
    };
    let (rustc, cargo) = (tool("rustc")?, tool("cargo")?);
    let source = Path::new(sysroot(&rustc).ok()?.trim()).join("lib/rustlib/src/rust/library/core");
    source.is_dir().then_some(Compiler {
        rustc,
        cargo: Some(cargo),
        build_std: true,
    })
}

fn install_nightly() -> Result<Compiler> {
    if process::find("rustup").is_none() {
        bail!("there is no rustup here");
    }
    if let Some(nightly) = nightly_with_source() {
        return Ok(nightly);
    }
    eprintln!("xtask: installing rustup's nightly with rust-src, for compiling for BPF");
    let mut install = Command::new("rustup");
    install.args([
        "toolchain",
        "install",
        "nightly",
        "--profile",
        "minimal",
        "-c",
        "rust-src",
    ]);
    process::run(&mut install)?;
    nightly_with_source().context("nightly was installed, but without rust-src")
}
