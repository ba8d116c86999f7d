//! The zombies there are: a scan of the noted tasks, each looked at where it lies. An iterator program
//! (`bpf_iter` "bpf_map_elem", 5.9) that user space reads whenever it wants to know.
//!
//! `struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key;
//! void *value; }`
//!
//! Reaping itself has no hook: `release_task` raises no tracepoint, and `sched_process_free` comes up
//! to 12 s later. But a reaped task says so (`EXIT_DEAD`), so the answer is of the moment of the look.

use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use pidwatch_common::pending::{Pending, PendingState, Scanned, ScannedKind};

use crate::{
    cgroup::Owner,
    maps::offset,
    pending::judge,
    task::{load, probe},
};

/// Removed cgroups above each other that are looked through.
const LEVELS: usize = 16;
/// `CSS_ONLINE` of include/linux/cgroup-defs.h: gone once the cgroup is removed.
const CSS_ONLINE: u32 = 1 << 1;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub extern "C" fn zombies(ctx: *mut [u64; 4]) -> i32 {
    // SAFETY: the context of a map element iterator, as above; the buffers are checked for null, and
    // are as large as the map's key and value.
    unsafe {
        let key = (&raw const (*ctx)[2]).read_volatile() as *const u64;
        if key.is_null() {
            return 0;
        }
        let value = (&raw const (*ctx)[3]).read_volatile() as *mut Pending;
        if value.is_null() {
            return 0;
        }
        let address = key.read_volatile();
        let mut pending = Pending {
            cgroup: (&raw const (*value).cgroup).read_volatile(),
            start_time: (&raw const (*value).start_time).read_volatile(),
            ended_at: (&raw const (*value).ended_at).read_volatile(),
            reaped_at: (&raw const (*value).reaped_at).read_volatile(),
            is_process: (&raw const (*value).is_process).read_volatile(),
        };
        let found = judge(&mut pending, address);
        (&raw mut (*value).reaped_at).write_volatile(pending.reaped_at);
        let scanned = match found {
            PendingState::Waiting => return 0,
            PendingState::Zombie => Scanned {
                kind: ScannedKind::Zombie as u64,
                value: nearest(address as *const u8).unwrap_or(pending.cgroup),
            },
            PendingState::Stale => Scanned {
                kind: ScannedKind::Stale as u64,
                value: address,
            },
        };
        let meta = (&raw const (*ctx)[0]).read_volatile() as *const u8;
        let file: *mut seq_file = load(meta, 0);
        bpf_seq_write(
            file,
            (&raw const scanned).cast(),
            size_of::<Scanned>() as u32,
        );
    }
    0
}

/// The task's cgroup, or the nearest one above that is not removed: its charge counts there.
#[inline(always)]
fn nearest(task: *const u8) -> Option<u64> {
    let css_set: *const u8 = probe(task, offset!(task_cgroups))?;
    let mut cgroup = Owner::cgroup(css_set)?;
    for _ in 0..LEVELS {
        let css = cgroup.wrapping_add(offset!(cgroup_self) as usize);
        let parent: *const u8 = probe(css, offset!(css_parent))?;
        let flags: u32 = probe(css, offset!(css_flags))?;
        if flags & CSS_ONLINE != 0 || parent.is_null() {
            break;
        }
        cgroup = probe(parent, offset!(css_cgroup))?;
    }
    Owner::of_cgroup(cgroup)
}
