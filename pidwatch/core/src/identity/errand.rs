//! For which container a process of a container runtime works: what it fails at, a container misses.
//!
//! A runtime makes containers, and execs and probes into them, from cgroups of its own. Where the node
//! has no ID left, a probe fails there: in the shim that cannot start runc, or in runc. The failure is
//! the runtime's, who suffers is the container.
//!
//! Command lines are believed only of root's processes outside of containers and of sessions.
//!
//! In: a failing task, command lines, the cgroup tree. Out: a container's cgroup. Pure.

use hashbrown::HashMap;

use super::path::{Role, identify};
use crate::{
    cgroup::{CgroupId, Tree},
    probe::Failure,
};

/// Names of runtimes' programs, as far as the kernel keeps a name: 15 bytes.
const PROGRAMS: [&[u8]; 5] = [b"containerd-shim", b"runc", b"crun", b"conmon", b"youki"];

/// For which container processes of container runtimes work. A process that fails does so again at
/// once, and is looked at once a second.
#[derive(Debug, Default)]
pub struct Errands {
    /// By its PID, since the last [`clear`](Self::clear).
    known: HashMap<u32, Option<CgroupId>>,
}

impl Errands {
    /// The cgroup of the container that a failing task works for; `None` if it is no runtime's, or not
    /// known. `command_line` reads that of a process, at once: what fails here ends soon.
    pub fn of(
        &mut self,
        failure: &Failure,
        tree: &Tree,
        command_line: impl Fn(u32) -> Vec<u8>,
    ) -> Option<CgroupId> {
        if !may_run_errands(&failure.comm) || failure.uid != 0 {
            return None;
        }
        let caller = tree.get(failure.cgroup)?;
        if !may_host_runtimes(&caller.path) {
            return None;
        }
        let look = || {
            // What runc forks has no arguments of its own.
            let parent = failure.parent.as_ref().map(|parent| parent.pid);
            let mut pids = [Some(failure.pid), parent].into_iter().flatten();
            pids.find_map(|pid| errand(&command_line(pid), tree))
        };
        *self.known.entry(failure.pid).or_insert_with(look)
    }

    /// To be called about once a second, in which no PID is used again.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

/// Whether a cgroup is a place where a node's container runtime works. What runs in a container, or in a
/// user's session, chooses its name and its arguments freely: it speaks for nobody else.
fn may_host_runtimes(path: &[u8]) -> bool {
    let is_session = path.starts_with(b"/user.slice/");
    let container = identify(path).container;
    !is_session && container.is_none_or(|container| container.role == Role::Helper)
}

/// Whether a task with this name may be at work for a container. runc's first stages are called
/// `runc:[0:PARENT]` and the like.
fn may_run_errands(comm: &[u8]) -> bool {
    PROGRAMS.iter().any(|program| comm.starts_with(program))
}

/// The cgroup of the container that a process with this command line (`/proc/PID/cmdline`: each argument
/// ends with a NUL) works for; `None` if it is no runtime's program or the container is not there.
fn errand(command_line: &[u8], tree: &Tree) -> Option<CgroupId> {
    candidates(command_line).find_map(|id| container(tree, id))
}

/// The cgroup in which a container's processes live; the outermost one.
fn container(tree: &Tree, id: &str) -> Option<CgroupId> {
    let is_its = |path: &[u8]| {
        // Most paths do not have it: looked at closely are only those that do.
        let mut places = path.windows(id.len().max(1));
        places.any(|place| place == id.as_bytes())
            && identify(path)
                .container
                .is_some_and(|container| container.role == Role::Payload && container.id == id)
    };
    tree.iter()
        .filter(|(_, node)| is_its(&node.path))
        .min_by_key(|(_, node)| node.path.len())
        .map(|(id, _)| id)
}

/// The arguments that may be a container's id.
///
/// containerd's shim is told its pod's sandbox by `-id`, conmon its container by `-c` or `--cid`, and
/// runc and crun have it among the arguments of their commands.
fn candidates(command_line: &[u8]) -> impl Iterator<Item = &str> {
    let mut arguments = command_line
        .split(|&byte| byte == 0)
        .filter(|argument| !argument.is_empty());
    let program = arguments.next().unwrap_or_default();
    let name = program.rsplit(|&byte| byte == b'/').next();
    let is_runtime = name.is_some_and(may_run_errands);
    arguments
        .filter(move |_| is_runtime)
        .filter_map(|argument| std::str::from_utf8(argument).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_tell_their_container_by_their_arguments() {
        let shim =
            "containerd-shim-runc-v2 -namespace k8s.io -id 0123abcd -address /run/containerd.sock";
        let exec = "/usr/bin/runc --root /run/runc exec --process /tmp/p --detach 89ef";
        let conmon = "/usr/bin/conmon -b /run -c 4567 --exec";
        for (line, id) in [(shim, "0123abcd"), (exec, "89ef"), (conmon, "4567")] {
            let line = line.replace(' ', "\0") + "\0";
            assert!(
                candidates(line.as_bytes()).any(|candidate| candidate == id),
                "{line}"
            );
        }
        assert_eq!(candidates(b"/bin/sh\0-c\0runc 89ef\0").count(), 0);
        assert_eq!(candidates(b"runc\0\xff\0").count(), 0);
        assert_eq!(candidates(b"").count(), 0);
    }

    #[test]
    fn a_container_is_found_by_its_id() {
        let mut tree = Tree::default();
        let (one, other) = ("0a".repeat(32), "0b".repeat(32));
        for (id, path) in [
            (1, "/".to_owned()),
            (5, format!("/docker/{one}")),
            (6, format!("/docker/{one}/init.scope")),
            (7, format!("/kubepods.slice/crio-conmon-{other}.scope")),
        ] {
            tree.insert(CgroupId(id), path.as_bytes());
        }
        assert_eq!(container(&tree, &one), Some(CgroupId(5)));
        assert_eq!(container(&tree, &other), None, "its runtime's own");
        assert_eq!(container(&tree, &one[..12]), None);
        assert_eq!(container(&tree, ""), None);
        let line = format!("runc\0exec\0{one}\0");
        assert_eq!(errand(line.as_bytes(), &tree), Some(CgroupId(5)));
    }

    #[test]
    fn nobody_in_a_container_or_a_session_works_for_another() {
        let id = "0a".repeat(32);
        let pod = "/kubepods/burstable/pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
        for (path, expected) in [
            ("/".to_owned(), true),
            ("/system.slice/containerd.service".to_owned(), true),
            ("/pods/shim".to_owned(), true),
            (format!("/machine.slice/libpod-conmon-{id}.scope"), true),
            // conmon's place with CRI-O's `conmon_cgroup = "pod"`.
            (pod.to_owned(), true),
            (format!("{pod}/{id}"), false),
            (format!("{pod}/{id}/system.slice/containerd.service"), false),
            (format!("/docker/{id}/crio-conmon-{id}.scope"), false),
            ("/lxc.payload.web".to_owned(), false),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice".to_owned(),
                false,
            ),
            ("/user.slice/user-0.slice/session-3.scope".to_owned(), false),
        ] {
            assert_eq!(may_host_runtimes(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn only_runtimes_run_errands() {
        assert!(may_run_errands(b"runc:[2:INIT]"));
        assert!(may_run_errands(b"containerd-shim"));
        assert!(!may_run_errands(b"containerd"));
        assert!(!may_run_errands(b"java"));
    }
}
