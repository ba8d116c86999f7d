//! One fact has one type: no two types of pidwatch's libraries have the same name.
//!
//! In: the libraries of the workspace. Out: an error that lists each name with two definitions that is not
//! in [`KNOWN`], and each name in [`KNOWN`] that has one definition by now, so that the list only shrinks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Result, bail};

use super::{imports, modules::Modules};

/// What pidwatch is made of; tests have words of their own.
const CRATES: [&str; 3] = ["pidwatch", "pidwatch-core", "pidwatch-common"];

/// Names that still have two definitions: most are a value inside the program and its form in a stream.
const KNOWN: [&str; 0] = [];

/// Checks every library.
pub fn check() -> Result<()> {
    let mut definitions: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for target in imports::targets()? {
        if target.is_library && CRATES.contains(&target.package.as_str()) {
            for module in Modules::read(&target.root)?.0.into_values() {
                for name in module.types.into_keys() {
                    definitions
                        .entry(name)
                        .or_default()
                        .push(module.file.clone());
                }
            }
        }
    }
    let broken = unknown(definitions, &BTreeSet::from(KNOWN));
    if !broken.is_empty() {
        bail!("\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// What does not agree with the list, as text.
fn unknown(definitions: BTreeMap<String, Vec<PathBuf>>, known: &BTreeSet<&str>) -> Vec<String> {
    let twins: BTreeMap<_, _> = definitions
        .into_iter()
        .filter(|(_, files)| files.len() > 1)
        .collect();
    let new = twins
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()));
    let new = new.map(|(name, files)| {
        let files: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        format!("{name} is defined in {}", files.join(" and in "))
    });
    let gone = known.iter().filter(|name| !twins.contains_key(**name));
    let gone = gone.map(|name| format!("{name} has one definition: take it off the list"));
    new.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_has_no_other_twins() {
        check().expect("agrees with the list");
    }

    #[test]
    fn a_new_twin_and_a_stale_entry_are_named() {
        let definitions = [
            ("Owner", vec!["a", "b"]),
            ("Row", vec!["a"]),
            ("Limit", vec!["a", "c"]),
        ];
        let definitions = definitions.map(|(name, files)| {
            (
                name.to_owned(),
                files.into_iter().map(PathBuf::from).collect(),
            )
        });
        let broken = unknown(definitions.into(), &["Limit", "Row"].into());
        assert_eq!(
            broken,
            [
                "Owner is defined in a and in b",
                "Row has one definition: take it off the list"
            ]
        );
    }
}
