//! Where a task comes from: its parent, and which of its ancestors came into its cgroup from outside.
//! Read for failures that are told only.

use crate::{cgroup::Owner, maps::offset, task::probe};

/// Ancestors that are looked at.
const GENERATIONS: usize = 8;

/// Thread group and name of the process that made a task's process, or took it over.
#[inline(always)]
pub fn parent(task: *const u8) -> Option<(u32, [u8; 16])> {
    let parent: *const u8 = probe(
        probe(task, offset!(task_real_parent))?,
        offset!(task_group_leader),
    )?;
    Some((
        probe(parent, offset!(task_pid))?,
        probe(parent, offset!(task_comm))?,
    ))
}

/// The first of a task's process and its ancestors whose parent is in another cgroup; 0 when there is
/// none nearby. An exported function, so that the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn origin(task: u64, css_set: u64) -> u32 {
    find_origin(task as *const u8, css_set as *const u8).unwrap_or(0)
}

#[inline(always)]
fn find_origin(task: *const u8, css_set: *const u8) -> Option<u32> {
    let cgroup = Owner::cgroup(css_set)?;
    let mut process: *const u8 = probe(task, offset!(task_group_leader))?;
    for _ in 0..GENERATIONS {
        let parent: *const u8 = probe(process, offset!(task_real_parent))?;
        let parent: *const u8 = probe(parent, offset!(task_group_leader))?;
        let theirs: *const u8 = probe(parent, offset!(task_cgroups))?;
        if Owner::cgroup(theirs)? != cgroup {
            return probe(process, offset!(task_pid));
        }
        process = parent;
    }
    None
}
