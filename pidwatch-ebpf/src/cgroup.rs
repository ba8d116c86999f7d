//! Which cgroup a task is charged to, and its entry in the map of totals.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_get_smp_processor_id};
use pidwatch_common::{
    MAX_CGROUPS, RESERVED_CGROUPS,
    evidence::CGROUP_LEVELS,
    record::ChargeScope,
    totals::{Cgroup, Loss, RARE, Rare, SHARDS, Shard},
};

use crate::{
    counter::{add, count},
    loss::lose,
    maps::{CGROUPS, CGROUPS_USED, offset, setting},
    task::{Task, load, probe},
};

/// How far up a cgroup without a place is counted.
const FOLD_LEVELS: usize = 32;

/// A new entry. In read-only data, so that a hook's stack need not hold it.
static NEW: Cgroup = Cgroup::ZERO;

/// A cgroup as a hook finds it.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Id of the kernfs node.
    pub id: u64,
    /// The task's `css_set`, to read the charge from.
    pub css_set: *const u8,
}

impl Owner {
    /// The cgroup of a task, without a helper call.
    #[inline(always)]
    pub fn of(task: Task) -> Self {
        // SAFETY: typed pointers all the way.
        unsafe {
            let css_set: *const u8 = load(task.0, offset!(task_cgroups));
            let cgroup: *const u8 = if setting!(unified) != 0 {
                load(css_set, offset!(css_set_dfl_cgrp))
            } else {
                let css: *const u8 = load(css_set, offset!(css_set_pids));
                load(css, offset!(css_cgroup))
            };
            let node: *const u8 = load(cgroup, offset!(cgroup_kn));
            Self {
                id: load(node, offset!(kernfs_node_id)),
                css_set,
            }
        }
    }

    /// The cgroup of the task at any address, through helpers.
    #[inline(always)]
    pub fn probe(task: *const u8) -> Option<Self> {
        let css_set: *const u8 = probe(task, offset!(task_cgroups))?;
        Some(Self {
            id: probe(
                probe(Self::cgroup(css_set)?, offset!(cgroup_kn))?,
                offset!(kernfs_node_id),
            )?,
            css_set,
        })
    }

    /// The `struct cgroup` that a `css_set` puts a task in.
    #[inline(always)]
    pub fn cgroup(css_set: *const u8) -> Option<*const u8> {
        if setting!(unified) != 0 {
            probe(css_set, offset!(css_set_dfl_cgrp))
        } else {
            probe(probe(css_set, offset!(css_set_pids))?, offset!(css_cgroup))
        }
    }

    /// A cgroup's id.
    #[inline(always)]
    pub fn of_cgroup(cgroup: *const u8) -> Option<u64> {
        probe(probe(cgroup, offset!(cgroup_kn))?, offset!(kernfs_node_id))
    }

    /// The pids controller's state that counts for a cgroup: its own, or that of the nearest one above it
    /// for which the controller is switched on.
    #[inline(always)]
    pub fn pids_of_cgroup(mut cgroup: *const u8) -> Option<*const u8> {
        for _ in 0..CGROUP_LEVELS {
            let css: *const u8 = probe(cgroup, offset!(cgroup_pids))?;
            if !css.is_null() {
                return Some(css);
            }
            cgroup = parent(cgroup)?;
        }
        None
    }

    /// What the pids controller counts for the cgroup now, and whether descendants are in it.
    #[inline(always)]
    pub fn charge(self) -> (i64, ChargeScope) {
        self.read_charge().unwrap_or((0, ChargeScope::Unknown))
    }

    #[inline(always)]
    fn read_charge(self) -> Option<(i64, ChargeScope)> {
        if setting!(has_pids) == 0 {
            return None;
        }
        let css: *const u8 = probe(self.css_set, offset!(css_set_pids))?;
        let cgroup: *const u8 = probe(css, offset!(css_cgroup))?;
        // On v2 the controller may be off here and count in an ancestor instead. The root is
        // never charged (`pids_charge` ends below it).
        let parent: *const u8 = probe(css, offset!(css_parent))?;
        if cgroup != Self::cgroup(self.css_set)? || parent.is_null() {
            return None;
        }
        let counter: i64 = probe(css, offset!(pids_counter))?;
        let descendants: u32 = probe(cgroup, offset!(cgroup_nr_descendants))?;
        Some((
            counter,
            if descendants == 0 {
                ChargeScope::Own
            } else {
                ChargeScope::Subtree
            },
        ))
    }

