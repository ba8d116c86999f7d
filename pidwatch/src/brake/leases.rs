//! The leases on this node: one JSON file per braked cgroup, named by its id.
//!
//! The folder is below /run and closed to everyone but root; after a reboot its content is void. Files are replaced
//! atomically (write, sync, rename). Every change is made under the folder's lock, so concurrent processes never
//! overwrite each other.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Lease;

/// Version of the format: another one's is not read.
const FORMAT: u32 = 1;

/// The leases cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A file or the folder failed.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The folder is not private.
    #[error(
        "{} must be owned by root with mode 0700: its content decides which limits are restored",
        .0.display()
    )]
    Open(PathBuf),
}

/// Content of a lease file.
#[derive(Deserialize, Serialize)]
struct LeaseFile {
    pidwatch_brake: u32,
    boot_id: String,
    lease: Lease,
}

/// The folder of leases.
#[derive(Debug)]
pub struct Leases {
    folder: PathBuf,
    boot_id: String,
}

/// The folder's lock, released on drop.
pub struct Locked<'a> {
    leases: &'a Leases,
    _lock: File,
}

impl Leases {
    /// Opens the folder, creating it if necessary.
    ///
    /// # Errors
    /// When it cannot be created or is not private.
    pub fn open(folder: &Path, proc_root: &Path) -> Result<Self, LeaseError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| file_error(folder, error))?;
        Self::private(folder, proc_root)
    }

    /// Opens the folder if it exists.
    ///
    /// # Errors
    /// When it is not private.
    pub fn existing(folder: &Path, proc_root: &Path) -> Result<Option<Self>, LeaseError> {
        match Self::private(folder, proc_root) {
            Err(LeaseError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            leases => leases.map(Some),
        }
    }

    fn private(folder: &Path, proc_root: &Path) -> Result<Self, LeaseError> {
        let meta = fs::symlink_metadata(folder).map_err(|error| file_error(folder, error))?;
        let is_private = meta.is_dir()
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.permissions().mode() & 0o077 == 0;
        if !is_private {
            return Err(LeaseError::Open(folder.to_owned()));
        }
        let boot_id = proc_root.join("sys/kernel/random/boot_id");
        let read = fs::read_to_string(&boot_id).map_err(|error| file_error(&boot_id, error))?;
        Ok(Self {
            folder: folder.to_owned(),
            boot_id: read.trim().to_owned(),
        })
    }

    /// Whether the folder no longer exists.
    pub fn is_removed(&self) -> bool {
        !self.folder.exists()
    }

    /// Waits for the folder's lock.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn lock(&self) -> Result<Locked<'_>, LeaseError> {
        let path = self.folder.join("lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|file| {
                flock(&file, FlockOperation::LockExclusive)?;
                Ok(file)
            });
        Ok(Locked {
            leases: self,
            _lock: lock.map_err(|error| file_error(&path, error))?,
        })
    }

    /// Claims the task of ending a lease, for the lifetime of the returned file; `None` if another process has it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn hold(&self, cgroup_id: u64) -> Result<Option<File>, LeaseError> {
        // `is_held` takes the file's lock for a moment.
        let _locked = self.lock()?;
        let path = self.holder(cgroup_id);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| file_error(&path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(file_error(&path, error.into())),
        }
    }

    /// Whether a live process will end the lease.
    pub fn is_held(&self, cgroup_id: u64) -> bool {
        let Ok(_locked) = self.lock() else {
            return false;
        };
        let Ok(file) = File::open(self.holder(cgroup_id)) else {
            return false;
        };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// All leases of this boot that can be read. Those that cannot go to `unreadable`: one damaged file must not keep the
    /// others' limits from being restored.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self, mut unreadable: impl FnMut(LeaseError)) -> Result<Vec<Lease>, LeaseError> {
        let mut leases = Vec::new();
        let entries =
            fs::read_dir(&self.folder).map_err(|error| file_error(&self.folder, error))?;
        for entry in entries {
            let path = entry
                .map_err(|error| file_error(&self.folder, error))?
                .path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                match self.read(&path) {
                    Ok(lease) => leases.extend(lease),
                    Err(error) => unreadable(error),
                }
            }
        }
        leases.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(leases)
    }

    /// A cgroup's lease; `None` if there is none from this boot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(&self, cgroup_id: u64) -> Result<Option<Lease>, LeaseError> {
        self.read(&self.file(cgroup_id))
    }

    fn read(&self, path: &Path) -> Result<Option<Lease>, LeaseError> {
        let read = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| file_error(path, error))?,
        };
        let file: LeaseFile =
            serde_json::from_slice(&read).map_err(|error| file_error(path, error.into()))?;
        if file.pidwatch_brake != FORMAT {
            let text = format!("it has format {}, not {FORMAT}", file.pidwatch_brake);
            let error = io::Error::new(io::ErrorKind::InvalidData, text);
            return Err(file_error(path, error));
        }
        Ok(Some(file.lease).filter(|_| file.boot_id == self.boot_id))
    }

    fn file(&self, cgroup_id: u64) -> PathBuf {
        self.folder.join(format!("{cgroup_id}.json"))
    }

    fn holder(&self, cgroup_id: u64) -> PathBuf {
        self.folder.join(format!("{cgroup_id}.holder"))
    }
}

