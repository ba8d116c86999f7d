//! What refused a creation of which no record is sent: the same checks as for one that is, in the
//! kernel's order, without writing down what was read.

use pidwatch_common::{
    evidence::{CGROUP_LEVELS, PIDNS_ADDING, RESERVED_PIDS},
    totals::Suppressed,
};

use crate::{
    evidence::{PF_NPROC_EXCEEDED, is_in_exec, is_nproc_exempt, of_deadline, pid_max_of, variable},
    idr,
    maps::{offset, setting},
    task::probe,
};

/// Returned when nothing can be concluded.
const UNKNOWN: u32 = u32::MAX;

/// What refused a creation that failed with EAGAIN; `css` is that of the pids controller where the child
/// was to be born.
#[inline(always)]
pub fn of_creation(task: *const u8, css: *const u8) -> Option<u32> {
    known(eagain(task as u64, css as u64))
}

/// What refused an execve.
#[inline(always)]
pub fn of_exec(task: *const u8) -> Option<u32> {
    let flags: u32 = probe(task, offset!(task_flags))?;
    Some(if flags & PF_NPROC_EXCEEDED != 0 {
        Suppressed::RlimitNproc as u32
    } else {
        Suppressed::ExecInProgress as u32
    })
}

#[inline(always)]
fn known(kind: u32) -> Option<u32> {
    // The comparison bounds the index for the verifier.
    ((kind as usize) < Suppressed::COUNT).then_some(kind)
}

/// An exported function, so that the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn eagain(task: u64, css: u64) -> u32 {
    find(task as *const u8, css as *const u8).map_or(UNKNOWN, |kind| kind as u32)
}

#[inline(always)]
fn find(task: *const u8, css: *const u8) -> Option<Suppressed> {
    if setting!(evidence) == 0 {
        return None;
    }
    if is_over_nproc(task)? {
        return Some(Suppressed::RlimitNproc);
    }
    if let (Some(threads), Some(most)) = (
        variable(setting!(nr_threads)),
        variable(setting!(max_threads)),
    ) && threads as i32 >= most as i32
    {
        return Some(Suppressed::ThreadsMax);
    }
    if of_deadline(task) {
        return Some(Suppressed::Deadline);
    }
    if is_in_exec(task) {
        return Some(Suppressed::ExecInProgress);
    }
    if has_no_id(task)? {
        return Some(Suppressed::Ids);
    }
    if is_cgroup_full(css)? {
        return Some(Suppressed::PidsMax);
    }
    None
}

/// The user's own limit only: those of outer user namespaces are left to the records.
#[inline(always)]
fn is_over_nproc(task: *const u8) -> Option<bool> {
    let cred: *const u8 = probe(task, offset!(task_cred))?;
    if is_nproc_exempt(cred)? {
        return Some(false);
    }
    let signal: *const u8 = probe(task, offset!(task_signal))?;
    let limit: u64 = probe(signal, offset!(signal_nproc))?;
    let usage: i64 = if offset!(cred_ucounts) == 0 {
        let user: *const u8 = probe(cred, offset!(cred_user))?;
        i64::from(probe::<i32>(user, offset!(user_processes))?)
    } else {
        let counts: *const u8 = probe(cred, offset!(cred_ucounts))?;
        probe(counts, offset!(ucounts_nproc))?
    };
    Some(usage < 0 || usage as u64 >= limit)
}

/// In the namespace that the child would be born in, or in the node's.
#[inline(always)]
fn has_no_id(task: *const u8) -> Option<bool> {
    let proxy: *const u8 = probe(task, offset!(task_nsproxy))?;
    let space: *const u8 = probe(proxy, offset!(nsproxy_pid_ns))?;
    let allocated: u32 = probe(space, offset!(pid_ns_allocated))?;
    let Some(pid_max) = pid_max_of(space) else {
        return Some(false);
    };
    if (allocated & !PIDNS_ADDING) + RESERVED_PIDS < pid_max {
        return Some(false);
    }
    let cursor: u32 = probe(space, offset!(pid_ns_cursor))?;
    let from = if cursor > RESERVED_PIDS {
        RESERVED_PIDS
    } else {
        1
    };
    let free = idr::first_free(space as u64, from);
    Some(free != 0 && free >= pid_max)
}

#[inline(always)]
fn is_cgroup_full(mut css: *const u8) -> Option<bool> {
    if setting!(has_pids) == 0 || css.is_null() {
        return Some(false);
    }
    for _ in 0..CGROUP_LEVELS {
        let parent: *const u8 = probe(css, offset!(css_parent))?;
        if parent.is_null() {
            return Some(false);
        }
        let usage: i64 = probe(css, offset!(pids_counter))?;
        if usage >= probe(css, offset!(pids_limit))? {
            return Some(true);
        }
        css = parent;
    }
    Some(false)
}
