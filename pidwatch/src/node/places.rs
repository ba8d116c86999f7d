//! Places in the kernel side's map of cgroups: some are kept for owners, however many cgroups others make.

use crate::{cgroup::Tree, identity::Owner, probe::Probe};

/// Owners get the places that are kept for them, also those that have counted nothing yet.
pub fn keep_owners(probe: &Probe, tree: &Tree) {
    for (id, node) in tree.iter() {
        if Owner::new(id, Some(node.path.clone())).is_outermost() {
            probe.keep(id);
        }
    }
}
