//! Units under a real systemd, in a guest that has it as the first process: installed by a scenario,
//! gone when it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

const UNITS: &str = "/etc/systemd/system";

/// A unit that is installed.
#[derive(Debug)]
pub struct Unit {
    /// With its ending.
    pub name: String,
    installed: Vec<PathBuf>,
}

impl Unit {
    /// Writes its file and tells systemd.
    pub fn install(name: &str, text: &str) -> Result<Self> {
        let mut unit = Self {
            name: name.to_owned(),
            installed: Vec::new(),
        };
        unit.file(&Path::new(UNITS).join(name), text)?;
        Ok(unit)
    }

    /// Lines that come on top of its file, as `systemctl edit` adds them.
    pub fn edit(&mut self, text: &str) -> Result<()> {
        let folder = Path::new(UNITS).join(format!("{}.d", self.name));
        fs::create_dir_all(&folder)?;
        self.file(&folder.join("override.conf"), text)
    }

    /// A file that goes with it.
    pub fn file(&mut self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.installed.push(path.to_path_buf());
        done(Command::new("systemctl").arg("daemon-reload"))?;
        Ok(())
    }

    /// `systemctl VERB`; an error when it says that it did not work.
    pub fn control(&self, verb: &str) -> Result<()> {
        done(Command::new("systemctl").args([verb, &self.name]))?;
        Ok(())
    }

    /// Sends its processes a signal.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let mut kill = Command::new("systemctl");
        done(kill.args(["kill", "--signal", signal, &self.name]))?;
        Ok(())
    }

    /// What `systemctl show` tells under that name.
    pub fn property(&self, name: &str) -> Result<String> {
        let mut show = Command::new("systemctl");
        let told = done(show.args(["show", "--value", "--property", name, &self.name]))?;
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    /// What it and systemd said of it so far, a line each.
    pub fn journal(&self) -> Result<String> {
        done(Command::new("journalctl").arg("--sync"))?;
        let mut journal = Command::new("journalctl");
        let told = done(journal.args(["--output=cat", "--no-pager", "--unit", &self.name]))?;
        Ok(String::from_utf8_lossy(&told.stdout).into_owned())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.control("stop");
        for path in &self.installed {
            let _ = fs::remove_file(path);
        }
        let _ = Command::new("systemctl").arg("daemon-reload").output();
        let _ = self.control("reset-failed");
    }
}

/// Runs a program to its end; an error with its words when it fails.
pub fn done(command: &mut Command) -> Result<Output> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    Ok(output)
}
