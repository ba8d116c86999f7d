//! Why a creation failed.
//!
//! In: the error and the limits around it, as the failing program read them. Out: the one limit
//! that refused, or `unknown`. Pure, but for what [`Outlook`] looks up where the kernel side could
//! not read.
//!
//! The order is the kernel's (`copy_process`, kernel/fork.c, 5.10 to 7.2): RLIMIT_NPROC,
//! threads-max, IDs of the PID namespaces from the innermost out (`alloc_pid`), pids.max from the
//! cgroup up (`cgroup_can_fork`). With two exhausted, the first is what failed.

use hashbrown::HashMap;
use pidwatch_common::evidence::{
    CgroupLevel, Evidence, PIDNS_ADDING, PidLevel, RESERVED_PIDS, UserLevel, known,
};

use crate::{
    cgroup::CgroupId,
    probe::{Failure, SyscallName},
};

/// Why a creation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The node's `kernel.pid_max`.
    PidMax,
    /// `pids.max` of a cgroup or one above it.
    PidsMax,
    /// `kernel.threads-max`.
    ThreadsMax,
    /// RLIMIT_NPROC of the user.
    RlimitNproc,
    /// `pid_max` of a PID namespace (6.14).
    PidNamespaceMax,
    /// The PID namespace has lost its init.
    PidNamespaceDying,
    /// The kernel had no memory.
    Memory,
    /// Something else; the error says what.
    Other,
    /// Not known.
    Unknown,
}

impl Reason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 9] = [
        Self::PidMax,
        Self::PidsMax,
        Self::ThreadsMax,
        Self::RlimitNproc,
        Self::PidNamespaceMax,
        Self::PidNamespaceDying,
        Self::Memory,
        Self::Other,
        Self::Unknown,
    ];

    /// Name in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PidMax => "pid_max",
            Self::PidsMax => "pids_max",
            Self::ThreadsMax => "threads_max",
            Self::RlimitNproc => "rlimit_nproc",
            Self::PidNamespaceMax => "pid_namespace_max",
            Self::PidNamespaceDying => "pid_namespace_dying",
            Self::Memory => "memory",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// How a reason was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Read in the kernel in the moment of the failure.
    Measured,
    /// Concluded from what user space read a moment later.
    Inferred,
}

impl Basis {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Measured, Self::Inferred];

    /// Name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Inferred => "inferred",
        }
    }
}

/// Whose a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitOwner {
    /// The node's.
    Node,
    /// A cgroup's.
    Cgroup(CgroupId),
    /// A user's.
    User(u32),
    /// A PID namespace's, by its inode number if known.
    PidNamespace(u32),
}

/// The limit that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name as people set it.
    pub name: &'static str,
    /// The limit.
    pub value: u64,
    /// What it counts: PIDs, threads, tasks of the cgroup, tasks of the user.
    pub usage: u64,
    /// Whose it is.
    pub owner: LimitOwner,
}

impl Limit {
    /// Every name.
    pub const NAMES: [&str; 5] = [
        "kernel.pid_max",
        "kernel.threads-max",
        "pids.max",
        "RLIMIT_NPROC",
        "pid_max",
    ];

    /// Tasks that may still come.
    pub fn room(&self) -> u64 {
        self.value.saturating_sub(self.usage)
    }

    /// A name as this program has it; `limit` for one that it does not know.
    pub fn known_name(name: &str) -> &'static str {
        let mut known = Self::NAMES.into_iter();
        known.find(|known| *known == name).unwrap_or("limit")
    }
}

/// Why a creation failed, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub reason: Reason,
    /// `None` for [`Reason::Unknown`].
    pub basis: Option<Basis>,
    /// The limit, where one refused.
    pub limit: Option<Limit>,
}

impl Verdict {
    const UNKNOWN: Self = Self {
        reason: Reason::Unknown,
        basis: None,
        limit: None,
    };

    fn measured(reason: Reason, limit: Option<Limit>) -> Self {
        Self {
            reason,
            basis: Some(Basis::Measured),
            limit,
        }
    }

    fn inferred(reason: Reason, limit: Option<Limit>) -> Self {
        Self {
            reason,
            basis: Some(Basis::Inferred),
            limit,
        }
    }
}

