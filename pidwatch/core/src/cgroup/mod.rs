//! The kernel's groups: their ids, their tree, and how a machine uses them.

mod layout;
mod names;
mod tree;

pub use self::{
    layout::{Layout, LayoutKind},
    names::{SampledTaskNames, pattern},
    tree::{Tree, TreeNode, parents_of},
};

/// A cgroup's id: that of its kernfs node, which is also its directory's inode number. Not used
/// again while the machine is up (the upper half counts generations).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(pub u64);
