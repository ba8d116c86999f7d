//! Attaches each hook by the best mechanism that the kernel allows, and reports which one it is
//! and why a better one was not possible.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FExit, KProbe, Program, ProgramError, TracePoint},
};
use hashbrown::HashMap;

use super::{
    Choice, Hook, KernelVersion, Mechanism, ProbeStatus,
    error::{ProbeError, fix, unfold, verdict},
    sys,
    tracefs::{ReturnProbe, Tracefs},
};

/// What the kernel puts before the name of a system call's function (`__SYSCALL_DEFINEx`).
const SYSCALL_PREFIX: &str = if cfg!(target_arch = "aarch64") {
    "__arm64_sys_"
} else {
    "__x64_sys_"
};

/// What a hook on `kernel_clone` does not see, as it is told.
const SECCOMP_UNSEEN: &str = "seccomp's refusals are not seen: they come before it";

/// Room of the return probe: clones under way at a time, of which a vfork lasts until its child execs.
/// The most that the kernel takes (`KRETPROBE_MAXACTIVE_MAX`, kernel/trace/trace_kprobe.c).
const CLONES_AT_A_TIME: u32 = 4096;

/// Attached programs. They stay attached as long as this lives.
pub struct Attached {
    /// A line for each hook.
    pub status: Vec<ProbeStatus>,
    /// Every attached program's name and hook, for its counters.
    pub programs: Vec<(Hook, &'static str)>,
    events: Vec<OwnedFd>,
    /// Goes after the event on it.
    return_probe: Option<ReturnProbe>,
}

impl Attached {
    /// Whether a hook is attached.
    pub fn has(&self, hook: Hook) -> bool {
        self.status.iter().any(|status| {
            status.hook == hook && status.mechanism.is_some_and(|m| m != Mechanism::Off)
        })
    }

    /// Returns of `kernel_clone` that its return probe had no room for.
    pub fn missed_returns(&self) -> u64 {
        self.return_probe
            .as_ref()
            .and_then(ReturnProbe::missed)
            .unwrap_or(0)
    }
}

/// What attaching needs.
pub struct Attacher<'a> {
    /// The loaded object.
    pub ebpf: &'a mut Ebpf,
    /// The kernel's types.
    pub btf: &'a Btf,
    /// tracefs, or why it is not to be had.
    pub tracefs: &'a Result<Tracefs, String>,
    /// Whether the classic tracepoints' offsets are known, or why not.
    pub classic: Result<(), String>,
    /// Whether the limits around a failure can be read, or why not.
    pub evidence: Result<(), String>,
}

/// Attaches every hook.
///
/// # Errors
/// When a hook without which nothing can be counted cannot be attached.
pub fn attach_all(
    mut attacher: Attacher<'_>,
    kernel: KernelVersion,
    choices: &[Choice],
) -> Result<Attached, ProbeError> {
    let chosen: HashMap<&str, Mechanism> = choices
        .iter()
        .map(|Choice(hook, mechanism)| (hook.name(), *mechanism))
        .collect();
    let mut attached = Attached {
        status: Vec::new(),
        programs: Vec::new(),
        events: Vec::new(),
        return_probe: None,
    };
    for hook in Hook::ALL {
        let only = chosen.get(hook.name());
        let mechanisms = only.map_or_else(|| hook.mechanisms(kernel), std::slice::from_ref);
        let mut errors = Vec::new();
        let mut os_error = None;
        let mut mechanism = None;
        for &candidate in mechanisms {
            let so_far = (attached.events.len(), attached.programs.len());
            match attacher.attach(hook, candidate, &mut attached) {
                Ok(()) => {
                    mechanism = Some(candidate);
                    break;
                }
                Err(Refusal { text, cause }) => {
                    // Not half of it: what is attached twice counts twice.
                    attached.events.truncate(so_far.0);
                    attached.programs.truncate(so_far.1);
                    errors.push(format!("{}: {text}", candidate.name()));
                    os_error = os_error.or(cause);
                }
            }
        }
        if hook == Hook::KernelClone
            && matches!(mechanism, Some(Mechanism::Fexit | Mechanism::Kretprobe))
        {
            errors.push(SECCOMP_UNSEEN.to_owned());
        }
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        if mechanism.is_none() && hook.is_essential() {
            return Err(ProbeError::Attach {
                hook: hook.name(),
                cause: error.unwrap_or_default(),
                fix: os_error
                    .as_ref()
                    .map_or_else(|| "nothing can be counted without it; please report it with the kernel's version".to_owned(), fix),
            });
        }
        attached.status.push(ProbeStatus {
            hook,
            mechanism,
            error,
        });
    }
    Ok(attached)
}

/// Opens the event of a tracepoint with a program on it.
fn open_event(program: BorrowedFd<'_>, id: u64) -> Result<OwnedFd, Refusal> {
    sys::attach_tracepoint(program, id).map_err(|error| {
        let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
        let level = paranoid.and_then(|text| text.trim().parse().ok());
        Refusal {
            text: refused_event(&error, level),
            cause: Some(error),
        }
    })
}

/// `perf_event_open(2)`'s refusal, with the setting that is behind it where it is one.
///
/// Debian's kernels have a third level (its patch "security,perf: Allow further restriction of
/// perf_event_open"), from which on only CAP_SYS_ADMIN counts; those of kernel.org end at two.
fn refused_event(error: &io::Error, paranoid: Option<i32>) -> String {
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    match paranoid {
        Some(level) if is_denied && level > 2 => format!(
            "{error}: kernel.perf_event_paranoid is {level}, with which CAP_PERFMON is not enough; \
             `sysctl kernel.perf_event_paranoid=2`, or CAP_SYS_ADMIN"
        ),
        _ => error.to_string(),
    }
}

