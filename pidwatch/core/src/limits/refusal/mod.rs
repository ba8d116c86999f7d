//! Why a creation failed.
//!
//! In: the error and the limits around it, as the failing program read them. Out: the one limit
//! that refused, or `unknown`. Pure, but for what [`Outlook`] looks up where the kernel side could
//! not read.
//!
//! The order is the kernel's (`copy_process`, kernel/fork.c, 5.10 to 7.2): RLIMIT_NPROC,
//! threads-max, SCHED_DEADLINE (`sched_fork`), a sibling's exec (`copy_fs`), IDs of the PID namespaces
//! from the innermost out (`alloc_pid`), pids.max from the cgroup up (`cgroup_can_fork`). With two
//! exhausted, the first is what failed.

use hashbrown::HashMap;
use pidwatch_common::evidence::{
    CLONE_VM, CgroupLevel, LimitEvidence, NAMESPACES, PIDNS_ADDING, PidLevel, RESERVED_PIDS,
    UserLevel, known,
};

use super::reason::{Limit, LimitOwner, Reason, RefusalVerdict};
use crate::{
    cgroup::CgroupId,
    probe::{Failure, SyscallName},
};

/// `CLONE_FS` of include/uapi/linux/sched.h: the child shares the caller's `fs_struct`.
const CLONE_FS: u64 = 0x200;
/// `PID_MAX_LIMIT` of include/linux/threads.h; the pids controller keeps one more for `max`.
const PID_MAX_LIMIT: i64 = 4 * 1024 * 1024;
/// A node with a smaller part of its memory available than this has none.
const NO_MEMORY: u64 = 50;

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
    /// The node's memory.
    fn memory(&self) -> Option<Memory>;
}

/// The node's memory, in bytes (/proc/meminfo, `vm.overcommit_memory`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// RAM.
    pub total: u64,
    /// Swap space.
    pub swap: u64,
    /// What new programs can have without swapping (`MemAvailable`).
    pub available: u64,
    /// What is promised (`Committed_AS`), and the most that may be where that is strict (`CommitLimit`).
    pub committed: u64,
    /// See `committed`.
    pub commit_limit: u64,
    /// `vm.overcommit_memory`: 0 heuristic, 1 always, 2 strict.
    pub overcommit: u64,
    /// Bytes of a page.
    pub page: u64,
    /// Name of a memory cgroup's limit: `memory.max`, or v1's.
    pub limit_name: &'static str,
}

/// Finds reasons; remembers how often each cgroup's limit had refused before.
#[derive(Debug, Default)]
pub struct Reasons {
    refusals: HashMap<CgroupId, u64>,
}

impl Reasons {
    /// Why a creation failed.
    pub fn of(&mut self, failure: &Failure, outlook: &impl Outlook) -> RefusalVerdict {
        let evidence = &*failure.evidence;
        let refused = self.note_refusals(evidence);
        let is_exec = failure.syscall == Some(SyscallName::EXECVE);
        match failure.errno as i32 {
            libc::EAGAIN if is_exec => exec_refused(evidence),
            libc::EAGAIN => try_again(failure, refused, outlook),
            libc::ENOMEM => no_memory(evidence, outlook),
            libc::ENOSPC => no_space(evidence),
            _ => RefusalVerdict::measured(Reason::Other, None),
        }
    }

    /// Forgets a cgroup.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.refusals.remove(&cgroup);
    }

    /// Notes how often each limit has refused: whether one has since it was last looked at, and which level that was.
    fn note_refusals(&mut self, evidence: &LimitEvidence) -> RefusedBy {
        let levels = cgroups(evidence);
        let mut moved = None;
        for (i, level) in levels.iter().enumerate() {
            let before = self.refusals.insert(CgroupId(level.cgroup), level.events);
            if before.is_some_and(|before| level.events > before) {
                moved = moved.or(Some(i));
            }
        }
        if !knows(evidence, known::EVENTS_AT_FORKER) {
            return match moved.filter(|&i| is_bounded(&levels[i])) {
                Some(level) => RefusedBy::At(level),
                None => RefusedBy::No,
            };
        }
        // Counted at the cgroup that forked: some limit from it up refused. `max` cannot have.
        let Some(from) = moved.filter(|&i| i == 0) else {
            return RefusedBy::No;
        };
        let bounded = || (from..levels.len()).filter(|&i| is_bounded(&levels[i]));
        let near = bounded().filter(|&i| gap_of(&levels[i]).is_some());
        // Tasks may have ended since. One that is not half full did not refuse, but one that was raised since, as when a
        // brake ends.
        let is_half_full = |&i: &usize| levels[i].usage.max(0) >= levels[i].limit / 2;
        let level = near
            .min_by_key(|&i| gap_of(&levels[i]))
            .or_else(|| bounded().find(is_half_full));
        match level {
            Some(level) => RefusedBy::At(level),
            None if bounded().next().is_some() => RefusedBy::Somewhere,
            None => RefusedBy::No,
        }
    }
}

