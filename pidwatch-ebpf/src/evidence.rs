//! The limits around a failing creation, read in the moment of its failure: what the pids
//! controller counts up to the root, the PID namespaces, the user's tasks, the node's threads. Runs
//! for failures that are told only; nothing here is on the way of a creation that succeeds.
//!
//! Read through helpers: a failure is rare, and structures lie within others that the verifier has
//! no types for.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use pidwatch_common::evidence::{
    CGROUP_LEVELS, CgroupLevel, Evidence, PID_LEVELS, PIDNS_ADDING, PidLevel, RESERVED_PIDS,
    USER_LEVELS, UserLevel, known,
};

use crate::{
    idr,
    maps::{offset, setting},
    task::probe,
};

/// `CAP_SYS_ADMIN` and `CAP_SYS_RESOURCE` of include/uapi/linux/capability.h.
const FREE_OF_NPROC: u64 = 1 << 21 | 1 << 24;
/// `SCHED_DEADLINE` of include/uapi/linux/sched.h.
const SCHED_DEADLINE: u32 = 6;

/// Which limits can have refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Suspects {
    /// Those of a creation.
    All,
    /// Those of execve: the user's.
    User,
}

/// Fills `out`, a record in the ring, wholly but for levels beyond those that there are.
#[inline(always)]
pub fn gather(task: *const u8, css_set: *const u8, suspects: Suspects, out: *mut Evidence) {
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
        if setting!(evidence) == 0 {
            return;
        }
        bits |= users(task, out);
        if suspects == Suspects::User {
            (&raw mut (*out).known).write_volatile(bits);
            return;
        }
        if let Some(policy) = probe::<u32>(task, offset!(task_policy)) {
            (&raw mut (*out).deadline).write_volatile(u32::from(policy == SCHED_DEADLINE));
        }
        if let (Some(threads), Some(most)) = (
            variable(setting!(nr_threads)),
            variable(setting!(max_threads)),
        ) {
            (&raw mut (*out).nr_threads).write_volatile(threads as i32);
            (&raw mut (*out).max_threads).write_volatile(most as i32);
            bits |= known::THREADS;
        }
        bits |= pids(task, out);
        bits |= cgroups(css_set, out);
        (&raw mut (*out).known).write_volatile(bits);
    }
}

/// A variable of the kernel; `None` when its address is hidden.
#[inline(always)]
fn variable(address: u64) -> Option<u32> {
    if address == 0 {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const u32).ok() }
}

/// The pids controller's counts from a task's cgroup up to the root, which it does not count.
#[inline(never)]
fn cgroups(css_set: *const u8, out: *mut Evidence) -> u32 {
    read_cgroups(css_set, out).unwrap_or(0)
}

#[inline(always)]
fn read_cgroups(css_set: *const u8, out: *mut Evidence) -> Option<u32> {
    if setting!(has_pids) == 0 {
        return None;
    }
    let mut css: *const u8 = probe(css_set, offset!(css_set_pids))?;
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

/// The PID namespaces that a child gets an ID in.
#[inline(never)]
fn pids(task: *const u8, out: *mut Evidence) -> u32 {
    read_pids(task, out).unwrap_or(0)
}

#[inline(always)]
fn read_pids(task: *const u8, out: *mut Evidence) -> Option<u32> {
    let proxy: *const u8 = probe(task, offset!(task_nsproxy))?;
    let mut space: *const u8 = probe(proxy, offset!(nsproxy_pid_ns))?;
    let of_node = variable(setting!(pid_max));
    let mut bits = known::PIDS | known::PID_MAX;
    for i in 0..PID_LEVELS {
        if space.is_null() {
            return Some(bits);
        }
        let pid_max = if offset!(pid_ns_pid_max) == 0 {
            of_node
        } else {
            probe(space, offset!(pid_ns_pid_max))
        };
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
        unsafe {
            (&raw mut (*out).pids)
                .cast::<PidLevel>()
                .add(i)
                .write(level);
        }
        // SAFETY: a record of the ring.
        unsafe { (&raw mut (*out).pid_levels).write_volatile(i as u32 + 1) };
        space = probe(space, offset!(pid_ns_parent))?;
    }
    // The node's own is not among them.
    space.is_null().then_some(bits)
}

/// The user's tasks, and the limits on them from the task's user namespace up.
#[inline(never)]
fn users(task: *const u8, out: *mut Evidence) -> u32 {
    read_users(task, out).unwrap_or(0)
}

#[inline(always)]
fn read_users(task: *const u8, out: *mut Evidence) -> Option<u32> {
    let cred: *const u8 = probe(task, offset!(task_cred))?;
    let uid: u32 = probe(cred, offset!(cred_uid))?;
    let capabilities: u64 = probe(cred, offset!(cred_cap_effective))?;
    let user_ns: *const u8 = probe(cred, offset!(cred_user_ns))?;
    let depth: i32 = probe(user_ns, offset!(user_ns_level))?;
    let exempt = uid == 0 || depth == 0 && capabilities & FREE_OF_NPROC != 0;
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
