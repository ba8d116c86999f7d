//! Counters of map values, added to by all CPUs.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds one.
#[inline(always)]
pub fn count(counter: *mut u64) {
    add(counter, 1);
}

/// Adds.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // The result stays unused: before 5.12 the kernel has no fetching add.
    // SAFETY: the pointer is into a map value.
    let _: u64 = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
}
