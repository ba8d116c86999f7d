//! The limits around a failing creation, read in the moment of its failure: what the pids
//! controller counts up to the root, the PID namespaces, the user's tasks, the node's threads. Runs
//! for failures that are told only; nothing here is on the way of a creation that succeeds.
//!
//! Read through helpers: a failure is rare, and structures lie within others that the verifier has
//! no types for.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use pidwatch_common::{
    evidence::{
        CGROUP_LEVELS, CHARGE_BATCH, CgroupLevel, LimitEvidence, MemoryLevel, NAMESPACES,
        NamespaceLevel, PID_LEVELS, PIDNS_ADDING, PidLevel, RESERVED_PIDS, USER_LEVELS, UserLevel,
        known,
    },
    record::Syscall,
};

use crate::{
    cgroup::Owner,
    idr,
    maps::{offset, setting},
    task::probe,
};

/// `CAP_SYS_ADMIN` and `CAP_SYS_RESOURCE` of include/uapi/linux/capability.h.
const FREE_OF_NPROC: u64 = 1 << 21 | 1 << 24;
/// `SCHED_DEADLINE` of include/uapi/linux/sched.h.
const SCHED_DEADLINE: u32 = 6;
/// `PF_NPROC_EXCEEDED` of include/linux/sched.h.
pub const PF_NPROC_EXCEEDED: u32 = 0x1000;

/// Which limits can have refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Suspects {
    /// Those of a creation that failed with EAGAIN.
    All,
    /// Those of execve: the user's.
    User,
    /// Of ENOMEM: a PID namespace without its init, memory cgroups.
    Memory,
    /// Of ENOSPC: how many namespaces there may be.
    Namespaces,
}

/// Flags that nobody gives.
pub const UNKNOWN_FLAGS: u64 = u64::MAX;

/// A creation that failed.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// The caller.
    pub task: *const u8,
    /// Where the child was to be born, with the caller's `css_set`.
    pub owner: Owner,
    /// The pids controller's state of the cgroup that the child was to be born in; null when it has none.
    pub pids: *const u8,
    /// The error.
    pub errno: u32,
    /// How it was asked for.
    pub syscall: Syscall,
    /// The flags; [`UNKNOWN_FLAGS`] where they are not known. No `Option`: what one leaves unwritten the
    /// verifier takes for a read of nothing.
    pub flags: u64,
}

/// Fills `out`, a record in the ring, wholly but for levels beyond those that there are.
#[inline(always)]
pub fn gather(attempt: &Attempt, suspects: Suspects, out: *mut LimitEvidence) {
    let task = attempt.task;
    let mut bits = 0;
    // SAFETY: a record of the ring with room for all of it.
    unsafe {
        (&raw mut (*out).known).write_volatile(0);
        (&raw mut (*out).cgroup_levels).write_volatile(0);
        (&raw mut (*out).pid_levels).write_volatile(0);
        (&raw mut (*out).user_levels).write_volatile(0);
        (&raw mut (*out).nproc_exempt).write_volatile(0);
        (&raw mut (*out).deadline).write_volatile(0);
        (&raw mut (*out).nr_threads).write_volatile(0);
        (&raw mut (*out).max_threads).write_volatile(0);
        (&raw mut (*out).in_exec).write_volatile(0);
        (&raw mut (*out).nproc_exceeded).write_volatile(0);
        (&raw mut (*out).clone_flags).write_volatile(attempt.flags);
        (&raw mut (*out).data_pages).write_volatile(0);
        (&raw mut (*out).memory).write_volatile(NO_MEMORY);
        (&raw mut (*out).namespaces).write_volatile(NO_NAMESPACES);
        if attempt.flags != UNKNOWN_FLAGS {
            bits |= known::CLONE_FLAGS;
        }
        if setting!(evidence) == 0 {
            return;
        }
        if suspects == Suspects::Memory {
            bits |= pids(
                task,
                (&raw mut (*out).pids).cast(),
                &raw mut (*out).pid_levels,
            );
            memory(attempt, out);
            (&raw mut (*out).known).write_volatile(bits);
            return;
        }
        if suspects == Suspects::Namespaces {
            namespaces(attempt, out);
            (&raw mut (*out).known).write_volatile(bits);
            return;
        }
        bits |= users(task, out);
        if suspects == Suspects::User {
            let flags = probe::<u32>(task, offset!(task_flags)).unwrap_or(0);
            (&raw mut (*out).nproc_exceeded)
                .write_volatile(u32::from(flags & PF_NPROC_EXCEEDED != 0));
            (&raw mut (*out).known).write_volatile(bits);
            return;
        }
        (&raw mut (*out).deadline).write_volatile(u32::from(of_deadline(task)));
        (&raw mut (*out).in_exec).write_volatile(u32::from(is_in_exec(task)));
        if setting!(events_at_forker) != 0 {
            bits |= known::EVENTS_AT_FORKER;
        }
        if let (Some(threads), Some(most)) = (
            variable(setting!(nr_threads)),
            variable(setting!(max_threads)),
        ) {
            (&raw mut (*out).nr_threads).write_volatile(threads as i32);
            (&raw mut (*out).max_threads).write_volatile(most as i32);
            bits |= known::THREADS;
        }
        bits |= pids(
            task,
            (&raw mut (*out).pids).cast(),
            &raw mut (*out).pid_levels,
        );
        bits |= cgroups(attempt.pids, out);
        (&raw mut (*out).known).write_volatile(bits);
    }
}