/// What user space reads where the kernel side could not. `None` is unknown.
pub trait Outlook {
    /// Tasks of the node and `kernel.threads-max`.
    fn threads(&self) -> Option<(u64, u64)>;
    /// `kernel.pid_max`.
    fn pid_max(&self) -> Option<u64>;
    /// Usage and limit of `pids.max` from a cgroup up, those without a limit left out.
    fn cgroups(&self, cgroup: CgroupId) -> Vec<(CgroupId, u64, u64)>;
    /// The soft RLIMIT_NPROC of a process.
    fn rlimit_nproc(&self, pid: u32) -> Option<u64>;
}

/// Finds reasons; remembers how often each cgroup's limit had refused before.
#[derive(Debug, Default)]
pub struct Reasons {
    refusals: HashMap<CgroupId, u64>,
}

impl Reasons {
    /// Why a creation failed.
    pub fn of(&mut self, failure: &Failure, outlook: &impl Outlook) -> Verdict {
        let evidence = &*failure.evidence;
        let refused_by = self.note_refusals(evidence);
        let is_exec = failure.syscall == Some(SyscallName::EXECVE);
        match failure.errno as i32 {
            libc::EAGAIN if is_exec => exec_refused(evidence),
            libc::EAGAIN => try_again(failure, refused_by, outlook),
            libc::ENOMEM => no_memory(evidence),
            _ => Verdict::measured(Reason::Other, None),
        }
    }

    /// Forgets a cgroup.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.refusals.remove(&cgroup);
    }

    /// Notes how often each limit has refused, and returns the first that did since it was last
    /// looked at.
    fn note_refusals(&mut self, evidence: &Evidence) -> Option<CgroupId> {
        let mut refused_by = None;
        for level in cgroups(evidence) {
            let id = CgroupId(level.cgroup);
            let before = self.refusals.insert(id, level.events);
            if before.is_some_and(|before| level.events > before) {
                refused_by = refused_by.or(Some(id));
            }
        }
        refused_by
    }
}

fn cgroups(evidence: &Evidence) -> &[CgroupLevel] {
    let levels = evidence.cgroups.len().min(evidence.cgroup_levels as usize);
    &evidence.cgroups[..levels]
}

fn pids(evidence: &Evidence) -> &[PidLevel] {
    let levels = evidence.pids.len().min(evidence.pid_levels as usize);
    &evidence.pids[..levels]
}

fn users(evidence: &Evidence) -> &[UserLevel] {
    let levels = evidence.users.len().min(evidence.user_levels as usize);
    &evidence.users[..levels]
}

fn knows(evidence: &Evidence, what: u32) -> bool {
    evidence.known & what == what
}

/// EAGAIN of a creation.
fn try_again(failure: &Failure, refused_by: Option<CgroupId>, outlook: &impl Outlook) -> Verdict {
    let evidence = &*failure.evidence;
    if evidence.known == 0 {
        return infer(failure, outlook);
    }
    // The child would have been one more.
    if evidence.nproc_exempt == 0
        && let Some(user) = users(evidence)
            .iter()
            .find(|user| user.usage < 0 || user.usage as u64 >= user.limit)
    {
        return Verdict::measured(Reason::RlimitNproc, Some(nproc(user)));
    }
    if knows(evidence, known::THREADS) && evidence.nr_threads >= evidence.max_threads {
        let limit = threads(evidence.nr_threads as u64, evidence.max_threads as u64);
        return Verdict::measured(Reason::ThreadsMax, Some(limit));
    }
    if !knows(evidence, known::THREADS)
        && let Some((usage, value)) = outlook.threads()
        && usage >= value
    {
        return Verdict::inferred(Reason::ThreadsMax, Some(threads(usage, value)));
    }
    if let Some(verdict) = ids_used_up(evidence, outlook) {
        return verdict;
    }
    let pids_max = |level: &CgroupLevel| {
        Some(Limit {
            name: "pids.max",
            value: level.limit as u64,
            usage: level.usage.max(0) as u64,
            owner: LimitOwner::Cgroup(CgroupId(level.cgroup)),
        })
    };
    let levels = cgroups(evidence);
    if let Some(level) = levels.iter().find(|level| level.usage >= level.limit) {
        return Verdict::measured(Reason::PidsMax, pids_max(level));
    }
    if evidence.deadline != 0 {
        // SCHED_DEADLINE is not inherited (`sched_fork`).
        return Verdict::measured(Reason::Other, None);
    }
    // Someone's end made room in the meantime; but this limit has refused since the last look.
    let refused = |level: &&CgroupLevel| Some(CgroupId(level.cgroup)) == refused_by;
    if let Some(level) = levels.iter().find(refused) {
        return Verdict::inferred(Reason::PidsMax, pids_max(level));
    }
    Verdict::UNKNOWN
}