impl Locked<'_> {
    /// Saves a lease.
    ///
    /// # Errors
    /// When it cannot be written; the old file then remains.
    pub fn save(&self, lease: &Lease) -> Result<(), LeaseError> {
        let path = self.leases.file(lease.cgroup_id);
        let beside = path.with_extension("new");
        let file = LeaseFile {
            pidwatch_brake: FORMAT,
            boot_id: self.leases.boot_id.clone(),
            lease: lease.clone(),
        };
        let write = || {
            let mut new = File::create(&beside)?;
            new.write_all(&serde_json::to_vec(&file)?)?;
            new.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| file_error(&path, error))
    }

    /// Removes a lease.
    ///
    /// # Errors
    /// When the file exists and cannot be removed.
    pub fn remove(&self, cgroup_id: u64) -> Result<(), LeaseError> {
        for path in [self.leases.file(cgroup_id), self.leases.holder(cgroup_id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn file_error(path: &Path, error: io::Error) -> LeaseError {
    LeaseError::File {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{brake::PidsMax, clock::BootTime};

    fn lease(cgroup_id: u64) -> Lease {
        let cgroup = (cgroup_id, format!("/a{cgroup_id}"), "a".to_owned());
        Lease::new(cgroup, PidsMax::Unlimited, 30, BootTime::from_seconds(9))
    }

    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn all(leases: &Leases) -> Vec<Lease> {
        leases.all(|error| panic!("{error}")).unwrap()
    }

    #[test]
    fn a_damaged_lease_does_not_hide_the_others() {
        let folder = private();
        let leases = Leases::open(folder.path(), Path::new("/proc")).unwrap();
        leases.lock().unwrap().save(&lease(7)).unwrap();
        for text in ["", "{}", "{\"pidwatch_brake\":9}"] {
            fs::write(folder.path().join("8.json"), text).unwrap();
            let mut unreadable = Vec::new();
            let read = leases.all(|error| unreadable.push(error.to_string()));
            assert_eq!(read.unwrap(), [lease(7)]);
            assert!(unreadable[0].contains("8.json"), "{unreadable:?}");
        }
    }

    #[test]
    fn a_lease_is_loaded_until_it_is_removed_or_the_node_reboots() {
        let folder = private();
        let leases = Leases::open(&folder.path().join("new"), Path::new("/proc")).unwrap();
        let locked = leases.lock().unwrap();
        locked.save(&lease(7)).unwrap();
        locked.save(&lease(3)).unwrap();
        assert_eq!(leases.load(7).unwrap(), Some(lease(7)));
        assert_eq!(all(&leases), [lease(3), lease(7)]);
        locked.remove(7).unwrap();
        locked.remove(7).unwrap();
        assert_eq!(leases.load(7).unwrap(), None);
        let later = Leases {
            folder: leases.folder.clone(),
            boot_id: "another boot".into(),
        };
        assert_eq!(all(&later), []);
    }

    #[test]
    fn a_folder_that_is_not_private_is_refused() {
        let folder = private();
        let open = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            Leases::existing(folder.path(), Path::new("/proc"))
        };
        assert!(open(0o700).is_ok());
        assert!(matches!(open(0o755), Err(LeaseError::Open(_))));
        assert!(matches!(open(0o770), Err(LeaseError::Open(_))));
    }

    #[test]
    fn only_one_process_claims_a_lease() {
        let folder = private();
        let leases = Leases::open(folder.path(), Path::new("/proc")).unwrap();
        assert!(!leases.is_held(7));
        let holder = leases.hold(7).unwrap();
        assert!(holder.is_some() && leases.is_held(7));
        assert!(leases.hold(7).unwrap().is_none());
        drop(holder);
        assert!(!leases.is_held(7));
    }
}
