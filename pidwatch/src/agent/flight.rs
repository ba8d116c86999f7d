//! The flight recorder: the last so many bytes of the stream of events, on the disk.
//!
//! In: lines. Out: a folder of recordings (`flight-00000042.pidwatch`, ...), each one readable for
//! itself, of which the oldest goes when there is no room. A restart begins a new one, so that what
//! an agent recorded before it was killed, even in the midst of a frame, stays as it is.
//!
//! What goes wrong is told once, and tried again after a while. Lines that are not kept are counted,
//! those too that waited for a write that failed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    recording::Writer,
    runtime::private::{self, PrivateFolder, Unusable},
};

/// The room is spent on so many files: as much as one of them has is missing when the oldest has gone.
const FILES: u64 = 8;
/// After a failure it is tried again after this.
const AGAIN: Duration = Duration::from_mins(1);
/// Where lines are lost that cannot be kept, in metrics.
pub const PLACE: &str = "flight_recorder";
const PREFIX: &str = "flight-";
const SUFFIX: &str = ".pidwatch";

/// The recorder.
#[derive(Debug)]
pub struct Flight {
    folder: Rc<PrivateFolder>,
    most: u64,
    /// With which every file begins.
    preamble: Vec<u8>,
    writer: Option<Writer>,
    /// When it is tried again.
    again: Option<Instant>,
    has_failed: bool,
    /// Lines that are not in the file yet.
    waiting: u64,
    /// Lines that never will be, and were not told of.
    lost: u64,
}

impl Flight {
    /// In this folder, with at most so many bytes. `preamble` is the stream's first line. That the folder cannot be
    /// used now is for the caller to log.
    pub fn new(folder: Rc<PrivateFolder>, most: u64, preamble: Vec<u8>) -> Self {
        // It was logged already.
        let has_failed = folder.claim().is_err();
        Self {
            folder,
            most,
            preamble,
            writer: None,
            again: None,
            has_failed,
            waiting: 0,
            lost: 0,
        }
    }

    /// Where the recordings are; `None` while the folder cannot be used.
    pub fn usable_folder(&self) -> Option<&Path> {
        self.folder.claim().is_ok().then(|| self.folder.path())
    }

    /// Takes lines, and says how many could not be kept since the last call.
    pub fn push(&mut self, lines: &[u8]) -> u64 {
        self.waiting += lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.attempt(|flight| {
            let writer = flight.writer()?;
            writer.lines().extend_from_slice(lines);
            writer.write_due()
        });
        std::mem::take(&mut self.lost)
    }

    /// Writes what waits, so that the files have all there is.
    pub fn write(&mut self) {
        self.attempt(|flight| flight.writer.as_mut().map_or(Ok(()), Writer::write));
    }

