//! What comes out of the probe: plain events, no knowledge of BPF left in them.

use std::fmt;

use bytes::Buf;
use pidwatch_common::{
    evidence::{LimitEvidence, PID_LEVELS, PidLevel},
    record::{self, ChargeScope, Header, Kind, Syscall},
    totals::{Kinds, Loss, Totals},
};

use crate::{cgroup::CgroupId, clock::BootTime};

/// One thing that the kernel side told.
#[derive(Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A cgroup's totals.
    Totals {
        /// Which cgroup.
        cgroup: CgroupId,
        /// When they were read.
        time: BootTime,
        /// The totals.
        totals: Totals,
        /// The charge, where the kernel side read it in the same moment.
        charge: Charge,
        /// Why they were told.
        cause: TotalsCause,
        /// Who made that happen, if it was someone: whose creation was counted, or the task that was
        /// moved in.
        who: Option<Who>,
    },
    /// A creation failed.
    CloneFailed(Failure),
    /// A cgroup came; its path as the kernel gives it.
    CgroupAdded(CgroupId, BootTime, Vec<u8>),
    /// A cgroup went.
    CgroupRemoved(CgroupId, BootTime, Vec<u8>),
    /// A cgroup has another path now (v1).
    CgroupRenamed(CgroupId, BootTime, Vec<u8>),
    /// The PID namespaces in which a task's children get their IDs.
    PidNamespaces {
        /// The task's cgroup.
        cgroup: CgroupId,
        /// The task, in the initial PID namespace.
        pid: u32,
        /// The innermost first, the initial namespace last.
        levels: Vec<PidLevel>,
    },
}

/// A process, or a task that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// In the initial PID namespace.
    pub pid: u32,
    /// The running task's name, any bytes: the creator's, or that of whoever moved the task.
    pub comm: Vec<u8>,
}

/// Why totals were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalsCause {
    /// Something was counted.
    Counted,
    /// A task was moved in: some other cgroup's charge fell unseen.
    Entered {
        /// The cgroup of whoever moved it; of a task that moved itself, its parent's. 0 if not known.
        mover: CgroupId,
    },
    /// The probe asked for them.
    Asked,
    /// A creation was counted.
    Created,
}

/// A cgroup's charge as the pids controller counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Not read, or the controller does not count here.
    Unknown,
    /// Of the cgroup itself.
    Own(u64),
    /// Descendants included.
    Subtree(u64),
}

/// A creation that failed for want of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the child was to be born: the caller's cgroup, or the one that it asked for.
    pub cgroup: CgroupId,
    /// When.
    pub time: BootTime,
    /// The cgroup's totals after it.
    pub totals: Totals,
    /// The error, positive.
    pub errno: u32,
    /// How the creation was asked for, if known.
    pub syscall: Option<SyscallName>,
    /// The caller's thread group, in the initial PID namespace.
    pub pid: u32,
    /// The caller, in the initial PID namespace.
    pub tid: u32,
    /// The caller's user, in the initial user namespace.
    pub uid: u32,
    /// The caller's name, as the kernel keeps it: any bytes.
    pub comm: Vec<u8>,
    /// The caller's parent.
    pub parent: Option<Who>,
    /// Of the caller and its ancestors the first whose parent is in another cgroup: who came into
    /// this one from outside.
    pub origin: Option<u32>,
    /// The limits around it.
    pub evidence: Box<LimitEvidence>,
}

/// How a creation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallName(&'static str);

impl fmt::Display for SyscallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(any(test, feature = "examples"))]
impl Failure {
    /// One of `java`, for tests.
    pub fn example(cgroup: CgroupId, time: BootTime) -> Self {
        Self {
            cgroup,
            time,
            totals: Totals::ZERO,
            errno: libc::EAGAIN as u32,
            syscall: None,
            pid: 4711,
            tid: 4713,
            uid: 1000,
            comm: b"ja\x1bva".into(),
            parent: None,
            origin: None,
            evidence: Box::default(),
        }
    }
}

