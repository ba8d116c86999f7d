//! Start of the probe: offsets, load, attach, baseline.

use std::{
    fs,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, include_bytes_aligned,
    maps::{HashMap, MapError, RingBuf},
    programs::{Iter, ProgramError, RawTracePoint},
};
use aya_log::EbpfLogger;
use hashbrown::{HashMap as Tails, HashSet as Tasks};
use pidwatch_common::{
    control,
    globals::{self, Settings},
    map,
};
use rustix::{
    process::{Resource, Rlimit, setrlimit},
    system::uname,
    time::{ClockId, clock_getres},
};
use tokio::io::unix::AsyncFd;

use super::{
    Choice, Hook, KernelVersion, LASTING, LONGEST_FREE, Mechanism, Probe, ProbeError,
    ProbeSettings, ProbeStatus, WINDOW,
    activity::Activities,
    attach::{Attached, Attacher, attach_all},
    btf,
    error::{fix, unfold},
    losses::LossCounts,
    offsets, symbols,
    tracefs::Tracefs,
    zombies::Zombies,
};
use crate::cgroup::{self, Layout};

/// The kernel side, as the build script made it; empty when there was no BPF toolchain.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pidwatch-ebpf.o"));

/// Variables that no type leads to.
const SYMBOLS: [&str; 3] = ["nr_threads", "max_threads", "pid_max"];
/// For a thread that reads a file.
const SMALL_STACK: usize = 256 * 1024;

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Failure records of one cgroup in one window: enough for every caller to be seen, and 100 a
/// second at most.
const FAILURES_PER_WINDOW: u64 = 10;

/// glibc's own default for both thresholds, bytes.
const HEAP_THRESHOLD: libc::c_int = 128 * 1024;

