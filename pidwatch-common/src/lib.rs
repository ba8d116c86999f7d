//! What pidwatch's kernel side and user side must agree on, and nothing else: map keys and values,
//! ring records, load-time globals and the names under which both sides find them.
//!
//! Every type is `repr(C)` with its padding spelled out, so that no byte of a record is left
//! uninitialised (the verifier refuses such a record) and both compilers lay it out alike.
#![no_std]

pub mod globals;
pub mod record;
pub mod totals;

/// Names of the maps, as the object file carries them.
pub mod map {
    /// Hash: cgroup id (`u64`) to [`crate::totals::Cgroup`].
    pub const CGROUPS: &str = "CGROUPS";
    /// Ring buffer of [`crate::record`]s.
    pub const RING: &str = "RING";
    /// Array of `u64`, indexed by [`crate::totals::Loss`].
    pub const LOSSES: &str = "LOSSES";
    /// Array of one `u32`, a [`crate::totals::Phase`].
    pub const PHASE: &str = "PHASE";
    /// Hash: address of a `task_struct` to `u8`; the tasks whose free must be looked at closely.
    pub const HELD: &str = "HELD";
}

/// Entries of [`map::CGROUPS`]: cgroups that had any task life since pidwatch started and are not
/// long gone. 16 Ki entries of this size take about 3 MiB.
pub const MAX_CGROUPS: u32 = 16 * 1024;

/// Entries of [`map::HELD`].
pub const MAX_HELD: u32 = 8 * 1024;
