//! Kernels to test on, taken from Debian's packages.
//!
//! In: a series such as `6.12`. Out: its newest packaged kernel, kept in the cache; a cached one is
//! used as it is, without the network, until its folder is deleted. Other suites than the host's
//! are read through an apt state of our own, so that the host's sources stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::mirror::Mirror;
use crate::{apt, cache, process};

/// Where a series is packaged.
struct Series {
    name: &'static str,
    /// The suite of the main archive; its security suite is looked at too.
    suite: &'static str,
    has_security: bool,
    /// What the name of the package with the kernel image begins and ends with. "cloud" kernels are
    /// small and have all that a guest needs built in.
    package: (&'static str, &'static str),
}

const SERIES: [Series; 4] = [
    Series {
        name: "5.10",
        suite: "bullseye",
        has_security: true,
        package: ("linux-image-5.10.", "-cloud-amd64"),
    },
    Series {
        name: "6.1",
        suite: "bookworm",
        has_security: true,
        package: ("linux-image-6.1.", "-cloud-amd64"),
    },
    Series {
        name: "6.12",
        suite: "bookworm",
        has_security: true,
        package: ("linux-image-6.12.", "-cloud-amd64"),
    },
    // From here on the image is in a package beside the one with the modules.
    Series {
        name: "7.2",
        suite: "sid",
        has_security: false,
        package: ("linux-binary-7.2.", "-cloud-amd64"),
    },
];

/// A kernel that QEMU can boot.
pub struct Kernel {
    pub series: String,
    /// As its package says, without the packaging's own part: `6.12.57`.
    pub version: String,
    pub image: PathBuf,
}

/// All series, oldest first.
pub fn all() -> impl Iterator<Item = &'static str> {
    SERIES.iter().map(|series| series.name)
}

/// The kernel of a series, fetched if it is not in the cache.
pub fn ensure(name: &str) -> Result<Kernel> {
    let series = SERIES
        .iter()
        .find(|series| series.name == name)
        .with_context(|| {
            let known: Vec<_> = all().collect();
            format!(
                "there is no kernel {name} to test on, only {}",
                known.join(", ")
            )
        })?;
    let is_whole = |folder: &Path| cached(series, folder).is_some();
    let fetch = |work: &Path, ready: &Path| fetch(series, work, ready);
    let folder = cache::ensure(&format!("kernels/{name}"), is_whole, fetch)
        .with_context(|| format!("cannot fetch a kernel {name}"))?;
    cached(series, &folder).with_context(|| format!("{} was removed", folder.display()))
}

fn cached(series: &Series, folder: &Path) -> Option<Kernel> {
    let image = folder.join("vmlinuz");
    let version = fs::read_to_string(folder.join("version")).ok()?;
    image.is_file().then(|| Kernel {
        series: series.name.into(),
        // The packaging's revision follows a dash, what is repackaged of it a plus or a tilde.
        version: version
            .trim()
            .split(['-', '+', '~'])
            .next()
            .unwrap_or_default()
            .into(),
        image,
    })
}

fn fetch(series: &Series, work: &Path, ready: &Path) -> Result<()> {
    let suite = Mirror::of_this_host()?.open(work, series.suite, series.has_security)?;
    let (start, end) = series.package;
    let names = process::output(suite.command("apt-cache").args(["pkgnames", start]))?;
    let package = newest(names.lines().filter(|name| name.ends_with(end)))
        .with_context(|| format!("{} has no package {start}*{end}", series.suite))?;
    eprintln!("xtask: fetching {package} from {}", series.suite);
    let download = work.join("download");
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&download)?;
    process::run(
        suite
            .command("apt-get")
            .args(["--quiet", "download", package])
            .current_dir(&download),
    )?;
    let deb = only_file(&download, |name| name.ends_with(".deb"))?;
    apt::extract(&download, &unpacked)?;
    let version = process::output(
        Command::new("dpkg-deb")
            .arg("--field")
            .arg(&deb)
            .arg("Version"),
    )?;

    // In /boot, with the release in its name, or among the modules without it.
    let image = only_file(&unpacked, |name| {
        name == "vmlinuz" || name.starts_with("vmlinuz-")
    })?;
    fs::rename(image, ready.join("vmlinuz"))?;
    Ok(fs::write(ready.join("version"), version)?)
}

/// The name with the highest numbers in it, which for kernels is the newest. Unsigned and debug
/// packages end otherwise and are not among the names.
fn newest<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.max_by_key(|name| {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        numbers
            .filter_map(|number| number.parse().ok())
            .collect::<Vec<u64>>()
    })
}

/// The one file below a folder whose name is wanted.
fn only_file(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let entries =
            fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_wanted(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => bail!(
            "{} holds not one such file, but {found:?}",
            folder.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_number_and_not_by_letter() {
        let names = [
            "linux-image-5.10.0-9-cloud-amd64",
            "linux-image-5.10.0-36-cloud-amd64",
        ];
        assert_eq!(newest(names.into_iter()), Some(names[1]));
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.57+deb12-cloud-amd64",
        ];
        assert_eq!(newest(names.into_iter()), Some(names[1]));
        assert_eq!(newest([].into_iter()), None);
    }
}
