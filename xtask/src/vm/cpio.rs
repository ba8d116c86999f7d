//! A writer of cpio archives in the "newc" format, the one that the kernel unpacks as initramfs.
//!
//! In: entries, parents before children, or a folder of this host. Out: the archive's bytes. The
//! format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// An archive being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// A folder that everyone may enter.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// A file that everyone may read and run.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, REGULAR | 0o755, (0, 0), content);
    }

    /// A symbolic link at `path` to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// A character device for root alone.
    pub fn device(&mut self, path: &str, number: (u32, u32)) {
        self.entry(path, CHARACTER_DEVICE | 0o600, number, &[]);
    }

    /// All that is below a folder of this host, with its permissions; owned by root.
    pub fn tree(&mut self, root: &Path) -> Result<()> {
        self.below(root, "")
            .with_context(|| format!("cannot read all of {}", root.display()))
    }

    fn below(&mut self, folder: &Path, place: &str) -> Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let place = format!("{place}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                let target = fs::read_link(&path)?;
                self.symlink(&place, &target.to_string_lossy());
                continue;
            }
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            if kind.is_dir() {
                self.entry(&place, DIRECTORY | mode, (0, 0), &[]);
                self.below(&path, &place)?;
            } else {
                self.entry(&place, REGULAR | mode, (0, 0), &fs::read(&path)?);
            }
        }
        Ok(())
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = path.trim_start_matches('/');
        self.entries += 1;
        let fields = [
            self.entries, // inode
            mode,
            0, // owner
            0, // group
            1, // links
            0, // modification time: none, so that equal content gives equal archives
            length(content),
            0, // the archive's own device
            0,
            device.0,
            device.1,
            length(name.as_bytes()) + 1,
            0, // checksum, unused in this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header with name, and content, each end on a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The format's fields have 32 bits; nothing that fits a guest's memory here comes near.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_sizes_and_is_padded() {
        let mut archive = Archive::default();
        archive.file("/init", b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ed"); // a regular file, 0755
        assert_eq!(&bytes[54..62], b"00000005"); // five bytes of content
        assert_eq!(&bytes[94..102], b"00000005" as &[u8]); // four letters and a zero
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_tree_has_its_folders_files_and_links() {
        let root = std::env::temp_dir().join(format!("pidwatch-cpio-{}", std::process::id()));
        fs::create_dir_all(root.join("a")).expect("a folder");
        fs::write(root.join("a/file"), "hello").expect("a file");
        fs::set_permissions(root.join("a/file"), fs::Permissions::from_mode(0o640))
            .expect("permissions");
        std::os::unix::fs::symlink("a/file", root.join("link")).expect("a link");
        let mut archive = Archive::default();
        let read = archive.tree(&root);
        fs::remove_dir_all(&root).expect("removed");
        read.expect("a tree");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let modes = ["000041ed", "000081a0", "0000a1ff"].map(|mode| text.find(mode));
        assert!(modes.is_sorted() && modes[0].is_some(), "{modes:?}");
        assert!(text.contains("a/file\0") && text.contains("link\0"));
    }

    #[test]
    fn an_archive_ends_with_the_trailer() {
        let bytes = Archive::default().finish();
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
