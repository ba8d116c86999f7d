//! What user space asks for: totals of a cgroup that fell silent, the losses, to forget a cgroup, to watch
//! its tasks, the PID namespaces of a task.
//! Attached to nothing; user space runs it (`BPF_PROG_TEST_RUN` of raw tracepoints, 5.10).

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP, macros::raw_tracepoint, programs::RawTracePointContext,
};
use pidwatch_common::{
    control::Request,
    evidence::{PID_LEVELS, PidLevel, known},
    record::{Cause, ChargeScope, Kind, Losses, PidNamespaces},
    totals::Loss,
};

use crate::{
    cgroup::{Owner, make_entry, remove_entry},
    creation::task_by_pid,
    emit::{header, write_rate},
    evidence::pids,
    maps::{CGROUPS, LOSSES, RING, WATCHED},
    pending,
};

#[raw_tracepoint]
pub fn control(ctx: RawTracePointContext) -> i32 {
    let request: u64 = ctx.arg(0);
    let cgroup: u64 = ctx.arg(1);
    if request == Request::Totals as u64 {
        tell_totals(cgroup);
    } else if request == Request::Forget as u64 {
        remove_entry(cgroup);
    } else if request == Request::Losses as u64 {
        tell_losses();
    } else if request == Request::Settle as u64
        && let Some(cgroup) = pending::settle(cgroup)
    {
        tell_totals(cgroup);
    } else if request == Request::PidNamespaces as u64 {
        send_pid_namespaces(cgroup as u32);
    } else if request == Request::Watch as u64 {
        // Where there is no room, its tasks are not seen, and nothing is concluded.
        let _ = WATCHED.insert(cgroup, cgroup, 0);
    } else if request == Request::Unwatch as u64 {
        let _ = WATCHED.remove(cgroup);
    } else if request == Request::Keep as u64 {
        make_entry(cgroup, 0);
    }
    0
}

/// Nothing is sent for a task that is gone, or where there is no room: user space asks again.
fn send_pid_namespaces(pid: u32) {
    let Some(task) = task_by_pid(pid) else { return };
    let Some(owner) = Owner::probe(task) else {
        return;
    };
    let Some(mut record) = RING.reserve::<PidNamespaces>(0) else {
        return;
    };
    let out = record.as_mut_ptr();
    // SAFETY: a record of the ring with room for all of it.
    unsafe {
        out.write(PidNamespaces {
            header: header(Kind::PidNamespaces, owner.id),
            pid,
            count: 0,
            levels: [NO_LEVEL; PID_LEVELS],
        });
        let bits = pids(task, (&raw mut (*out).levels).cast(), &raw mut (*out).count);
        if bits & known::PID_MAX == 0 {
            (&raw mut (*out).count).write_volatile(0);
        }
    }
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
}

const NO_LEVEL: PidLevel = PidLevel {
    allocated: 0,
    pid_max: 0,
    inum: 0,
    first_free: 0,
};

fn tell_totals(cgroup: u64) {
    let Some(entry) = CGROUPS.get_ptr_mut(cgroup) else {
        return;
    };
    // First: whatever is counted after this reading sends a record again.
    // SAFETY: an entry of the map.
    unsafe { (&raw mut (*entry).told_at).write_volatile(0) };
    let charge = (0, ChargeScope::Unknown);
    write_rate(cgroup, entry, charge, Cause::Asked, (0, 0));
}

fn tell_losses() {
    let mut record = Losses {
        header: header(Kind::Losses, 0),
        counts: [0; Loss::ALL.len()],
    };
    for (i, count) in record.counts.iter_mut().enumerate() {
        if let Some(lost) = LOSSES.get_ptr(i as u32) {
            // SAFETY: a value of the map.
            *count = unsafe { lost.read_volatile() };
        }
    }
    // If it finds no room, user space asks again.
    let _ = RING.output::<Losses>(&record, u64::from(BPF_RB_NO_WAKEUP));
}
