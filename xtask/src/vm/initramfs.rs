//! What a guest boots into: busybox, the three test programs, the libraries they load, and an
//! `/init` that sets the stage, runs the scenarios and switches the guest off.
//!
//! In: programs of this host. Out: one archive for all kernels; what differs between guests comes
//! on the kernel's command line (`pidwatch.layout=`, `pidwatch.shell`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::programs::{self, Program};
use crate::scenarios::{Scenarios, guest_path};

/// Printed by `/init` with the runner's exit status after it.
pub const MARKER: &str = "pidwatch-guest: exit status ";

const FOLDER: &str = "/opt/pidwatch";
/// Where `/init` looks for the image.
const IMAGES: &str = "/opt/image";
const BUSYBOX: &str = "busybox";

/// The archive. `args` go to the runner of the scenarios.
pub fn build(scenarios: &Scenarios, args: &[String]) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    add(&mut files, "/bin/busybox".into(), &programs::find(BUSYBOX)?)?;
    for program in scenarios.programs() {
        let place = guest_path(FOLDER, program);
        add(&mut files, place, &Program::built(program))?;
    }

    let mut archive = Archive::default();
    let mut folders: BTreeSet<PathBuf> = ["/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp"]
        .into_iter()
        .map(PathBuf::from)
        .collect();
    for place in files.keys() {
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
    let mut files = BTreeMap::from([(guest_path(IMAGES, image), image.to_path_buf())]);
    for name in programs::CONTAINERS.iter().filter(|name| **name != BUSYBOX) {
        add(
            &mut files,
            format!("{FOLDER}/{name}"),
            &programs::find(name)?,
        )?;
    }
    let mut archive = Archive::default();
    let folders: BTreeSet<PathBuf> = files
        .keys()
        .flat_map(|place| Path::new(place).ancestors().skip(1).map(Path::to_path_buf))
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

/// Puts a program at its place in the guest, and the libraries it loads where the loader looks.
fn add(files: &mut BTreeMap<String, PathBuf>, place: String, program: &Program) -> Result<()> {
    for library in program.libraries()? {
        files.insert(program.place_of(&library).display().to_string(), library);
    }
    files.insert(place, program.path.clone());
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_quotes_stays_one_word() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
