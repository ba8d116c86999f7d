//! Recordings: the stream of events in a file, to be replayed and reported on later.
//!
//! A file is zstd (RFC 8878) frames, each whole in itself, of JSON lines: first a [`RecordingHeader`], then
//! the stream as [`crate::stream`] has it, beginning with `started`. What a crash cuts off is the last
//! frame. A second file beside it, `FILE.1`, holds what came before the first one was begun anew.

mod pace;
mod reader;
mod reporter;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    pace::{Pace, ReplaySpeed},
    reader::{ReadError, Reader},
    reporter::reporter,
    writer::Writer,
};

/// Version of the format: to be raised when an older pidwatch could not read it.
pub const FORMAT: u32 = 1;

/// First line of a recording.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RecordingHeader {
    /// The format's version.
    pub pidwatch_recording: u32,
    /// Version of the pidwatch that wrote it.
    pub version: String,
}

#[cfg(test)]
mod tests;

/// Where the older part of a recording lies.
pub fn older(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}