/// A PID namespace without a free ID, the innermost first.
fn ids_used_up(evidence: &Evidence, outlook: &impl Outlook) -> Option<Verdict> {
    let levels = pids(evidence);
    let node = levels.last()?;
    // The last is the node's only if all were read.
    let has_node = knows(evidence, known::PIDS);
    let measured = knows(evidence, known::PID_MAX);
    let found = |level: &PidLevel, reason, pid_max: u32, owner| {
        let limit = Limit {
            name: "kernel.pid_max",
            value: pid_max.into(),
            usage: u64::from(level.allocated & !PIDNS_ADDING),
            owner,
        };
        if measured {
            Verdict::measured(reason, Some(limit))
        } else {
            Verdict::inferred(reason, Some(limit))
        }
    };
    for (i, level) in levels.iter().enumerate() {
        let pid_max = if measured {
            level.pid_max
        } else {
            u32::try_from(outlook.pid_max()?).ok()?
        };
        if !is_used_up(level, pid_max) {
            continue;
        }
        // Before 6.14 every namespace has the node's.
        let is_node = has_node && (i + 1 == levels.len() || !measured || pid_max == node.pid_max);
        return Some(if is_node {
            found(level, Reason::PidMax, pid_max, LimitOwner::Node)
        } else {
            let owner = LimitOwner::PidNamespace(level.inum);
            found(level, Reason::PidNamespaceMax, pid_max, owner)
        });
    }
    None
}

/// Whether `alloc_pid` finds no free ID below `pid_max`. Not by the number of tasks: leaders of groups
/// and sessions keep their IDs in use after their end. Not by the number of IDs either: some may
/// be above a limit that was lowered, and low ones are not searched again.
fn is_used_up(level: &PidLevel, pid_max: u32) -> bool {
    level.first_free != 0 && level.first_free >= pid_max
}

/// ENOMEM: a namespace whose init is gone takes nobody (`alloc_pid`), or there was no memory.
fn no_memory(evidence: &Evidence) -> Verdict {
    match pids(evidence).first() {
        Some(level) if level.allocated & PIDNS_ADDING == 0 => {
            Verdict::measured(Reason::PidNamespaceDying, None)
        }
        Some(_) => Verdict::measured(Reason::Memory, None),
        None => Verdict::UNKNOWN,
    }
}

/// EAGAIN of execve: the user was over RLIMIT_NPROC at setuid(2) and still is (fs/exec.c).
fn exec_refused(evidence: &Evidence) -> Verdict {
    if !knows(evidence, known::USER) {
        return Verdict::inferred(Reason::RlimitNproc, None);
    }
    let over = |user: &&UserLevel| user.usage < 0 || user.usage as u64 > user.limit;
    match users(evidence).iter().find(over) {
        Some(user) => Verdict::measured(Reason::RlimitNproc, Some(nproc(user))),
        None => Verdict::UNKNOWN,
    }
}

/// Without any evidence from the kernel: the same order, on what user space reads now.
fn infer(failure: &Failure, outlook: &impl Outlook) -> Verdict {
    let node = outlook.threads();
    if let Some((usage, value)) = node
        && usage >= value
    {
        return Verdict::inferred(Reason::ThreadsMax, Some(threads(usage, value)));
    }
    if let (Some((usage, _)), Some(value)) = (node, outlook.pid_max())
        // Low IDs are not given out again, and IDs outlive tasks.
        && usage + u64::from(RESERVED_PIDS) >= value
    {
        let limit = Limit {
            name: "kernel.pid_max",
            value,
            usage,
            owner: LimitOwner::Node,
        };
        return Verdict::inferred(Reason::PidMax, Some(limit));
    }
    if let Some((cgroup, usage, value)) = outlook
        .cgroups(failure.cgroup)
        .into_iter()
        .find(|(_, usage, limit)| usage >= limit)
    {
        let limit = Limit {
            name: "pids.max",
            value,
            usage,
            owner: LimitOwner::Cgroup(cgroup),
        };
        return Verdict::inferred(Reason::PidsMax, Some(limit));
    }
    // Nothing else refuses an ordinary user with EAGAIN, provided that there is a limit.
    if failure.uid != 0 && outlook.rlimit_nproc(failure.pid).is_some() {
        return Verdict::inferred(Reason::RlimitNproc, None);
    }
    Verdict::UNKNOWN
}