/// Whether the limit of a cgroup has refused, by the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusedBy {
    No,
    /// That of this level.
    At(usize),
    /// Of some level: by now it is another limit than it was.
    Somewhere,
}

fn is_bounded(level: &CgroupLevel) -> bool {
    level.limit <= PID_MAX_LIMIT
}

/// How far below a limit it may be a moment after it refused: a task or two have ended since on each CPU.
fn slack(limit: u64) -> u64 {
    (limit / 50).clamp(2, 32).min((limit / 4).max(1))
}

/// What is left below a limit, if that is so little that it may have been full a moment ago.
fn gap(usage: u64, limit: u64) -> Option<u64> {
    let left = limit.saturating_sub(usage);
    (left <= slack(limit)).then_some(left)
}

fn gap_of(level: &CgroupLevel) -> Option<u64> {
    let limit = u64::try_from(level.limit)
        .ok()
        .filter(|_| is_bounded(level))?;
    gap(level.usage.max(0) as u64, limit)
}

fn cgroups(evidence: &LimitEvidence) -> &[CgroupLevel] {
    let levels = evidence.cgroups.len().min(evidence.cgroup_levels as usize);
    &evidence.cgroups[..levels]
}

fn pids(evidence: &LimitEvidence) -> &[PidLevel] {
    let levels = evidence.pids.len().min(evidence.pid_levels as usize);
    &evidence.pids[..levels]
}

fn users(evidence: &LimitEvidence) -> &[UserLevel] {
    let levels = evidence.users.len().min(evidence.user_levels as usize);
    &evidence.users[..levels]
}

fn knows(evidence: &LimitEvidence, what: u32) -> bool {
    evidence.known & what == what
}

fn pids_max(level: &CgroupLevel) -> Option<Limit> {
    Some(Limit {
        name: "pids.max",
        value: level.limit as u64,
        usage: level.usage.max(0) as u64,
        owner: LimitOwner::Cgroup(CgroupId(level.cgroup)),
    })
}

/// EAGAIN of a creation.
fn try_again(failure: &Failure, refused: RefusedBy, outlook: &impl Outlook) -> RefusalVerdict {
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
        return RefusalVerdict::measured(Reason::RlimitNproc, Some(nproc(user)));
    }
    if knows(evidence, known::THREADS) && evidence.nr_threads >= evidence.max_threads {
        let limit = threads(evidence.nr_threads as u64, evidence.max_threads as u64);
        return RefusalVerdict::measured(Reason::ThreadsMax, Some(limit));
    }
    if !knows(evidence, known::THREADS)
        && let Some((usage, value)) = outlook.threads()
        && usage >= value
    {
        return RefusalVerdict::inferred(Reason::ThreadsMax, Some(threads(usage, value)));
    }
    if evidence.deadline != 0 {
        return RefusalVerdict::measured(Reason::Deadline, None);
    }
    let shares_fs = !knows(evidence, known::CLONE_FLAGS) || evidence.clone_flags & CLONE_FS != 0;
    if evidence.in_exec != 0 && shares_fs {
        return RefusalVerdict::measured(Reason::ExecInProgress, None);
    }
    if let Some(verdict) = ids_used_up(evidence, outlook) {
        return verdict;
    }
    let levels = cgroups(evidence);
    if let Some(level) = levels.iter().find(|level| level.usage >= level.limit) {
        return RefusalVerdict::measured(Reason::PidsMax, pids_max(level));
    }
    if let Some(verdict) = deeper_limit(failure, outlook, |usage, limit| usage >= limit) {
        return verdict;
    }
    // Someone's end made room in the meantime; but this limit has refused since the last look.
    if let RefusedBy::At(level) = refused
        && let Some(level) = levels.get(level)
    {
        return RefusalVerdict::inferred(Reason::PidsMax, pids_max(level));
    }
    nearly_full(evidence)
        .or_else(|| deeper_limit(failure, outlook, |usage, limit| gap(usage, limit).is_some()))
        .unwrap_or(match refused {
            RefusedBy::Somewhere => RefusalVerdict::inferred(Reason::PidsMax, None),
            RefusedBy::No | RefusedBy::At(_) => RefusalVerdict::UNKNOWN,
        })
}

