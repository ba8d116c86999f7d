//! Which kernel mechanism each hook may use, best first, kernel by kernel; pure.

use std::{fmt, str::FromStr};

/// A way of attaching to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// BTF tracepoint: typed pointers, the cheapest.
    TpBtf,
    /// Classic tracepoint (perf event).
    Tracepoint,
    /// BTF tracepoint `sched_process_fork` in the place of `task_newtask`: misses kernel-made
    /// workers.
    SchedProcessFork,
    /// Exit of a kernel function, by trampoline.
    Fexit,
    /// Exit of a kernel function, by kretprobe with room for many calls; runs with preemption off.
    Kretprobe,
    /// BPF iterator, run once at start.
    Iter,
    /// Read in the kernel by another hook's program.
    Measured,
    /// Not attached because asked for.
    Off,
}

impl Mechanism {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::TpBtf, "tp_btf"),
        (Self::Tracepoint, "tracepoint"),
        (Self::SchedProcessFork, "sched_process_fork"),
        (Self::Fexit, "fexit"),
        (Self::Kretprobe, "kretprobe"),
        (Self::Iter, "iter"),
        (Self::Measured, "measured"),
        (Self::Off, "off"),
    ];

    /// Name in events and on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(mechanism, _)| *mechanism == self)
            .map_or("", |(_, name)| name)
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(mechanism, _)| *mechanism)
            .ok_or_else(|| {
                let names: Vec<_> = Self::NAMES.iter().map(|(_, name)| *name).collect();
                format!("no mechanism `{text}`; there are {}", names.join(", "))
            })
    }
}

/// A place in the kernel that pidwatch listens at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A task is created.
    TaskNewtask,
    /// A task ends.
    SchedProcessExit,
    /// A task gave its PID back.
    SchedProcessFree,
    /// A creation returned.
    KernelClone,
    /// An execve returned.
    Execve,
    /// The limits around a failure; no place of its own, but a part of the two above.
    FailureEvidence,
    /// A cgroup came.
    CgroupMkdir,
    /// A cgroup went.
    CgroupRmdir,
    /// A cgroup got another name.
    CgroupRename,
    /// A task was moved.
    CgroupAttachTask,
    /// Every task, once at start: which had ended before. Not one of [`Hook::ALL`], as it is not
    /// attached.
    TaskIter,
    /// Every ended task, whenever zombies are counted. Not one of [`Hook::ALL`] either.
    Zombies,
    /// The tasks of owners that grow, every few seconds. Not one of [`Hook::ALL`] either, and no place of
    /// its own: it is another run of [`Hook::TaskIter`]'s.
    TaskActivity,
}

impl Hook {
    /// Every hook, in the order in which they are attached: cgroups first, so that none comes
    /// unseen; frees before ends, so that no counted end is freed unseen.
    pub const ALL: [Self; 10] = [
        Self::CgroupMkdir,
        Self::CgroupRmdir,
        Self::CgroupRename,
        Self::CgroupAttachTask,
        Self::SchedProcessFree,
        Self::SchedProcessExit,
        Self::TaskNewtask,
        Self::KernelClone,
        Self::Execve,
        Self::FailureEvidence,
    ];

