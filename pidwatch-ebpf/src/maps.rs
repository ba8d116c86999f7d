//! Every map and load-time global of the kernel side.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, RingBuf},
};
use pidwatch_common::{
    MAX_CGROUPS, MAX_PENDING,
    activity::MAX_WATCHED,
    globals::{Offsets, Settings},
    pending::Pending,
    record::{CgroupChange, PATH_MAX},
    totals::{Cgroup, Loss},
};

/// Totals by cgroup id. Preallocated: an insertion in a hook must neither allocate nor fail while
/// there is room.
#[map]
pub static CGROUPS: HashMap<u64, Cgroup> = HashMap::with_max_entries(MAX_CGROUPS, 0);

/// How many entries [`CGROUPS`] has.
#[map]
pub static CGROUPS_USED: Array<u64> = Array::with_max_entries(1, 0);

/// Records to user space; user space sets the size at load.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// What was lost, by [`Loss`].
#[map]
pub static LOSSES: Array<u64> = Array::with_max_entries(Loss::ALL.len() as u32, 0);

/// Tasks (by address) that ended, and are not freed: see `pending`.
#[map]
pub static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(MAX_PENDING, 0);

/// Cgroups whose tasks a pass is to write (`activity`).
#[map]
pub static WATCHED: HashMap<u64, u64> = HashMap::with_max_entries(MAX_WATCHED, 0);

/// Where a [`CgroupChange`] and its path are put together. One place is enough: the kernel raises
/// the cgroup tracepoints under one spinlock (`trace_cgroup_path_lock`, `TRACE_CGROUP_PATH` in
/// kernel/cgroup/cgroup-internal.h).
#[map]
pub static PATH_SCRATCH: Array<PathRecord> = Array::with_max_entries(1, 0);

/// A [`CgroupChange`] with room for its path.
#[repr(C)]
pub struct PathRecord {
    pub change: CgroupChange,
    pub path: [u8; PATH_MAX],
}

/// Written by user space before load.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ZERO;

/// Written by user space before load.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings::ZERO;

/// Reads a load-time constant. Volatile: it is written between compilation and load.
#[inline(always)]
pub fn constant<T: Copy>(value: &T) -> T {
    // SAFETY: a reference.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

/// Reads one member of [`OFFSETS`].
macro_rules! offset {
    ($field:ident) => {
        $crate::maps::constant(&$crate::maps::OFFSETS.$field)
    };
}
/// Reads one member of [`SETTINGS`].
macro_rules! setting {
    ($field:ident) => {
        $crate::maps::constant(&$crate::maps::SETTINGS.$field)
    };
}
pub(crate) use {offset, setting};
