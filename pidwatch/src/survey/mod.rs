//! Reads every limit on tasks in force on the node: /proc, /sys and the cgroup file system.
//!
//! In: the roots of both. Out: a [`Survey`]. Reads a few files per cgroup and per process, never one per
//! thread.

mod mappings;
mod namespaces;
mod persisted;
pub mod processes;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hashbrown::HashMap;
use rustix::system::uname;

pub use self::namespaces::{Helpers, pid_namespaces_of};
use crate::{
    brake::{LeaseError, Leases},
    cgroup::{self, CgroupId, Files, Layout},
    limits::{
        Kubelet,
        survey::{Bound, CgroupLimits, PID_MAX_LIMIT, SeenBrake, Survey},
    },
    probe::KernelVersion,
    procfs::{Proc, is_in_initial_pid_namespace},
};

/// Where kubeadm, and most others, put the kubelet's configuration.
const KUBELET: &str = "var/lib/kubelet/config.yaml";

/// Looks at the node.
pub fn read(proc_root: &Path, cgroup_root: &Path, lease_dir: &Path, helpers: Helpers) -> Survey {
    let kernel = uname().release().to_string_lossy().into_owned();
    let mut survey = Survey {
        kernel,
        ..Survey::default()
    };
    let proc = Proc::new(proc_root);
    match cgroup::detect(cgroup_root, proc_root) {
        Ok(layout) => {
            let files = Files::new(&layout, proc_root);
            read_node(&mut survey, &proc);
            read_cgroups(&mut survey, &files, &layout);
            survey.layout = Some(layout);
        }
        Err(error) => {
            survey.unseen.push(format!("cgroups: {error}"));
            read_node(&mut survey, &proc);
        }
    }
    processes::read(&mut survey, proc_root, helpers);
    let node_root = node_root(proc_root);
    match read_kubelet(&node_root) {
        Ok(kubelet) => survey.kubelet = kubelet,
        Err(error) => survey
            .unseen
            .push(format!("the kubelet's configuration: {error}")),
    }
    match read_brakes(lease_dir, proc_root) {
        Ok((brakes, unreadable)) => {
            survey.brakes = brakes;
            let unread = unreadable.iter().map(|error| format!("brakes: {error}"));
            survey.unseen.extend(unread);
        }
        Err(error) => survey.unseen.push(format!("brakes: {error}")),
    }
    survey
}

/// The brakes on this node, and the leases that cannot be read.
fn read_brakes(
    lease_dir: &Path,
    proc_root: &Path,
) -> Result<(Vec<SeenBrake>, Vec<LeaseError>), LeaseError> {
    // The folder is created by the first brake and is readable by root only.
    if !rustix::process::geteuid().is_root() {
        return Ok((Vec::new(), Vec::new()));
    }
    let Some(leases) = Leases::existing(lease_dir, proc_root)? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut unreadable = Vec::new();
    let all = leases.all(|error| unreadable.push(error))?;
    let seen = all.into_iter().map(|lease| SeenBrake {
        is_held: leases.is_held(lease.cgroup_id),
        lease,
    });
    Ok((seen.collect(), unreadable))
}

/// Where the node's files are: its init's root, from wherever pidwatch runs. That may be looked at by
/// root only; outside a container it is pidwatch's own.
fn node_root(proc_root: &Path) -> PathBuf {
    let of_init = proc_root.join("1/root");
    let may_look = fs::read_dir(&of_init).is_ok();
    let in_container = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|marker| Path::new(marker).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if may_look || in_container || proc_root != Path::new("/proc") {
        of_init
    } else {
        PathBuf::from("/")
    }
}

