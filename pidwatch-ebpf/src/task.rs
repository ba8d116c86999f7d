//! Loads of kernel structures, and the task that a hook is about.

use aya_ebpf::helpers::{
    bpf_probe_read_kernel,
    generated::{bpf_get_current_task_btf, bpf_jiffies64},
};

use crate::maps::offset;

/// `CLONE_THREAD` of include/uapi/linux/sched.h.
pub const CLONE_THREAD: u64 = 0x0001_0000;
/// `CLONE_INTO_CGROUP` of include/uapi/linux/sched.h (5.7).
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `PF_KTHREAD` of include/linux/sched.h.
pub const PF_KTHREAD: u32 = 0x0020_0000;

/// A member of a structure that the verifier knows the type of: one instruction, no helper.
///
/// # Safety
/// `base` comes from the kernel as a typed (BTF) pointer and `offset` is that of a member of type
/// `T`. A fault reads as 0 (the kernel's exception table for `BPF_PROBE_MEM`).
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the caller's promise; volatile, so that the load stays the size that it says.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// A member at any kernel address, through a helper; `None` when the address is not mapped.
#[inline(always)]
pub fn probe<T: Copy>(base: *const u8, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()).ok() }
}

/// A `task_struct` that the verifier knows as such.
#[derive(Clone, Copy)]
pub struct Task(pub *const u8);

impl Task {
    /// The running task. `bpf_get_current_task_btf` needs 5.11.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: no arguments.
        Self(unsafe { bpf_get_current_task_btf() }.cast_const().cast())
    }

    /// The task's id in the initial PID namespace.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        // SAFETY: a typed pointer.
        unsafe { load(self.0, offset!(task_pid)) }
    }

    /// Whether the task leads its thread group, going by its ids.
    #[inline(always)]
    pub fn is_leader(self) -> bool {
        // SAFETY: a typed pointer.
        self.pid() == unsafe { load::<u32>(self.0, offset!(task_tgid)) }
    }

    /// Whether a tracer is attached.
    #[inline(always)]
    pub fn is_traced(self) -> bool {
        // SAFETY: a typed pointer.
        unsafe { load::<u32>(self.0, offset!(task_ptrace)) != 0 }
    }

    /// `task_struct.exit_state`.
    #[inline(always)]
    pub fn exit_state(self) -> u32 {
        // SAFETY: a typed pointer.
        unsafe { load(self.0, offset!(task_exit_state)) }
    }

    /// When it was created: unlike its address, nobody else's.
    #[inline(always)]
    pub fn start_time(self) -> u64 {
        // SAFETY: a typed pointer.
        unsafe { load(self.0, offset!(task_start_time)) }
    }

    /// The task's address, as a key.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }
}

/// The kernel's tick counter: made a plain load by the JIT, where a clock is a helper call.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}