/// Where there are more levels of cgroups than the kernel side reads: what their files say.
fn deeper_limit(
    failure: &Failure,
    outlook: &impl Outlook,
    is_full: impl Fn(u64, u64) -> bool,
) -> Option<RefusalVerdict> {
    let evidence = &*failure.evidence;
    if knows(evidence, known::CGROUPS) || cgroups(evidence).len() < evidence.cgroups.len() {
        return None;
    }
    let chain = outlook.cgroups(failure.cgroup);
    let (cgroup, usage, value) = chain
        .into_iter()
        .find(|&(_, usage, limit)| is_full(usage, limit))?;
    let limit = Limit {
        name: "pids.max",
        value,
        usage,
        owner: LimitOwner::Cgroup(cgroup),
    };
    Some(RefusalVerdict::inferred(Reason::PidsMax, Some(limit)))
}

/// Nothing is full any more, of a limit that churns: the nearest within a small slack; of those that are
/// as near, the kernel's first.
fn nearly_full(evidence: &LimitEvidence) -> Option<RefusalVerdict> {
    let mut near: Vec<(u64, Reason, Limit)> = Vec::new();
    if evidence.nproc_exempt == 0 {
        for user in users(evidence) {
            let left = gap(user.usage.max(0) as u64, user.limit);
            near.extend(left.map(|left| (left, Reason::RlimitNproc, nproc(user))));
        }
    }
    if knows(evidence, known::THREADS) {
        let (usage, value) = (evidence.nr_threads as u64, evidence.max_threads as u64);
        let left = gap(usage, value);
        near.extend(left.map(|left| (left, Reason::ThreadsMax, threads(usage, value))));
    }
    if knows(evidence, known::PIDS | known::PID_MAX) {
        let levels = pids(evidence);
        let of_node = levels.last().map_or(0, |node| node.pid_max);
        for (i, level) in levels.iter().enumerate() {
            let usage = u64::from(level.allocated & !PIDNS_ADDING);
            // More than that are above a limit that was lowered, and say nothing about it.
            let left = gap(usage + u64::from(RESERVED_PIDS), level.pid_max.into())
                .filter(|_| usage <= u64::from(level.pid_max));
            let is_node = i + 1 == levels.len() || level.pid_max == of_node;
            let (reason, owner) = if is_node {
                (Reason::PidMax, LimitOwner::Node)
            } else {
                let owner = LimitOwner::PidNamespace(level.inum);
                (Reason::PidNamespaceMax, owner)
            };
            let limit = Limit {
                name: "kernel.pid_max",
                value: level.pid_max.into(),
                usage,
                owner,
            };
            near.extend(left.map(|left| (left, reason, limit)));
        }
    }
    for level in cgroups(evidence) {
        let left = gap_of(level).zip(pids_max(level));
        near.extend(left.map(|(left, limit)| (left, Reason::PidsMax, limit)));
    }
    // The first of the smallest.
    let (_, reason, limit) = near.into_iter().min_by_key(|(left, ..)| *left)?;
    Some(RefusalVerdict::inferred(reason, Some(limit)))
}

