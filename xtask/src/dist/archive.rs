//! Tar archives that are the same bytes for the same content: one time, one owner, no names of users.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// An archive that is being written.
pub struct Tar {
    builder: Builder<Vec<u8>>,
    time: u64,
}

impl Tar {
    /// An empty one, of whose files each bears this time (seconds since 1970).
    pub fn new(time: u64) -> Self {
        Self {
            builder: Builder::new(Vec::new()),
            time,
        }
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entry(EntryType::Regular, path, mode, bytes)
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        self.entry(EntryType::Directory, path, mode, &[])
    }

    fn entry(&mut self, kind: EntryType, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        header.set_size(bytes.len() as u64);
        self.builder
            .append_data(&mut header, path, bytes)
            .with_context(|| format!("cannot put {path} into an archive"))
    }

    /// The archive.
    pub fn bytes(self) -> Result<Vec<u8>> {
        self.builder.into_inner().context("cannot end an archive")
    }

    /// The archive, compressed.
    pub fn gzip(self) -> Result<Vec<u8>> {
        gzip(&self.bytes()?)
    }
}

/// Compresses; no name and no time in the header.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("cannot compress")?;
    encoder.finish().context("cannot compress")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_the_same_bytes() {
        let make = || {
            let mut tar = Tar::new(1_700_000_000);
            tar.folder("a", 0o755).unwrap();
            tar.file("a/b", 0o600, b"text").unwrap();
            tar.gzip().unwrap()
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn files_come_back_as_they_went_in() {
        let mut tar = Tar::new(7);
        tar.folder("a", 0o755).unwrap();
        tar.file("a/b", 0o600, b"text").unwrap();
        let bytes = tar.bytes().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            seen.push((path, header.mode().unwrap(), header.mtime().unwrap(), text));
        }
        let text = |text: &str| text.to_owned();
        assert_eq!(
            seen,
            [
                (text("a"), 0o755, 7, text("")),
                (text("a/b"), 0o600, 7, text("text"))
            ]
        );
    }
}
