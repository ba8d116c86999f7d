//! bpf-linker: which build of it a compiler needs, and where its LLVM is.
//!
//! In: the LLVM major version of the compiler. Out: the path of a linker with the same LLVM.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::Tool;
use crate::{packages, process};

/// Newer versions may link the same input otherwise: change it only with all guests passing.
const VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker has a cargo feature for.
const LLVM_VERSIONS: [u32; 3] = [21, 22, 23];

/// The linker for compilers of this LLVM. `prefix` is needed only for building it.
pub fn tool(llvm: u32, prefix: Option<PathBuf>) -> Tool {
    let feature = format!("llvm-{llvm}");
    Tool {
        name: "bpf-linker",
        version: VERSION,
        variant: format!("-llvm{llvm}"),
        args: vec!["--no-default-features".into(), "--features".into(), feature],
        env: prefix
            .map(|prefix| ("LLVM_PREFIX", prefix))
            .into_iter()
            .collect(),
    }
}

/// A linker for compilers of this LLVM, built if it is not there yet.
pub fn ensure(llvm: u32) -> Result<PathBuf> {
    let linker = tool(llvm, None);
    if linker.check().is_ok() {
        return linker.path();
    }
    if !LLVM_VERSIONS.contains(&llvm) {
        bail!(
            "bpf-linker {VERSION} does not know LLVM {llvm} of the compiler, only {LLVM_VERSIONS:?}"
        );
    }
    let package = format!("llvm-{llvm}-dev");
    if llvm_prefix(llvm).is_none() {
        packages::ensure(&[&package], "building bpf-linker")?;
    }
    let prefix = llvm_prefix(llvm).with_context(|| {
        format!("{package} is installed, but there is no llvm-config of version {llvm}")
    })?;
    tool(llvm, Some(prefix)).ensure("about a minute")
}

/// Whether a linker for this LLVM can be had without installing packages.
pub fn is_at_hand(llvm: u32) -> bool {
    tool(llvm, None).check().is_ok()
        || (LLVM_VERSIONS.contains(&llvm) && llvm_prefix(llvm).is_some())
}

/// Where an LLVM of this version is installed, by what its own `llvm-config` says.
fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin/llvm-config"));
    let by_version = process::find(&format!("llvm-config-{llvm}"));
    let plain = process::find("llvm-config");
    let found = [Some(debian), by_version, plain]
        .into_iter()
        .flatten()
        .find(|config| {
            let version = process::output(Command::new(config).arg("--version"));
            version.is_ok_and(|version| version.trim().starts_with(&format!("{llvm}.")))
        })?;
    let prefix = process::output(Command::new(found).arg("--prefix")).ok()?;
    Some(PathBuf::from(prefix.trim()))
}
