//! Writes a recording: lines are gathered, compressed and appended a frame at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::{FORMAT, RecordingHeader, older};

/// A frame is closed when it holds this much: enough to compress well.
const FRAME_BYTES: usize = 256 * 1024;
/// ... or is this old: what a crash can lose.
const FRAME_AGE: Duration = Duration::from_secs(2);
/// Fast: a busy node's stream is compressed to a fifth with less than 1 % of a CPU.
const LEVEL: i32 = 1;

/// A recording under way.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Bytes of whole frames in the file.
    written: u64,
    /// Most bytes of one of the two files.
    most: u64,
    /// The stream's first line, with which every file begins.
    preamble: Vec<u8>,
    frame: Vec<u8>,
    began: Option<Instant>,
}

impl Writer {
    /// Begins a recording in a new file. `max_size` bounds it with its older part, in bytes.
    ///
    /// # Errors
    /// When the file is there already, or cannot be made.
    pub fn create(path: &Path, max_size: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self::to(file, path, max_size))
    }

    /// Begins a recording in `file`, which is new and at `path`.
    pub fn to(file: File, path: &Path, max_size: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            written: 0,
            most: max_size / 2,
            preamble: Vec::new(),
            frame: header(),
            began: None,
        }
    }

    /// Bytes in the file.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether something is not in the file yet.
    pub fn has_waiting(&self) -> bool {
        !self.frame.is_empty()
    }

    /// Where lines of the stream go; each ends with a newline.
    pub fn lines(&mut self) -> &mut Vec<u8> {
        self.began.get_or_insert_with(Instant::now);
        &mut self.frame
    }

    /// What was put into [`lines`](Self::lines) so far is the stream's beginning.
    pub fn end_preamble(&mut self) {
        self.preamble = self.frame.clone();
    }

    /// Writes what is due.
    ///
    /// # Errors
    /// Those of writing: ENOSPC when the disk is full. Nothing of the frame is in the file then.
    pub fn write_due(&mut self) -> io::Result<()> {
        let is_old = self.began.is_some_and(|began| began.elapsed() >= FRAME_AGE);
        if is_old || self.frame.len() >= FRAME_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// As [`write_due`](Self::write_due).
    pub fn write(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let frame = zstd::bulk::compress(&self.frame, LEVEL)?;
        self.frame.clear();
        self.began = None;
        if self.written > 0 && self.written + frame.len() as u64 > self.most {
            self.begin_anew()?;
        }
        self.append(&frame)
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        match self.file.write_all(frame) {
            Ok(()) => {
                self.written += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a frame is worth nothing, and what is full may want the room back.
                let _ = self.file.set_len(self.written);
                Err(error)
            }
        }
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        fs::rename(&self.path, older(&self.path))?;
        self.file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.path)?;
        self.written = 0;
        let preamble = zstd::bulk::compress(&self.preamble, LEVEL)?;
        self.append(&preamble)
    }
}

fn header() -> Vec<u8> {
    let header = RecordingHeader {
        pidwatch_recording: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let mut line = serde_json::to_vec(&header).unwrap_or_default();
    line.push(b'\n');
    line
}
