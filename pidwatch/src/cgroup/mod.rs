//! The kernel's groups, read from the cgroup file system: which hierarchy counts tasks, the tree of
//! ids and paths, and what the files say of a group.

mod charges;
mod files;
mod layout;
mod names;
mod own;
mod walk;

pub use pidwatch_core::cgroup::*;

pub use self::{
    files::Files,
    layout::{LayoutError, counts_refusals_locally, detect},
    own::Summing,
    walk::{Walk, directory, walk},
};
