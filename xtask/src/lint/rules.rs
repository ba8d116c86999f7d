//! The workspace's own rules, which no other tool knows.
//!
//! In: the Rust files of the members. Out: an error that lists every line that breaks a rule;
//! files that have grown long are only mentioned.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// A crate that only one part of pidwatch may know, so that it can be exchanged there.
struct Confined {
    krate: &'static str,
    /// Below the library's sources.
    home: &'static str,
}

const CONFINED: [Confined; 7] = [
    Confined {
        krate: "aya",
        home: "probe",
    },
    Confined {
        krate: "aya_log",
        home: "probe",
    },
    Confined {
        krate: "tonic",
        home: "identity/cri",
    },
    Confined {
        krate: "prost",
        home: "identity/cri",
    },
    Confined {
        krate: "ratatui",
        home: "tui",
    },
    Confined {
        krate: "crossterm",
        home: "tui",
    },
    Confined {
        krate: "terminput",
        home: "tui",
    },
];

/// The library that the confinements hold for.
const LIBRARY: &str = "pidwatch/src";
const SOURCES: [&str; 6] = [
    "pidwatch-common/src",
    "pidwatch-ebpf/src",
    LIBRARY,
    "pidwatch/core/src",
    "tests",
    "xtask/src",
];

/// What the core builds without: the kernel, the network, the screen, the event loop.
const NOT_IN_CORE: [&str; 6] = ["aya", "clap", "kube", "ratatui", "tokio", "tonic"];

/// A file is meant to be read in one sitting.
const LONG_FILE: usize = 450;

/// Checks all rules.
pub fn check() -> Result<()> {
    let root = workspace::root();
    let mut broken = Vec::new();
    for folder in SOURCES {
        for path in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.strip_prefix(&root).unwrap_or(&path);
            let lines = text.lines().count();
            if lines > LONG_FILE {
                eprintln!(
                    "warning: {} has {lines} lines, see if it is two ideas",
                    name.display()
                );
            }
            if let Ok(inside) = path.strip_prefix(root.join(LIBRARY)) {
                broken.extend(confinement_breaks(inside, &text).into_iter().map(
                    |(line, confined)| {
                        format!(
                            "{}:{line}: only {LIBRARY}/{}/ may know {}",
                            name.display(),
                            confined.home,
                            confined.krate
                        )
                    },
                ));
            }
        }
    }
    let mut tree = process::cargo();
    tree.args(["tree", "--package", "pidwatch-core", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"]);
    broken.extend(foreign_in_core(&process::output(&mut tree)?));
    if !broken.is_empty() {
        bail!("\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// What of a list of packages (`name v1.0.0`, one a line) the core must do without.
fn foreign_in_core(packages: &str) -> Vec<String> {
    let names = packages.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| NOT_IN_CORE.contains(name))
        .map(|name| format!("pidwatch-core depends on {name}, by itself or by another"))
        .collect()
}

/// The lines of a library file that name a crate which is confined elsewhere.
fn confinement_breaks(inside: &Path, text: &str) -> Vec<(usize, &'static Confined)> {
    let foreign = CONFINED.iter().filter(|confined| {
        !inside.starts_with(confined.home)
            && inside != Path::new(confined.home).with_extension("rs")
    });
    let mut breaks = Vec::new();
    for confined in foreign {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if names_crate(code, confined.krate) {
                breaks.push((index + 1, confined));
            }
        }
    }
    breaks
}

/// Whether the code has the crate's name as a path's first part: `aya::`, `use aya;`.
fn names_crate(code: &str, krate: &str) -> bool {
    code.match_indices(krate).any(|(start, _)| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
        let before = &code[..start];
        let after = &code[start + krate.len()..];
        let stands_alone = !before.ends_with(|c| is_word(c) || c == ':' || c == '.')
            && !after.starts_with(is_word);
        let used = before.trim_end().ends_with("use") || before.trim_end().ends_with("crate");
        stands_alone && (after.starts_with("::") || used)
    })
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    for path in list().with_context(|| format!("cannot list {}", folder.display()))? {
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_by_paths_and_uses_only() {
        for code in [
            "use aya::Ebpf;",
            "    aya::maps::RingBuf",
            "use aya;",
            "Vec<aya::Btf>",
        ] {
            assert!(names_crate(code, "aya"), "{code}");
        }
        for code in [
            "let playa = 1;",
            "crate::probe::aya::x",
            "use aya_log::X;",
            "\"aya\"",
            "maya::x",
        ] {
            assert!(!names_crate(code, "aya"), "{code}");
        }
    }

    #[test]
    fn a_confined_crate_is_at_home_in_its_folder_alone() {
        let text = "//! Reads maps.\nuse aya::Ebpf; // of aya\n";
        assert!(confinement_breaks(Path::new("probe/load.rs"), text).is_empty());
        assert!(confinement_breaks(Path::new("probe.rs"), text).is_empty());
        let breaks = confinement_breaks(Path::new("model/state.rs"), text);
        assert_eq!(
            breaks.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [2]
        );
    }

    #[test]
    fn what_the_core_must_do_without_is_found_among_all_it_needs() {
        let packages =
            "pidwatch-core v0.1.0 (/a)\nserde v1.0.0\ntokio v1.54.1 (*)\ntokio-util v0.7.0";
        assert_eq!(foreign_in_core(packages).len(), 1);
        assert!(foreign_in_core(packages)[0].contains("tokio,"));
    }

    #[test]
    fn a_comment_may_name_what_code_may_not() {
        assert!(confinement_breaks(Path::new("node.rs"), "// aya::Ebpf owns it\n").is_empty());
    }
}
