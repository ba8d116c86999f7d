//! What is linked into a binary: for the list that is given along, and for the licence texts.
//!
//! In: what cargo knows. Out: packages, and a list of them as CycloneDX 1.5
//! (<https://cyclonedx.org/docs/1.5/json>).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{arch::Arch, release::Release};
use crate::{process, workspace};

/// What is linked in.
pub struct Package {
    pub name: String,
    pub version: String,
    /// An SPDX expression.
    pub licence: String,
    /// Of the package's archive in the registry, SHA-256.
    pub checksum: Option<String>,
    /// Where its sources are; `None` for what is no crate.
    pub folder: Option<PathBuf>,
    /// As the package URL of its kind has it.
    pub purl: String,
}

/// All that is linked into the program, the kernel side included, by name.
pub fn packages(arch: Arch) -> Result<Vec<Package>> {
    let mut linked = BTreeSet::new();
    for package in ["pidwatch", "pidwatch-ebpf"] {
        // What cargo would really take for this package, unlike `cargo metadata`, which shows the
        // features of all members at once.
        let mut tree = process::cargo();
        tree.args(["tree", "--package", package, "--edges", "normal"])
            .args([
                "--prefix",
                "none",
                "--format",
                "{p}",
                "--target",
                arch.triple(),
            ]);
        let tree = process::output(&mut tree)?;
        linked.extend(tree.lines().filter_map(name_and_version));
    }
    let mut metadata = process::cargo();
    metadata.args([
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        arch.triple(),
    ]);
    let metadata: Value = serde_json::from_str(&process::output(&mut metadata)?)
        .context("cannot understand cargo metadata")?;
    let lock = std::fs::read_to_string(workspace::root().join("Cargo.lock"))
        .context("cannot read Cargo.lock")?;
    let checksums = checksums(&lock);

    let all = metadata["packages"].as_array().context("no packages")?;
    let mut found = Vec::new();
    for (name, version) in linked {
        let package = all
            .iter()
            .find(|package| package["name"] == *name && package["version"] == *version)
            .with_context(|| format!("cargo metadata has no {name} {version}"))?;
        let manifest = package["manifest_path"].as_str().context("no path")?;
        let licence = package["license"].as_str().unwrap_or("NOASSERTION");
        found.push(Package {
            purl: format!("pkg:cargo/{name}@{version}"),
            // How it was written before SPDX.
            licence: licence.replace('/', " OR "),
            checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
            folder: Path::new(manifest).parent().map(Path::to_path_buf),
            name,
            version,
        });
    }
    let version = arch.glibc()?;
    found.push(Package {
        purl: format!("pkg:generic/glibc@{version}"),
        name: "glibc".into(),
        version,
        licence: "LGPL-2.1-or-later".into(),
        checksum: None,
        folder: None,
    });
    Ok(found)
}

/// `serde v1.0.2 (proc-macro) (*)`
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    // It runs in the compiler and is in no binary.
    (!line.contains("(proc-macro)")).then(|| (name.to_owned(), version.to_owned()))
}

/// Checksums of the lock file's packages, by name and version.
fn checksums(lock: &str) -> HashMap<(String, String), String> {
    let entries = lock.split("[[package]]").skip(1).filter_map(|entry| {
        let value = |key: &str| {
            let mut lines = entry.lines();
            let start = format!("{key} = \"");
            let line = lines.find_map(|line| line.strip_prefix(&start))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    });
    entries.collect()
}

/// The list as JSON.
pub fn list(release: &Release, arch: Arch, packages: &[Package]) -> Result<String> {
    let components = packages.iter().map(|package| {
        let mut component = json!({
            "type": "library",
            "bom-ref": package.purl,
            "name": package.name,
            "version": package.version,
            "purl": package.purl,
            "licenses": [{ "expression": package.licence }],
        });
        if let Some(checksum) = &package.checksum {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component
    });
    let list = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "pidwatch",
                "name": "pidwatch",
                "version": release.version,
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
                "properties": [{ "name": "architecture", "value": arch.name() }],
            },
        },
        "components": components.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&list).context("cannot write the list of what is linked in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_read_as_cargo_prints_them() {
        let named = |line| name_and_version(line);
        let serde = Some(("serde".to_owned(), "1.0.2".to_owned()));
        assert_eq!(named("serde v1.0.2"), serde);
        assert_eq!(named("serde v1.0.2 (*)"), serde);
        assert_eq!(named("derive v1.0.2 (proc-macro)"), None);
        assert_eq!(named(""), None);
    }

    #[test]
    fn checksums_are_read_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
            source = \"registry\"\nchecksum = \"abc\"\n\n[[package]]\nname = \"own\"\n\
            version = \"0.1.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("a".to_owned(), "1.0.0".to_owned())], "abc");
    }

    /// By a check of the workspace's own lock file: nothing linked in is without its origin.
    #[test]
    fn the_program_s_list_is_whole() {
        let packages = packages(Arch::of_host().unwrap()).unwrap();
        for name in ["aya", "tokio", "aya-ebpf", "glibc"] {
            assert!(
                packages.iter().any(|package| package.name == name),
                "{name}"
            );
        }
        for package in &packages {
            assert_ne!(package.licence, "NOASSERTION", "{}", package.name);
            let is_own = package.name.starts_with("pidwatch") || package.name == "glibc";
            assert_eq!(package.checksum.is_none(), is_own, "{}", package.name);
        }
        // Of development and build only.
        assert!(!packages.iter().any(|package| package.name == "tempfile"));
    }
}
