//! Who has the tasks of a user, or of a PID namespace: a pass over processes, one file each, in slices.
//!
//! In: limits of users and of PID namespaces that refused. Out: how many tasks each owner has below them.
//! A pass is made while such a limit refuses, at most every ten seconds for each.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use crate::{
    cgroup::{CgroupId, Tree},
    limits::LimitOwner,
    slice::Slice,
};

/// What a pass found is good for so long.
const FRESH: Duration = Duration::from_secs(10);
/// Limits that are known, or wait for a pass, at a time.
const MOST: usize = 16;

#[derive(Debug)]
struct Known {
    at: Instant,
    holders: Vec<(CgroupId, u64)>,
}

/// A pass that is under way.
#[derive(Debug)]
struct Pass {
    of: LimitOwner,
    rest: Vec<u32>,
    held: HashMap<CgroupId, u64>,
}

/// All passes.
#[derive(Debug, Default)]
pub(super) struct Census {
    known: HashMap<LimitOwner, Known>,
    waiting: VecDeque<LimitOwner>,
    pass: Option<Pass>,
}

impl Census {
    /// A limit refused: it matters who has its tasks.
    pub fn ask(&mut self, of: LimitOwner) {
        if !matches!(of, LimitOwner::User(_) | LimitOwner::PidNamespace(_)) {
            return;
        }
        let is_known = self
            .known
            .get(&of)
            .is_some_and(|known| known.at.elapsed() < FRESH);
        let is_under_way = self.pass.as_ref().is_some_and(|pass| pass.of == of);
        let is_asked = is_known || is_under_way || self.waiting.contains(&of);
        if !is_asked && self.waiting.len() < MOST {
            self.waiting.push_back(of);
        }
    }

    /// Whether there is something to go on with.
    pub fn is_under_way(&self) -> bool {
        self.pass.is_some() || !self.waiting.is_empty()
    }

    /// Begins a pass, or goes on with one. `owner` is the container or unit that a cgroup belongs to.
    pub fn go_on(
        &mut self,
        proc_root: &Path,
        tree: &Tree,
        owner: impl Fn(CgroupId) -> CgroupId,
        slice: &Slice,
    ) {
        if self.pass.is_none() {
            let Some(of) = self.waiting.pop_front() else {
                return;
            };
            self.pass = Some(Pass {
                of,
                rest: processes(proc_root),
                held: HashMap::new(),
            });
        }
        let Some(mut pass) = self.pass.take() else {
            return;
        };
        while let Some(pid) = pass.rest.pop() {
            let folder = proc_root.join(pid.to_string());
            if let Some(tasks) = tasks(&folder, pass.of)
                && let Some(cgroup) = cgroup(&folder, tree)
            {
                *pass.held.entry(owner(cgroup)).or_default() += tasks;
            }
            if slice.is_over() {
                self.pass = Some(pass);
                return;
            }
        }
        let mut holders: Vec<_> = pass.held.into_iter().collect();
        holders.sort_by_key(|&(id, tasks)| (std::cmp::Reverse(tasks), id));
        self.known.retain(|_, known| known.at.elapsed() < 6 * FRESH);
        if self.known.len() < MOST {
            let at = Instant::now();
            self.known.insert(pass.of, Known { at, holders });
        }
    }

    /// Who has how many of the tasks that a limit counts, the most first; nobody, if no pass has told.
    pub fn holders(&self, of: LimitOwner) -> Vec<(CgroupId, u64)> {
        self.known
            .get(&of)
            .map_or_else(Vec::new, |known| known.holders.clone())
    }
}

fn processes(proc_root: &Path) -> Vec<u32> {
    let entries = fs::read_dir(proc_root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Tasks of a process, if the limit counts them.
fn tasks(folder: &Path, of: LimitOwner) -> Option<u64> {
    if let LimitOwner::PidNamespace(inum) = of {
        let link = fs::read_link(folder.join("ns/pid")).ok()?;
        if link.to_str()? != format!("pid:[{inum}]") {
            return None;
        }
    }
    // Not `stat`: for that the kernel walks the process' threads.
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let LimitOwner::User(uid) = of
        && number("Uid:")? != u64::from(uid)
    {
        return None;
    }
    // A zombie's line may be missing.
    Some(number("Threads:").unwrap_or(1))
}

/// The cgroup of a process in the hierarchy that counts tasks: that of the pids controller, or v2.
fn cgroup(folder: &Path, tree: &Tree) -> Option<CgroupId> {
    let text = fs::read(folder.join("cgroup")).ok()?;
    let lines = || text.split(|&byte| byte == b'\n');
    let path = |line: &'_ [u8], is_it: &dyn Fn(&[u8]) -> bool| {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        is_it(controllers).then(|| path.to_vec())
    };
    let is_pids = |controllers: &[u8]| {
        controllers
            .split(|&byte| byte == b',')
            .any(|of| of == b"pids")
    };
    let path = lines()
        .find_map(|line| path(line, &is_pids))
        .or_else(|| lines().find_map(|line| path(line, &<[u8]>::is_empty)))?;
    tree.find(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, pid: u32, uid: u32, threads: u32, cgroup: &str) {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(folder.join("ns")).unwrap();
        let status = format!("Name:\tx\nUid:\t{uid}\t0\t0\t0\nThreads:\t{threads}\n");
        fs::write(folder.join("status"), status).unwrap();
        fs::write(folder.join("cgroup"), cgroup).unwrap();
        std::os::unix::fs::symlink(format!("pid:[{}]", 100 + uid), folder.join("ns/pid")).unwrap();
    }

    #[test]
    fn tasks_are_summed_by_owner_in_as_many_turns_as_it_takes() {
        let root = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        for (id, path) in [(1, "/"), (2, "/a"), (3, "/a/b"), (4, "/c")] {
            tree.insert(CgroupId(id), path.as_bytes());
        }
        write(root.path(), 10, 1000, 5, "4:cpu,pids:/a\n0::/c\n");
        write(root.path(), 11, 1000, 7, "4:pids:/a/b\n0::/c\n");
        write(root.path(), 12, 1000, 3, "0::/c\n");
        write(root.path(), 13, 2000, 9, "0::/c\n");
        write(root.path(), 14, 1000, 9, "0::/../elsewhere\n");
        fs::create_dir(root.path().join("self")).unwrap();
        let mut census = Census::default();
        census.ask(LimitOwner::Node);
        assert!(!census.is_under_way());
        let owner = |id| if id == CgroupId(3) { CgroupId(2) } else { id };
        for (of, expected) in [
            (
                LimitOwner::User(1000),
                &[(CgroupId(2), 12), (CgroupId(4), 3)][..],
            ),
            (LimitOwner::PidNamespace(2100), &[(CgroupId(4), 9)]),
        ] {
            census.ask(of);
            assert_eq!(census.holders(of), []);
            let mut turns = 0;
            while census.is_under_way() {
                census.go_on(root.path(), &tree, owner, &Slice::shortest());
                turns += 1;
            }
            assert!(turns >= 5, "{turns}");
            assert_eq!(census.holders(of), expected);
            census.ask(of);
            assert!(!census.is_under_way(), "fresh");
        }
    }
}
