//! The black-box tests: built once, run on this host and in guests.
//!
//! In: the sources. Out: paths of three programs, and the variables by which the scenarios find
//! the other two.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::dist::{arch::Arch, target};
use crate::{process, setup, workspace};

/// How all but pidwatch is compiled.
pub const PROFILE: &str = "harness";

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
        setup::setup()?;
        // As it is given to others, so that it is compiled once for all tests.
        let pidwatch = target::build(Arch::of_host()?)?;
        let mut cargo = process::cargo();
        cargo.args(["build", "--profile", PROFILE, "--package", "pidwatch-load"]);
        process::run(&mut cargo)?;
        let mut cargo = process::cargo();
        cargo
            .args(["test", "--profile", PROFILE, "--package", "pidwatch-tests"])
            .args(["--test", "scenarios", "--no-run"])
            .args(["--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit());
        let output = cargo.output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!(
                "the scenarios did not compile ({}), see above",
                output.status
            );
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let runner = messages.lines().find_map(runner_in);
        Ok(Self {
            load: workspace::target_dir().join(PROFILE).join("pidwatch-load"),
            pidwatch,
            runner: runner.context("the package pidwatch-tests has no scenarios")?,
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

/// The path in one of cargo's messages, if the message tells of the scenarios.
fn runner_in(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_it = message["reason"] == "compiler-artifact"
        && message["target"]["name"] == "scenarios"
        && message["profile"]["test"] == true;
    is_it
        .then(|| message["executable"].as_str().map(PathBuf::from))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_the_test_of_that_name() {
        let message = r#"{"reason":"compiler-artifact","executable":"/t/scenarios",
            "target":{"name":"scenarios","kind":["test"]},"profile":{"test":true}}"#;
        assert_eq!(runner_in(message), Some("/t/scenarios".into()));
        assert_eq!(
            runner_in(&message.replace("\"scenarios\"", "\"deploy\"")),
            None
        );
        assert_eq!(runner_in("Finished"), None);
    }
}
