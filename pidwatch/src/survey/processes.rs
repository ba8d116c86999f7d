//! Users' tasks and their RLIMIT_NPROC, PID namespaces, and parents that do not reap: one pass over processes,
//! a few files each, bounded in time.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    mappings,
    namespaces::{self, Helpers, INITIAL_USER, Namespace, PidSpaces, Users},
};
use crate::{
    limits::survey::{Bound, Survey, Unreaped, UserLimits},
    probe::KernelVersion,
};

/// Time for the pass; processes left out are told.
const TIME: Duration = Duration::from_millis(200);

/// What one process' `status` says.
struct Status {
    comm: Vec<u8>,
    parent: u32,
    uid: u32,
    tasks: u64,
    is_zombie: bool,
    /// Bytes of address space; none of a kernel thread and a zombie.
    size: u64,
}

/// The dead children of one parent.
#[derive(Default)]
struct Dead {
    count: u64,
    /// One of them.
    pid: u32,
    names: BTreeMap<Vec<u8>, u64>,
}

/// Parents whose dead children's cgroup is read: a file each.
const PLACED: usize = 64;
/// Names of dead children that are kept.
const NAMES: usize = 3;

/// Adds users, PID namespaces, parents that do not reap, and what could not be seen.
pub fn read(survey: &mut Survey, proc_root: &Path, helpers: Helpers) {
    let Ok(entries) = fs::read_dir(proc_root) else {
        let text = format!("processes: {} is not readable", proc_root.display());
        survey.unseen.push(text);
        return;
    };
    let pids: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let until = Instant::now() + TIME;
    let mut zombies: BTreeMap<u32, Dead> = BTreeMap::new();
    let mut processes: Vec<mappings::Process> = Vec::new();
    let kernel = KernelVersion::parse(&survey.kernel);
    let since = |version| kernel.is_some_and(|kernel| kernel >= version);
    let has_user_spaces = since(KernelVersion::NPROC_PER_NAMESPACE);
    let has_pid_limits = since(KernelVersion::PID_MAX_PER_NAMESPACE);
    let mut tasks_of = Users::default();
    let mut spaces = PidSpaces::new(namespaces::own_pid_space());
    let mut users: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
    let mut names: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut looked_at = 0;
    for &pid in &pids {
        if Instant::now() >= until {
            break;
        }
        looked_at += 1;
        let Some(status) = read_status(proc_root, pid) else {
            continue;
        };
        if status.is_zombie {
            let dead = zombies.entry(status.parent).or_default();
            dead.count += 1;
            dead.pid = pid;
            *dead.names.entry(status.comm.clone()).or_default() += 1;
        }
        if status.size > 0 {
            processes.push(mappings::Process {
                pid,
                comm: status.comm.clone(),
                threads: status.tasks,
                size: status.size,
            });
        }
        if has_pid_limits && let Some(inum) = namespaces::of(proc_root, pid, Namespace::Pid) {
            spaces.count(inum, pid, &status.comm, status.tasks);
        }
        let user_space = if has_user_spaces {
            namespaces::of(proc_root, pid, Namespace::User)
        } else {
            Some(INITIAL_USER)
        };
        // Root's own have no RLIMIT_NPROC; of all that it runs only what is in other namespaces matters.
        if status.uid != 0 || user_space.is_some_and(|space| space != INITIAL_USER) {
            let read = |_| namespaces::user_spaces(proc_root, pid);
            tasks_of.count(status.uid, status.tasks, user_space, read);
        }
        if status.uid != 0 {
            let processes = users.entry(status.uid).or_default();
            processes.push((status.tasks, pid));
            names.insert(pid, status.comm);
        }
    }
    if looked_at < pids.len() {
        survey.unseen.push(format!(
            "{} of {} processes: not looked at, to stay quick; users' tasks and zombies are \
             at least what is shown",
            pids.len() - looked_at,
            pids.len()
        ));
    }
    // 1 is hidden from ordinary users where /proc is mounted with hidepid.
    if !pids.contains(&1) {
        survey.unseen.push(format!(
            "other users' processes: {} hides them (hidepid); run as root",
            proc_root.display()
        ));
    }
    if tasks_of.unplaced() > 0 {
        survey.unseen.push(format!(
            "the user namespaces of {} processes: users have at least the tasks that are shown; run as root",
            tasks_of.unplaced()
        ));
    }
    survey.init_nproc = read_nproc(proc_root, 1);
    survey.users = users
        .into_iter()
        .map(|(uid, mut processes)| {
            /// Limits may differ from process to process; the largest ones' matter.
            const LOOK_AT: usize = 4;
            processes.sort_unstable_by(|a, b| b.cmp(a));
            let lowest = processes
                .iter()
                .take(LOOK_AT)
                .filter_map(|&(_, pid)| Some((read_nproc(proc_root, pid)?, pid)))
                .min_by_key(|(bound, _)| bound.value().unwrap_or(u64::MAX));
            let (nproc, pid) = lowest.unwrap_or((Bound::Unknown, processes[0].1));
            UserLimits {
                uid,
                tasks: tasks_of.tasks(uid),
                is_whole: tasks_of.unplaced() == 0,
                nproc,
                pid,
                comm: names.remove(&pid).unwrap_or_default(),
            }
        })
        .collect();
    survey
        .users
        .sort_by_key(|user| std::cmp::Reverse(user.tasks));
    let mut zombies: Vec<_> = zombies.into_iter().collect();
    zombies.sort_by_key(|(_, dead)| std::cmp::Reverse(dead.count));
    survey.unreaped = zombies
        .into_iter()
        .enumerate()
        .map(|(i, (parent, dead))| {
            let mut names: Vec<_> = dead.names.into_iter().collect();
            names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            names.truncate(NAMES);
            Unreaped {
                parent,
                comm: read_status(proc_root, parent)
                    .map(|status| status.comm)
                    .unwrap_or_default(),
                zombies: dead.count,
                names,
                cgroup: survey
                    .layout
                    .as_ref()
                    .filter(|_| i < PLACED)
                    .and_then(|layout| {
                        // On v1 the kernel shows the root for what has ended (proc_cgroup_show,
                        // kernel/cgroup/cgroup.c): mostly it is where its parent is.
                        let pid = if layout.unified { dead.pid } else { parent };
                        cgroup_of(proc_root, &pid.to_string(), layout.hierarchy_id)
                    }),
            }
        })
        .collect();
    survey.memory = mappings::near(proc_root, processes);
    spaces.read(survey, proc_root, helpers);
}

