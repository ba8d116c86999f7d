//! The one pass over all tasks, at start: finds what had ended but was not reaped yet. An iterator program (`bpf_iter` "task", 5.8), so that it
//! costs microseconds where reading /proc costs seconds.
//!
//! `struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; }`

use crate::{
    cgroup::{Owner, count},
    held::{As, hold, is_held},
    task::{EXIT_ZOMBIE, Task},
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn baseline(ctx: *mut [u64; 2]) -> i32 {
    // SAFETY: the context of a task iterator, as above.
    let task = unsafe { (&raw const (*ctx)[1]).read_volatile() } as *const u8;
    if task.is_null() {
        return 0;
    }
    let task = Task(task);
    // Only those that nobody is reaping at this moment, and whose end no hook has seen.
    if task.exit_state() != EXIT_ZOMBIE || is_held(task) {
        return 0;
    }
    if let Some(entry) = Owner::of(task).entry() {
        let may_be = if task.group_lives() || !task.is_leader() {
            As::Either
        } else {
            As::Leader
        };
        if hold(task, may_be) {
            // SAFETY: an entry of the map.
            count(unsafe { &raw mut (*entry).zombies_before });
        }
    }
    0
}
