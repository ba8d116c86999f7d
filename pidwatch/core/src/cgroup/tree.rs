//! The tree of cgroups: id to path and back, parents and children.
//!
//! Invariant: a node's parent is known before it, the root's path is `/`.

use hashbrown::{HashMap, HashSet};

use super::CgroupId;

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// From the hierarchy's root, beginning with `/`; any bytes but NUL.
    pub path: Box<[u8]>,
    /// Direct children.
    pub children: HashSet<CgroupId>,
}

/// All cgroups of the hierarchy that counts tasks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: HashMap<CgroupId, TreeNode>,
    by_path: HashMap<Box<[u8]>, CgroupId>,
}

impl Tree {
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
            TreeNode {
                path: path.into(),
                children: HashSet::new(),
            },
        );
    }

    /// Takes a cgroup out.
    pub fn remove(&mut self, id: CgroupId) -> Option<TreeNode> {
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
    pub fn get(&self, id: CgroupId) -> Option<&TreeNode> {
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
    pub fn iter(&self) -> impl Iterator<Item = (CgroupId, &TreeNode)> {
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

/// Paths of the ancestors, nearest first; the last is the root.
pub fn parents_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent_path(path), |path| parent_path(path))
}

/// Path of the parent; `None` for the root.
fn parent_path(path: &[u8]) -> Option<&[u8]> {
    if path == b"/" {
        return None;
    }
    let slash = path.iter().rposition(|&b| b == b'/')?;
    Some(if slash == 0 { b"/" } else { &path[..slash] })
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
    fn parents_are_cut_at_the_last_slash() {
        let above: Vec<_> = parents_of(b"/a/b/c").collect();
        assert_eq!(above, [&b"/a/b"[..], b"/a", b"/"]);
        assert_eq!(parent_path(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent_path(b"/a"), Some(&b"/"[..]));
        assert_eq!(parent_path(b"/"), None);
    }
}
