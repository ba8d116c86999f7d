//! What leaves for user space: rate records once a window, failure records under a limit, and the
//! account of what could not leave.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        bpf_ktime_get_boot_ns, generated::bpf_get_current_task,
    },
};
use aya_log_ebpf::debug;
use pidwatch_common::{
    record::{Cause, CloneFailed, Header, Kind, Rate, Syscall},
    totals::{Cgroup, Kinds, Loss, SHARDS, Shard, Totals},
};

use crate::{
    cgroup::{Owner, count},
    evidence::{self, Suspects},
    lineage,
    maps::{LOSSES, RING, setting},
    task::jiffies,
};

/// Begin of a record about `cgroup`, now.
#[inline(always)]
pub fn header(kind: Kind, cgroup: u64) -> Header {
    // SAFETY: no arguments.
    let time_ns = unsafe { bpf_ktime_get_boot_ns() };
    Header {
        kind: kind as u32,
        reserved: 0,
        time_ns,
        cgroup,
    }
}

/// Sends a rate record unless one of this cgroup left less than a window ago.
#[inline(always)]
pub fn rate_if_due(owner: Owner, entry: *mut Cgroup, cause: Cause) {
    // SAFETY: an entry of the map.
    let told_at = unsafe { (&raw mut (*entry).told_at).read_volatile() };
    if jiffies().wrapping_sub(told_at) >= setting!(window_jiffies) {
        rate(owner, entry, cause);
    }
}

/// Sends a rate record of a task that was moved in: with its PID, and the cgroup of whoever moved it.
#[inline(never)]
pub fn entered(owner: Owner, entry: *mut Cgroup, moved: u32, mover: u64) {
    send_rate(owner, entry, Cause::Entered, moved, mover);
}

/// Sends a rate record.
///
/// Two CPUs may both find it due; the second record says nothing wrong.
#[inline(never)]
pub fn rate(owner: Owner, entry: *mut Cgroup, cause: Cause) {
    send_rate(owner, entry, cause, 0, 0);
}

#[inline(always)]
fn send_rate(owner: Owner, entry: *mut Cgroup, cause: Cause, moved: u32, mover: u64) {
    // Also when the ring turns out to be full: to try again at every event would cost each of them.
    // Not when a task came: what it creates first is to be told with its name.
    if cause as u32 != Cause::Entered as u32 {
        // SAFETY: an entry of the map.
        unsafe { (&raw mut (*entry).told_at).write_volatile(jiffies()) };
    }
    let (charge, scope) = owner.charge();
    let record = Rate {
        header: header(Kind::Rate, owner.id),
        totals: totals(entry),
        charge,
        charge_scope: scope as u32,
        cause: cause as u32,
        pid: if cause as u32 == Cause::Created as u32 {
            (bpf_get_current_pid_tgid() >> 32) as u32
        } else {
            moved
        },
        reserved: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
        mover,
    };
    // No wake-up: user space looks once a window anyway.
    if RING
        .output::<Rate>(&record, u64::from(BPF_RB_NO_WAKEUP))
        .is_err()
    {
        lose(Loss::RingRate);
    }
}

/// Sends a creation's failure record with the limits around it, or counts it as suppressed.
#[inline(never)]
pub fn failure(owner: Owner, entry: *mut Cgroup, errno: u32, syscall: Syscall) {
    send_failure(owner, entry, errno, syscall, Suspects::All);
}

/// The same for an execve. Apart from the other, so that its programs are as small as they can be:
/// the verifier looks at each anew.
#[inline(never)]
pub fn exec_failure(owner: Owner, entry: *mut Cgroup, errno: u32) {
    send_failure(owner, entry, errno, Syscall::Execve, Suspects::User);
}

