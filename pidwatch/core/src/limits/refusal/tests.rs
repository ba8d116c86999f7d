use pidwatch_common::totals::Totals;

use super::*;
use crate::{clock::BootTime, limits::reason::Basis};

/// Everything known, nothing exhausted.
fn calm() -> LimitEvidence {
    let mut evidence = LimitEvidence {
        known: known::USER | known::THREADS | known::PIDS | known::CGROUPS | known::PID_MAX,
        nr_threads: 100,
        max_threads: 1000,
        cgroup_levels: 2,
        pid_levels: 2,
        user_levels: 1,
        ..LimitEvidence::default()
    };
    for (level, limit) in [20, 100].into_iter().enumerate() {
        evidence.cgroups[level] = CgroupLevel {
            cgroup: 10 + level as u64,
            usage: 5,
            limit,
            events: 0,
        };
    }
    for (level, pid_max) in [500, 1000].into_iter().enumerate() {
        evidence.pids[level] = PidLevel {
            allocated: 100 + PIDNS_ADDING,
            pid_max,
            inum: 7,
            first_free: 0,
        };
    }
    evidence.users[0] = UserLevel {
        usage: 3,
        limit: 10,
        uid: 1000,
        reserved: 0,
    };
    evidence
}

struct Nothing;

impl Outlook for Nothing {
    fn threads(&self) -> Option<(u64, u64)> {
        None
    }
    fn pid_max(&self) -> Option<u64> {
        None
    }
    fn cgroups(&self, _: CgroupId) -> Vec<(CgroupId, u64, u64)> {
        Vec::new()
    }
    fn rlimit_nproc(&self, _: u32) -> Option<u64> {
        None
    }
    fn memory(&self) -> Option<Memory> {
        None
    }
}

fn failure(errno: i32, evidence: LimitEvidence) -> Failure {
    Failure {
        cgroup: CgroupId(10),
        time: BootTime::from_nanos(0),
        totals: Totals::ZERO,
        errno: errno as u32,
        syscall: None,
        pid: 1,
        tid: 1,
        uid: 1000,
        comm: Vec::new(),
        parent: None,
        origin: None,
        evidence: Box::new(evidence),
    }
}

fn decide(errno: i32, change: impl FnOnce(&mut LimitEvidence)) -> RefusalVerdict {
    let mut evidence = calm();
    change(&mut evidence);
    Reasons::default().of(&failure(errno, evidence), &Nothing)
}

fn limit(verdict: RefusalVerdict) -> (u64, u64, LimitOwner) {
    let limit = verdict.limit.unwrap();
    (limit.usage, limit.value, limit.owner)
}

#[test]
fn each_limit_is_recognised_by_itself() {
    let eagain = |change: fn(&mut LimitEvidence)| decide(libc::EAGAIN, change);
    let verdict = eagain(|e| e.users[0].usage = 10);
    assert_eq!(verdict.reason, Reason::RlimitNproc);
    assert_eq!(limit(verdict), (10, 10, LimitOwner::User(1000)));
    let verdict = eagain(|e| e.nr_threads = 1000);
    assert_eq!(verdict.reason, Reason::ThreadsMax);
    assert_eq!(limit(verdict), (1000, 1000, LimitOwner::Node));
    let verdict = eagain(|e| e.pids[0].first_free = 500);
    assert_eq!(verdict.reason, Reason::PidNamespaceMax);
    assert_eq!(limit(verdict), (100, 500, LimitOwner::PidNamespace(7)));
    let verdict = eagain(|e| e.pids[1].first_free = 1001);
    assert_eq!(verdict.reason, Reason::PidMax);
    let verdict = eagain(|e| e.cgroups[1].usage = 100);
    assert_eq!(verdict.reason, Reason::PidsMax);
    assert_eq!(limit(verdict), (100, 100, LimitOwner::Cgroup(CgroupId(11))));
    let verdict = eagain(|e| e.deadline = 1);
    assert_eq!((verdict.reason, verdict.limit), (Reason::Deadline, None));
    let verdict = eagain(|e| e.in_exec = 1);
    assert_eq!(
        (verdict.reason, verdict.limit),
        (Reason::ExecInProgress, None)
    );
    assert_eq!(eagain(|_| {}), RefusalVerdict::UNKNOWN);
}