fn read_node(survey: &mut Survey, proc: &Proc) {
    let node = &mut survey.node;
    node.tasks = proc.node_tasks();
    node.unusable_ids = proc.unusable_ids();
    node.threads_max = proc.sysctl("threads-max");
    let version = KernelVersion::parse(&survey.kernel);
    if is_in_initial_pid_namespace()
        || version.is_some_and(|version| version < KernelVersion::PID_MAX_PER_NAMESPACE)
    {
        node.pid_max = proc.sysctl("pid_max");
    } else {
        survey.unseen.push(
            "the node's kernel.pid_max: from 6.14 on each PID namespace has its own and this one \
             is not the node's; run in the host's PID namespace (`hostPID: true`)"
                .to_owned(),
        );
    }
    let node = &mut survey.node;
    node.default_pid_max = possible_cpus().map(|cpus| {
        /// `PIDS_PER_CPU_DEFAULT` and `PID_MAX_DEFAULT` of include/linux/threads.h.
        const PER_CPU: u64 = 1024;
        const LEAST: u64 = 32_768;
        (cpus * PER_CPU).clamp(LEAST, PID_MAX_LIMIT)
    });
    let root = node_root(proc.root());
    match persisted::read(&root) {
        Ok(settings) => {
            node.knows_persisted = true;
            node.persisted_pid_max = settings.number("kernel/pid_max");
            node.persisted_threads_max = settings.number("kernel/threads-max");
        }
        Err(error) => survey.unseen.push(format!(
            "what the sysctl files set at boot ({}/etc/sysctl.d and others): {error}",
            root.display()
        )),
    }
    for (name, value) in [
        ("kernel.pid_max", survey.node.pid_max),
        ("kernel.threads-max", survey.node.threads_max),
    ] {
        if value.is_none() && !survey.unseen.iter().any(|text| text.contains(name)) {
            let text = format!("{name}: not readable under {}", proc.root().display());
            survey.unseen.push(text);
        }
    }
}

/// CPUs that may ever be there (/sys/devices/system/cpu/possible, `0-7` or `0,2-3`).
fn possible_cpus() -> Option<u64> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    text.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

fn read_cgroups(survey: &mut Survey, files: &Files, layout: &Layout) {
    if !layout.has_pids {
        survey.unseen.push(format!(
            "cgroup limits: the pids controller is not in the hierarchy at {}",
            layout.mount.display()
        ));
        return;
    }
    let tree = match cgroup::walk(&layout.mount) {
        Ok(tree) => tree,
        Err(error) => {
            let text = format!("cgroups: cannot read {}: {error}", layout.mount.display());
            survey.unseen.push(text);
            return;
        }
    };
    let mut denied = 0;
    for (id, node) in tree.iter().filter(|(_, node)| *node.path != *b"/") {
        let max = match files.pids_max(&node.path) {
            Ok(Some(value)) => Bound::At(value),
            Ok(None) => Bound::None,
            // Gone meanwhile, or (v2) without the controller: counted in a cgroup above.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                denied += 1;
                Bound::Unknown
            }
        };
        survey.cgroups.push(CgroupLimits {
            id,
            path: node.path.clone(),
            usage: match max {
                Bound::At(limit) => files.charge_below(&node.path, limit),
                Bound::None | Bound::Unknown => files.subtree_charge(&node.path),
            },
            own: None,
            max,
            peak: files.pids_peak(&node.path),
            refused: files.pids_refused(&node.path),
        });
    }
    let usage: HashMap<CgroupId, u64> = survey
        .cgroups
        .iter()
        .filter_map(|cgroup| Some((cgroup.id, cgroup.usage?)))
        .collect();
    for cgroup in &mut survey.cgroups {
        let Some(node) = tree.get(cgroup.id) else {
            continue;
        };
        let below: u64 = node.children.iter().filter_map(|id| usage.get(id)).sum();
        cgroup.own = cgroup.usage.map(|usage| usage.saturating_sub(below));
    }
    survey.cgroups.sort_by(|a, b| a.path.cmp(&b.path));
    if denied > 0 {
        let text = format!("pids.max of {denied} cgroups: not readable; run as root");
        survey.unseen.push(text);
    }
}

/// The kubelet's configuration; `Ok(None)` when there is no kubelet.
fn read_kubelet(root: &Path) -> io::Result<Option<Kubelet>> {
    match fs::read_to_string(root.join(KUBELET)) {
        Ok(text) => Kubelet::parse(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