/// Put together in the ring: it does not fit into the 512 bytes that all frames of a program share. A
/// failure wakes user space at once.
#[inline(always)]
fn send_failure(
    owner: Owner,
    entry: *mut Cgroup,
    errno: u32,
    syscall: Syscall,
    suspects: Suspects,
) {
    if !may_tell_failure(entry) {
        // SAFETY: an entry of the map.
        count(unsafe { &raw mut (*entry).suppressed });
        return;
    }
    let Some(mut record) = RING.reserve::<CloneFailed>(0) else {
        // SAFETY: an entry of the map.
        count(unsafe { &raw mut (*entry).suppressed });
        lose(Loss::RingFailure);
        return;
    };
    let out = record.as_mut_ptr();
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    // SAFETY: room for a record; every member is written, of the evidence what its levels say.
    unsafe {
        evidence::gather(task, owner.css_set, suspects, &raw mut (*out).evidence);
        (&raw mut (*out).header).write(header(Kind::CloneFailed, owner.id));
        (&raw mut (*out).errno).write(errno);
        (&raw mut (*out).syscall).write(syscall as u32);
        let pid_tgid = bpf_get_current_pid_tgid();
        (&raw mut (*out).pid).write((pid_tgid >> 32) as u32);
        (&raw mut (*out).tid).write(pid_tgid as u32);
        (&raw mut (*out).uid).write(bpf_get_current_uid_gid() as u32);
        (&raw mut (*out).comm).write(bpf_get_current_comm().unwrap_or_default());
        let (parent, parent_comm) = lineage::parent(task).unwrap_or_default();
        (&raw mut (*out).parent).write(parent);
        (&raw mut (*out).parent_comm).write(parent_comm);
        (&raw mut (*out).origin).write(lineage::origin(task as u64, owner.css_set as u64));
        (&raw mut (*out).reserved).write(0);
        write_totals(entry, &raw mut (*out).totals);
    }
    record.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}

#[inline(never)]
fn write_totals(entry: *const Cgroup, out: *mut Totals) {
    // SAFETY: a record of the ring with room for it.
    unsafe { out.write(totals(entry)) };
}

/// Whether the cgroup has a record left in this window; takes it.
#[inline(always)]
fn may_tell_failure(entry: *mut Cgroup) -> bool {
    let now = jiffies() as u32;
    // SAFETY: an entry of the map. Plain stores: CPUs that race here let a record more or less
    // through, and each is either sent or counted as suppressed.
    unsafe {
        let since = &raw mut (*entry).failures_since;
        let told = &raw mut (*entry).failures_told;
        if u64::from(now.wrapping_sub(since.read_volatile())) >= setting!(window_jiffies) {
            since.write_volatile(now);
            told.write_volatile(0);
        }
        let n = told.read_volatile();
        let may = u64::from(n) < setting!(failures_per_window);
        if may {
            told.write_volatile(n + 1);
        }
        may
    }
}

/// Adds one to what was lost.
#[inline(never)]
pub fn lose(loss: Loss) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        count(counter);
    }
    debug!(&(), "lost, by kind: {}", loss as u32);
}

/// The counters, shards added up. Field by field: as one copy the compiler would make it a loop over
/// bytes.
#[inline(always)]
pub fn totals(entry: *const Cgroup) -> Totals {
    let mut created = Kinds::default();
    let mut exited = Kinds::default();
    // SAFETY: an entry of the map.
    unsafe {
        for i in 0..SHARDS {
            let shard = (&raw const (*entry).shards).cast::<Shard>().add(i);
            created.processes += (&raw const (*shard).created.processes).read_volatile();
            created.threads += (&raw const (*shard).created.threads).read_volatile();
            exited.processes += (&raw const (*shard).exited.processes).read_volatile();
            exited.threads += (&raw const (*shard).exited.threads).read_volatile();
        }
        Totals {
            created,
            exited,
            held_threads: (&raw const (*entry).held_threads).read_volatile(),
            freed: Kinds {
                processes: (&raw const (*entry).freed.processes).read_volatile(),
                threads: (&raw const (*entry).freed.threads).read_volatile(),
            },
            zombies_before: (&raw const (*entry).zombies_before).read_volatile(),
            failed: (&raw const (*entry).failed).read_volatile(),
            rejected: (&raw const (*entry).rejected).read_volatile(),
            suppressed: (&raw const (*entry).suppressed).read_volatile(),
        }
    }
}
