//! The kernel's groups: which hierarchy counts tasks, the tree of ids and paths, and what the
//! cgroup file system says of a group.

mod charges;
mod files;
mod layout;
mod names;
mod tree;

pub use self::{
    files::Files,
    layout::{Layout, LayoutError, LayoutKind},
    names::TaskNames,
    tree::{Node, Tree, Walk},
};

/// A cgroup's id: that of its kernfs node, which is also its directory's inode number. Not used
/// again while the machine is up (the upper half counts generations).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(pub u64);