/// A PID namespace without a free ID, the innermost first.
fn ids_used_up(evidence: &LimitEvidence, outlook: &impl Outlook) -> Option<RefusalVerdict> {
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
            RefusalVerdict::measured(reason, Some(limit))
        } else {
            RefusalVerdict::inferred(reason, Some(limit))
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

/// ENOMEM: a namespace whose init is gone takes nobody (`alloc_pid`), a memory cgroup is full, the copy of
/// the memory is more than may be promised (`dup_mmap`), or there is no memory.
fn no_memory(evidence: &LimitEvidence, outlook: &impl Outlook) -> RefusalVerdict {
    match pids(evidence).first() {
        Some(level) if level.allocated & PIDNS_ADDING == 0 => {
            return RefusalVerdict::measured(Reason::PidNamespaceDying, None);
        }
        Some(_) => {}
        None if evidence.known == 0 => return RefusalVerdict::UNKNOWN,
        None => {}
    }
    let memory = outlook.memory();
    let full = evidence.memory;
    if full.limit != 0
        && let Some(memory) = memory
    {
        let limit = Limit {
            name: memory.limit_name,
            value: full.limit.saturating_mul(memory.page),
            usage: full.usage.saturating_mul(memory.page),
            owner: LimitOwner::Cgroup(CgroupId(full.cgroup)),
        };
        return RefusalVerdict::measured(Reason::MemoryCgroup, Some(limit));
    }
    let Some(memory) = memory else {
        return RefusalVerdict::UNKNOWN;
    };
    let copies = knows(evidence, known::CLONE_FLAGS) && evidence.clone_flags & CLONE_VM == 0;
    let data = evidence.data_pages.saturating_mul(memory.page);
    let is_too_much = match memory.overcommit {
        0 => data > memory.total.saturating_add(memory.swap),
        2 => memory.committed.saturating_add(data) > memory.commit_limit,
        _ => false,
    };
    if copies && is_too_much {
        return RefusalVerdict::inferred(Reason::Overcommit, None);
    }
    if memory.available < memory.total / NO_MEMORY {
        return RefusalVerdict::inferred(Reason::Memory, None);
    }
    RefusalVerdict::UNKNOWN
}

/// ENOSPC: as many namespaces as there may be (`inc_ucount`, kernel/ucount.c), or 32 within each other.
fn no_space(evidence: &LimitEvidence) -> RefusalVerdict {
    let full = evidence.namespaces;
    let name = (full.kind as usize)
        .checked_sub(1)
        .and_then(|kind| NAMESPACES.get(kind));
    if let Some((_, name)) = name {
        let limit = Limit {
            name,
            value: full.limit.max(0) as u64,
            usage: full.usage.max(0) as u64,
            owner: LimitOwner::User(full.uid),
        };
        return RefusalVerdict::measured(Reason::UserNamespaces, Some(limit));
    }
    RefusalVerdict::measured(Reason::Other, None)
}

/// EAGAIN of execve: the user was over RLIMIT_NPROC at setuid(2) and still is (`do_execveat_common`,
/// fs/exec.c), or another thread of the process execs or ends it (`de_thread`).
fn exec_refused(evidence: &LimitEvidence) -> RefusalVerdict {
    if !knows(evidence, known::USER) {
        return RefusalVerdict::inferred(Reason::RlimitNproc, None);
    }
    if evidence.nproc_exceeded == 0 {
        return RefusalVerdict::measured(Reason::ExecInProgress, None);
    }
    let over = |user: &&UserLevel| user.usage < 0 || user.usage as u64 > user.limit;
    let levels = users(evidence);
    // Some have ended since, if none is over any more.
    let user = levels.iter().find(over).or_else(|| levels.first());
    RefusalVerdict::measured(Reason::RlimitNproc, user.map(nproc))
}

/// Without any evidence from the kernel: the same order, on what user space reads now.
fn infer(failure: &Failure, outlook: &impl Outlook) -> RefusalVerdict {
    let node = outlook.threads();
    if let Some((usage, value)) = node
        && usage >= value
    {
        return RefusalVerdict::inferred(Reason::ThreadsMax, Some(threads(usage, value)));
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
        return RefusalVerdict::inferred(Reason::PidMax, Some(limit));
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
        return RefusalVerdict::inferred(Reason::PidsMax, Some(limit));
    }
    // Nothing else refuses an ordinary user with EAGAIN, provided that there is a limit.
    if failure.uid != 0 && outlook.rlimit_nproc(failure.pid).is_some() {
        return RefusalVerdict::inferred(Reason::RlimitNproc, None);
    }
    RefusalVerdict::UNKNOWN
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
mod tests;
