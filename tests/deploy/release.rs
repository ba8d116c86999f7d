//! What `cargo xtask dist` made: whole, of one piece, and fit to run anywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::chart;
use crate::tools::output;

const HINT: &str = "run `cargo xtask test`, or `cargo xtask dist` and name target/dist in \
    PIDWATCH_DIST";

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os("PIDWATCH_DIST").expect(HINT))
}

/// This machine's CPU architecture as the files have it; there may be others beside.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

fn tarball() -> String {
    format!("-linux-{}.tar.gz", arch())
}

/// The one file whose name ends so.
fn file(end: &str) -> PathBuf {
    let files = std::fs::read_dir(folder()).expect(HINT);
    let mut found = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.display().to_string().ends_with(end));
    let file = found.next().unwrap_or_else(|| panic!("no *{end}; {HINT}"));
    assert!(found.next().is_none(), "more than one *{end}");
    file
}

fn unpacked(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(folder.path());
    output(&mut tar, HINT);
    folder
}

#[test]
fn checksums_are_those_of_all_files() {
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "SHA256SUMS"]);
    let told = output(sums.current_dir(folder()), HINT);
    let files = std::fs::read_dir(folder()).expect(HINT).count();
    assert_eq!(told.lines().count(), files - 1, "{told}");
}

#[test]
fn the_tarball_has_all_that_belongs_to_the_program() {
    let folder = unpacked(&file(&tarball()));
    let version = env!("CARGO_PKG_VERSION");
    let top = folder.path().join(format!("pidwatch-{version}"));
    for name in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "LICENSES-THIRD-PARTY.txt",
        "README.md",
        "alerts.yaml",
        "dashboard.json",
        "completions/_pidwatch",
        "completions/pidwatch.bash",
        "completions/pidwatch.fish",
        "man/pidwatch.1",
        "pidwatch.service",
        "brake.conf",
        "sbom.cdx.json",
    ] {
        let length = std::fs::metadata(top.join(name)).map(|meta| meta.len());
        assert!(length.is_ok_and(|length| length > 100), "{name}");
    }
    let mut program = Command::new(top.join("pidwatch"));
    let told = output(program.arg("--version"), HINT);
    assert_eq!(told, format!("pidwatch {version}\n"));
    let third_party = std::fs::read_to_string(top.join("LICENSES-THIRD-PARTY.txt"));
    assert!(third_party.expect("text").contains("\n==== tokio "));
}

/// From scratch: there is no loader and no library in the image.
#[test]
fn the_program_needs_no_library() {
    let folder = unpacked(&file(&tarball()));
    let version = env!("CARGO_PKG_VERSION");
    let program = folder.path().join(format!("pidwatch-{version}/pidwatch"));
    let mut headers = Command::new("readelf");
    headers.args(["--program-headers", "--dynamic", "--wide"]);
    let told = output(headers.arg(program), "it comes with the package binutils");
    assert!(told.contains("LOAD"), "{told}");
    for word in ["INTERP", "(NEEDED)"] {
        assert!(!told.contains(word), "{told}");
    }
}

#[test]
fn the_list_of_what_is_linked_in_names_licences_and_checksums() {
    let text = std::fs::read_to_string(file(&format!("{}.cdx.json", arch()))).expect("text");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["bomFormat"], "CycloneDX");
    let components = list["components"].as_array().expect("components");
    assert!(components.len() > 50);
    for component in components {
        let licence = &component["licenses"][0]["expression"];
        assert!(licence.is_string(), "{component}");
    }
    let find = |name| {
        components
            .iter()
            .find(|component| component["name"] == name)
    };
    let tokio = find("tokio").expect("tokio");
    assert_eq!(tokio["hashes"][0]["alg"], "SHA-256");
    assert!(find("promql-parser").is_none(), "of tests only");
}

#[test]
fn helm_takes_the_packed_chart() {
    let chart = file(&format!("chart-{}.tgz", env!("CARGO_PKG_VERSION")))
        .display()
        .to_string();
    let packed = chart::rendered_of(&chart, &serde_json::json!({}));
    assert_eq!(packed, chart::rendered(&serde_json::json!({})));
}
