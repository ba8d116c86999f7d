//! The own charge of a cgroup with many children: a file for each of them, in slices.

use super::{CgroupId, Files, Tree, TreeNode};
use crate::slice::Slice;

/// Files that are read between two looks at the clock.
const STEP: usize = 16;

/// A sum that is under way.
#[derive(Debug)]
pub struct Summing {
    cgroup: CgroupId,
    path: Box<[u8]>,
    subtree: Option<u64>,
    rest: std::vec::IntoIter<CgroupId>,
    /// `None` once one of them cannot be read.
    below: Option<u64>,
}

impl Summing {
    /// Begins with what the cgroup and all below it have. What children add or lose until their turn is taken
    /// for the cgroup's.
    pub fn begin(files: &Files, cgroup: CgroupId, node: &TreeNode) -> Self {
        let children: Vec<_> = node.children.iter().copied().collect();
        Self {
            cgroup,
            path: node.path.clone(),
            subtree: files.subtree_charge(&node.path),
            rest: children.into_iter(),
            below: Some(0),
        }
    }

    /// Whose.
    pub fn cgroup(&self) -> CgroupId {
        self.cgroup
    }

    /// Goes on; whether it is at its end, and [`Files`] have the sum.
    pub fn go_on(&mut self, files: &Files, tree: &Tree, slice: &Slice) -> bool {
        loop {
            for child in self.rest.by_ref().take(STEP) {
                let charge = match tree.get(child) {
                    Some(child) => files.charge_of_child(child),
                    None => Some(0),
                };
                self.below = self.below.zip(charge).map(|(sum, charge)| sum + charge);
            }
            if self.rest.as_slice().is_empty() {
                let own = self.subtree.zip(self.below);
                let own = own.map(|(subtree, below)| subtree.saturating_sub(below));
                files.keep_own(&self.path, own);
                return true;
            }
            if slice.is_over() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::cgroup::{self, Layout, LayoutKind, files::MANY};

    #[test]
    fn thousands_of_children_take_many_turns_and_the_sum_is_used_until_the_next_look() {
        let mount = tempfile::tempdir().unwrap();
        let write = |path: &str, charge: u64| {
            let folder = mount.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("pids.current"), format!("{charge}\n")).unwrap();
        };
        write("a", 1000);
        for n in 0..MANY {
            write(&format!("a/{n}"), 2);
        }
        let layout = Layout {
            kind: LayoutKind::V2,
            mount: mount.path().to_owned(),
            hierarchy_id: 0,
            unified: true,
            has_pids: true,
        };
        let files = Files::new(&layout, Path::new("/proc"));
        let tree = cgroup::walk(mount.path()).unwrap();
        let id = tree.find(b"/a").unwrap();
        let node = tree.get(id).unwrap();
        files.hold();
        let mut summing = Summing::begin(&files, id, node);
        let mut turns = 1;
        while !summing.go_on(&files, &tree, &Slice::shortest()) {
            turns += 1;
        }
        assert_eq!(turns, MANY / STEP);
        let own = 1000 - 2 * MANY as u64;
        write("a/0", 40);
        assert_eq!(files.own_charge(&tree, node), Some(own), "as it was");
        files.release();
        assert_eq!(files.own_charge(&tree, node), Some(own - 38));
    }
}