#[test]
fn of_two_exhausted_limits_the_kernels_first_is_the_reason() {
    type Edit = fn(&mut LimitEvidence);
    let changes: [(Reason, Edit); 7] = [
        (Reason::RlimitNproc, |e| e.users[0].usage = 10),
        (Reason::ThreadsMax, |e| e.nr_threads = 1000),
        (Reason::Deadline, |e| e.deadline = 1),
        (Reason::ExecInProgress, |e| e.in_exec = 1),
        (Reason::PidNamespaceMax, |e| {
            e.pids[0].first_free = 500;
        }),
        (Reason::PidMax, |e| {
            e.pids[1].first_free = 1001;
        }),
        (Reason::PidsMax, |e| e.cgroups[0].usage = 20),
    ];
    for (i, (first, change)) in changes.iter().enumerate() {
        for (_, other) in &changes[i..] {
            let verdict = decide(libc::EAGAIN, |e| {
                other(e);
                change(e);
            });
            assert_eq!(verdict.reason, *first);
        }
    }
}

#[test]
fn who_is_exempt_from_nproc_fails_for_another_reason() {
    let verdict = decide(libc::EAGAIN, |e| {
        e.users[0].usage = 10;
        e.nproc_exempt = 1;
        e.cgroups[0].usage = 20;
    });
    assert_eq!(verdict.reason, Reason::PidsMax);
}

#[test]
fn a_free_id_below_the_limit_is_room() {
    let verdict = decide(libc::EAGAIN, |e| {
        e.pids[1].allocated = 5000 + PIDNS_ADDING;
        e.pids[1].first_free = 999;
    });
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
}

#[test]
fn a_limit_that_has_refused_since_is_the_reason_though_there_is_room_again() {
    let mut reasons = Reasons::default();
    let mut evidence = calm();
    let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
    evidence.cgroups[1].events = 1;
    let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    assert_eq!(verdict.reason, Reason::PidsMax);
    assert_eq!(verdict.basis, Some(Basis::Inferred));
    assert_eq!(limit(verdict), (5, 100, LimitOwner::Cgroup(CgroupId(11))));
}

#[test]
fn no_memory_is_told_from_a_dying_namespace() {
    let verdict = decide(libc::ENOMEM, |_| {});
    assert_eq!(
        verdict,
        RefusalVerdict::UNKNOWN,
        "nothing says that there was none"
    );
    let verdict = decide(libc::ENOMEM, |e| e.pids[0].allocated = 3);
    assert_eq!(verdict.reason, Reason::PidNamespaceDying);
    let verdict = decide(libc::ENOMEM, |e| *e = LimitEvidence::default());
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
}

#[test]
fn without_evidence_a_reason_is_inferred_or_unknown() {
    struct Full;
    impl Outlook for Full {
        fn threads(&self) -> Option<(u64, u64)> {
            Some((100, 1000))
        }
        fn pid_max(&self) -> Option<u64> {
            Some(1000)
        }
        fn cgroups(&self, cgroup: CgroupId) -> Vec<(CgroupId, u64, u64)> {
            vec![(cgroup, 20, 20)]
        }
        fn rlimit_nproc(&self, _: u32) -> Option<u64> {
            None
        }
        fn memory(&self) -> Option<Memory> {
            None
        }
    }
    let blind = || failure(libc::EAGAIN, LimitEvidence::default());
    let verdict = Reasons::default().of(&blind(), &Full);
    assert_eq!(verdict.reason, Reason::PidsMax);
    assert_eq!(verdict.basis, Some(Basis::Inferred));
    let verdict = Reasons::default().of(&blind(), &Nothing);
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
}

/// Some memory, most of it available.
struct Node(Memory);

const GIB: u64 = 1 << 30;

fn roomy() -> Memory {
    Memory {
        total: 24 * GIB,
        swap: 0,
        available: 20 * GIB,
        committed: 3 * GIB,
        commit_limit: 12 * GIB,
        overcommit: 0,
        page: 4096,
        limit_name: "memory.max",
    }
}