/// The path of a process' cgroup in one hierarchy: `4:pids:/path`, on v2 `0::/path` (cgroups(7)). It may have any
/// byte in it but a newline. `process` is a PID or `self`.
pub fn cgroup_of(proc_root: &Path, process: &str, hierarchy: u32) -> Option<Box<[u8]>> {
    let text = fs::read(proc_root.join(process).join("cgroup")).ok()?;
    let number = format!("{hierarchy}:");
    let line = text
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(number.as_bytes()))?;
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some(line[colon + 1..].into())
}

/// `status` and not `stat`: for that the kernel walks the process' threads.
fn read_status(proc_root: &Path, pid: u32) -> Option<Status> {
    let text = fs::read(proc_root.join(pid.to_string()).join("status")).ok()?;
    let field = |name: &str| {
        text.split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes()))
            .map(<[u8]>::trim_ascii)
    };
    let number = |name: &str| {
        let word = field(name)?.split(u8::is_ascii_whitespace).next()?;
        std::str::from_utf8(word).ok()?.parse::<u64>().ok()
    };
    let is_zombie = field("State:")?.starts_with(b"Z");
    Some(Status {
        comm: field("Name:")?.to_vec(),
        parent: number("PPid:")? as u32,
        uid: number("Uid:")? as u32,
        // A zombie's line may be missing.
        tasks: number("Threads:").unwrap_or(1),
        is_zombie,
        size: number("VmSize:").unwrap_or(0) * 1024,
    })
}

/// The soft RLIMIT_NPROC of a process.
pub(crate) fn read_nproc(proc_root: &Path, pid: u32) -> Option<Bound> {
    let text = fs::read_to_string(proc_root.join(pid.to_string()).join("limits")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max processes"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(Bound::None),
        number => number.parse().ok().map(Bound::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Layout, LayoutKind};

    #[test]
    fn a_process_is_read_from_its_status_alone() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let status = |state: &str, parent: u32, uid: u32, threads: u32| {
            format!(
                "Name:\tjava x\nState:\t{state}\nPPid:\t{parent}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n\
                 Threads:\t{threads}\n"
            )
        };
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit  Hard Limit  Units\n\
                     Max processes             {soft}        unlimited   processes\n"
            )
        };
        write("1/status", &status("S (sleeping)", 0, 0, 1));
        write("1/limits", &limits("unlimited"));
        write("20/status", &status("S (sleeping)", 1, 1000, 30));
        write("20/limits", &limits("100"));
        write("21/status", &status("S (sleeping)", 1, 1000, 5));
        write("21/limits", &limits("90"));
        for zombie in 30..33 {
            write(&format!("{zombie}/status"), &status("Z (zombie)", 20, 0, 1));
            write(&format!("{zombie}/cgroup"), "4:pids:/\n0::/a:c\n");
        }
        write("20/cgroup", "7:cpu:/other\n4:pids:/a:b\n0::/unified\n");
        write("self/status", "nonsense");
        let mut seen = Survey {
            layout: Some(Layout {
                kind: LayoutKind::Hybrid,
                mount: "/cg".into(),
                hierarchy_id: 4,
                unified: false,
                has_pids: true,
            }),
            ..Survey::default()
        };
        read(&mut seen, root.path(), Helpers::Allowed);
        assert_eq!(
            seen.users,
            [UserLimits {
                uid: 1000,
                tasks: 35,
                is_whole: true,
                nproc: Bound::At(90),
                pid: 21,
                comm: b"java x".to_vec(),
            }]
        );
        assert_eq!(seen.unreaped.len(), 1);
        assert_eq!((seen.unreaped[0].parent, seen.unreaped[0].zombies), (20, 3));
        assert_eq!(seen.unreaped[0].names, [(b"java x".to_vec(), 3)]);
        assert_eq!(seen.unreaped[0].cgroup.as_deref(), Some(&b"/a:b"[..]));
        let mut on_v2 = Survey {
            layout: seen.layout.clone().map(|layout| Layout {
                hierarchy_id: 0,
                unified: true,
                ..layout
            }),
            ..Survey::default()
        };
        read(&mut on_v2, root.path(), Helpers::Allowed);
        assert_eq!(on_v2.unreaped[0].cgroup.as_deref(), Some(&b"/a:c"[..]));
        assert_eq!(seen.init_nproc, Some(Bound::None));
        assert!(seen.unseen.is_empty(), "{:?}", seen.unseen);
    }

    #[test]
    fn hidden_processes_are_said_to_be_hidden() {
        let root = tempfile::tempdir().unwrap();
        let mut seen = Survey::default();
        read(&mut seen, root.path(), Helpers::Allowed);
        assert!(seen.unseen[0].contains("hidepid"), "{:?}", seen.unseen);
    }
}
