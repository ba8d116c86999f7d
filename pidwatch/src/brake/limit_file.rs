//! `pids.max` and `pids.current` of one cgroup, through its open directory: if another cgroup takes over the path,
//! it is not touched.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::fs::{Mode, OFlags, openat};

use super::PidsMax;
use crate::cgroup::directory;

/// An open cgroup directory.
#[derive(Debug)]
pub struct LimitFile {
    directory: File,
}

impl LimitFile {
    /// Opens the cgroup at `path`; `None` unless it has this id.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn open(mount: &Path, path: &[u8], cgroup_id: u64) -> io::Result<Option<Self>> {
        let directory = match File::open(directory(mount, path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let is_same = directory.metadata()?.ino() == cgroup_id;
        Ok(is_same.then_some(Self { directory }))
    }

    /// `pids.max`; `None` if the cgroup was removed.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if the pids controller is not enabled for it, or when reading fails.
    pub fn limit(&self) -> io::Result<Option<PidsMax>> {
        let Some(text) = self.read("pids.max")? else {
            return Ok(None);
        };
        let parsed = text.parse();
        Ok(Some(parsed.map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it holds `{}`", text.trim()),
            )
        })?))
    }

    /// `pids.current`: charged tasks, including descendants'; `None` if the cgroup was removed.
    ///
    /// # Errors
    /// As [`LimitFile::limit`].
    pub fn usage(&self) -> io::Result<Option<u64>> {
        let text = self.read("pids.current")?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    /// Writes `pids.max`.
    ///
    /// # Errors
    /// [`io::ErrorKind::ReadOnlyFilesystem`] on a read-only mount, or when writing fails.
    pub fn set_limit(&self, limit: PidsMax) -> io::Result<()> {
        let mut file = self.open_file("pids.max", OFlags::WRONLY)?;
        file.write_all(limit.to_string().as_bytes())
    }

    /// Whether this process may write `pids.max`: the mount may be read-only.
    pub fn is_writable(&self) -> bool {
        self.open_file("pids.max", OFlags::WRONLY).is_ok()
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        let mut text = String::new();
        let read = self
            .open_file(name, OFlags::RDONLY)
            .and_then(|mut file| file.read_to_string(&mut text));
        match read {
            Ok(_) => Ok(Some(text)),
            // Files of a removed cgroup return ENODEV, and its directory is empty.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_removed()? => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_removed(&self) -> io::Result<bool> {
        Ok(self.directory.metadata()?.nlink() == 0)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let file = openat(
            &self.directory,
            name,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(file.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn another_cgroup_at_the_same_path_is_not_touched() {
        let mount = tempfile::tempdir().unwrap();
        let make = || {
            fs::create_dir(mount.path().join("a")).unwrap();
            fs::write(mount.path().join("a/pids.max"), "max\n").unwrap();
            fs::metadata(mount.path().join("a")).unwrap().ino()
        };
        let id = make();
        let file = LimitFile::open(mount.path(), b"/a", id).unwrap().unwrap();
        assert_eq!(file.limit().unwrap(), Some(PidsMax::Unlimited));
        file.set_limit(PidsMax::Tasks(30)).unwrap();
        let text = fs::read_to_string(mount.path().join("a/pids.max")).unwrap();
        assert!(text.starts_with("30"), "{text}");
        assert!(
            LimitFile::open(mount.path(), b"/a", id + 1)
                .unwrap()
                .is_none()
        );
        assert!(LimitFile::open(mount.path(), b"/b", id).unwrap().is_none());
        fs::remove_dir_all(mount.path().join("a")).unwrap();
        assert_eq!(file.limit().unwrap(), None, "gone");
    }

    #[test]
    fn a_cgroup_without_the_controller_is_not_reported_as_removed() {
        let mount = tempfile::tempdir().unwrap();
        let id = fs::metadata(mount.path()).unwrap().ino();
        let file = LimitFile::open(mount.path(), b"/", id).unwrap().unwrap();
        assert_eq!(file.limit().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