impl Outlook for Node {
    fn threads(&self) -> Option<(u64, u64)> {
        None
    }
    fn pid_max(&self) -> Option<u64> {
        None
    }
    fn cgroups(&self, _: CgroupId) -> Vec<(CgroupId, u64, u64)> {
        vec![(CgroupId(99), 50, 50)]
    }
    fn rlimit_nproc(&self, _: u32) -> Option<u64> {
        None
    }
    fn memory(&self) -> Option<Memory> {
        Some(self.0)
    }
}

fn no_memory_of(memory: Memory, change: impl FnOnce(&mut LimitEvidence)) -> RefusalVerdict {
    let mut evidence = calm();
    evidence.known |= known::CLONE_FLAGS;
    change(&mut evidence);
    Reasons::default().of(&failure(libc::ENOMEM, evidence), &Node(memory))
}

#[test]
fn no_memory_is_said_of_the_node_only_when_it_has_none() {
    assert_eq!(no_memory_of(roomy(), |_| {}), RefusalVerdict::UNKNOWN);
    let scarce = Memory {
        available: GIB / 4,
        ..roomy()
    };
    let verdict = no_memory_of(scarce, |_| {});
    assert_eq!(verdict.reason, Reason::Memory);
    assert_eq!(verdict.basis, Some(Basis::Inferred));
}

#[test]
fn a_full_memory_cgroup_is_named_with_its_usage_and_limit() {
    let verdict = no_memory_of(roomy(), |e| {
        e.memory.cgroup = 5;
        e.memory.usage = 16_380;
        e.memory.limit = 16_384;
    });
    assert_eq!(verdict.reason, Reason::MemoryCgroup);
    let of_cgroup = LimitOwner::Cgroup(CgroupId(5));
    assert_eq!(limit(verdict), (16_380 << 12, 16_384 << 12, of_cgroup));
}

#[test]
fn a_copy_that_is_larger_than_may_be_promised_is_overcommit() {
    let large = |e: &mut LimitEvidence| e.data_pages = 28 * GIB / 4096;
    assert_eq!(no_memory_of(roomy(), large).reason, Reason::Overcommit);
    let threads = |e: &mut LimitEvidence| {
        large(e);
        e.clone_flags = CLONE_VM;
    };
    assert_eq!(
        no_memory_of(roomy(), threads),
        RefusalVerdict::UNKNOWN,
        "no copy"
    );
    let always = Memory {
        overcommit: 1,
        ..roomy()
    };
    assert_eq!(no_memory_of(always, large), RefusalVerdict::UNKNOWN);
    let strict = Memory {
        overcommit: 2,
        ..roomy()
    };
    let some = |e: &mut LimitEvidence| e.data_pages = 10 * GIB / 4096;
    assert_eq!(no_memory_of(strict, some).reason, Reason::Overcommit);
    assert_eq!(no_memory_of(roomy(), some), RefusalVerdict::UNKNOWN);
}

#[test]
fn a_kind_of_namespace_that_is_used_up_is_named() {
    let verdict = decide(libc::ENOSPC, |e| {
        e.namespaces.kind = 2;
        e.namespaces.uid = 1000;
        e.namespaces.usage = 3;
        e.namespaces.limit = 3;
    });
    assert_eq!(verdict.reason, Reason::UserNamespaces);
    assert_eq!(verdict.limit.unwrap().name, "user.max_pid_namespaces");
    assert_eq!(limit(verdict), (3, 3, LimitOwner::User(1000)));
    let verdict = decide(libc::ENOSPC, |_| {});
    assert_eq!(verdict.reason, Reason::Other, "32 levels");
}