    /// The kernel's name of the place; also the probe's name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskNewtask => "task_newtask",
            Self::SchedProcessExit => "sched_process_exit",
            Self::SchedProcessFree => "sched_process_free",
            Self::KernelClone => "kernel_clone",
            Self::Execve => "execve",
            Self::FailureEvidence => "failure_evidence",
            Self::CgroupMkdir => "cgroup_mkdir",
            Self::CgroupRmdir => "cgroup_rmdir",
            Self::CgroupRename => "cgroup_rename",
            Self::CgroupAttachTask => "cgroup_attach_task",
            Self::TaskIter => "bpf_iter_task",
            Self::Zombies => "bpf_iter_map_elem",
            Self::TaskActivity => "task_activity",
        }
    }

    /// Whether an event of this hook that is missed is a task that is not counted.
    pub fn counts_tasks(self) -> bool {
        matches!(self, Self::TaskNewtask | Self::SchedProcessExit)
    }

    /// Whether pidwatch is of no use without it.
    pub fn is_essential(self) -> bool {
        self.counts_tasks()
    }

    /// Mechanisms to try, best first.
    ///
    /// From 7.0 programs on BTF tracepoints and fexit can be preempted, and while one is, the
    /// recursion guard skips the same program for every other task of that CPU
    /// (`bpf_prog_active`, `__bpf_trace_run`): events would be lost. Classic tracepoints run with
    /// preemption off. `sched_process_free` runs in RCU callbacks, which nothing of its kind can
    /// interrupt, and the cgroup tracepoints under a spinlock. The tracepoints of system calls are
    /// preemptible as well; a kretprobe is not, so it comes first there though it costs more.
    pub fn mechanisms(self, kernel: KernelVersion) -> &'static [Mechanism] {
        use Mechanism::{Fexit, Kretprobe, Measured, SchedProcessFork, TpBtf, Tracepoint};
        let preemptible = kernel >= KernelVersion(7, 0);
        match (self, preemptible) {
            (Self::TaskNewtask, false) => &[TpBtf, Tracepoint, SchedProcessFork],
            (Self::TaskNewtask, true) => &[Tracepoint, TpBtf, SchedProcessFork],
            (Self::SchedProcessExit, false) => &[TpBtf, Tracepoint],
            (Self::SchedProcessExit, true) => &[Tracepoint, TpBtf],
            (Self::KernelClone, false) => &[Fexit, Tracepoint, Kretprobe],
            (Self::KernelClone, true) => &[Kretprobe, Tracepoint, Fexit],
            (Self::Execve, false) => &[Fexit, Tracepoint],
            (Self::Execve, true) => &[Tracepoint, Fexit],
            (Self::FailureEvidence, _) => &[Measured],
            _ => &[TpBtf],
        }
    }
}

impl FromStr for Hook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|hook| hook.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|hook| hook.name()).collect();
                format!("no probe `{text}`; there are {}", names.join(", "))
            })
    }
}

/// A choice of the user's: this hook, this mechanism and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice(pub Hook, pub Mechanism);

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (hook, mechanism) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not PROBE=MECHANISM"))?;
        Ok(Self(hook.trim().parse()?, mechanism.trim().parse()?))
    }
}

/// Major and minor version of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// The oldest kernel that has all that pidwatch stands on.
    pub const FLOOR: Self = Self(5, 10);
    /// First kernel whose BPF memory is charged to a cgroup and not to RLIMIT_MEMLOCK.
    pub const MEMCG_ACCOUNTING: Self = Self(5, 11);
    /// First kernel with `bpf_task_pt_regs`.
    pub const TASK_PT_REGS: Self = Self(5, 15);
    /// First kernel that counts RLIMIT_NPROC by user namespace.
    pub const NPROC_PER_NAMESPACE: Self = Self(5, 14);
    /// First kernel with a `pid_max` of each PID namespace.
    pub const PID_MAX_PER_NAMESPACE: Self = Self(6, 14);

    /// From `uname -r`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        ))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_any_release() {
        for (release, expected) in [
            ("6.18.44-1-generic", Some(KernelVersion(6, 18))),
            ("5.10.0-46-cloud-amd64", Some(KernelVersion(5, 10))),
            ("7.2.13+deb14-cloud-amd64", Some(KernelVersion(7, 2))),
            ("2.6.78", Some(KernelVersion(2, 6))),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(KernelVersion::parse(release), expected, "{release}");
        }
        assert!(KernelVersion(5, 9) < KernelVersion::FLOOR);
        assert!(KernelVersion(6, 1) > KernelVersion::FLOOR);
    }

    #[test]
    fn from_7_0_on_nothing_that_can_be_preempted_comes_first() {
        for (hook, first) in [
            (Hook::TaskNewtask, Mechanism::Tracepoint),
            (Hook::SchedProcessExit, Mechanism::Tracepoint),
            (Hook::KernelClone, Mechanism::Kretprobe),
        ] {
            assert_eq!(hook.mechanisms(KernelVersion(7, 0))[0], first);
            assert_ne!(hook.mechanisms(KernelVersion(6, 18))[0], first);
        }
    }

    #[test]
    fn a_choice_names_what_there_is_when_it_is_wrong() {
        assert_eq!(
            "task_newtask=tracepoint".parse(),
            Ok(Choice(Hook::TaskNewtask, Mechanism::Tracepoint))
        );
        let error = "task_newtask=magic".parse::<Choice>().unwrap_err();
        assert!(
            error.contains("magic") && error.contains("fexit"),
            "{error}"
        );
        let error = "nope=off".parse::<Choice>().unwrap_err();
        assert!(
            error.contains("nope") && error.contains("kernel_clone"),
            "{error}"
        );
        assert!("task_newtask".parse::<Choice>().is_err());
    }
}