/// A variable of the kernel; `None` when its address is hidden.
#[inline(always)]
pub fn variable(address: u64) -> Option<u32> {
    if address == 0 {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const u32).ok() }
}

/// The pids controller's counts from a task's cgroup up to the root, which it does not count.
#[inline(never)]
fn cgroups(css: *const u8, out: *mut LimitEvidence) -> u32 {
    read_cgroups(css, out).unwrap_or(0)
}

#[inline(always)]
fn read_cgroups(mut css: *const u8, out: *mut LimitEvidence) -> Option<u32> {
    if setting!(has_pids) == 0 || css.is_null() {
        return None;
    }
    for i in 0..CGROUP_LEVELS {
        let parent: *const u8 = probe(css, offset!(css_parent))?;
        if parent.is_null() {
            return Some(known::CGROUPS);
        }
        let cgroup: *const u8 = probe(css, offset!(css_cgroup))?;
        let node: *const u8 = probe(cgroup, offset!(cgroup_kn))?;
        let level = CgroupLevel {
            cgroup: probe(node, offset!(kernfs_node_id))?,
            usage: probe(css, offset!(pids_counter))?,
            limit: probe(css, offset!(pids_limit))?,
            events: probe(css, offset!(pids_events))?,
        };
        // SAFETY: below the number of levels.
        unsafe {
            (&raw mut (*out).cgroups)
                .cast::<CgroupLevel>()
                .add(i)
                .write(level);
            (&raw mut (*out).cgroup_levels).write_volatile(i as u32 + 1);
        }
        css = parent;
    }
    // Deeper than there is room for: a limit further up may be the one.
    let above: *const u8 = probe(css, offset!(css_parent))?;
    above.is_null().then_some(known::CGROUPS)
}

/// The PID namespaces that a child gets an ID in: room for [`PID_LEVELS`], and how many there are.
#[inline(never)]
pub fn pids(task: *const u8, levels: *mut PidLevel, count: *mut u32) -> u32 {
    read_pids(task, levels, count).unwrap_or(0)
}

#[inline(always)]
fn read_pids(task: *const u8, levels: *mut PidLevel, count: *mut u32) -> Option<u32> {
    let proxy: *const u8 = probe(task, offset!(task_nsproxy))?;
    let mut space: *const u8 = probe(proxy, offset!(nsproxy_pid_ns))?;
    let mut bits = known::PIDS | known::PID_MAX;
    for i in 0..PID_LEVELS {
        if space.is_null() {
            return Some(bits);
        }
        let pid_max = pid_max_of(space);
        if pid_max.is_none() {
            bits &= !known::PID_MAX;
        }
        let pid_max = pid_max.unwrap_or(0);
        let allocated: u32 = probe(space, offset!(pid_ns_allocated))?;
        let cursor: u32 = probe(space, offset!(pid_ns_cursor))?;
        // `alloc_pid` searches from here, once it has come so far.
        let from = if cursor > RESERVED_PIDS {
            RESERVED_PIDS
        } else {
            1
        };
        let is_near = (allocated & !PIDNS_ADDING) + RESERVED_PIDS >= pid_max;
        let level = PidLevel {
            allocated,
            pid_max,
            inum: probe(space, offset!(pid_ns_inum))?,
            first_free: if is_near {
                idr::first_free(space as u64, from)
            } else {
                0
            },
        };
        // SAFETY: below the number of levels.
        unsafe { levels.add(i).write(level) };
        // SAFETY: a record of the ring.
        unsafe { count.write_volatile(i as u32 + 1) };
        space = probe(space, offset!(pid_ns_parent))?;
    }
    // The node's own is not among them.
    space.is_null().then_some(bits)
}

/// The node's or the namespace's own (6.14).
#[inline(always)]
pub fn pid_max_of(space: *const u8) -> Option<u32> {
    if offset!(pid_ns_pid_max) == 0 {
        variable(setting!(pid_max))
    } else {
        probe(space, offset!(pid_ns_pid_max))
    }
}

