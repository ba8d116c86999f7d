//! pidwatch's kernel side: one file a hook, what they share in `task`, `cgroup`, `emit` and `maps`.
//!
//! In: the kernel's tracepoints. Out: totals per cgroup in a map, and records in a ring buffer.
//! Invariant: what is not counted is told as lost ([`pidwatch_common::totals::Loss`], and the
//! programs' own `recursion_misses`).
#![no_std]
#![no_main]
#![allow(
    internal_features,
    reason = "the BPF target has no atomics in core; its xadd is an intrinsic"
)]
#![feature(core_intrinsics)]

mod activity;
mod baseline;
mod call;
mod cgroup;
mod clone_failure;
mod control;
mod counter;
mod creation;
mod emit;
mod evidence;
mod exit;
mod free;
mod idr;
mod lifecycle;
mod lineage;
mod loss;
mod maps;
mod pending;
mod suspect;
mod task;
mod zombies;

/// The kernel opens its tracing helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
