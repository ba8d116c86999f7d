//! What user space asks of the kernel side, as arguments of its program `control`, run by
//! `BPF_PROG_TEST_RUN`.
//!
//! Not by map syscalls: while one is under way the kernel skips every classic tracepoint program
//! on that CPU (`bpf_disable_instrumentation`), which are what counts from 7.0 on.

/// Name of the program.
pub const PROGRAM: &str = "control";

/// First argument; the second is a cgroup id unless the request says otherwise.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send a [`crate::record::Rate`] of this cgroup.
    Totals = 0,
    /// Take this cgroup out of the map.
    Forget = 1,
    /// Send a [`crate::record::Losses`].
    Losses = 2,
    /// Take an entry of [`crate::map::PENDING`] out if it is still stale; the second argument is its
    /// address.
    Settle = 3,
    /// Send a [`crate::record::PidNamespaces`] of the task whose PID in the initial namespace is the second
    /// argument.
    PidNamespaces = 4,
    /// Have the passes over tasks write those of this cgroup ([`crate::activity`]).
    Watch = 5,
    /// Have them no longer.
    Unwatch = 6,
    /// Give this cgroup an entry of the map also where only the places kept for owners are left.
    Keep = 7,
}