/// Whether the task's children would be scheduled by SCHED_DEADLINE, which `sched_fork` refuses.
#[inline(always)]
pub fn of_deadline(task: *const u8) -> bool {
    let resets = offset!(task_reset_on_fork) != 0
        && probe::<u8>(task, offset!(task_reset_on_fork))
            .is_some_and(|byte| byte >> (offset!(task_reset_on_fork_bit) & 7) & 1 != 0);
    probe::<u32>(task, offset!(task_policy)) == Some(SCHED_DEADLINE) && !resets
}

/// Whether a task that shares this one's file-system state execs (`copy_fs`, kernel/fork.c).
#[inline(always)]
pub fn is_in_exec(task: *const u8) -> bool {
    offset!(task_fs) != 0
        && probe::<*const u8>(task, offset!(task_fs))
            .and_then(|fs| probe::<u32>(fs, offset!(fs_in_exec)))
            .is_some_and(|in_exec| in_exec != 0)
}

/// Whether RLIMIT_NPROC does not hold for who has these credentials.
#[inline(always)]
pub fn is_nproc_exempt(cred: *const u8) -> Option<bool> {
    let uid: u32 = probe(cred, offset!(cred_uid))?;
    let capabilities: u64 = probe(cred, offset!(cred_cap_effective))?;
    let user_ns: *const u8 = probe(cred, offset!(cred_user_ns))?;
    let depth: i32 = probe(user_ns, offset!(user_ns_level))?;
    Some(uid == 0 || depth == 0 && capabilities & FREE_OF_NPROC != 0)
}

const NO_MEMORY: MemoryLevel = MemoryLevel {
    cgroup: 0,
    usage: 0,
    limit: 0,
    height: 0,
    reserved: 0,
};
const NO_NAMESPACES: NamespaceLevel = NamespaceLevel {
    kind: 0,
    uid: 0,
    usage: 0,
    limit: 0,
};

/// The first full memory cgroup, and how large the task is.
#[inline(never)]
fn memory(attempt: &Attempt, out: *mut LimitEvidence) -> u32 {
    let data = probe::<*const u8>(attempt.task, offset!(task_mm))
        .and_then(|mm| probe::<u64>(mm, offset!(mm_data)));
    let full = full_memory(attempt.owner.css_set as u64);
    // SAFETY: a record of the ring.
    unsafe {
        (&raw mut (*out).data_pages).write_volatile(data.unwrap_or(0));
        if full != 0
            && let Some(level) = read_memory((full & !LOW_BITS) as *const u8, full & LOW_BITS)
        {
            (&raw mut (*out).memory).write_volatile(level);
        }
    }
    0
}

/// Pointers to structures have these clear: the height is returned in them.
const LOW_BITS: u64 = 7;

/// The state (`cgroup_subsys_state`) of the first memory cgroup that is full, and in its low bits how
/// many levels above the task's it is; 0 when none is. An exported function, so that the verifier looks
/// at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn full_memory(css_set: u64) -> u64 {
    find_memory(css_set as *const u8).unwrap_or(0)
}

#[inline(always)]
fn find_memory(css_set: *const u8) -> Option<u64> {
    if offset!(css_set_memory) == 0 {
        return None;
    }
    let mut css: *const u8 = probe(css_set, offset!(css_set_memory))?;
    for height in 0..=LOW_BITS {
        if css.is_null() {
            return None;
        }
        let usage: u64 = probe(css, offset!(memory_counter) + offset!(counter_usage))?;
        let limit: u64 = probe(css, offset!(memory_counter) + offset!(counter_max))?;
        if usage.wrapping_add(CHARGE_BATCH) >= limit {
            return Some(css as u64 | height);
        }
        css = probe(css, offset!(css_parent))?;
    }
    None
}

#[inline(always)]
fn read_memory(css: *const u8, height: u64) -> Option<MemoryLevel> {
    let cgroup: *const u8 = probe(css, offset!(css_cgroup))?;
    let node: *const u8 = probe(cgroup, offset!(cgroup_kn))?;
    Some(MemoryLevel {
        cgroup: probe(node, offset!(kernfs_node_id))?,
        usage: probe(css, offset!(memory_counter) + offset!(counter_usage))?,
        limit: probe(css, offset!(memory_counter) + offset!(counter_max))?,
        height: height as u32,
        reserved: 0,
    })
}

/// The first kind of namespace asked for that the user has as many of as may be.
#[inline(never)]
fn namespaces(attempt: &Attempt, out: *mut LimitEvidence) -> u32 {
    let Some(level) = read_namespaces(attempt) else {
        return 0;
    };
    // SAFETY: a record of the ring.
    unsafe { (&raw mut (*out).namespaces).write_volatile(level) };
    0
}

