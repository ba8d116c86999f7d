//! A folder of this process alone, with files that nobody else may read.
//!
//! Another user who could open the lock could hold it, and a link or FIFO in place of a file would make a process of
//! root write elsewhere or wait for a reader.

use std::{
    cell::OnceCell,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    process::geteuid,
};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Access of the group and of others; their right to write.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const LOCK: &str = "lock";

/// Why a folder cannot be used, for a message.
pub struct Unusable<'a>(pub &'a io::Error);

impl fmt::Display for Unusable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::WouldBlock => f.write_str("another agent uses it"),
            _ => self.0.fmt(f),
        }
    }
}

/// A folder that one process uses at a time.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    lock: OnceCell<File>,
}

impl PrivateFolder {
    /// Does not touch the folder.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lock: OnceCell::new(),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder for the lifetime of this value, creating it if necessary; does nothing once that succeeded.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another process has it. Any other error when it cannot be used, belongs to
    /// another user, or others may write to it.
    pub fn claim(&self) -> io::Result<()> {
        if self.lock.get().is_none() {
            make(&self.path)?;
            let lock = open_lock(&self.path.join(LOCK))?;
            // It was empty.
            let _ = self.lock.set(lock);
        }
        Ok(())
    }
}

/// Creates the folder, or closes an existing one to others.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;
    let meta = fs::symlink_metadata(folder)?;
    let mode = meta.permissions().mode();
    if !meta.is_dir() {
        return Err(io::Error::other("it is no folder"));
    }
    if meta.uid() != geteuid().as_raw() {
        let text = format!("it belongs to another user ({})", meta.uid());
        return Err(io::Error::other(text));
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(io::Error::other("other users may write to it"));
    }
    // Not a folder that also has other uses, such as /var.
    let is_own = folder.join(LOCK).exists() || fs::read_dir(folder)?.next().is_none();
    if mode & OTHERS != 0 && is_own {
        fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))?;
    }
    Ok(())
}

fn open_lock(path: &Path) -> io::Result<File> {
    let lock = options().write(true).create(true).open(path)?;
    check_regular(&lock)?;
    // Version 0.1.0 created it readable for everyone.
    lock.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// The content of a regular file of at most `most` bytes.
///
/// # Errors
/// When it cannot be read, is larger, a link or no regular file.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = options().read(true).open(path)?;
    check_regular(&file)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// A new file.
///
/// # Errors
/// When it exists already or cannot be created.
pub fn create(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// Replaces a file atomically: after a crash there is the old content or the new.
///
/// # Errors
/// When it cannot be written; the old content then remains.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// Follows no link and does not wait for the other end of a FIFO.
fn options() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options
        .mode(FILE_MODE)
        .custom_flags(flags.bits().cast_signed());
    options
}

fn check_regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        Ok(())
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn one_process_has_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/one");
        let [first, second] = [PrivateFolder::new(&path), PrivateFolder::new(&path)];
        first.claim().unwrap();
        first.claim().unwrap();
        let error = second.claim().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        second.claim().unwrap();
        assert_eq!((mode(&path), mode(&path.join(LOCK))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_of_its_own_is_closed_and_any_other_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let claim = || PrivateFolder::new(path).claim();
        chmod(path, 0o755);
        claim().unwrap();
        assert_eq!(mode(path), 0o700, "it was empty");
        chmod(path, 0o750);
        chmod(&path.join(LOCK), 0o644);
        claim().unwrap();
        assert_eq!((mode(path), mode(&path.join(LOCK))), (0o700, 0o600));
        fs::remove_file(path.join(LOCK)).unwrap();
        fs::write(path.join("other"), "").unwrap();
        chmod(path, 0o755);
        claim().unwrap();
        assert_eq!(mode(path), 0o755, "something else is in it");
        for open in [0o777, 0o1777, 0o775] {
            chmod(path, open);
            assert!(claim().is_err());
            assert_eq!(mode(path), open);
        }
    }

    #[test]
    fn links_and_fifos_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let owner = geteuid();
        fs::write(path("target"), "before").unwrap();
        symlink("target", path("link")).unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(read(&path("target"), 6).unwrap(), b"before");
        assert!(read(&path("target"), 5).is_err(), "too large");
        for bad in ["link", "fifo"] {
            assert!(read(&path(bad), 100).is_err(), "{bad}");
            assert!(create(&path(bad)).is_err(), "{bad}");
            assert!(open_lock(&path(bad)).is_err(), "{bad}");
            fs::rename(path(bad), path("state.new")).unwrap();
            replace(&path("state"), b"after").unwrap();
            assert_eq!(fs::read(path("state")).unwrap(), b"after");
            assert_eq!(mode(&path("state")), 0o600);
            assert_eq!(fs::read(path("target")).unwrap(), b"before");
        }
        symlink(folder.path(), path("to-folder")).unwrap();
        assert!(PrivateFolder::new(&path("to-folder")).claim().is_err());
        assert_eq!(fs::metadata(path("target")).unwrap().uid(), owner.as_raw());
    }
}