    /// The entry of this cgroup, made when it is the first. When the map has no more room for it, that of the nearest cgroup
    /// above that has one, and that cgroup; `None` (and told as lost) when there is none.
    #[inline(always)]
    pub fn entry(self) -> Option<(Self, *mut Cgroup)> {
        if let Some(entry) = CGROUPS.get_ptr_mut(self.id) {
            return Some((self, entry));
        }
        let id = new_entry(self.css_set, self.id);
        let entry = CGROUPS.get_ptr_mut(id)?;
        if id == self.id {
            return Some((self, entry));
        }
        // Its charge is not this task's: user space reads it.
        let css_set = core::ptr::null();
        Some((Self { id, css_set }, entry))
    }
}

/// Makes an entry for a cgroup; the id of the cgroup to count in, 0 for none.
#[inline(never)]
fn new_entry(css_set: *const u8, id: u64) -> u64 {
    if make_entry(id, RESERVED_CGROUPS) {
        return id;
    }
    let host = host_above(css_set);
    lose(match host {
        0 => Loss::CgroupMapFull,
        _ => Loss::CgroupFolded,
    });
    host
}

/// Makes an entry, unless no more than so many places are left; whether there is one now.
#[inline(never)]
pub fn make_entry(id: u64, reserved: u32) -> bool {
    let Some(used) = CGROUPS_USED.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a value of the map.
    if unsafe { used.read_volatile() } >= u64::from(MAX_CGROUPS - reserved) {
        return CGROUPS.get_ptr_mut(id).is_some();
    }
    // By reference: by value the entry would be put together on the stack.
    let new: &Cgroup = &NEW;
    // Another CPU may have been faster; then its entry is the one.
    if CGROUPS.insert(id, new, u64::from(BPF_NOEXIST)).is_ok() {
        count(used);
    }
    CGROUPS.get_ptr_mut(id).is_some()
}

/// Takes an entry out, if there is one.
#[inline(never)]
pub fn remove_entry(id: u64) {
    if CGROUPS.remove(id).is_ok()
        && let Some(used) = CGROUPS_USED.get_ptr_mut(0)
    {
        add(used, u64::MAX);
    }
}

/// The nearest cgroup above a task's that has an entry; 0 for none.
#[inline(always)]
fn host_above(css_set: *const u8) -> u64 {
    let Some(mut cgroup) = Owner::cgroup(css_set) else {
        return 0;
    };
    for _ in 0..FOLD_LEVELS {
        let Some(above) = parent(cgroup) else {
            return 0;
        };
        cgroup = above;
        let id = Owner::of_cgroup(cgroup).unwrap_or(0);
        if CGROUPS.get_ptr_mut(id).is_some() {
            return id;
        }
    }
    0
}

#[inline(always)]
fn parent(cgroup: *const u8) -> Option<*const u8> {
    let own = cgroup.wrapping_add(offset!(cgroup_self) as usize);
    let above: *const u8 = probe(own, offset!(css_parent))?;
    probe(above, offset!(css_cgroup))
}

/// This CPU's share of the hot counters.
#[inline(always)]
pub fn own_shard(entry: *mut Cgroup) -> *mut Shard {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() } as usize;
    // SAFETY: an entry of the map, an index below its shards' number.
    unsafe {
        (&raw mut (*entry).shards)
            .cast::<Shard>()
            .add(cpu & (SHARDS - 1))
    }
}

/// A counter that hardly ever moves: the nth of its kind.
#[inline(always)]
pub fn rare(entry: *mut Cgroup, kind: Rare, n: usize) -> *mut u64 {
    // The mask bounds the index for the verifier.
    let index = (kind as usize + n) & (SHARDS * RARE - 1);
    // SAFETY: an entry of the map, an index below the number of such counters.
    unsafe {
        let shard = (&raw mut (*entry).shards).cast::<Shard>().add(index / RARE);
        (&raw mut (*shard).rare).cast::<u64>().add(index % RARE)
    }
}
