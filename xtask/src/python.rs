//! Programs and libraries from the Python index, of pinned versions, in folders that belong to
//! pidwatch alone, as [`crate::tools`] does for those from the crates registry.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{packages, process, workspace};

/// The Python that has `requirements` (`name==version`), made if it is not there.
pub fn ensure(name: &str, requirements: &[&str], purpose: &str) -> Result<PathBuf> {
    let folder = workspace::cache_dir()?
        .join("tools")
        .join(format!("python-{name}"));
    let python = folder.join("bin").join("python");
    // Written last, so that a set-up that broke off is begun anew, as is one of other versions.
    let record = folder.join("installed");
    let wanted = requirements.join("\n");
    let is_there = fs::read_to_string(&record).is_ok_and(|installed| installed == wanted);
    if !is_there || process::output(Command::new(&python).arg("--version")).is_err() {
        let shown = requirements.join(" ");
        eprintln!(
            "xtask: installing {shown} into {}, for {purpose}",
            folder.display()
        );
        if !has_venv() {
            packages::ensure(&["python3-venv"], purpose)?;
        }
        let mut venv = Command::new("python3");
        process::run(venv.args(["-m", "venv", "--clear"]).arg(&folder))
            .context("cannot make a Python environment; install python3-venv")?;
        let mut install = Command::new(&python);
        install
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--only-binary", ":all:"])
            .args(requirements);
        process::run(&mut install).with_context(|| format!("cannot install {shown}"))?;
        fs::write(&record, wanted).with_context(|| format!("cannot write {}", record.display()))?;
    }
    Ok(python)
}

/// Debian leaves what environments are made with to a package of its own.
fn has_venv() -> bool {
    process::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}