impl Probe {
    /// Loads and attaches the kernel side and takes the baseline.
    ///
    /// # Errors
    /// When the kernel, its BTF or this process' rights do not suffice; the error says which and
    /// what to do. A hook that is not essential and cannot be attached is only reported.
    pub fn start(settings: &ProbeSettings, layout: &Layout) -> Result<Self, ProbeError> {
        if OBJECT.is_empty() {
            return Err(ProbeError::Stub);
        }
        let release = uname().release().to_string_lossy().into_owned();
        let kernel = KernelVersion::parse(&release)
            .ok_or_else(|| ProbeError::KernelUnknown(release.clone()))?;
        if kernel < KernelVersion::FLOOR {
            return Err(ProbeError::KernelTooOld(kernel));
        }
        if kernel < KernelVersion::MEMCG_ACCOUNTING {
            // Refused without CAP_SYS_RESOURCE; then the limit there is may still be enough, and
            // the error of the map that did not fit names it.
            let _ = setrlimit(
                Resource::Memlock,
                Rlimit {
                    current: None,
                    maximum: None,
                },
            );
        }

        // Listing some hundred thousand symbols takes the kernel as long as the rest of the start
        // takes us. A thread of the start only, gone before anything is attached.
        let proc_root = settings.proc_root.clone();
        let symbols = thread::Builder::new()
            .stack_size(SMALL_STACK)
            .spawn(move || symbols::addresses(&proc_root, SYMBOLS))
            .ok();
        let bytes = fs::read(BTF_PATH).map_err(|error| ProbeError::NoBtf {
            path: BTF_PATH,
            error,
        })?;
        let kernel_btf =
            Btf::parse(&bytes, aya::Endianness::default()).map_err(|error| ProbeError::NoBtf {
                path: BTF_PATH,
                error: io::Error::other(error),
            })?;
        let types = btf::Btf::parse(bytes)?;
        let mut offsets = offsets::find(&types, layout.has_pids)?;
        let tracefs = Tracefs::open();
        let classic = match &tracefs {
            Ok(tracefs) => offsets::add_classic(&mut offsets, tracefs),
            Err(error) => Err(error.clone()),
        };
        let events_at_forker = !offsets::has_local_events(&types)
            || !layout.unified
            || cgroup::counts_refusals_locally(&settings.proc_root);
        let no_frees = Choice(Hook::SchedProcessFree, Mechanism::Off);
        let off = Choice(Hook::FailureEvidence, Mechanism::Off);
        let evidence = if settings.choices.contains(&off) {
            Err("switched off".to_owned())
        } else {
            offsets::add_evidence(&mut offsets, &types, layout.has_pids, events_at_forker)
                .map_err(|error| error.to_string())
        };
        // Hidden from those without CAP_SYSLOG, or not listed: then user space looks instead.
        let [nr_threads, max_threads, pid_max] = symbols
            .and_then(|thread| thread.join().ok()?.ok())
            .unwrap_or_default();
        let resolution = clock_getres(ClockId::MonotonicCoarse);
        let jiffies = |time: Duration| (time.as_nanos() as u64).div_ceil(resolution.tv_nsec as u64);
        let constants = Settings {
            window_jiffies: jiffies(WINDOW),
            failures_per_window: FAILURES_PER_WINDOW,
            lasting_jiffies: jiffies(LASTING),
            longest_free_jiffies: jiffies(LONGEST_FREE),
            hierarchy_id: layout.hierarchy_id,
            unified: u32::from(layout.unified),
            has_pids: u32::from(layout.has_pids),
            pt_regs_above_stack: if kernel < KernelVersion::TASK_PT_REGS {
                offsets::pt_regs_above_stack(&types)?
            } else {
                0
            },
            evidence: u32::from(evidence.is_ok()),
            events_at_forker: u32::from(events_at_forker),
            frees: u32::from(!settings.choices.contains(&no_frees)),
            reserved: 0,
            nr_threads,
            max_threads,
            pid_max: if offsets.pid_ns_pid_max == 0 {
                pid_max
            } else {
                0
            },
        };
        drop(types);

        let log_level: u8 = if settings.kernel_log { u8::MAX } else { 0 };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&kernel_btf))
            .override_global(globals::OFFSETS, &offsets, true)
            .override_global(globals::SETTINGS, &constants, true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .map_max_entries(map::RING, settings.ring_size)
            .map_max_entries(
                "AYA_LOGS",
                if settings.kernel_log { 64 * 1024 } else { 4096 },
            )
            .load(OBJECT)
            .map_err(|error| load_error("object", &error))?;

        let attacher = Attacher {
            ebpf: &mut ebpf,
            btf: &kernel_btf,
            tracefs: &tracefs,
            classic,
            evidence,
        };
        let mut attached = attach_all(attacher, kernel, &settings.choices)?;
        load_control(&mut ebpf).map_err(|error| load_error("program control", &error.into()))?;
        let baseline = baseline(&mut ebpf, &kernel_btf);
        let sees_frees = attached.has(Hook::SchedProcessFree);
        let zombies = match &baseline {
            // Without it, what had ended before is not known.
            Ok(()) if sees_frees => Zombies::start(&mut ebpf, &kernel_btf),
            _ => Err("needs bpf_iter_task and sched_process_free".to_owned()),
        };
        attached.status.push(ProbeStatus {
            hook: Hook::TaskIter,
            mechanism: baseline.is_ok().then_some(Mechanism::Iter),
            error: baseline.err(),
        });
        let (zombies, error) =
            zombies.map_or_else(|error| (None, Some(error)), |it| (Some(it), None));
        attached.status.push(ProbeStatus {
            hook: Hook::Zombies,
            mechanism: zombies.as_ref().map(|_| Mechanism::Iter),
            error,
        });
        let (activities, error) = match Activities::start(&mut ebpf, &kernel_btf) {
            Ok(activities) => (Some(activities), None),
            Err(error) => (None, Some(error)),
        };
        attached.status.push(ProbeStatus {
            hook: Hook::TaskActivity,
            mechanism: activities.as_ref().map(|_| Mechanism::Iter),
            error,
        });
        drop(kernel_btf);
        // The kernel's types took some 20 MiB for a moment; give them back. Having freed them, glibc
        // would from now on keep up to twice as much that is free (mallopt(3), M_MMAP_THRESHOLD):
        // setting a threshold by hand, to what it is by default, keeps it from growing.
        // SAFETY: numbers only.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_THRESHOLD);
            libc::malloc_trim(0);
        }

        Self::assemble(ebpf, attached, (zombies, activities), settings, release)
    }

    fn assemble(
        mut ebpf: Ebpf,
        attached: Attached,
        (zombies, activities): (Option<Zombies>, Option<Activities>),
        settings: &ProbeSettings,
        kernel: String,
    ) -> Result<Self, ProbeError> {
        let logger = if settings.kernel_log {
            EbpfLogger::init(&mut ebpf).ok()
        } else {
            None
        };
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .ok_or_else(|| MapError::InvalidName {
                    name: name.to_owned(),
                })
                .map_err(|error| load_error("map", &EbpfError::MapError(error)))
        };
        let map_error = |error: MapError| load_error("map", &EbpfError::MapError(error));
        let ring = RingBuf::try_from(take(map::RING)?).map_err(map_error)?;
        let cgroups = HashMap::try_from(take(map::CGROUPS)?).map_err(map_error)?;
        // SAFETY: the ring buffer owns its descriptor and gives the same one as long as it lives.
        let ring = unsafe { AsyncFd::register(ring) }.map_err(|error| ProbeError::Load {
            object: "ring buffer".into(),
            cause: error.to_string(),
            fix: "the process may be out of file descriptors (`ulimit -n`)".into(),
        })?;
        let programs = attached
            .programs
            .iter()
            .filter_map(|&(hook, name)| Some((hook, program_fd(&ebpf, name)?)))
            .collect();
        Ok(Self {
            ring,
            cgroups,
            sweeps: 0,
            losses: LossCounts::new(programs),
            logger,
            tails: Tails::new(),
            status: attached.status.clone(),
            kernel,
            attached,
            zombies,
            stale: Vec::new(),
            sweeping: Vec::new(),
            activities,
            watched: Tasks::new(),
            ebpf,
        })
    }
}

fn program_fd(ebpf: &Ebpf, name: &str) -> Option<OwnedFd> {
    let fd = ebpf.program(name)?.fd().ok()?;
    fd.as_fd().try_clone_to_owned().ok()
}

fn load_control(ebpf: &mut Ebpf) -> Result<(), ProgramError> {
    let program = ebpf
        .program_mut(control::PROGRAM)
        .ok_or(ProgramError::NotLoaded)?;
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()
}

/// Runs the iterator over all tasks once.
fn baseline(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), String> {
    let mut run = || -> Result<(), Box<dyn std::error::Error>> {
        let program = ebpf
            .program_mut("baseline")
            .ok_or("the object has no program baseline")?;
        let program: &mut Iter = program.try_into()?;
        program.load("task", btf)?;
        let link = program.attach()?;
        let mut file = program.take_link(link)?.into_file()?;
        let mut output = Vec::new();
        file.read_to_end(&mut output)?;
        program.unload()?;
        Ok(())
    };
    run().map_err(|error| unfold(error.as_ref()).0)
}

fn load_error(object: &str, error: &EbpfError) -> ProbeError {
    let (cause, os_error) = unfold(error);
    let object = match error {
        EbpfError::MapError(MapError::CreateError { name, .. }) => format!("map {name}"),
        _ => object.to_owned(),
    };
    let fix = os_error
        .as_ref()
        .map_or_else(|| "please report it".to_owned(), fix);
    ProbeError::Load { object, cause, fix }
}
