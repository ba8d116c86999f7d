//! The tree in which a PID namespace keeps its IDs (`pid_namespace.idr`, lib/radix-tree.c and
//! include/linux/xarray.h; the same from 5.10 to 7.2).

use crate::{maps::offset, task::probe};

/// IDs in a node (`XA_CHUNK_SIZE`), by their binary logarithm.
const CHUNK_SHIFT: u32 = 6;
/// Levels that the 22 bits of a PID need.
const LEVELS: usize = 4;
/// The low bits of an entry; those of one that points to a node (`xa_is_node`); up to here there are
/// entries that look so and mean something else.
const TAG_MASK: u64 = 3;
const NODE_TAG: u64 = 2;
const HIGHEST_SPECIAL: u64 = 4096;

/// The node that an entry points to.
#[inline(always)]
fn as_node(entry: u64) -> Option<*const u8> {
    (entry & TAG_MASK == NODE_TAG && entry > HIGHEST_SPECIAL)
        .then_some((entry - NODE_TAG) as *const u8)
}

/// The `struct pid` of an ID of a namespace, as `find_pid_ns` does.
#[inline(always)]
pub fn find(space: *const u8, id: u32) -> Option<*const u8> {
    let mut entry: u64 = probe(space, offset!(pid_ns_xa_head))?;
    for _ in 0..LEVELS {
        let Some(node) = as_node(entry) else { break };
        let shift = u32::from(probe::<u8>(node, offset!(xa_node_shift))?);
        let slot = (id >> (shift & 31)) & ((1 << CHUNK_SHIFT) - 1);
        entry = probe(node, offset!(xa_node_slots) + slot * 8)?;
    }
    (entry != 0 && entry & TAG_MASK == 0).then_some(entry as *const u8)
}

/// The first ID from `from` on that is free: what `idr_get_free` (lib/radix-tree.c) finds. Each node
/// has a bitmap of the slots below which there is a free one (`xa_node.tags[IDR_FREE]`).
///
/// The verifier looks at an exported function once, and not at every call.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn first_free(space: u64, from: u32) -> u32 {
    find_free(space as *const u8, from).unwrap_or(0)
}

#[inline(always)]
fn find_free(space: *const u8, from: u32) -> Option<u32> {
    let root = as_node(probe(space, offset!(pid_ns_xa_head))?)?;
    let mut id = from;
    let mut node = root;
    // Only the nodes that `from` itself lies in can have a free slot and none from there on. Each is
    // found out once, from the leaf up, and costs a way down to it; then one way down leads to a
    // free ID.
    for _ in 0..LEVELS * (LEVELS + 1) / 2 + LEVELS {
        let shift = u32::from(probe::<u8>(node, offset!(xa_node_shift))?) & 31;
        let above = (shift + CHUNK_SHIFT) & 31;
        if node == root && id >> above != 0 {
            // Beyond the tree, which grows.
            return Some(id);
        }
        let slot = (id >> shift) & ((1 << CHUNK_SHIFT) - 1);
        let free = probe::<u64>(node, offset!(xa_node_tags))? >> slot;
        if free == 0 {
            id = ((id >> above) + 1) << above;
            node = root;
            continue;
        }
        let skipped = free.trailing_zeros();
        if skipped > 0 {
            id = ((id >> shift) + skipped) << shift;
        }
        if shift == 0 {
            return Some(id);
        }
        let slot = (id >> shift) & ((1 << CHUNK_SHIFT) - 1);
        match as_node(probe(node, offset!(xa_node_slots) + slot * 8)?) {
            Some(below) => node = below,
            None => return Some(id),
        }
    }
    None
}