    fn attempt(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.again.is_some_and(|again| Instant::now() < again) {
            self.lost += std::mem::take(&mut self.waiting);
            return;
        }
        match write(self) {
            Ok(()) => {
                self.again = None;
                if !self.writer.as_ref().is_some_and(Writer::has_waiting) {
                    self.waiting = 0;
                }
                if std::mem::take(&mut self.has_failed) {
                    tracing::warn!(
                        "the flight recorder goes on in {}",
                        self.folder.path().display()
                    );
                }
            }
            Err(error) => {
                self.writer = None;
                self.lost += std::mem::take(&mut self.waiting);
                self.again = Some(Instant::now() + AGAIN);
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::error!(
                        "the flight recorder cannot write to {}: {}; watching on without it, and trying \
                         again every minute",
                        self.folder.path().display(),
                        Unusable(&error)
                    );
                }
            }
        }
    }

    fn writer(&mut self) -> io::Result<&mut Writer> {
        let most = self.most / FILES;
        let is_full = self.writer.as_ref().is_some_and(|w| w.written() >= most);
        if is_full {
            self.writer = None;
        }
        if self.writer.is_none() {
            self.folder.claim()?;
            let mut files = files(self.folder.path())?;
            let next = files.last().map_or(1, |file| file.number.saturating_add(1));
            // Of a disk that was full, or an agent that was killed, before anything was in them.
            files.retain(|file| file.bytes > 0 || fs::remove_file(&file.path).is_err());
            make_room(&mut files, self.most.saturating_sub(most));
            let path = self
                .folder
                .path()
                .join(format!("{PREFIX}{next:08}{SUFFIX}"));
            let mut writer = Writer::to(private::create(&path)?, &path, u64::MAX);
            writer.lines().extend_from_slice(&self.preamble);
            self.writer = Some(writer);
        }
        self.writer
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A file of the recorder.
#[derive(Debug)]
pub struct File {
    number: u64,
    bytes: u64,
    /// Where.
    pub path: PathBuf,
}

/// The recorder's files in a folder, the oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let number = name
            .strip_prefix(PREFIX)
            .and_then(|name| name.strip_suffix(SUFFIX));
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && let Ok(metadata) = entry.metadata()
        {
            files.push(File {
                number,
                bytes: metadata.len(),
                path: entry.path(),
            });
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// Removes the oldest until what is left has no more than `most` bytes. What cannot be removed is told
/// by the next write, that then has no room.
fn make_room(files: &mut Vec<File>, most: u64) {
    // A small file takes a block as well.
    let bytes = |file: &File| file.bytes.max(4096);
    let mut sum: u64 = files.iter().map(bytes).sum();
    files.retain(|file| {
        let goes = sum > most;
        if goes {
            sum -= bytes(file);
            let _ = fs::remove_file(&file.path);
        }
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Reader;

    const STARTED: &str = "{\"time\":\"2026-11-22T00:00:00Z\",\"node\":\"n\",\"type\":\"started\",\"version\":\"1\",\"kernel\":\"6\",\"cgroup_layout\":\"v2\",\"probes\":[]}\n";

    fn flight_in(folder: &Path, most: u64) -> Flight {
        Flight::new(Rc::new(PrivateFolder::new(folder)), most, STARTED.into())
    }

    fn lost(n: u64) -> Vec<u8> {
        // Digits that do not repeat, or nothing would be left of them.
        let place = format!(
            "{:x}",
            u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c)
        );
        format!("{{\"time\":\"2026-11-22T00:00:01Z\",\"node\":\"n\",\"type\":\"lost\",\"where\":\"{place}\",\"count\":{n}}}\n")
            .into_bytes()
    }

    fn counts(folder: &Path) -> Vec<u64> {
        let mut counts = Vec::new();
        for file in files(folder).unwrap() {
            for line in Reader::open(&file.path).unwrap() {
                if let crate::stream::Event::Lost { count, .. } = line.unwrap().event {
                    counts.push(count);
                }
            }
        }
        counts
    }

    #[tokio::test]
    async fn the_newest_is_kept_within_the_room() {
        let folder = tempfile::tempdir().unwrap();
        let most = 1 << 20;
        let mut flight = flight_in(folder.path(), most);
        for n in 0..150_000 {
            assert_eq!(flight.push(&lost(n)), 0);
        }
        flight.write();
        let bytes: u64 = files(folder.path()).unwrap().iter().map(|f| f.bytes).sum();
        assert!(bytes <= most + most / FILES, "{bytes}");
        assert!(bytes > most / 2, "{bytes}");
        let counts = counts(folder.path());
        assert!(counts[0] > 0, "the oldest went");
        let expected: Vec<u64> = (counts[0]..150_000).collect();
        assert_eq!(counts, expected, "and nothing else");
    }

    #[tokio::test]
    async fn a_restart_destroys_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..3 {
            let mut flight = flight_in(folder.path(), 64 << 20);
            flight.push(&lost(run));
            flight.write();
        }
        assert_eq!(counts(folder.path()), [0, 1, 2]);
    }

    #[tokio::test]
    async fn without_a_folder_nothing_is_kept_and_nothing_breaks() {
        let mut flight = flight_in(Path::new("/proc/none"), 1 << 20);
        assert_eq!(flight.push(&lost(1)), 1);
        assert_eq!(flight.push(&lost(2)), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_another_process_leaves_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let other = PrivateFolder::new(folder.path());
        other.claim().unwrap();
        let mut flight = flight_in(folder.path(), 1 << 20);
        assert_eq!(flight.push(&lost(1)), 1);
        drop(other);
        assert_eq!(flight.push(&lost(2)), 1, "it is tried after a minute");
        tokio::time::advance(AGAIN).await;
        assert_eq!(flight.push(&lost(3)), 0);
        flight.write();
        assert_eq!(counts(folder.path()), [3]);
    }

    #[tokio::test]
    async fn what_waited_for_a_write_that_failed_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut flight = flight_in(folder.path(), 1 << 20);
        for n in 0..3 {
            assert_eq!(flight.push(&lost(n)), 0, "they wait");
        }
        flight.attempt(|_| Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(flight.push(&lost(3)), 4);
        assert_eq!(flight.push(&lost(4)), 1);
    }

    #[tokio::test]
    async fn empty_files_push_no_recording_out() {
        let folder = tempfile::tempdir().unwrap();
        let most = 64 << 10;
        let mut flight = flight_in(folder.path(), most);
        flight.push(&lost(0));
        flight.write();
        drop(flight);
        for number in 2..40 {
            fs::write(
                folder.path().join(format!("{PREFIX}{number:08}{SUFFIX}")),
                "",
            )
            .unwrap();
        }
        let mut flight = flight_in(folder.path(), most);
        flight.push(&lost(1));
        flight.write();
        assert_eq!(counts(folder.path()), [0, 1]);
    }
}
