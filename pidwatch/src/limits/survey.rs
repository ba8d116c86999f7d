//! Every limit on tasks in force on the node, as /proc, /sys and the cgroup file system tell.
//!
//! In: the roots of both. Out: a [`Survey`]. Reads a few files per cgroup and one per process, never
//! one per thread. What cannot be read is unknown and noted in [`Survey::unseen`], never zero and
//! never "no limit".

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use hashbrown::HashMap;
use rustix::system::uname;

use super::{kubelet::Kubelet, persisted, processes};
use crate::{
    cgroup::{CgroupId, Files, Layout, Tree},
    escape,
    probe::KernelVersion,
};

/// `PID_MAX_LIMIT` of 64-bit kernels (include/linux/threads.h): no PID is beyond.
pub const PID_MAX_LIMIT: u64 = 4 * 1024 * 1024;

/// Inode number of the initial PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// First kernel with a `pid_max` per PID namespace.
const PID_MAX_PER_NAMESPACE: KernelVersion = KernelVersion(6, 14);

/// A limit that may be none, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many.
    At(u64),
    /// `max`.
    None,
    /// Could not be read.
    Unknown,
}

impl Bound {
    /// The number, if there is one.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::At(value) => Some(value),
            Self::None | Self::Unknown => None,
        }
    }
}

/// The node's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// Tasks now, zombies included (`nr_threads`, /proc/loadavg). PIDs in use are at least as many.
    pub tasks: Option<u64>,
    /// `kernel.pid_max`.
    pub pid_max: Option<u64>,
    /// `kernel.threads-max`.
    pub threads_max: Option<u64>,
    /// What the kernel sets `pid_max` to at boot (`pid_idr_init`, kernel/pid.c): 1,024 for each
    /// possible CPU and at least 32,768.
    pub default_pid_max: Option<u64>,
    /// `kernel.pid_max` as the sysctl files set it at boot, and in which file.
    pub persisted_pid_max: Option<(u64, PathBuf)>,
    /// `kernel.threads-max` likewise.
    pub persisted_threads_max: Option<(u64, PathBuf)>,
    /// Whether the sysctl files could be read.
    pub knows_persisted: bool,
}

/// One cgroup's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Its id.
    pub id: CgroupId,
    /// From the hierarchy's root.
    pub path: Box<[u8]>,
    /// Tasks, with descendants'.
    pub usage: Option<u64>,
    /// Tasks, without.
    pub own: Option<u64>,
    /// `pids.max`.
    pub max: Bound,
    /// Most tasks there ever were (`pids.peak`, 6.6).
    pub peak: Option<u64>,
    /// How often the limit has refused (`pids.events`).
    pub refused: Option<u64>,
}

/// One ordinary user's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// The user.
    pub uid: u32,
    /// Tasks of all its processes.
    pub tasks: u64,
    /// The lowest soft RLIMIT_NPROC among its processes that were looked at.
    pub nproc: Bound,
    /// That process.
    pub pid: u32,
    /// Its name.
    pub comm: Vec<u8>,
}

/// A process with children that have ended and that it does not reap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreaped {
    /// The parent.
    pub parent: u32,
    /// Its name.
    pub comm: Vec<u8>,
    /// Its dead children.
    pub zombies: u64,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The node's limits.
    pub node: NodeLimits,
    /// The kernel's release.
    pub kernel: String,
    /// Where the cgroups are, and how they are used.
    pub layout: Option<Layout>,
    /// Every cgroup but the root, by path.
    pub cgroups: Vec<CgroupLimits>,
    /// Ordinary users (root has no RLIMIT_NPROC), most tasks first.
    pub users: Vec<UserLimits>,
    /// Parents that do not reap, most zombies first.
    pub unreaped: Vec<Unreaped>,
    /// RLIMIT_NPROC of the node's init, which services inherit.
    pub init_nproc: Option<Bound>,
    /// What the kubelet is told, if there is one.
    pub kubelet: Option<Kubelet>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

