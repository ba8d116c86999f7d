//! The black-box tests: built once, run on this host and in guests.
//!
//! In: the sources. Out: paths of three programs, and the variables by which the scenarios find
//! the other two.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{build, process};

/// What a run of the scenarios takes.
pub struct Scenarios {
    /// The program under test.
    pub pidwatch: PathBuf,
    /// Makes tasks in known numbers.
    pub load: PathBuf,
    /// Runs the scenarios; has libtest's command line.
    pub runner: PathBuf,
}

impl Scenarios {
    /// Builds all three.
    pub fn build() -> Result<Self> {
        let pidwatch = build::build()?;
        let mut cargo = process::cargo();
        cargo
            .args([
                "test",
                "--release",
                "--package",
                "pidwatch-tests",
                "--test",
                "scenarios",
            ])
            .args(["--no-run", "--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit());
        let output = cargo.output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!(
                "the scenarios did not compile ({}), see above",
                output.status
            );
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let executable = |kind: &str, name: &str| {
            let found = messages
                .lines()
                .find_map(|message| executable_in(message, kind, name));
            found.with_context(|| format!("the package pidwatch-tests has no {kind} {name}"))
        };
        Ok(Self {
            pidwatch,
            load: executable("bin", "pidwatch-load")?,
            runner: executable("test", "scenarios")?,
        })
    }

    /// The variables that the scenarios read, for programs that lie in `folder` when given, else
    /// where they were built.
    pub fn variables(&self, folder: Option<&str>) -> Vec<(String, String)> {
        let place = |path: &Path| match folder {
            Some(folder) => guest_path(folder, path),
            None => path.display().to_string(),
        };
        let mut variables = vec![
            ("PIDWATCH_BIN".into(), place(&self.pidwatch)),
            ("PIDWATCH_LOAD".into(), place(&self.load)),
        ];
        if let Ok(ci) = std::env::var("CI") {
            variables.push(("CI".into(), ci));
        }
        variables
    }

    /// All three programs.
    pub fn programs(&self) -> [&Path; 3] {
        [&self.pidwatch, &self.load, &self.runner]
    }
}

/// Where a program lies in a guest that has all of them in `folder`.
pub fn guest_path(folder: &str, program: &Path) -> String {
    format!(
        "{folder}/{}",
        program.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// The path in one of cargo's messages, if the message tells of that program.
fn executable_in(message: &str, kind: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let is_it = message["reason"] == "compiler-artifact"
        && target["name"] == name
        && target["kind"].as_array()?.iter().any(|known| known == kind)
        && message["profile"]["test"] == (kind == "test");
    is_it
        .then(|| message["executable"].as_str().map(PathBuf::from))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_that_of_the_wanted_kind() {
        let message = r#"{"reason":"compiler-artifact","executable":"/t/load",
            "target":{"name":"pidwatch-load","kind":["bin"]},"profile":{"test":false}}"#;
        assert_eq!(
            executable_in(message, "bin", "pidwatch-load"),
            Some("/t/load".into())
        );
        assert_eq!(executable_in(message, "test", "pidwatch-load"), None);
        assert_eq!(executable_in("Finished", "bin", "pidwatch-load"), None);
    }
}
