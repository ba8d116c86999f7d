//! The tree of cgroups: id to path and back, parents and children.
//!
//! In: one walk at start, then what the kernel tells. Invariant: a node's parent is known before
//! it, the root's path is `/`.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirEntryExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use hashbrown::{HashMap, HashSet};

use super::CgroupId;
use crate::slice::Slice;

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// From the hierarchy's root, beginning with `/`; any bytes but NUL.
    pub path: Box<[u8]>,
    /// Direct children.
    pub children: HashSet<CgroupId>,
}

/// All cgroups of the hierarchy that counts tasks.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: HashMap<CgroupId, Node>,
    by_path: HashMap<Box<[u8]>, CgroupId>,
}

impl Tree {
    /// Walks the mounted hierarchy. A cgroup that goes away meanwhile is passed over.
    ///
    /// # Errors
    /// When the root cannot be read.
    pub fn walk(mount: &Path) -> io::Result<Self> {
        let mut walk = Walk::begin(mount)?;
        walk.go_on(&Slice::ENDLESS);
        Ok(walk.end())
    }

    /// Adds a cgroup, or gives it another path. A path that was another cgroup's is the new one's.
    pub fn insert(&mut self, id: CgroupId, path: &[u8]) {
        if let Some(node) = self.nodes.get(&id)
            && *node.path == *path
        {
            return;
        }
        self.remove(id);
        if let Some(&former) = self.by_path.get(path) {
            self.remove(former);
        }
        if let Some(parent) = self.parent_of(path)
            && let Some(node) = self.nodes.get_mut(&parent)
        {
            node.children.insert(id);
        }
        self.by_path.insert(path.into(), id);
        self.nodes.insert(
            id,
            Node {
                path: path.into(),
                children: HashSet::new(),
            },
        );
    }

    /// Takes a cgroup out.
    pub fn remove(&mut self, id: CgroupId) -> Option<Node> {
        let node = self.nodes.remove(&id)?;
        self.by_path.remove(&node.path);
        if let Some(parent) = self.parent_of(&node.path)
            && let Some(parent) = self.nodes.get_mut(&parent)
        {
            parent.children.remove(&id);
        }
        Some(node)
    }

    /// Looks a cgroup up.
    pub fn get(&self, id: CgroupId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Looks a path up.
    pub fn find(&self, path: &[u8]) -> Option<CgroupId> {
        self.by_path.get(path).copied()
    }

    /// A cgroup and those above it, nearest first; ends before one that is not known.
    pub fn upwards(&self, id: CgroupId) -> impl Iterator<Item = (CgroupId, &[u8])> {
        let mut path = self.get(id).map(|node| &*node.path);
        std::iter::from_fn(move || {
            let at = path?;
            path = parent_path(at);
            Some((self.find(at)?, at))
        })
    }

    /// Every cgroup.
    pub fn iter(&self) -> impl Iterator<Item = (CgroupId, &Node)> {
        self.nodes.iter().map(|(&id, node)| (id, node))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn parent_of(&self, path: &[u8]) -> Option<CgroupId> {
        self.find(parent_path(path)?)
    }
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

/// Path of the parent; `None` for the root.
fn parent_path(path: &[u8]) -> Option<&[u8]> {
    if path == b"/" {
        return None;
    }
    let slash = path.iter().rposition(|&b| b == b'/')?;
    Some(if slash == 0 { b"/" } else { &path[..slash] })
}

/// Where a cgroup's directory is.
pub fn directory(mount: &Path, path: &[u8]) -> PathBuf {
    let below = path.strip_prefix(b"/").unwrap_or(path);
    mount.join(OsStr::from_bytes(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        for (id, path) in [(1, "/"), (2, "/a"), (3, "/a/b"), (4, "/a/c")] {
            tree.insert(CgroupId(id), path.as_bytes());
        }
        tree
    }

    #[test]
    fn children_belong_to_their_parent() {
        let tree = tree();
        let children = &tree.get(CgroupId(2)).unwrap().children;
        assert_eq!(children.len(), 2);
        assert!(
            tree.get(CgroupId(1))
                .unwrap()
                .children
                .contains(&CgroupId(2))
        );
    }

    #[test]
    fn a_removed_cgroup_leaves_its_parent() {
        let mut tree = tree();
        tree.remove(CgroupId(3));
        assert_eq!(tree.find(b"/a/b"), None);
        assert_eq!(tree.get(CgroupId(2)).unwrap().children.len(), 1);
    }

    #[test]
    fn a_path_used_again_belongs_to_the_newer_cgroup() {
        let mut tree = tree();
        tree.insert(CgroupId(9), b"/a/b");
        assert_eq!(tree.find(b"/a/b"), Some(CgroupId(9)));
        assert!(tree.get(CgroupId(3)).is_none());
        tree.remove(CgroupId(9));
        assert_eq!(tree.get(CgroupId(2)).unwrap().children.len(), 1);
    }

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
        let (tree, at_once) = (walk.end(), Tree::walk(mount.path()).unwrap());
        assert_eq!(tree.len(), 6);
        assert_eq!(tree.nodes, at_once.nodes);
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
    fn parents_are_cut_at_the_last_slash() {
        assert_eq!(parent_path(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent_path(b"/a"), Some(&b"/"[..]));
        assert_eq!(parent_path(b"/"), None);
        assert_eq!(directory(Path::new("/m"), b"/a/b"), Path::new("/m/a/b"));
        assert_eq!(directory(Path::new("/m"), b"/"), Path::new("/m/"));
    }
}