impl SyscallName {
    /// As in the kernel's table.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// `execve(2)` or `execveat(2)`.
    pub const EXECVE: Self = Self("execve");

    const NAMES: [(Syscall, &str); 6] = [
        (Syscall::Clone, "clone"),
        (Syscall::Clone3, "clone3"),
        (Syscall::Fork, "fork"),
        (Syscall::Vfork, "vfork"),
        (Syscall::Execve, "execve"),
        (Syscall::Kernel, "kernel"),
    ];

    /// By its name.
    pub fn known(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, known)| *known == name)
            .map(|(_, known)| Self(known))
    }

    fn from_record(number: u32) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(syscall, _)| *syscall as u32 == number)
            .map(|(_, name)| Self(name))
    }
}

/// Reads a record of losses, if it is one.
pub fn decode_losses(mut record: &[u8]) -> Option<[u64; Loss::ALL.len()]> {
    let record = &mut record;
    if record.try_get_u32_ne().ok()? != Kind::Losses as u32 {
        return None;
    }
    let mut counters = record.get(size_of::<Header>() - size_of::<u32>()..)?;
    let mut counts = [0; Loss::ALL.len()];
    for count in &mut counts {
        *count = counters.try_get_u64_ne().ok()?;
    }
    Some(counts)
}

/// Reads one record of the ring; `None` for one that is cut or of a kind unknown here.
pub fn decode(mut record: &[u8]) -> Option<KernelEvent> {
    let record = &mut record;
    let kind = record.try_get_u32_ne().ok()?;
    let _reserved = record.try_get_u32_ne().ok()?;
    let time = BootTime::from_nanos(record.try_get_u64_ne().ok()?);
    let cgroup = CgroupId(record.try_get_u64_ne().ok()?);
    if kind == Kind::Rate as u32 {
        let totals = decode_totals(record)?;
        let charge = record.try_get_i64_ne().ok()?;
        let scope = record.try_get_u32_ne().ok()?;
        let cause = record.try_get_u32_ne().ok()?;
        let pid = record.try_get_u32_ne().ok()?;
        let _reserved = record.try_get_u32_ne().ok()?;
        let comm = until_nul(record.get(..16)?);
        record.advance(16);
        let mover = CgroupId(record.try_get_u64_ne().ok()?);
        let cause = match cause {
            asked if asked == record::Cause::Asked as u32 => TotalsCause::Asked,
            entered if entered == record::Cause::Entered as u32 => TotalsCause::Entered { mover },
            created if created == record::Cause::Created as u32 => TotalsCause::Created,
            _ => TotalsCause::Counted,
        };
        let who = (pid != 0).then_some(Who { pid, comm });
        let charge = u64::try_from(charge).map_or(Charge::Unknown, |charge| match scope {
            own if own == ChargeScope::Own as u32 => Charge::Own(charge),
            subtree if subtree == ChargeScope::Subtree as u32 => Charge::Subtree(charge),
            _ => Charge::Unknown,
        });
        return Some(KernelEvent::Totals {
            cgroup,
            time,
            totals,
            charge,
            cause,
            who,
        });
    }
    if kind == Kind::CloneFailed as u32 {
        let totals = decode_totals(record)?;
        let errno = record.try_get_u32_ne().ok()?;
        let syscall = SyscallName::from_record(record.try_get_u32_ne().ok()?);
        let pid = record.try_get_u32_ne().ok()?;
        let tid = record.try_get_u32_ne().ok()?;
        let uid = record.try_get_u32_ne().ok()?;
        let parent = record.try_get_u32_ne().ok()?;
        let comm = until_nul(record.get(..16)?);
        record.advance(16);
        let parent_comm = until_nul(record.get(..16)?);
        record.advance(16);
        let origin = record.try_get_u32_ne().ok()?;
        let _reserved = record.try_get_u32_ne().ok()?;
        let evidence = Box::new(read_evidence(record)?);
        return Some(KernelEvent::CloneFailed(Failure {
            cgroup,
            time,
            totals,
            errno,
            syscall,
            pid,
            tid,
            uid,
            comm,
            parent: (parent != 0).then_some(Who {
                pid: parent,
                comm: parent_comm,
            }),
            origin: (origin != 0).then_some(origin),
            evidence,
        }));
    }
    if kind == Kind::PidNamespaces as u32 {
        let pid = record.try_get_u32_ne().ok()?;
        let count = record.try_get_u32_ne().ok()? as usize;
        let mut level = || {
            Some(PidLevel {
                allocated: record.try_get_u32_ne().ok()?,
                pid_max: record.try_get_u32_ne().ok()?,
                inum: record.try_get_u32_ne().ok()?,
                first_free: record.try_get_u32_ne().ok()?,
            })
        };
        let levels = (0..count.min(PID_LEVELS)).map(|_| level());
        return Some(KernelEvent::PidNamespaces {
            cgroup,
            pid,
            levels: levels.collect::<Option<_>>()?,
        });
    }
    let change = [
        (
            Kind::CgroupAdded,
            KernelEvent::CgroupAdded as fn(_, _, _) -> _,
        ),
        (Kind::CgroupRemoved, KernelEvent::CgroupRemoved),
        (Kind::CgroupRenamed, KernelEvent::CgroupRenamed),
    ]
    .into_iter()
    .find(|(change, _)| *change as u32 == kind)?
    .1;
    let len = record.try_get_u32_ne().ok()? as usize;
    let _reserved = record.try_get_u32_ne().ok()?;
    Some(change(cgroup, time, until_nul(record.get(..len)?)))
}

