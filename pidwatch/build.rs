//! Builds the kernel side (`pidwatch-ebpf`) and leaves its object where the library embeds it.
//!
//! In: the record that `cargo xtask setup` wrote (`key=value` lines: `rustc`, `linker`, `cargo`,
//! `build_std`), found through `PIDWATCH_BPF_TOOLCHAIN` or in the user's cache folder.
//! Out: `$OUT_DIR/pidwatch-ebpf.o`, taken in by
//! `include_bytes!(concat!(env!("OUT_DIR"), "/pidwatch-ebpf.o"))`.
//!
//! Without a record, or with `PIDWATCH_BPF_STUB=1`, the object is a stub of 0 bytes, so that
//! `cargo check` and editors work on a machine that cannot build for BPF; the program then says at
//! start that it holds no kernel side. A kernel side that does not compile fails the build.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "pidwatch-ebpf";

/// Variables by which the outer cargo tells this script about the crate that it is building. The
/// inner cargo builds another crate for another target and must not inherit them: clippy's
/// wrapper, for one, would check the kernel side where it is to be compiled.
const OUTER_VARIABLES: &[&str] = &[
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTUP_TOOLCHAIN",
];
const OUTER_PREFIXES: &[&str] = &["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "DEP_"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for variable in [
        "PIDWATCH_BPF_STUB",
        "PIDWATCH_BPF_TOOLCHAIN",
        "XDG_CACHE_HOME",
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let object = variable("OUT_DIR")?.join("pidwatch-ebpf.o");
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("..");
    for input in [
        "pidwatch-ebpf/src",
        "pidwatch-ebpf/Cargo.toml",
        "pidwatch-common/src",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(input).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(stub)");

    if env::var_os("PIDWATCH_BPF_STUB").is_some_and(|value| value == "1") {
        println!("cargo:rustc-cfg=stub");
        return write_stub(&object);
    }
    match Toolchain::recorded()? {
        Ok(toolchain) => toolchain.compile(&workspace, &object),
        Err(missing) => {
            println!(
                "cargo:warning=built without the kernel side: {missing}; run `cargo xtask setup`"
            );
            write_stub(&object)
        }
    }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set by cargo"))
}

fn write_stub(object: &Path) -> Result<(), String> {
    fs::write(object, []).map_err(|error| format!("cannot write {}: {error}", object.display()))
}

/// What compiles for BPF on this machine, as `cargo xtask setup` found it.
struct Toolchain {
    rustc: PathBuf,
    /// Only when the compiler needs a cargo of its own version, else the outer cargo serves.
    cargo: Option<PathBuf>,
    linker: PathBuf,
    /// Whether `core` has to be compiled for the target too.
    build_std: bool,
}

impl Toolchain {
    /// The inner `Err` says what is missing: not an error of the build, but a reason for the stub.
    fn recorded() -> Result<Result<Self, String>, String> {
        let Some(path) = record_path() else {
            return Ok(Err("neither XDG_CACHE_HOME nor HOME is set".into()));
        };
        // A file that is not there makes cargo run this script each time, which is how a build
        // notices that set-up has run since.
        println!("cargo:rerun-if-changed={}", path.display());
        let record = match fs::read_to_string(&path) {
            Ok(record) => record,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(format!(
                    "there is no record of a BPF toolchain at {}",
                    path.display()
                )));
            }
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let value = |key: &str| {
            let lines = record.lines().filter_map(|line| line.split_once('='));
            lines
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| value)
                .next_back()
        };
        let path_of = |key: &str| {
            let tool =
                PathBuf::from(value(key).ok_or_else(|| format!("the record names no {key}"))?);
            println!("cargo:rerun-if-changed={}", tool.display());
            if tool.is_file() {
                Ok(tool)
            } else {
                Err(format!("{} is gone", tool.display()))
            }
        };
        let toolchain = || {
            Ok(Self {
                rustc: path_of("rustc")?,
                cargo: value("cargo").map(|_| path_of("cargo")).transpose()?,
                linker: path_of("linker")?,
                build_std: value("build_std") == Some("1"),
            })
        };
        Ok(toolchain())
    }

    /// Compiles the kernel side and copies its object to `object`.
    fn compile(&self, workspace: &Path, object: &Path) -> Result<(), String> {
        let arch = env::var("CARGO_CFG_TARGET_ARCH")
            .map_err(|error| format!("CARGO_CFG_TARGET_ARCH: {error}"))?;
        // A folder of its own, as the outer cargo holds the lock of the usual one. It lies beside
        // the folders of the outer profiles (`$OUT_DIR` is `debug/build/pidwatch-*/out` there), so
        // that checks, tests and release builds compile the kernel side once and not each.
        let shared = object
            .ancestors()
            .nth(5)
            .ok_or("OUT_DIR is not in a target folder")?;
        let target_dir = shared.join(format!("bpf-{arch}"));
        let cargo = match &self.cargo {
            Some(cargo) => cargo.clone(),
            None => variable("CARGO")?,
        };

        let mut command = Command::new(&cargo);
        for name in env::vars_os().map(|(name, _)| name).filter(is_outer) {
            command.env_remove(name);
        }
        command
            .current_dir(workspace)
            .args(["build", "--release", "--package", PACKAGE, "--bin", PACKAGE])
            .args(["--target", TARGET, "--target-dir"])
            .arg(&target_dir)
            .env("RUSTC", &self.rustc)
            // The BPF target needs unstable features; this is what opens them in a stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            // The layout of `pt_regs` is that of the CPU the object will run on. Debug info becomes
            // the object's BTF.
            .env(
                "RUSTFLAGS",
                format!("--cfg bpf_target_arch=\"{arch}\" -Cdebuginfo=2 -Clink-arg=--btf"),
            );
        if self.build_std {
            command.args(["-Z", "build-std=core"]);
        }
        // This script's standard output is read by cargo, line by line, as instructions.
        let stderr = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| format!("cannot duplicate standard error: {error}"))?;
        let status = command
            .stdout(Stdio::from(stderr))
            .status()
            .map_err(|error| format!("cannot start {}: {error}", cargo.display()))?;
        if !status.success() {
            return Err(format!(
                "the kernel side did not compile ({status}), see above; if the compiler or the \
                 linker is at fault, `cargo xtask setup` checks them, and PIDWATCH_BPF_STUB=1 \
                 builds without the kernel side"
            ));
        }

        let built = target_dir.join(TARGET).join("release").join(PACKAGE);
        fs::copy(&built, object).map_err(|error| {
            format!(
                "cannot copy {} to {}: {error}",
                built.display(),
                object.display()
            )
        })?;
        Ok(())
    }
}

fn is_outer(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    OUTER_VARIABLES.contains(&&*name)
        || OUTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The same rule as `Toolchain::record_path` in xtask.
fn record_path() -> Option<PathBuf> {
    if let Some(path) = env::var_os("PIDWATCH_BPF_TOOLCHAIN") {
        return Some(path.into());
    }
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join("pidwatch").join("bpf-toolchain"))
}
