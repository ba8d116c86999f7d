//! Packages of the distribution that work installed only: compilers, libraries, Python.
//!
//! In: names. Out: they are installed, after saying so, or an error that says what to install. What
//! is installed already costs one look-up and no network.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, as_root};

/// Makes sure that programs are there, given each with the package it comes in.
pub fn ensure_programs(programs: &[(&str, &str)], purpose: &str) -> Result<()> {
    let missing = programs
        .iter()
        .filter(|(program, _)| process::find(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        Ok(())
    } else {
        ensure(&packages, purpose)
    }
}

/// Installs those of `names` that are not installed. `purpose` ends the sentence "... for ...".
pub fn ensure(names: &[&str], purpose: &str) -> Result<()> {
    if process::find("dpkg-query").is_none() || !available() {
        bail!(
            "{purpose} needs the packages {}, and there is no apt here; install what your \
             distribution calls them",
            names.join(", ")
        );
    }
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if !process::can_be_root() {
        bail!(
            "{purpose} needs the packages {wanted}, and installing them needs root; run \
             `apt-get install --no-install-recommends {wanted}` as root"
        );
    }
    eprintln!("xtask: installing {wanted} by apt-get, for {purpose}");
    if !missing.iter().all(|name| is_known(name)) {
        update()?;
    }
    if install(&missing).is_err() {
        // Lists that are out of date name files that the mirror no longer has.
        eprintln!("xtask: trying again with fresh package lists");
        update()?;
        install(&missing).with_context(|| format!("cannot install {wanted}, for {purpose}"))?;
    }
    Ok(())
}

/// Whether packages can be looked up and installed here at all.
pub fn available() -> bool {
    process::find("apt-get").is_some()
}

/// Whether the package is installed and configured.
pub fn is_installed(name: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}\n", name]);
    process::output(&mut query).is_ok_and(|status| status.lines().any(|line| line == "installed"))
}

/// Whether the package can be had from the sources of this machine, as far as its lists tell.
pub fn is_known(name: &str) -> bool {
    let mut policy = Command::new("apt-cache");
    policy.args(["policy", name]).env("LC_ALL", "C");
    process::output(&mut policy).is_ok_and(|text| {
        let candidate = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "));
        candidate.is_some_and(|version| version != "(none)")
    })
}

/// Fetches the package lists.
pub fn update() -> Result<()> {
    let mut update = apt_get()?;
    process::run(update.args(["--quiet", "update"])).context("cannot fetch the package lists")
}

fn install(names: &[&str]) -> Result<()> {
    let mut install = apt_get()?;
    install.args([
        "--quiet",
        "--yes",
        "--no-install-recommends",
        "--no-remove",
        "install",
    ]);
    process::run(install.args(names))
}

fn apt_get() -> Result<Command> {
    let noninteractive = [("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())];
    as_root("apt-get", &noninteractive)
}