#[test]
fn an_execve_is_refused_by_nproc_only_with_the_kernels_mark() {
    let exec = |change: fn(&mut LimitEvidence)| {
        let mut evidence = calm();
        change(&mut evidence);
        let mut failure = failure(libc::EAGAIN, evidence);
        failure.syscall = Some(SyscallName::EXECVE);
        Reasons::default().of(&failure, &Nothing)
    };
    assert_eq!(exec(|_| {}).reason, Reason::ExecInProgress);
    let verdict = exec(|e| e.users[0].usage = 11);
    assert_eq!(verdict.reason, Reason::ExecInProgress, "who may not care");
    for usage in [11, 10] {
        let mut evidence = calm();
        evidence.nproc_exceeded = 1;
        evidence.users[0].usage = usage;
        let mut failure = failure(libc::EAGAIN, evidence);
        failure.syscall = Some(SyscallName::EXECVE);
        let verdict = Reasons::default().of(&failure, &Nothing);
        assert_eq!(verdict.reason, Reason::RlimitNproc);
    }
}

#[test]
fn a_sibling_that_execs_matters_only_to_who_shares_its_files() {
    let verdict = decide(libc::EAGAIN, |e| {
        e.in_exec = 1;
        e.known |= known::CLONE_FLAGS;
        e.cgroups[0].usage = 20;
    });
    assert_eq!(verdict.reason, Reason::PidsMax);
}

#[test]
fn a_limit_that_churns_is_the_nearest_within_a_small_slack() {
    let verdict = decide(libc::EAGAIN, |e| e.cgroups[0].usage = 18);
    assert_eq!(verdict.reason, Reason::PidsMax);
    assert_eq!(verdict.basis, Some(Basis::Inferred));
    assert_eq!(limit(verdict), (18, 20, LimitOwner::Cgroup(CgroupId(10))));
    let verdict = decide(libc::EAGAIN, |e| e.cgroups[0].usage = 17);
    assert_eq!(verdict, RefusalVerdict::UNKNOWN, "too far from it");
    // Of two, the nearer; of two as near, the kernel's first.
    let verdict = decide(libc::EAGAIN, |e| {
        e.cgroups[0].usage = 18;
        e.cgroups[1].usage = 99;
    });
    assert_eq!(limit(verdict), (99, 100, LimitOwner::Cgroup(CgroupId(11))));
    let verdict = decide(libc::EAGAIN, |e| {
        e.users[0].usage = 9;
        e.cgroups[1].usage = 99;
    });
    assert_eq!(verdict.reason, Reason::RlimitNproc);
    let verdict = decide(libc::EAGAIN, |e| {
        e.nproc_exempt = 1;
        e.users[0].usage = 9;
    });
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
}

#[test]
fn a_counter_at_the_forker_never_blames_a_limit_of_max() {
    let mut reasons = Reasons::default();
    let mut evidence = calm();
    evidence.known |= known::EVENTS_AT_FORKER;
    evidence.cgroups[0].limit = PID_MAX_LIMIT + 1;
    reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    evidence.cgroups[0].events = 1;
    evidence.cgroups[1].usage = 50;
    let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    assert_eq!(verdict.reason, Reason::PidsMax);
    assert_eq!(limit(verdict), (50, 100, LimitOwner::Cgroup(CgroupId(11))));
    // One that was raised since, as when a brake ends, and not a limit above it that is far from full.
    evidence.cgroups[0].events = 2;
    evidence.cgroups[1].usage = 5;
    let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    assert_eq!((verdict.reason, verdict.limit), (Reason::PidsMax, None));
    assert_eq!(verdict.basis, Some(Basis::Inferred));
    // A counter further up is about other forkers.
    evidence.cgroups[1].events = 1;
    let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
    // Without any bounded level, it was none of these.
    evidence.cgroups[1].limit = PID_MAX_LIMIT + 1;
    evidence.cgroups[0].events = 3;
    let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
    assert_eq!(verdict, RefusalVerdict::UNKNOWN);
}

#[test]
fn a_limit_above_what_the_kernel_side_reads_is_found_in_its_files() {
    let mut evidence = calm();
    evidence.known &= !known::CGROUPS;
    evidence.cgroup_levels = evidence.cgroups.len() as u32;
    for level in &mut evidence.cgroups {
        level.limit = PID_MAX_LIMIT + 1;
    }
    let verdict = Reasons::default().of(&failure(libc::EAGAIN, evidence), &Node(roomy()));
    assert_eq!(verdict.basis, Some(Basis::Inferred));
    assert_eq!(limit(verdict), (50, 50, LimitOwner::Cgroup(CgroupId(99))));
}