/// Why a mechanism did not work.
struct Refusal {
    text: String,
    cause: Option<io::Error>,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { text, cause: None }
    }
}

impl From<ProgramError> for Refusal {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => {
                let log = verifier_log.to_string();
                match verdict(&log) {
                    // The verifier's own word: no matter of rights.
                    Some(line) => format!("{io_error}: {line}").into(),
                    None => io_error.into(),
                }
            }
            error => {
                let (text, cause) = unfold(&error);
                Self { text, cause }
            }
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self {
            text: error.to_string(),
            cause: Some(error),
        }
    }
}

impl Attacher<'_> {
    fn attach(
        &mut self,
        hook: Hook,
        mechanism: Mechanism,
        attached: &mut Attached,
    ) -> Result<(), Refusal> {
        match (mechanism, hook) {
            (Mechanism::Off, _) => {}
            (Mechanism::TpBtf, Hook::KernelClone) => return Err(no_such(hook, mechanism)),
            (Mechanism::TpBtf, _) => self.tp_btf(hook, hook.name(), attached)?,
            (Mechanism::SchedProcessFork, Hook::TaskNewtask) => {
                self.tp_btf(hook, mechanism.name(), attached)?;
            }
            (Mechanism::Measured, Hook::FailureEvidence) => self.evidence.clone()?,
            (Mechanism::Fexit, Hook::KernelClone) => {
                self.fexit(hook, "kernel_clone", "kernel_clone", attached)?;
            }
            (Mechanism::Fexit, Hook::Execve) => {
                for name in ["execve", "execveat"] {
                    self.fexit(hook, name, &format!("{SYSCALL_PREFIX}{name}"), attached)?;
                }
            }
            (Mechanism::Tracepoint, Hook::Execve) => {
                for name in ["sys_exit_execve", "sys_exit_execveat"] {
                    self.tracepoint(hook, name, "syscalls", name, attached)?;
                }
            }
            (Mechanism::Kretprobe, Hook::KernelClone) => {
                let name = "kernel_clone_return";
                let tracefs = self.tracefs.as_ref().map_err(Clone::clone)?;
                tracefs.remove_stale_return_probes();
                let probe = tracefs.return_probe("kernel_clone", CLONES_AT_A_TIME)?;
                let program: &mut KProbe = self.program(name)?.try_into()?;
                program.load()?;
                let fd: BorrowedFd<'_> = program.fd()?.as_fd();
                attached.events.push(open_event(fd, probe.id()?)?);
                attached.programs.push((hook, name));
                attached.return_probe = Some(probe);
            }
            (Mechanism::Tracepoint, Hook::KernelClone) => {
                for name in [
                    "sys_exit_clone",
                    "sys_exit_clone3",
                    "sys_exit_fork",
                    "sys_exit_vfork",
                ] {
                    match self.tracepoint(hook, name, "syscalls", name, attached) {
                        // Only x86-64 has fork and vfork.
                        Err(_)
                            if !cfg!(target_arch = "x86_64")
                                && matches!(name, "sys_exit_fork" | "sys_exit_vfork") => {}
                        other => other?,
                    }
                }
            }
            (Mechanism::Tracepoint, Hook::TaskNewtask) => {
                self.classic.clone()?;
                self.tracepoint(hook, "task_newtask_classic", "task", hook.name(), attached)?;
            }
            (Mechanism::Tracepoint, Hook::SchedProcessExit) => {
                self.tracepoint(
                    hook,
                    "sched_process_exit_classic",
                    "sched",
                    hook.name(),
                    attached,
                )?;
            }
            _ => return Err(no_such(hook, mechanism)),
        }
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut Program, Refusal> {
        self.ebpf
            .program_mut(name)
            .ok_or_else(|| format!("the object has no program {name}").into())
    }

    fn tp_btf(
        &mut self,
        hook: Hook,
        name: &'static str,
        attached: &mut Attached,
    ) -> Result<(), Refusal> {
        let btf = self.btf;
        let program: &mut BtfTracePoint = self.program(name)?.try_into()?;
        program.load(name, btf)?;
        program.attach()?;
        attached.programs.push((hook, name));
        Ok(())
    }

    fn fexit(
        &mut self,
        hook: Hook,
        program_name: &'static str,
        function: &str,
        attached: &mut Attached,
    ) -> Result<(), Refusal> {
        let btf = self.btf;
        let program: &mut FExit = self.program(program_name)?.try_into()?;
        program.load(function, btf)?;
        program.attach()?;
        attached.programs.push((hook, program_name));
        Ok(())
    }

    fn tracepoint(
        &mut self,
        hook: Hook,
        program_name: &'static str,
        category: &str,
        name: &str,
        attached: &mut Attached,
    ) -> Result<(), Refusal> {
        let id = self
            .tracefs
            .as_ref()
            .map_err(Clone::clone)?
            .id(category, name)?;
        let program: &mut TracePoint = self.program(program_name)?.try_into()?;
        program.load()?;
        let fd: BorrowedFd<'_> = program.fd()?.as_fd();
        attached.events.push(open_event(fd, id)?);
        attached.programs.push((hook, program_name));
        Ok(())
    }
}

fn no_such(hook: Hook, mechanism: Mechanism) -> Refusal {
    format!("{} cannot be attached by {}", hook.name(), mechanism.name()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_event_names_the_setting_behind_it() {
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        assert!(refused_event(&denied, Some(3)).contains("kernel.perf_event_paranoid=2"));
        for (error, level) in [
            (libc::EACCES, Some(2)),
            (libc::EACCES, None),
            (libc::ENOENT, Some(4)),
        ] {
            let text = refused_event(&io::Error::from_raw_os_error(error), level);
            assert!(!text.contains("paranoid"), "{text}");
        }
    }
}
