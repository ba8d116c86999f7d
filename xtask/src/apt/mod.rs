//! apt without installing: packages are fetched and unpacked into folders of pidwatch's own.
//!
//! In: names of packages. Out: their files below a folder. Nothing is installed, no script of a package
//! runs, no list of the host's is touched, and none of it needs root.

pub mod mirror;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::{packages, process, workspace};

/// An apt with lists of its own, and with sources and a state of its own or the host's.
pub struct Apt {
    settings: Vec<(&'static str, PathBuf)>,
    archives: PathBuf,
}

impl Apt {
    /// An apt that knows the given sources alone, and no package that is installed.
    fn of_one_suite(folder: &Path, sources: &str) -> Result<Self> {
        let mut apt = Self::new(&folder.join("lists"), folder)?;
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("sources.list"), sources)?;
        apt.settings.extend([
            ("Dir::Etc::SourceList", folder.join("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Status", folder.join("status")),
            ("APT::Architecture", "amd64".into()),
        ]);
        Ok(apt)
    }

    fn new(lists: &Path, work: &Path) -> Result<Self> {
        let cache = work.join("cache");
        let archives = cache.join("archives");
        fs::create_dir_all(lists.join("partial"))?;
        fs::create_dir_all(archives.join("partial"))?;
        let settings = vec![
            ("Dir::State::Lists", lists.to_path_buf()),
            ("Dir::Cache", cache),
            ("Acquire::Languages", "none".into()),
            // A mirror may stand still. Its signature is checked all the same.
            ("Acquire::Check-Valid-Until", "false".into()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".into(),
            ),
            // What root starts would fetch as a user that cannot write into root's cache.
            ("APT::Sandbox::User", "root".into()),
            // The lock of the installed packages is root's, and none of them is changed here.
            ("Debug::NoLocking", "true".into()),
        ];
        Ok(Self { settings, archives })
    }

    /// Fetches a package with all that it depends on and that is not installed, and unpacks them.
    pub fn extract_with_dependencies(&self, package: &str, into: &Path) -> Result<()> {
        let mut fetch = self.command("apt-get");
        fetch.args([
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "--download-only",
            "install",
            package,
        ]);
        process::run(&mut fetch)?;
        extract(&self.archives, into)
    }

    /// `apt-get` or `apt-cache` on this apt's state.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, value) in &self.settings {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command
    }
}

/// Unpacks a package of the host's own sources, with what it depends on and the host lacks.
///
/// What it takes is resolved as if nothing were installed: what is may exclude the package, and then apt
/// would find no way, or one that removes something.
pub fn unpack_for_this_host(package: &str, work: &Path, into: &Path) -> Result<()> {
    if process::find("apt-get").is_none() {
        bail!("there is no apt here; install what your distribution calls {package}");
    }
    let folder = workspace::cache_dir()?.join("apt");
    let mut apt = Apt::new(&folder.join("lists"), work)
        .with_context(|| format!("cannot prepare {}", folder.display()))?;
    let status = work.join("status");
    fs::write(&status, "")?;
    apt.settings.push(("Dir::State::Status", status));
    // One at a time, also of several processes: apt's own locks are off.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    static UPDATED: Mutex<bool> = Mutex::new(false);
    let mut is_updated = UPDATED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*is_updated {
        eprintln!("xtask: reading the package lists");
        process::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        *is_updated = true;
    }
    let mut plan = apt.command("apt-get");
    plan.args(["--simulate", "--no-install-recommends", "install", package]);
    let plan = process::output(&mut plan)?;
    let mut wanted = planned(&plan);
    wanted.retain(|(name, _)| *name == package || !packages::is_installed(name));
    let download = work.join("download");
    fs::create_dir_all(&download)?;
    let mut fetch = apt.command("apt-get");
    fetch.args(["--quiet", "download"]).current_dir(&download);
    fetch.args(
        wanted
            .iter()
            .map(|(name, version)| format!("{name}={version}")),
    );
    process::run(&mut fetch)?;
    extract(&download, into)?;
    keep_links_within(into, into)
}

/// Names and versions of what apt would install: `Inst runc (1.1.5+ds1-1 Debian:12.15/oldstable [amd64])`.
fn planned(plan: &str) -> Vec<(&str, &str)> {
    plan.lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            Some((name, rest.split_whitespace().next()?))
        })
        .collect()
}

/// Unpacks the packages that lie in a folder; nothing is installed and no script of theirs runs.
pub fn extract(debs: &Path, into: &Path) -> Result<()> {
    let entries = fs::read_dir(debs).with_context(|| format!("cannot list {}", debs.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut extract = Command::new("dpkg-deb");
            process::run(extract.arg("--extract").arg(path).arg(into))?;
        }
    }
    Ok(())
}

/// Makes links to absolute paths lead to what was unpacked with them (a JDK's settings are below
/// /etc). They become relative, so that the folder can be moved.
fn keep_links_within(root: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() {
            keep_links_within(root, &path)?;
        } else if kind.is_symlink()
            && let Ok(target) = fs::read_link(&path)?.strip_prefix("/")
            && root.join(target).symlink_metadata().is_ok()
        {
            let depth = folder.strip_prefix(root)?.components().count();
            let up: PathBuf = std::iter::repeat_n("..", depth).collect();
            fs::remove_file(&path)?;
            symlink(up.join(target), &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_names_and_versions() {
        let plan = "NOTE: This is only a simulation!\n\
                    Inst libslirp0 (4.7.0-1 Debian:12.15/oldstable [amd64])\n\
                    Inst seabios (1.16.2-1 Debian:12.15/oldstable [all])\n\
                    Conf seabios (1.16.2-1 Debian:12.15/oldstable [all])\n";
        let expected = [("libslirp0", "4.7.0-1"), ("seabios", "1.16.2-1")];
        assert_eq!(planned(plan), expected);
    }

    #[test]
    fn a_link_to_an_absolute_path_leads_to_what_was_unpacked() {
        let root = std::env::temp_dir().join(format!("xtask-links-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/jvm")).expect("a folder");
        fs::create_dir_all(root.join("usr/lib/jvm")).expect("a folder");
        fs::write(root.join("etc/jvm/settings"), "unpacked").expect("a file");
        let inside = root.join("usr/lib/jvm/conf");
        let outside = root.join("usr/lib/jvm/hosts");
        symlink("/etc/jvm", &inside).expect("a link");
        symlink("/etc/hosts", &outside).expect("a link");
        keep_links_within(&root, &root).expect("links");
        let read = fs::read_to_string(inside.join("settings"));
        let other = fs::read_link(outside);
        fs::remove_dir_all(&root).expect("removed");
        assert_eq!(read.expect("the unpacked file"), "unpacked");
        assert_eq!(other.expect("a link"), Path::new("/etc/hosts"));
    }
}
