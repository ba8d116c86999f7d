//! Why the probe could not start, in words that name the object, the cause and the fix.

use std::{fmt::Write as _, io};

use rustix::{
    process::{Resource, getrlimit},
    system::uname,
};

use super::{KernelVersion, btf::BtfError};

/// The probe could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Built without a BPF toolchain.
    #[error(
        "this pidwatch was built without its kernel side (no BPF toolchain was found at build \
         time); build it with `cargo xtask build`, which sets one up"
    )]
    Stub,
    /// Too old.
    #[error("kernel {0} is older than {floor}, the first that pidwatch can run on", floor = KernelVersion::FLOOR)]
    KernelTooOld(KernelVersion),
    /// The release is not to be understood.
    #[error("cannot tell the kernel's version from its release `{0}`")]
    KernelUnknown(String),
    /// No BTF.
    #[error(
        "cannot read {path}: {error}; pidwatch finds the kernel's structures there: the kernel \
         must be built with CONFIG_DEBUG_INFO_BTF=y, and in a container the host's /sys must be \
         visible"
    )]
    NoBtf {
        /// The file.
        path: &'static str,
        /// The cause.
        error: io::Error,
    },
    /// BTF without something needed.
    #[error("cannot find a kernel structure: {0}; this kernel is not supported, please report it")]
    Btf(#[from] BtfError),
    /// The object could not be loaded.
    #[error("cannot load pidwatch's BPF {object}: {cause}; {fix}")]
    Load {
        /// Map or program.
        object: String,
        /// The kernel's error.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// A hook that must be there could not be attached.
    #[error("cannot attach {hook}: {cause}; {fix}")]
    Attach {
        /// The hook.
        hook: &'static str,
        /// Each mechanism's error.
        cause: String,
        /// What to do.
        fix: String,
    },
}

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What to do about an error of the `bpf` syscall: depends on what this process may do.
pub fn fix(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            let missing = missing_capabilities();
            if missing.is_empty() {
                let mut text = String::from(
                    "the capabilities are there, so a security module, a seccomp profile, kernel \
                     lockdown",
                );
                let limit = getrlimit(Resource::Memlock);
                let kernel = KernelVersion::parse(&uname().release().to_string_lossy());
                if let Some(bytes) = limit.current
                    && kernel.is_some_and(|kernel| kernel < KernelVersion::MEMCG_ACCOUNTING)
                {
                    let _ = write!(
                        text,
                        ", or RLIMIT_MEMLOCK (now {bytes} bytes; run `ulimit -l unlimited`)"
                    );
                }
                text.push_str(" forbids it");
                text
            } else {
                format!(
                    "needs CAP_BPF and CAP_PERFMON (missing: {}); run as root, or give them: \
                     `setcap cap_bpf,cap_perfmon+ep pidwatch`",
                    missing.join(", ")
                )
            }
        }
        Some(libc::ENOMEM) => "the node has too little memory for it".into(),
        _ => "please report it with the kernel's version".into(),
    }
}

/// Which of the capabilities that BPF tracing needs this process has not. CAP_SYS_ADMIN stands for
/// both (kernel/bpf/syscall.c, `bpf_capable`, `perfmon_capable`).
fn missing_capabilities() -> Vec<&'static str> {
    let effective = effective_capabilities();
    let has = |capability: u32| effective >> capability & 1 != 0;
    if has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| name)
        .collect()
}

fn effective_capabilities() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .unwrap_or(0)
}

/// The innermost cause of an error that is an [`io::Error`], and the whole chain in one line.
pub fn unfold(error: &(dyn std::error::Error + 'static)) -> (String, Option<io::Error>) {
    let mut text = String::new();
    let mut os_error = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            os_error = io.raw_os_error().map(io::Error::from_raw_os_error);
        }
        let part = first_line(&error.to_string());
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    (text, os_error)
}

/// The first line, and the verdict where the verifier's log follows.
fn first_line(text: &str) -> String {
    let (first, log) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim_end();
    verdict(log).map_or_else(|| first.to_owned(), |line| format!("{first} ... {line}"))
}

/// What the verifier says at the end of its log: why it refused a program.
pub fn verdict(log: &str) -> Option<&str> {
    log.lines()
        .rfind(|line| {
            let statistics = ["processed", "stack depth", "verification time"];
            !line.trim().is_empty() && !statistics.iter().any(|begin| line.starts_with(begin))
        })
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_logs_last_word() {
        let log = "0: (b7) r0 = 0\ncombined stack size of 3 calls is 544. Too large\n\
                   verification time 23889 usec\nstack depth 40+8\n\
                   processed 12 insns (limit 1000000)\n";
        assert_eq!(
            verdict(log),
            Some("combined stack size of 3 calls is 544. Too large")
        );
        assert_eq!(verdict("\n"), None);
        assert_eq!(first_line("refused:\nwhy\n"), "refused: ... why");
        assert_eq!(first_line("refused"), "refused");
    }
}
