//! One fact has one type: no two types of pidwatch's libraries have the same name.
//!
//! In: the libraries of the workspace. Out: an error that lists each name with two definitions, and where
//! they are.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, bail};

use super::{imports, modules::Modules};

/// What pidwatch is made of; tests have words of their own.
const CRATES: [&str; 3] = ["pidwatch", "pidwatch-core", "pidwatch-common"];

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
    let broken = twins(definitions);
    if !broken.is_empty() {
        bail!("\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// Each name with more than one definition, as text.
fn twins(definitions: BTreeMap<String, Vec<PathBuf>>) -> Vec<String> {
    let twins = definitions.into_iter().filter(|(_, files)| files.len() > 1);
    let text = twins.map(|(name, files)| {
        let files = files.iter().map(|file| file.display().to_string());
        let files: Vec<_> = files.collect();
        format!("{name} is defined in {}", files.join(" and in "))
    });
    text.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_has_no_twins() {
        check().expect("every type has a name of its own");
    }

    #[test]
    fn a_name_with_two_definitions_is_reported_with_both_files() {
        let definitions = [("Owner", vec!["a", "b"]), ("Row", vec!["a"])];
        let definitions = definitions.map(|(name, files)| {
            let files = files.into_iter().map(PathBuf::from);
            (name.to_owned(), files.collect())
        });
        assert_eq!(
            twins(definitions.into()),
            ["Owner is defined in a and in b"]
        );
    }
}
