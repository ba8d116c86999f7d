//! What the sysctl files set at boot (sysctl.d(5)).

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Directories of sysctl.d(5): a file in an earlier one hides one of the same name in a later one.
const DIRECTORIES: [&str; 4] = [
    "etc/sysctl.d",
    "run/sysctl.d",
    "usr/local/lib/sysctl.d",
    "usr/lib/sysctl.d",
];
/// Read last by `sysctl --system` (procps).
const LAST: &str = "etc/sysctl.conf";

/// Settings by their path below /proc/sys, with the file that sets them.
#[derive(Debug, Default)]
pub struct SysctlSettings(BTreeMap<String, (String, PathBuf)>);

impl SysctlSettings {
    /// A setting that is a number, and the file.
    pub fn number(&self, name: &str) -> Option<(u64, PathBuf)> {
        let (value, file) = self.0.get(name)?;
        Some((value.parse().ok()?, file.clone()))
    }

    fn add(&mut self, text: &str, file: &Path) {
        for line in text.lines().map(str::trim) {
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some((name, value)) = line.split_once('=') {
                // `-` in front: errors do not matter. Words are parted by dots or slashes.
                let name = name.trim().trim_start_matches('-').replace('.', "/");
                self.0
                    .insert(name, (value.trim().to_owned(), file.to_owned()));
            }
        }
    }
}

/// Reads the files below the node's root, in the order in which they are applied.
///
/// # Errors
/// When a directory or file is there and cannot be read.
pub fn read(root: &Path) -> io::Result<SysctlSettings> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    // Of names that are in several, the first directory's counts.
    for directory in DIRECTORIES.iter().rev() {
        let entries = match fs::read_dir(root.join(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
                && let Some(name) = path.file_name()
            {
                files.insert(name.to_owned(), path);
            }
        }
    }
    let mut settings = SysctlSettings::default();
    for path in files.into_values().chain([root.join(LAST)]) {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let shown = Path::new("/").join(path.strip_prefix(root).unwrap_or(&path));
                settings.add(&text, &shown);
            }
            // A dangling link, as Debian leaves one to its sysctl.conf.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_file_by_name_wins_and_etc_hides_usr() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "usr/lib/sysctl.d/50-pid-max.conf",
            "kernel.pid_max = 4194304\n",
        );
        write("usr/lib/sysctl.d/90-x.conf", "kernel/threads-max=7\n");
        write(
            "etc/sysctl.d/90-x.conf",
            "# nothing\n-kernel.threads-max = 9\n",
        );
        let settings = read(root.path()).unwrap();
        assert_eq!(
            settings.number("kernel/pid_max"),
            Some((4_194_304, "/usr/lib/sysctl.d/50-pid-max.conf".into()))
        );
        assert_eq!(
            settings.number("kernel/threads-max"),
            Some((9, "/etc/sysctl.d/90-x.conf".into()))
        );
        write("etc/sysctl.conf", "kernel.pid_max=49152\n");
        let settings = read(root.path()).unwrap();
        assert_eq!(
            settings.number("kernel/pid_max"),
            Some((49_152, "/etc/sysctl.conf".into()))
        );
        assert_eq!(settings.number("kernel/panic"), None);
    }
}
