//! Programs that tests run and that are not made here.
//!
//! In: their names. Out: where they are. What is installed is used;
//! anything else is unpacked into the cache and never installed: an installation can exclude what this
//! machine has (another QEMU, another containerd), starts services (Prometheus, containerd), and needs
//! root.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{apt, cache, process, workspace};

/// Packages, and which of their programs are used.
const PACKAGES: [(&str, &[&str]); 11] = [
    ("bpftool", &["bpftool"]),
    ("bpftrace", &["bpftrace"]),
    ("busybox-static", &["busybox"]),
    (
        "containerd",
        &["containerd", "containerd-shim-runc-v2", "ctr"],
    ),
    ("default-jdk-headless", &["javac", "java"]),
    ("forkstat", &["forkstat"]),
    ("prometheus", &["prometheus", "promtool"]),
    ("prometheus-alertmanager", &["prometheus-alertmanager"]),
    ("qemu-system-x86", &["qemu-system-x86_64"]),
    ("runc", &["runc"]),
    ("tmux", &["tmux"]),
];

/// What tests with real containers take: a runtime, and what its image is made of.
pub const CONTAINERS: [&str; 5] = [
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "runc",
    "busybox",
];

/// Look for files of theirs below /usr/share, wherever they are started from.
const BOUND_TO_THEIR_PLACE: [&str; 1] = ["prometheus-alertmanager"];

/// Where it is looked for, below where packages are unpacked.
const FOLDERS: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// Makes sure that programs are there. `purpose` ends the sentence "... for ...".
pub fn ensure(wanted: &[&str], purpose: &str) -> Result<()> {
    let is_missing = |program: &&str| wanted.contains(program) && process::find(program).is_none();
    for (package, programs) in PACKAGES {
        if programs.iter().any(is_missing) {
            unpack(package, programs, purpose)
                .with_context(|| format!("{purpose} needs the package {package}"))?;
        }
    }
    Ok(())
}

fn unpack(package: &str, programs: &[&str], purpose: &str) -> Result<()> {
    let is_whole = |folder: &Path| {
        let mut programs = programs.iter().map(|name| unpacked(folder, name));
        programs.all(|program| program.is_some_and(|program| program.libraries().is_ok()))
    };
    let make = |work: &Path, ready: &Path| {
        eprintln!("xtask: unpacking {package} into the cache, for {purpose}");
        apt::unpack_for_this_host(package, work, &ready.join("root"))?;
        fs::create_dir(ready.join("bin"))?;
        programs.iter().try_for_each(|name| offer(ready, name))
    };
    cache::ensure(&format!("programs/{package}"), is_whole, make).map(drop)
}

/// A program of this machine or of the cache.
pub struct Program {
    /// The file itself.
    pub path: PathBuf,
    /// Where its package and what that needs was unpacked.
    root: Option<PathBuf>,
}

/// A program that is installed, or was unpacked by [`ensure`].
pub fn find(name: &str) -> Result<Program> {
    let installed = || {
        let path = process::find(name)?;
        Some(Program { path, root: None })
    };
    let unpacked = || folders().iter().find_map(|folder| unpacked(folder, name));
    installed()
        .or_else(unpacked)
        .with_context(|| format!("there is no {name}"))
}

/// The value of PATH for whatever runs such programs by name: this machine's own come first.
pub fn path() -> Result<OsString> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders().into_iter().map(|folder| folder.join("bin"));
    Ok(std::env::join_paths(
        std::env::split_paths(&own).chain(folders),
    )?)
}

