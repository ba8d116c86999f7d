//! What pidwatch's kernel side and user side must agree on, and nothing else: map keys and values,
//! ring records, load-time globals and the names under which both sides find them.
//!
//! Every type is `repr(C)` with its padding spelled out, so that no byte of a record is left
//! uninitialised (the verifier refuses such a record) and both compilers lay it out alike.
#![no_std]

pub mod activity;
pub mod control;
pub mod evidence;
pub mod globals;
pub mod pending;
pub mod record;
pub mod totals;

/// Names of the maps, as the object file carries them.
pub mod map {
    /// Hash: cgroup id (`u64`) to [`crate::totals::Cgroup`].
    pub const CGROUPS: &str = "CGROUPS";
    /// Hash: address of an ended task (`u64`) to [`crate::pending::Pending`].
    pub const PENDING: &str = "PENDING";
    /// Hash: cgroup id (`u64`) of those whose tasks a pass is to write; see [`crate::activity`].
    pub const WATCHED: &str = "WATCHED";
    /// Ring buffer of [`crate::record`]s.
    pub const RING: &str = "RING";
}

/// Entries of [`map::CGROUPS`]: cgroups that had any task life since pidwatch started and are not
/// long gone. An entry and its overhead take 400 bytes, all of them 6.3 MiB.
pub const MAX_CGROUPS: u32 = 16 * 1024;
/// Of these are kept for owners: containers, pods, units. However many cgroups one of them makes, others find room.
pub const RESERVED_CGROUPS: u32 = 2 * 1024;

/// Entries of [`map::PENDING`]: as many as there are PIDs by default. An entry takes 88 bytes, its bucket
/// 16, all of them 3.3 MiB.
pub const MAX_PENDING: u32 = 32 * 1024;
