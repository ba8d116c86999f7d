//! The systemd unit: systemd takes it, and finds little to attack.

use std::process::Command;

use crate::tools::{output, text};

const UNIT: &str = "deploy/systemd/pidwatch.service";
const HINT: &str = "it comes with the package systemd";

/// The unit in a folder of its own, with a program that is there on every machine.
fn unit(folder: &std::path::Path) -> String {
    let unit = text(UNIT);
    let started = "ExecStart=/usr/local/bin/pidwatch agent";
    assert!(unit.contains(started));
    let file = folder.join("pidwatch.service");
    std::fs::write(&file, unit.replace(started, "ExecStart=/bin/true")).expect("written");
    file.display().to_string()
}

#[test]
fn systemd_takes_the_unit_without_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let verify = Command::new("systemd-analyze")
        .args([
            "verify",
            "--man=no",
            "--recursive-errors=no",
            &unit(folder.path()),
        ])
        .output()
        .unwrap_or_else(|error| panic!("cannot start systemd-analyze: {error}; {HINT}"));
    let told = String::from_utf8_lossy(&verify.stderr);
    let about_it: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("pidwatch"))
        .collect();
    assert!(verify.status.success(), "{told}");
    assert!(about_it.is_empty(), "{about_it:?}");
}

/// systemd's own score: 0 is closed, 10 open; root with nothing set has 9.6.
#[test]
fn systemd_finds_little_to_attack() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = unit(folder.path());
    let mut security = Command::new("systemd-analyze");
    security.args([
        "security",
        "--offline=true",
        "--threshold=26",
        "--no-pager",
        &file,
    ]);
    let told = output(&mut security, HINT);
    assert!(told.contains("exposure level"), "{told}");
}