fn read_evidence(bytes: &[u8]) -> Option<LimitEvidence> {
    let bytes = bytes.get(..size_of::<LimitEvidence>())?;
    // SAFETY: so many bytes are there, and any are a value (`aya::Pod`).
    Some(unsafe { bytes.as_ptr().cast::<LimitEvidence>().read_unaligned() })
}

fn decode_totals(record: &mut &[u8]) -> Option<Totals> {
    fn kinds(record: &mut &[u8]) -> Option<Kinds> {
        let processes = record.try_get_u64_ne().ok()?;
        let threads = record.try_get_u64_ne().ok()?;
        Some(Kinds { processes, threads })
    }
    Some(Totals {
        created: kinds(record)?,
        exited: kinds(record)?,
        held_threads: record.try_get_u64_ne().ok()?,
        freed: kinds(record)?,
        zombies_before: record.try_get_u64_ne().ok()?,
        unseen_frees: record.try_get_u64_ne().ok()?,
        unnoted: record.try_get_u64_ne().ok()?,
        failed: record.try_get_u64_ne().ok()?,
        rejected: record.try_get_u64_ne().ok()?,
        suppressed: record.try_get_u64_ne().ok()?,
        suppressed_by: array(record)?,
        rejected_by: array(record)?,
    })
}