#[inline(always)]
fn read_namespaces(attempt: &Attempt) -> Option<NamespaceLevel> {
    if offset!(cred_ucounts) == 0 || attempt.flags == UNKNOWN_FLAGS {
        return None;
    }
    let cred: *const u8 = probe(attempt.task, offset!(task_cred))?;
    let first: u64 = probe(cred, offset!(cred_ucounts))?;
    let found = full_namespaces(first, attempt.flags);
    if found == 0 {
        return None;
    }
    let kind = found & 0xff;
    let mut counts = first as *const u8;
    for _ in 0..(found >> 8 & 3) {
        let space: *const u8 = probe(counts, offset!(ucounts_ns))?;
        counts = probe(space, offset!(user_ns_ucounts))?;
    }
    let at = (kind as u32 - 1) * 8;
    let space: *const u8 = probe(counts, offset!(ucounts_ns))?;
    Some(NamespaceLevel {
        kind: kind as u32,
        uid: probe(counts, offset!(ucounts_uid))?,
        usage: probe(counts, offset!(ucounts_namespaces) + at)?,
        limit: probe(space, offset!(user_ns_namespaces_max) + at)?,
    })
}

/// The kind, from 1, and above it (from bit 8 on) the level of the user namespace where it is used up; 0
/// when none is. An exported function, so that the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn full_namespaces(counts: u64, flags: u64) -> u64 {
    find_namespaces(counts as *const u8, flags).unwrap_or(0)
}

#[inline(always)]
fn find_namespaces(first: *const u8, flags: u64) -> Option<u64> {
    for (kind, (flag, _)) in NAMESPACES.iter().enumerate() {
        if flags & flag == 0 {
            continue;
        }
        let at = kind as u32 * 8;
        let mut counts = first;
        for level in 0..USER_LEVELS as u64 {
            if counts.is_null() {
                break;
            }
            let space: *const u8 = probe(counts, offset!(ucounts_ns))?;
            let usage: i64 = probe(counts, offset!(ucounts_namespaces) + at)?;
            let limit: i64 = probe(space, offset!(user_ns_namespaces_max) + at)?;
            if usage >= limit {
                return Some((kind as u64 + 1) | (level << 8));
            }
            counts = probe(space, offset!(user_ns_ucounts))?;
        }
    }
    None
}

/// The user's tasks, and the limits on them from the task's user namespace up.
#[inline(never)]
fn users(task: *const u8, out: *mut LimitEvidence) -> u32 {
    read_users(task, out).unwrap_or(0)
}

#[inline(always)]
fn read_users(task: *const u8, out: *mut LimitEvidence) -> Option<u32> {
    let cred: *const u8 = probe(task, offset!(task_cred))?;
    let uid: u32 = probe(cred, offset!(cred_uid))?;
    let exempt = is_nproc_exempt(cred)?;
    let signal: *const u8 = probe(task, offset!(task_signal))?;
    let mut limit: u64 = probe(signal, offset!(signal_nproc))?;
    // SAFETY: a record of the ring.
    unsafe { (&raw mut (*out).nproc_exempt).write_volatile(u32::from(exempt)) };
    let set = |i: usize, level: UserLevel| {
        // SAFETY: callers stay below the number of levels.
        unsafe {
            (&raw mut (*out).users)
                .cast::<UserLevel>()
                .add(i)
                .write(level);
            (&raw mut (*out).user_levels).write_volatile(i as u32 + 1);
        }
    };
    if offset!(cred_ucounts) == 0 {
        let user: *const u8 = probe(cred, offset!(cred_user))?;
        let tasks: i32 = probe(user, offset!(user_processes))?;
        set(
            0,
            UserLevel {
                usage: i64::from(tasks),
                limit,
                uid,
                reserved: 0,
            },
        );
        return Some(known::USER);
    }
    let mut counts: *const u8 = probe(cred, offset!(cred_ucounts))?;
    for i in 0..USER_LEVELS {
        if counts.is_null() {
            return Some(known::USER);
        }
        set(
            i,
            UserLevel {
                usage: probe(counts, offset!(ucounts_nproc))?,
                limit,
                uid: probe(counts, offset!(ucounts_uid))?,
                reserved: 0,
            },
        );
        let space: *const u8 = probe(counts, offset!(ucounts_ns))?;
        limit = probe(space, offset!(user_ns_nproc_max))?;
        counts = probe(space, offset!(user_ns_ucounts))?;
    }
    counts.is_null().then_some(known::USER)
}