/// One for each package that is unpacked.
fn folders() -> Vec<PathBuf> {
    let folder = workspace::cache_dir().map(|cache| cache.join("programs"));
    let entries = folder.ok().and_then(|folder| fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = paths
        .map(|entry| entry.path())
        .filter(|path| path.join("bin").is_dir())
        .collect();
    folders.sort();
    folders
}

/// The program in a folder of the cache; none unless it can be run by name.
fn unpacked(folder: &Path, name: &str) -> Option<Program> {
    let root = folder.join("root");
    folder.join("bin").join(name).exists().then_some(())?;
    let path = place(&root, name)?;
    Some(Program {
        path,
        root: Some(root),
    })
}

/// Where a program is among unpacked packages.
fn place(root: &Path, name: &str) -> Option<PathBuf> {
    let jvms = fs::read_dir(root.join("usr/lib/jvm"));
    let jvms = jvms.into_iter().flatten().flatten();
    // By those links only an installed JDK would have its programs in /usr/bin.
    let jvms = jvms.map(|entry| entry.path().join("bin"));
    let folders = FOLDERS.iter().map(|folder| root.join(folder));
    folders
        .chain(jvms)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Puts what runs the program into the folder for PATH: a link, or where it needs more a script.
fn offer(folder: &Path, name: &str) -> Result<()> {
    let root = folder.join("root");
    let path = place(&root, name).with_context(|| format!("the package has no {name}"))?;
    let program = Program {
        path,
        root: Some(root.clone()),
    };
    let inside = program.path.strip_prefix(&root)?.display();
    let entry = folder.join("bin").join(name);
    let is_bound = BOUND_TO_THEIR_PLACE.contains(&name);
    let libraries = program.libraries()?;
    if !is_bound && !libraries.iter().any(|library| library.starts_with(&root)) {
        return Ok(symlink(format!("../root/{inside}"), entry)?);
    }
    let mut script = "#!/bin/sh\nroot=\"${0%/*}/../root\"\n".to_owned();
    let libraries: Vec<String> = folders_of_libraries(&root)
        .iter()
        .map(|folder| format!("$root/{}", folder.display()))
        .collect();
    if !libraries.is_empty() {
        script += &format!("export LD_LIBRARY_PATH=\"{}\"\n", libraries.join(":"));
    }
    if is_bound {
        script += "exec unshare --mount sh -c \
                   'mount --bind \"$0/usr/share\" /usr/share && exec \"$@\"' \"$root\" ";
    } else {
        script += "exec ";
    }
    script += &format!("\"$root/{inside}\" \"$@\"\n");
    fs::write(&entry, script)?;
    Ok(fs::set_permissions(
        &entry,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// Folders of libraries, seen from the root: those of the CPU architecture.
fn folders_of_libraries(root: &Path) -> Vec<PathBuf> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let mut folders: Vec<PathBuf> = ["usr/lib", "lib"]
        .map(|folder| Path::new(folder).join(&triplet))
        .into();
    folders.retain(|folder| root.join(folder).is_dir());
    folders
}

impl Program {
    /// A program that was built here.
    pub fn built(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            root: None,
        }
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        self.set_libraries(&mut command);
        command
    }

    fn set_libraries(&self, command: &mut Command) {
        let Some(root) = &self.root else { return };
        let folders = folders_of_libraries(root);
        let folders: Vec<_> = folders
            .iter()
            .map(|folder| root.join(folder).display().to_string())
            .collect();
        if !folders.is_empty() {
            command.env("LD_LIBRARY_PATH", folders.join(":"));
        }
    }

    /// The dynamic libraries and the loader that it loads; an error if it lacks one.
    pub fn libraries(&self) -> Result<BTreeSet<PathBuf>> {
        let mut ldd = Command::new("ldd");
        self.set_libraries(ldd.arg(&self.path));
        match process::output(&mut ldd) {
            Ok(listing) => parse_ldd(&listing)
                .with_context(|| format!("{} cannot be run", self.path.display())),
            // A static program makes ldd fail, and needs nothing.
            Err(error) if format!("{error}").contains("not a dynamic executable") => {
                Ok(BTreeSet::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Where a library of it would be, were its package installed.
    pub fn place_of(&self, library: &Path) -> PathBuf {
        let root = self.root.as_deref();
        match root.and_then(|root| library.strip_prefix(root).ok()) {
            Some(inside) => Path::new("/").join(inside),
            None => library.to_path_buf(),
        }
    }
}

fn parse_ldd(listing: &str) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for line in listing.lines() {
        let (name, place) = line.split_once("=>").unwrap_or((line, line));
        if place.trim() == "not found" {
            bail!("it lacks the library {}", name.trim());
        }
        let path = place.split_whitespace().next();
        libraries.extend(path.filter(|path| path.starts_with('/')).map(PathBuf::from));
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let listing = "\tlinux-vdso.so.1 (0x00007f)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(
            parse_ldd(listing).expect("libraries"),
            expected.map(PathBuf::from).into()
        );
    }

    #[test]
    fn a_library_that_is_not_there_is_an_error_with_its_name() {
        let listing = "\tlibslirp.so.0 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n";
        let error = parse_ldd(listing).expect_err("a library is missing");
        assert_eq!(error.to_string(), "it lacks the library libslirp.so.0");
    }
}
