//! The least that counting per cgroup can be: a hook on creation and one on exit, each with one
//! hash look-up by cgroup id and one atomic add. `cargo xtask bench` measures pidwatch against it.
#![no_std]
#![no_main]
#![allow(
    internal_features,
    reason = "the BPF target has no atomics in core; its xadd is an intrinsic"
)]
#![feature(core_intrinsics)]

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    btf_maps::HashMap,
    helpers::generated::bpf_get_current_cgroup_id,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};

/// Created and exited tasks by cgroup id; user space makes the entries.
#[btf_map]
static COUNTS: HashMap<u64, [u64; 2], 1024> = HashMap::new();

#[btf_tracepoint(function = "sched_process_fork")]
pub fn created(_ctx: BtfTracePointContext) -> i32 {
    count(0)
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn exited(_ctx: BtfTracePointContext) -> i32 {
    count(1)
}

#[inline(always)]
fn count(counter: usize) -> i32 {
    // SAFETY: no arguments.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if let Some(counts) = COUNTS.get_ptr_mut(cgroup) {
        // SAFETY: one of the two integers of an entry of the map.
        let _: u64 = unsafe {
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(
                (counts as *mut u64).add(counter),
                1,
            )
        };
    } else {
        let _ = COUNTS.insert(cgroup, [1, 0], 0);
    }
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
