//! The tree of cgroups, as the mounted file system has it.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirEntryExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{CgroupId, Tree};
use crate::slice::Slice;

/// Walks the mounted hierarchy. A cgroup that goes away meanwhile is passed over.
///
/// # Errors
/// When the root cannot be read.
pub fn walk(mount: &Path) -> io::Result<Tree> {
    let mut walk = Walk::begin(mount)?;
    walk.go_on(&Slice::ENDLESS);
    Ok(walk.end())
}

/// A walk over the mounted hierarchy that can be divided. What the kernel announces meanwhile may be seen or
/// not by whoever walks, so it is kept, and put in order at the end.
#[derive(Debug)]
pub struct Walk {
    mount: PathBuf,
    tree: Tree,
    /// One folder at a time is open, however deep the tree is.
    reading: Option<fs::ReadDir>,
    /// Folders still to be read.
    folders: Vec<PathBuf>,
    announced: Vec<(CgroupId, Option<Box<[u8]>>)>,
}

impl Walk {
    /// Opens the root.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn begin(mount: &Path) -> io::Result<Self> {
        let mut tree = Tree::default();
        tree.insert(CgroupId(fs::metadata(mount)?.ino()), b"/");
        Ok(Self {
            mount: mount.to_owned(),
            tree,
            reading: Some(fs::read_dir(mount)?),
            folders: Vec::new(),
            announced: Vec::new(),
        })
    }

    /// Walks on until the slice is over; whether everything was seen.
    pub fn go_on(&mut self, slice: &Slice) -> bool {
        loop {
            let Some(reading) = &mut self.reading else {
                let Some(folder) = self.folders.pop() else {
                    return true;
                };
                // One that cannot be opened is gone.
                self.reading = fs::read_dir(folder).ok();
                continue;
            };
            match reading.next() {
                // Its directories are cgroups; the files beside them, a dozen each, are no step.
                Some(Ok(entry)) if !entry.file_type().is_ok_and(|kind| kind.is_dir()) => continue,
                Some(Ok(entry)) => {
                    let path = entry.path();
                    if let Ok(below) = path.strip_prefix(&self.mount) {
                        let name = [b"/", below.as_os_str().as_bytes()].concat();
                        self.tree.insert(CgroupId(entry.ino()), &name);
                    }
                    self.folders.push(path);
                }
                Some(Err(_)) | None => self.reading = None,
            }
            if slice.is_over() {
                return self.reading.is_none() && self.folders.is_empty();
            }
        }
    }

    /// A cgroup came, with its path, or went while this walk is under way.
    pub fn announced(&mut self, id: CgroupId, path: Option<&[u8]>) {
        self.announced.push((id, path.map(Into::into)));
    }

    /// The tree, with what was announced meanwhile.
    pub fn end(self) -> Tree {
        let mut tree = self.tree;
        for (id, path) in self.announced {
            match path {
                Some(path) => tree.insert(id, &path),
                None => drop(tree.remove(id)),
            }
        }
        tree
    }
}

/// Where a cgroup's directory is.
pub fn directory(mount: &Path, path: &[u8]) -> PathBuf {
    let below = path.strip_prefix(b"/").unwrap_or(path);
    mount.join(OsStr::from_bytes(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_in_slices_sees_what_a_walk_at_once_sees() {
        let mount = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(mount.path().join(path)).unwrap();
            fs::write(mount.path().join(path).join("pids.max"), "max").unwrap();
        }
        let mut walk = Walk::begin(mount.path()).unwrap();
        let mut turns = 1;
        while !walk.go_on(&Slice::shortest()) {
            turns += 1;
        }
        assert!(turns >= 5, "{turns} turns for five cgroups");
        let (tree, at_once) = (walk.end(), super::walk(mount.path()).unwrap());
        assert_eq!(tree.len(), 6);
        assert_eq!(tree, at_once);
    }

    #[test]
    fn what_is_announced_during_a_walk_counts_more_than_what_it_saw() {
        let mount = tempfile::tempdir().unwrap();
        for path in ["a/b", "z"] {
            fs::create_dir_all(mount.path().join(path)).unwrap();
        }
        let mut walk = Walk::begin(mount.path()).unwrap();
        while !walk.go_on(&Slice::shortest()) {}
        let seen = walk.tree.find(b"/z").unwrap();
        walk.announced(CgroupId(1), Some(b"/a/new"));
        walk.announced(CgroupId(2), Some(b"/a/new/below"));
        walk.announced(seen, None);
        let tree = walk.end();
        assert_eq!(tree.find(b"/z"), None);
        let parent = tree.find(b"/a").unwrap();
        assert!(tree.get(parent).unwrap().children.contains(&CgroupId(1)));
        let parent = tree.get(CgroupId(1)).unwrap();
        assert!(parent.children.contains(&CgroupId(2)));
    }

    #[test]
    fn directories_are_below_the_mount() {
        assert_eq!(directory(Path::new("/m"), b"/a/b"), Path::new("/m/a/b"));
        assert_eq!(directory(Path::new("/m"), b"/"), Path::new("/m/"));
    }
}