fn nproc(user: &UserLevel) -> Limit {
    Limit {
        name: "RLIMIT_NPROC",
        value: user.limit,
        usage: user.usage.max(0) as u64,
        owner: LimitOwner::User(user.uid),
    }
}

fn threads(usage: u64, value: u64) -> Limit {
    Limit {
        name: "kernel.threads-max",
        value,
        usage,
        owner: LimitOwner::Node,
    }
}

#[cfg(test)]
mod tests {
    use pidwatch_common::totals::Totals;

    use super::*;
    use crate::clock::BootTime;

    /// Everything known, nothing exhausted.
    fn calm() -> Evidence {
        let mut evidence = Evidence {
            known: known::USER | known::THREADS | known::PIDS | known::CGROUPS | known::PID_MAX,
            nr_threads: 100,
            max_threads: 1000,
            cgroup_levels: 2,
            pid_levels: 2,
            user_levels: 1,
            ..Evidence::default()
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
                allocated: 100 | PIDNS_ADDING,
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
    }

    fn failure(errno: i32, evidence: Evidence) -> Failure {
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

    fn decide(errno: i32, change: impl FnOnce(&mut Evidence)) -> Verdict {
        let mut evidence = calm();
        change(&mut evidence);
        Reasons::default().of(&failure(errno, evidence), &Nothing)
    }

    fn limit(verdict: Verdict) -> (u64, u64, LimitOwner) {
        let limit = verdict.limit.unwrap();
        (limit.usage, limit.value, limit.owner)
    }

    #[test]
    fn each_limit_is_recognised_by_itself() {
        let eagain = |change: fn(&mut Evidence)| decide(libc::EAGAIN, change);
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
        assert_eq!((verdict.reason, verdict.limit), (Reason::Other, None));
        assert_eq!(eagain(|_| {}), Verdict::UNKNOWN);
    }

    #[test]
    fn of_two_exhausted_limits_the_kernels_first_is_the_reason() {
        type Change = fn(&mut Evidence);
        let changes: [(Reason, Change); 5] = [
            (Reason::RlimitNproc, |e| e.users[0].usage = 10),
            (Reason::ThreadsMax, |e| e.nr_threads = 1000),
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
            e.pids[1].allocated = 5000 | PIDNS_ADDING;
            e.pids[1].first_free = 999;
        });
        assert_eq!(verdict, Verdict::UNKNOWN);
    }

    #[test]
    fn a_limit_that_has_refused_since_is_the_reason_though_there_is_room_again() {
        let mut reasons = Reasons::default();
        let mut evidence = calm();
        let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
        assert_eq!(verdict, Verdict::UNKNOWN);
        evidence.cgroups[1].events = 1;
        let verdict = reasons.of(&failure(libc::EAGAIN, evidence), &Nothing);
        assert_eq!(verdict.reason, Reason::PidsMax);
        assert_eq!(verdict.basis, Some(Basis::Inferred));
        assert_eq!(limit(verdict), (5, 100, LimitOwner::Cgroup(CgroupId(11))));
    }

    #[test]
    fn no_memory_is_told_from_a_dying_namespace() {
        let verdict = decide(libc::ENOMEM, |_| {});
        assert_eq!(verdict.reason, Reason::Memory);
        let verdict = decide(libc::ENOMEM, |e| e.pids[0].allocated = 3);
        assert_eq!(verdict.reason, Reason::PidNamespaceDying);
        let verdict = decide(libc::ENOMEM, |e| *e = Evidence::default());
        assert_eq!(verdict, Verdict::UNKNOWN);
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
        }
        let blind = || failure(libc::EAGAIN, Evidence::default());
        let verdict = Reasons::default().of(&blind(), &Full);
        assert_eq!(verdict.reason, Reason::PidsMax);
        assert_eq!(verdict.basis, Some(Basis::Inferred));
        let verdict = Reasons::default().of(&blind(), &Nothing);
        assert_eq!(verdict, Verdict::UNKNOWN);
    }
}
