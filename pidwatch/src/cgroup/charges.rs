//! `pids.current` of cgroups that are asked again and again: its files are kept open, and read once
//! while something is looked at from all sides.
//!
//! Opening and closing such a file takes some four times as long as reading it (`perf record -g` of an agent
//! with 50 busy containers: 27 % in 226 openings a second, 8 % in 300 reads). One that is open says so when
//! its cgroup is gone (ENODEV), whoever has its path by then.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use hashbrown::HashMap;

/// Most files that are kept open: most processes may have 1,024 of all kinds.
const MOST: usize = 256;

#[derive(Debug)]
struct Kept {
    file: File,
    /// What was read while it is held still.
    held: Option<u64>,
    is_used: bool,
}

/// Files that are open.
#[derive(Debug, Default)]
pub struct Charges {
    kept: HashMap<Box<[u8]>, Kept>,
    holds: bool,
}

impl Charges {
    /// From now on each is read once, until [`Charges::release`].
    pub fn hold(&mut self) {
        self.holds = true;
    }

    /// Each is read anew; those that nobody has asked for since the last time are closed.
    pub fn release(&mut self) {
        self.holds = false;
        self.kept.retain(|_, kept| {
            kept.held = None;
            std::mem::take(&mut kept.is_used)
        });
    }

    /// Closes all of them: paths are other cgroups' now.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    /// The charge of a cgroup, by its path and where its file is.
    ///
    /// # Errors
    /// Those of opening and reading the file; [`io::ErrorKind::InvalidData`] for what is no number.
    pub fn read(&mut self, path: &[u8], file: impl FnOnce() -> PathBuf) -> io::Result<u64> {
        if let Some(kept) = self.kept.get_mut(path) {
            kept.is_used = true;
            if let Some(held) = kept.held {
                return Ok(held);
            }
            if let Ok(charge) = number(&kept.file) {
                kept.held = self.holds.then_some(charge);
                return Ok(charge);
            }
            // It is gone; another one may be there.
            self.kept.remove(path);
        }
        self.open(path, file())
    }

    /// The same where a limit is set. A creation that is refused is counted for as long as it takes to refuse
    /// it, so that a reading above the limit is made again; what is above it in truth stays so.
    ///
    /// # Errors
    /// As [`Charges::read`].
    pub fn read_below(
        &mut self,
        path: &[u8],
        limit: u64,
        file: impl Fn() -> PathBuf,
    ) -> io::Result<u64> {
        /// In a storm of refusals one reading in a few is too high.
        const AGAIN: usize = 8;
        let mut least = self.read(path, &file)?;
        for _ in 0..AGAIN {
            if least <= limit {
                break;
            }
            if let Some(kept) = self.kept.get_mut(path) {
                kept.held = None;
            }
            least = least.min(self.read(path, &file)?);
        }
        if let Some(kept) = self.kept.get_mut(path).filter(|kept| kept.held.is_some()) {
            kept.held = Some(least);
        }
        Ok(least)
    }

    fn open(&mut self, path: &[u8], file: PathBuf) -> io::Result<u64> {
        let file = File::open(file)?;
        let charge = number(&file)?;
        if self.kept.len() < MOST {
            let kept = Kept {
                file,
                held: self.holds.then_some(charge),
                is_used: true,
            };
            self.kept.insert(path.into(), kept);
        }
        Ok(charge)
    }
}

fn number(file: &File) -> io::Result<u64> {
    let mut text = [0; 24];
    let len = file.read_at(&mut text, 0)?;
    let text = str::from_utf8(&text[..len]).map_err(|_| io::ErrorKind::InvalidData)?;
    let number = text.trim_ascii().parse();
    number.map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_above_a_limit_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pids.current");
        let refuses = folder.path().join("refuses");
        fs::write(&path, "150\n").unwrap();
        fs::write(&refuses, "151\n").unwrap();
        let mut charges = Charges::default();
        charges.hold();
        let times = std::cell::Cell::new(0);
        // At first a creation is being refused.
        let file = || {
            times.set(times.get() + 1);
            path.clone()
        };
        charges.open(b"/a", refuses.clone()).unwrap();
        fs::write(&refuses, "150\n").unwrap();
        assert_eq!(charges.read_below(b"/a", 150, file).unwrap(), 150);
        assert_eq!(charges.read(b"/a", file).unwrap(), 150, "held");
        // Moved in past the limit: that stays.
        fs::write(&refuses, "160\n").unwrap();
        charges.release();
        assert_eq!(charges.read_below(b"/a", 150, file).unwrap(), 160);
        assert_eq!(times.get(), 0, "by the open file");
    }

    #[test]
    fn what_is_held_is_read_once_and_anew_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pids.current");
        let mut charges = Charges::default();
        let read = |charges: &mut Charges| charges.read(b"/a", || path.clone()).unwrap();
        fs::write(&path, "7\n").unwrap();
        assert_eq!(read(&mut charges), 7);
        fs::write(&path, "8\n").unwrap();
        assert_eq!(read(&mut charges), 8, "not held");
        charges.hold();
        assert_eq!(read(&mut charges), 8);
        fs::write(&path, "9\n").unwrap();
        assert_eq!(read(&mut charges), 8, "held");
        charges.release();
        assert_eq!(read(&mut charges), 9);
    }

    #[test]
    fn who_is_not_asked_for_is_closed_and_there_are_not_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pids.current");
        fs::write(&path, "7\n").unwrap();
        let mut charges = Charges::default();
        for n in 0..MOST + 10 {
            let name = n.to_string();
            let read = charges.read(name.as_bytes(), || path.clone());
            assert_eq!(read.unwrap(), 7);
        }
        assert_eq!(charges.kept.len(), MOST);
        charges.release();
        charges.read(b"0", || path.clone()).unwrap();
        charges.release();
        assert_eq!(charges.kept.len(), 1);
        charges.release();
        assert_eq!(charges.kept.len(), 0);
    }

    #[test]
    fn a_file_that_fails_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pids.current");
        fs::write(&path, "7\n").unwrap();
        let mut charges = Charges::default();
        charges.read(b"/a", || path.clone()).unwrap();
        // As of a cgroup that is gone: what is open cannot be read any more.
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "3\n").unwrap();
        assert_eq!(charges.read(b"/a", || path.clone()).unwrap(), 3);
        fs::write(&path, "many\n").unwrap();
        let error = charges.read(b"/b", || path.clone()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
