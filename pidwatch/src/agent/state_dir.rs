//! The agent's folder: what outlives it. Without one everything else goes on.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{cgroup::Tree, node::StateFile};

/// A folder that is this agent's alone, as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Opens it, and makes it if it is not there. What is wrong with it is told.
    pub fn open(path: &Path) -> Option<Self> {
        match Self::lock(path) {
            Ok(lock) => Some(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(error) => {
                let cause = match error.kind() {
                    io::ErrorKind::WouldBlock => "another agent uses it".to_owned(),
                    _ => error.to_string(),
                };
                tracing::warn!(
                    "cannot use the state folder {}: {cause}; going on without flight recorder, and open \
                     incidents are new ones after a restart; name another folder with --state-dir",
                    path.display()
                );
                None
            }
        }
    }

    fn lock(path: &Path) -> io::Result<File> {
        fs::create_dir_all(path)?;
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock)
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of open incidents. One that cannot be used is put aside: an agent starts without whoever
    /// could remove it.
    pub fn incidents(&self, proc_root: &Path) -> PathBuf {
        let path = self.path.join("state.json");
        if let Err(error) = StateFile::new(&path, proc_root).load(&Tree::default()) {
            let aside = self.path.join("state.json.unusable");
            tracing::warn!(
                "cannot use {}: {error}; putting it aside as {}",
                path.display(),
                aside.display()
            );
            if let Err(error) = fs::rename(&path, &aside) {
                tracing::warn!("cannot put it aside: {error}");
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_agent_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/one");
        let first = StateDir::open(&path).unwrap();
        assert!(StateDir::open(&path).is_none());
        drop(first);
        assert!(StateDir::open(&path).is_some());
        assert!(StateDir::open(Path::new("/proc/none")).is_none());
    }

    #[test]
    fn a_state_file_that_cannot_be_used_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let file = state.incidents(Path::new("/proc"));
        fs::write(&file, "{").unwrap();
        state.incidents(Path::new("/proc"));
        assert!(!file.exists());
        let aside = folder.path().join("state.json.unusable");
        assert_eq!(fs::read_to_string(aside).unwrap(), "{");
    }
}
