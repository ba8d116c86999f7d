//! What leaves for user space: rate records once a window, failure records under a limit, and the
//! account of what could not leave.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        bpf_ktime_get_boot_ns, generated::bpf_get_current_task,
    },
};
use pidwatch_common::{
    record::{Cause, ChargeScope, CloneFailed, Header, Kind, Rate, Syscall},
    totals::{Cgroup, Kinds, Loss, REJECTIONS, Rare, SHARDS, Shard, Suppressed, Totals},
};

use crate::{
    cgroup::{Owner, rare},
    counter::count,
    evidence::{self, Attempt, Suspects, UNKNOWN_FLAGS},
    lineage,
    loss::lose,
    maps::{RING, setting},
    task::jiffies,
};

/// ENOMEM and ENOSPC (include/uapi/asm-generic/errno-base.h).
const ENOMEM: u32 = 12;
const ENOSPC: u32 = 28;

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
    let who = if cause as u32 == Cause::Created as u32 {
        (bpf_get_current_pid_tgid() >> 32) as u32
    } else {
        moved
    };
    write_rate(owner.id, entry, owner.charge(), cause, (who, mover));
}

/// Puts a rate record together in the ring: it would take most of a program's stack.
#[inline(always)]
pub fn write_rate(
    cgroup: u64,
    entry: *mut Cgroup,
    (charge, scope): (i64, ChargeScope),
    cause: Cause,
    (pid, mover): (u32, u64),
) {
    let Some(mut record) = RING.reserve::<Rate>(0) else {
        lose(Loss::RingRate);
        return;
    };
    let out = record.as_mut_ptr();
    // SAFETY: room for a record; every member is written.
    unsafe {
        (&raw mut (*out).header).write(header(Kind::Rate, cgroup));
        fill_totals(entry, &raw mut (*out).totals);
        (&raw mut (*out).charge).write(charge);
        (&raw mut (*out).charge_scope).write(scope as u32);
        (&raw mut (*out).cause).write(cause as u32);
        (&raw mut (*out).pid).write(pid);
        (&raw mut (*out).reserved).write(0);
        (&raw mut (*out).comm).write(bpf_get_current_comm().unwrap_or_default());
        (&raw mut (*out).mover).write(mover);
    }
    // No wake-up: user space looks once a window anyway.
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Sends a creation's failure record with the limits around it.
#[inline(never)]
pub fn failure(entry: *mut Cgroup, attempt: &Attempt) {
    let suspects = match attempt.errno {
        ENOMEM => Suspects::Memory,
        ENOSPC => Suspects::Namespaces,
        _ => Suspects::All,
    };
    send_failure(entry, attempt, suspects);
}

/// The same for an execve. Apart from the other, so that its programs are as small as they can be:
/// the verifier looks at each anew.
#[inline(never)]
pub fn exec_failure(owner: Owner, entry: *mut Cgroup, errno: u32) {
    let attempt = Attempt {
        // SAFETY: no arguments.
        task: unsafe { bpf_get_current_task() } as *const u8,
        owner,
        pids: core::ptr::null(),
        errno,
        syscall: Syscall::Execve,
        flags: UNKNOWN_FLAGS,
    };
    send_failure(entry, &attempt, Suspects::User);
}

/// Counts a failure of which no record is sent, by what a short look said it was.
#[inline(always)]
pub fn suppress(entry: *mut Cgroup, kind: Option<u32>) {
    // SAFETY: an entry of the map, an index below the number of counters. The kind first: a reader in
    // between must not take it for unknown.
    unsafe {
        if let Some(kind) = kind
            && (kind as usize) < Suppressed::COUNT
        {
            count(rare(entry, Rare::SuppressedBy, kind as usize));
        }
        count(&raw mut (*entry).suppressed);
    }
}

/// Put together in the ring: it does not fit into the 512 bytes that all frames of a program share. A
/// failure wakes user space at once.
#[inline(always)]
fn send_failure(entry: *mut Cgroup, attempt: &Attempt, suspects: Suspects) {
    let Some(mut record) = RING.reserve::<CloneFailed>(0) else {
        suppress(entry, None);
        lose(Loss::RingFailure);
        return;
    };
    let out = record.as_mut_ptr();
    let Attempt { task, owner, .. } = *attempt;
    // SAFETY: room for a record; every member is written, of the evidence what its levels say.
    unsafe {
        evidence::gather(attempt, suspects, &raw mut (*out).evidence);
        (&raw mut (*out).header).write(header(Kind::CloneFailed, owner.id));
        (&raw mut (*out).errno).write(attempt.errno);
        (&raw mut (*out).syscall).write(attempt.syscall as u32);
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
        fill_totals(entry, &raw mut (*out).totals);
    }
    record.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}

/// Whether the cgroup has a record left in this window; takes it.
#[inline(always)]
pub fn may_send_failure(entry: *mut Cgroup) -> bool {
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

/// The counters, shards added up, written to where they are to be. Field by field: as one copy the compiler would make it a
/// loop over bytes.
#[inline(always)]
fn fill_totals(entry: *const Cgroup, out: *mut Totals) {
    let mut created = Kinds::default();
    let mut exited = Kinds::default();
    macro_rules! copy {
        ($($field:ident).+) => {
            (&raw mut (*out).$($field).+)
                .write_volatile((&raw const (*entry).$($field).+).read_volatile())
        };
    }
    // SAFETY: an entry of the map, and room for totals.
    unsafe {
        for i in 0..SHARDS {
            let shard = (&raw const (*entry).shards).cast::<Shard>().add(i);
            created.processes += (&raw const (*shard).created.processes).read_volatile();
            created.threads += (&raw const (*shard).created.threads).read_volatile();
            exited.processes += (&raw const (*shard).exited.processes).read_volatile();
            exited.threads += (&raw const (*shard).exited.threads).read_volatile();
        }
        (&raw mut (*out).created.processes).write_volatile(created.processes);
        (&raw mut (*out).created.threads).write_volatile(created.threads);
        (&raw mut (*out).exited.processes).write_volatile(exited.processes);
        (&raw mut (*out).exited.threads).write_volatile(exited.threads);
        copy!(held_threads);
        copy!(freed.processes);
        copy!(freed.threads);
        copy!(zombies_before);
        let rare = |kind, n| rare(entry.cast_mut(), kind, n).read_volatile();
        (&raw mut (*out).unseen_frees).write_volatile(rare(Rare::UnseenFrees, 0));
        (&raw mut (*out).unnoted).write_volatile(rare(Rare::Unnoted, 0));
        copy!(failed);
        copy!(rejected);
        // Before its kinds, which are counted first: what has none by then is unknown.
        copy!(suppressed);
        for i in 0..Suppressed::COUNT {
            let to = (&raw mut (*out).suppressed_by).cast::<u64>().add(i);
            to.write_volatile(rare(Rare::SuppressedBy, i));
        }
        for i in 0..=REJECTIONS.len() {
            let to = (&raw mut (*out).rejected_by).cast::<u64>().add(i);
            to.write_volatile(rare(Rare::RejectedBy, i));
        }
    }
}