impl Survey {
    /// Most tasks that the node can have: the lower of pid_max and threads-max.
    pub fn node_most(&self) -> Option<u64> {
        // With one of them unknown, the other is no answer.
        Some(self.node.pid_max?.min(self.node.threads_max?))
    }

    /// Which of the two that is.
    pub fn node_binding(&self) -> &'static str {
        match (self.node.pid_max, self.node.threads_max) {
            (Some(pid_max), Some(threads_max)) if threads_max < pid_max => "kernel.threads-max",
            _ => "kernel.pid_max",
        }
    }

    /// A file of a cgroup, as a shell takes it.
    pub fn file_of(&self, path: &[u8], file: &str) -> String {
        let mut full = self
            .layout
            .as_ref()
            .map(|layout| layout.mount.as_os_str().as_bytes().to_vec())
            .unwrap_or_default();
        full.extend_from_slice(path);
        full.push(b'/');
        full.extend_from_slice(file.as_bytes());
        escape::for_shell(&full)
    }
}

/// Looks at the node.
pub fn survey(proc_root: &Path, cgroup_root: &Path) -> Survey {
    let kernel = uname().release().to_string_lossy().into_owned();
    let mut survey = Survey {
        kernel,
        ..Survey::default()
    };
    match Layout::detect(cgroup_root, proc_root) {
        Ok(layout) => {
            let files = Files::new(&layout, proc_root);
            read_node(&mut survey, &files, proc_root);
            read_cgroups(&mut survey, &files, &layout);
            survey.layout = Some(layout);
        }
        Err(error) => {
            survey.unseen.push(format!("cgroups: {error}"));
            let nowhere = Files::without_cgroups(proc_root);
            read_node(&mut survey, &nowhere, proc_root);
        }
    }
    processes::read(&mut survey, proc_root);
    let node_root = node_root(proc_root);
    match Kubelet::read(&node_root) {
        Ok(kubelet) => survey.kubelet = kubelet,
        Err(error) => survey
            .unseen
            .push(format!("the kubelet's configuration: {error}")),
    }
    survey
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

fn read_node(survey: &mut Survey, files: &Files, proc_root: &Path) {
    let node = &mut survey.node;
    node.tasks = files.node_tasks();
    node.threads_max = files.sysctl("threads-max");
    let version = KernelVersion::parse(&survey.kernel);
    let own_namespace = fs::read_link("/proc/self/ns/pid");
    let in_initial = own_namespace.is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE);
    if in_initial || version.is_some_and(|version| version < PID_MAX_PER_NAMESPACE) {
        node.pid_max = files.sysctl("pid_max");
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
    let root = node_root(proc_root);
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
            let text = format!("{name}: not readable under {}", proc_root.display());
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
    let tree = match Tree::walk(&layout.mount) {
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
            usage: files.subtree_charge(&node.path),
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cgroup::LayoutKind;

    /// A node with so many tasks, and its cgroups at /cg.
    pub fn survey(tasks: u64, pid_max: u64, threads_max: u64) -> Survey {
        Survey {
            node: NodeLimits {
                tasks: Some(tasks),
                pid_max: Some(pid_max),
                threads_max: Some(threads_max),
                default_pid_max: Some(32_768),
                persisted_pid_max: None,
                persisted_threads_max: None,
                knows_persisted: true,
            },
            layout: Some(Layout {
                kind: LayoutKind::V2,
                mount: "/cg".into(),
                hierarchy_id: 0,
                unified: true,
                has_pids: true,
            }),
            ..Survey::default()
        }
    }

    /// A cgroup whose tasks are all its own.
    pub fn cgroup(path: &str, usage: u64, max: Bound) -> CgroupLimits {
        CgroupLimits {
            id: CgroupId(path.len() as u64),
            path: path.as_bytes().into(),
            usage: Some(usage),
            own: Some(usage),
            max,
            peak: None,
            refused: None,
        }
    }
}
