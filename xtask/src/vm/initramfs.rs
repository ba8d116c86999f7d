//! What a guest boots into: busybox, the three test programs, the libraries they load, and an
//! `/init` that sets the stage, runs the scenarios and switches the guest off.
//!
//! In: programs of this host. Out: one archive for all kernels; what differs between guests comes
//! on the kernel's command line (`pidwatch.layout=`, `pidwatch.shell`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::process;
use crate::scenarios::{Scenarios, guest_path};

/// Printed by `/init` with the runner's exit status after it.
pub const MARKER: &str = "pidwatch-guest: exit status ";

const FOLDER: &str = "/opt/pidwatch";
/// Where `/init` looks for the image.
const IMAGES: &str = "/opt/image";
const BUSYBOX: &str = "busybox";

/// The archive. `args` go to the runner of the scenarios.
pub fn build(scenarios: &Scenarios, args: &[String]) -> Result<Vec<u8>> {
    let busybox = process::find(BUSYBOX).context("there is no busybox; install busybox-static")?;
    let mut files: Vec<(String, PathBuf)> = vec![("/bin/busybox".into(), busybox)];
    let mut libraries = libraries_of(&files[0].1)?;
    for program in scenarios.programs() {
        files.push((guest_path(FOLDER, program), program.to_path_buf()));
        libraries.append(&mut libraries_of(program)?);
    }
    files.extend(
        libraries
            .into_iter()
            .map(|library| (library.display().to_string(), library)),
    );

    let mut archive = Archive::default();
    let mut folders: BTreeSet<PathBuf> = ["/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp"]
        .into_iter()
        .map(PathBuf::from)
        .collect();
    for (place, _) in &files {
        folders.extend(Path::new(place).ancestors().skip(1).map(Path::to_path_buf));
    }
    // In order, a folder comes before what is in it.
    for folder in folders.iter().filter(|folder| *folder != Path::new("/")) {
        archive.directory(&folder.display().to_string());
    }
    // Without a console there from the start, init would have no standard output.
    archive.device("/dev/console", (5, 1));
    archive.symlink("/bin/sh", BUSYBOX);
    archive.file(
        "/etc/passwd",
        b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    );
    archive.file("/etc/group", b"root:x:0:\nnogroup:x:65534:\n");
    archive.file("/init", init(scenarios, args).as_bytes());
    for (place, source) in files {
        let content =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        archive.file(&place, &content);
    }
    Ok(archive.finish())
}

/// An archive to come after the other, with what containers take, and pidwatch's own image.
pub fn container_runtime(image: &Path) -> Result<Vec<u8>> {
    let mut files = vec![(guest_path(IMAGES, image), image.to_path_buf())];
    let mut libraries = BTreeSet::new();
    for name in ["containerd", "containerd-shim-runc-v2", "runc", "ctr"] {
        let program = process::find(name)
            .with_context(|| format!("there is no {name}; install containerd and runc"))?;
        libraries.append(&mut libraries_of(&program)?);
        files.push((guest_path(FOLDER, &program), program));
    }
    files.extend(
        libraries
            .into_iter()
            .map(|library| (library.display().to_string(), library)),
    );
    let mut archive = Archive::default();
    let folders: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|(place, _)| Path::new(place).ancestors().skip(1).map(Path::to_path_buf))
        .collect();
    for folder in folders.iter().filter(|folder| *folder != Path::new("/")) {
        archive.directory(&folder.display().to_string());
    }
    // containerd copies both into every pod.
    archive.file("/etc/hosts", b"127.0.0.1 localhost\n");
    archive.file("/etc/resolv.conf", b"");
    for (place, source) in files {
        let content =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        archive.file(&place, &content);
    }
    Ok(archive.finish())
}

fn init(scenarios: &Scenarios, args: &[String]) -> String {
    let mut exports = vec![("PIDWATCH_GUEST".to_owned(), "1".to_owned())];
    exports.extend(scenarios.variables(Some(FOLDER)));
    let exports: Vec<_> = exports
        .iter()
        .map(|(name, value)| format!("export {name}={}", quoted(value)))
        .collect();
    let runner = guest_path(FOLDER, &scenarios.runner);
    let mut command = vec![quoted(&runner)];
    command.extend(args.iter().map(|arg| quoted(arg)));
    include_str!("init.sh")
        .replace("@EXPORTS@", &exports.join("\n"))
        .replace("@SCENARIOS@", &command.join(" "))
        .replace("@MARKER@", MARKER)
}

/// A word as the shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The dynamic libraries and the loader of a program, at the paths where the loader looks.
fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut ldd = Command::new("ldd");
    match process::output(ldd.arg(program)) {
        Ok(listing) => Ok(parse_ldd(&listing)),
        // A static program makes ldd fail, and needs nothing.
        Err(error) if format!("{error}").contains("not a dynamic executable") => {
            Ok(BTreeSet::new())
        }
        Err(error) => Err(error),
    }
}

fn parse_ldd(listing: &str) -> BTreeSet<PathBuf> {
    let path_in = |line: &str| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = line.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    listing.lines().filter_map(path_in).collect()
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
        assert_eq!(parse_ldd(listing), expected.map(PathBuf::from).into());
    }

    #[test]
    fn a_word_with_quotes_stays_one_word() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