fn array<const N: usize>(record: &mut &[u8]) -> Option<[u64; N]> {
    let mut all = [0; N];
    for one in &mut all {
        *one = record.try_get_u64_ne().ok()?;
    }
    Some(all)
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use pidwatch_common::record::{CgroupChange, CloneFailed, Losses, PidNamespaces, Rate};

    use super::*;

    fn bytes_of<T>(record: &T) -> &[u8] {
        // SAFETY: a record of the ring: plain integers, padding spelled out.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }
    }

    fn header(kind: Kind) -> Header {
        Header {
            kind: kind as u32,
            reserved: 0,
            time_ns: 7,
            cgroup: 42,
        }
    }

    fn totals() -> Totals {
        let mut totals = Totals::ZERO;
        totals.created.threads = 3;
        totals.suppressed = 9;
        totals
    }

    #[test]
    fn a_rate_record_comes_back_as_it_was_sent() {
        let record = Rate {
            header: header(Kind::Rate),
            totals: totals(),
            charge: 5,
            charge_scope: ChargeScope::Own as u32,
            cause: record::Cause::Entered as u32,
            pid: 4711,
            reserved: 0,
            comm: *b"runc\0...........",
            mover: 9,
        };
        let expected = KernelEvent::Totals {
            cgroup: CgroupId(42),
            time: BootTime::from_nanos(7),
            totals: totals(),
            charge: Charge::Own(5),
            cause: TotalsCause::Entered { mover: CgroupId(9) },
            who: Some(Who {
                pid: 4711,
                comm: b"runc".to_vec(),
            }),
        };
        assert_eq!(decode(bytes_of(&record)), Some(expected));
    }

    #[test]
    fn a_failure_names_its_caller() {
        let record = CloneFailed {
            header: header(Kind::CloneFailed),
            totals: totals(),
            errno: 11,
            syscall: Syscall::Clone3 as u32,
            pid: 10,
            tid: 11,
            uid: 1000,
            parent: 9,
            comm: *b"java\0garbage....",
            parent_comm: *b"sh\0.............",
            origin: 8,
            reserved: 0,
            evidence: LimitEvidence {
                nr_threads: 77,
                ..LimitEvidence::default()
            },
        };
        let Some(KernelEvent::CloneFailed(failure)) = decode(bytes_of(&record)) else {
            panic!()
        };
        assert_eq!(failure.comm, b"java");
        assert_eq!(failure.evidence.nr_threads, 77);
        assert_eq!(failure.origin, Some(8));
        assert_eq!(
            failure.parent,
            Some(Who {
                pid: 9,
                comm: b"sh".to_vec()
            })
        );
        assert_eq!(
            failure.syscall.map(|name| name.to_string()).as_deref(),
            Some("clone3")
        );
        assert_eq!(
            (failure.pid, failure.tid, failure.uid, failure.errno),
            (10, 11, 1000, 11)
        );
    }

    #[test]
    fn as_many_namespaces_are_read_as_there_are() {
        let node = PidLevel {
            allocated: 200,
            pid_max: 32_768,
            inum: 1,
            first_free: 0,
        };
        let inner = PidLevel {
            allocated: 9,
            pid_max: 400,
            inum: 7,
            first_free: 12,
        };
        let mut record = PidNamespaces {
            header: header(Kind::PidNamespaces),
            pid: 4711,
            count: 2,
            levels: [PidLevel::default(); PID_LEVELS],
        };
        record.levels[..2].copy_from_slice(&[inner, node]);
        let expected = KernelEvent::PidNamespaces {
            cgroup: CgroupId(42),
            pid: 4711,
            levels: vec![inner, node],
        };
        assert_eq!(decode(bytes_of(&record)), Some(expected));
        assert_eq!(decode(&bytes_of(&record)[..40]), None);
    }

    #[test]
    fn a_path_may_hold_any_bytes() {
        let change = CgroupChange {
            header: header(Kind::CgroupAdded),
            path_len: 5,
            reserved: 0,
        };
        let mut record = bytes_of(&change).to_vec();
        record.extend(b"/a\n\xff\0rest");
        let expected =
            KernelEvent::CgroupAdded(CgroupId(42), BootTime::from_nanos(7), b"/a\n\xff".to_vec());
        assert_eq!(decode(&record), Some(expected));
    }

    #[test]
    fn losses_are_told_apart_from_events() {
        let record = Losses {
            header: header(Kind::Losses),
            counts: [1, 2, 3, 4, 5, 6, 7, 8],
        };
        assert_eq!(
            decode_losses(bytes_of(&record)),
            Some([1, 2, 3, 4, 5, 6, 7, 8])
        );
        assert_eq!(decode(bytes_of(&record)), None);
        assert_eq!(decode_losses(&bytes_of(&record)[..70]), None);
    }

    #[test]
    fn a_cut_or_foreign_record_is_refused() {
        let record = Rate {
            header: header(Kind::Rate),
            totals: totals(),
            charge: 5,
            charge_scope: 1,
            cause: 0,
            pid: 0,
            reserved: 0,
            comm: [0; 16],
            mover: 0,
        };
        let bytes = bytes_of(&record);
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None);
        }
        let mut foreign = bytes.to_vec();
        foreign[..4].copy_from_slice(&99u32.to_ne_bytes());
        assert_eq!(decode(&foreign), None);
    }
}
