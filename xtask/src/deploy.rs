//! The tests of `deploy/`: image, chart, rules, dashboard, unit, with the tools that will read them.
//!
//! In: the machine. Out: a command that runs the tests, once every tool is there.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{packages, process, programs, python};

/// What reads what is in `deploy/` and has to be installed, each with the package it comes in.
const INSTALLED: [(&str, &str); 2] = [("python3", "python3"), ("systemd-analyze", "systemd")];

/// Helm as a Python extension, and the schemas of Kubernetes' releases.
const PYTHON: [&str; 2] = ["helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0"];

/// A command that runs the tests on what was made into a folder; gets what they take.
pub fn tests(dist: &Path) -> Result<Command> {
    let purpose = "testing what is in deploy/";
    packages::ensure_programs(&INSTALLED, purpose)?;
    programs::ensure(&["promtool"], purpose)?;
    let python = python::ensure("deploy", &PYTHON, purpose)?;
    let mut cargo = process::cargo();
    cargo
        .args(["test", "--package", "pidwatch-tests", "--test", "deploy"])
        .arg("--no-fail-fast")
        .env("PATH", programs::path()?)
        .env("PIDWATCH_PYTHON", python)
        .env("PIDWATCH_DIST", dist);
    Ok(cargo)
}
