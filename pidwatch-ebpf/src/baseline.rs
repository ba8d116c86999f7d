//! The one pass over all tasks, at start: finds what had ended but was not reaped yet. An iterator
//! program (`bpf_iter` "task", 5.8), so that it costs microseconds where reading /proc costs seconds.
//! What is reaped by then is freed without an entry, and in no count.
//!
//! `struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; }`

use pidwatch_common::pending::EXIT_ZOMBIE;

use crate::{
    cgroup::Owner,
    counter::count,
    pending::{is_noted, note},
    task::Task,
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
    if task.exit_state() != EXIT_ZOMBIE || is_noted(task) {
        return 0;
    }
    let owner = Owner::of(task);
    if let Some((owner, entry)) = owner.entry()
        && note(task, owner.id, entry, task.is_leader(), 0)
    {
        // SAFETY: an entry of the map.
        count(unsafe { &raw mut (*entry).zombies_before });
    }
    0
}
