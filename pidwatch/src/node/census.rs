//! Who has the tasks that a limit counts: a pass over processes for those of a user or of a PID namespace, over
//! cgroups for those of a cgroup or of the node; one file each, in slices.
//!
//! In: limits of which the holders are asked for. Out: how many tasks each owner has below them. A pass is made
//! while somebody asks, at most every ten seconds for each limit.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use crate::{
    cgroup::{CgroupId, Files, Tree},
    identity::identify,
    limits::LimitOwner,
    slice::Slice,
    survey::pid_namespaces_of,
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
struct CensusPass {
    of: LimitOwner,
    rest: Rest,
    held: HashMap<CgroupId, u64>,
}

/// What is still to be read.
#[derive(Debug)]
enum Rest {
    /// Tasks of processes: entries of /proc.
    Processes(fs::ReadDir),
    /// Charges of cgroups with all below them: those below the limit, whose path is given.
    Cgroups { rest: Vec<CgroupId>, top: Box<[u8]> },
}

/// All passes.
#[derive(Debug, Default)]
pub(super) struct Census {
    known: HashMap<LimitOwner, Known>,
    waiting: VecDeque<LimitOwner>,
    /// Asked for while incidents are looked at.
    wanted: RefCell<Vec<LimitOwner>>,
    pass: Option<CensusPass>,
}

impl Census {
    /// It matters who has the tasks of a limit.
    pub fn ask(&mut self, of: LimitOwner) {
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
        self.pass.is_some() || !self.waiting.is_empty() || !self.wanted.borrow().is_empty()
    }

    /// Begins a pass, or goes on with one. `owner` is the container or unit that a cgroup belongs to.
    pub fn go_on(
        &mut self,
        files: &Files,
        tree: &Tree,
        owner: impl Fn(CgroupId) -> CgroupId,
        slice: &Slice,
    ) {
        for of in std::mem::take(self.wanted.get_mut()) {
            self.ask(of);
        }
        if self.pass.is_none() {
            let Some(of) = self.waiting.pop_front() else {
                return;
            };
            let rest = match of {
                LimitOwner::Node => Some(below(tree, b"/")),
                LimitOwner::Cgroup(id) => tree.get(id).map(|node| below(tree, &node.path)),
                LimitOwner::User(_) | LimitOwner::PidNamespace(_) => {
                    fs::read_dir(files.proc().root()).ok().map(Rest::Processes)
                }
            };
            self.pass = rest.map(|rest| CensusPass {
                of,
                rest,
                held: HashMap::new(),
            });
        }
        let Some(mut pass) = self.pass.take() else {
            return;
        };
        while pass.step(files, tree, &owner) {
            if slice.is_over() {
                self.pass = Some(pass);
                return;
            }
        }
        let of = pass.of;
        let holders = pass.end(tree);
        self.known.retain(|_, known| known.at.elapsed() < 6 * FRESH);
        // The answer to a new question takes the place of the oldest.
        if self.known.len() >= MOST && !self.known.contains_key(&of) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.at);
            if let Some(oldest) = oldest.map(|(&of, _)| of) {
                self.known.remove(&oldest);
            }
        }
        let at = Instant::now();
        self.known.insert(of, Known { at, holders });
    }

    /// Who has how many of the tasks that a limit counts, the most first. Empty until a pass has ended; asks for
    /// one where the last is too old.
    pub fn holders(&self, of: LimitOwner) -> Vec<(CgroupId, u64)> {
        let is_fresh = |known: &Known| known.at.elapsed() < FRESH;
        let mut wanted = self.wanted.borrow_mut();
        if !self.known.get(&of).is_some_and(is_fresh) && !wanted.contains(&of) {
            wanted.push(of);
        }
        self.known
            .get(&of)
            .map_or_else(Vec::new, |known| known.holders.clone())
    }
}

impl CensusPass {
    /// Reads one file or two; whether there was one to read.
    fn step(&mut self, files: &Files, tree: &Tree, owner: impl Fn(CgroupId) -> CgroupId) -> bool {
        match &mut self.rest {
            Rest::Processes(rest) => {
                // The kernel looks for the next process at each read, as long as there are more.
                let Some(Ok(entry)) = rest.next() else {
                    return false;
                };
                let folder = entry.path();
                if is_process(&entry)
                    && let Some(tasks) = tasks(&folder, self.of)
                    && let Some(cgroup) = cgroup(&folder, tree)
                {
                    *self.held.entry(owner(cgroup)).or_default() += tasks;
                }
            }
            Rest::Cgroups { rest, .. } => {
                let Some(id) = rest.pop() else { return false };
                let charge = tree
                    .get(id)
                    .and_then(|node| files.subtree_charge(&node.path));
                self.held.extend(charge.map(|charge| (id, charge)));
            }
        }
        true
    }

    /// The largest first.
    fn end(self, tree: &Tree) -> Vec<(CgroupId, u64)> {
        let mut holders: Vec<_> = match &self.rest {
            Rest::Processes(_) => self.held.into_iter().collect(),
            Rest::Cgroups { top, .. } => {
                let holder = |&id| Some((id, self.holds(id, top, tree)?));
                self.held.keys().filter_map(holder).collect()
            }
        };
        holders.sort_by_key(|&(id, tasks)| (std::cmp::Reverse(tasks), id));
        holders
    }

    /// What a cgroup holds below a limit at `top`: a container or a unit with everything below it, whatever
    /// belongs to none by itself; `None` for what is inside of an owner.
    fn holds(&self, id: CgroupId, top: &[u8], tree: &Tree) -> Option<u64> {
        let node = tree.get(id)?;
        let identity = identify(&node.path);
        let named = identity.named;
        // A pod is no owner: its containers are. Of an owner that the limit lies inside of, each cgroup
        // holds what it holds.
        let is_in_owner = identity.is_anchored()
            && (identity.container.is_some() || identity.unit.is_some())
            && named >= top.len();
        if is_in_owner && named < node.path.len() {
            return None;
        }
        let all = *self.held.get(&id)?;
        if is_in_owner {
            return Some(all);
        }
        let below = node
            .children
            .iter()
            .filter_map(|child| self.held.get(child));
        Some(all.saturating_sub(below.sum()))
    }
}

/// The cgroups below a limit, its own among them.
fn below(tree: &Tree, top: &[u8]) -> Rest {
    let is_below = |path: &[u8]| {
        top == b"/"
            || path
                .strip_prefix(top)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let all = tree.iter().filter(|(_, node)| is_below(&node.path));
    Rest::Cgroups {
        rest: all.map(|(id, _)| id).collect(),
        top: top.into(),
    }
}

fn is_process(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_bytes().iter().all(u8::is_ascii_digit)
}

/// Tasks of a process, if the limit counts them.
fn tasks(folder: &Path, of: LimitOwner) -> Option<u64> {
    if let LimitOwner::PidNamespace(inum) = of
        && !pid_namespaces_of(folder).contains(&inum)
    {
        return None;
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
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::cgroup::{Layout, LayoutKind};

    fn write(root: &Path, pid: u32, uid: u32, threads: u32, cgroup: &str) {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(folder.join("ns")).unwrap();
        let status = format!("Name:\tx\nUid:\t{uid}\t0\t0\t0\nThreads:\t{threads}\n");
        fs::write(folder.join("status"), status).unwrap();
        fs::write(folder.join("cgroup"), cgroup).unwrap();
        fs::write(folder.join("ns/pid"), "").unwrap();
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
        let files = files(root.path(), root.path());
        let namespace = fs::metadata(root.path().join("13/ns/pid")).unwrap().ino();
        let namespace = LimitOwner::PidNamespace(u32::try_from(namespace).unwrap());
        let mut census = Census::default();
        let owner = |id| if id == CgroupId(3) { CgroupId(2) } else { id };
        for (of, expected) in [
            (
                LimitOwner::User(1000),
                &[(CgroupId(2), 12), (CgroupId(4), 3)][..],
            ),
            (namespace, &[(CgroupId(4), 9)]),
        ] {
            assert_eq!(census.holders(of), []);
            let mut turns = 0;
            while census.is_under_way() {
                census.go_on(&files, &tree, owner, &Slice::shortest());
                turns += 1;
            }
            assert!(turns >= 5, "{turns}");
            assert_eq!(census.holders(of), expected);
            census.ask(of);
            assert!(!census.is_under_way(), "fresh");
        }
    }

    #[test]
    fn containers_hold_all_below_them_and_others_what_is_their_own() {
        let mount = tempfile::tempdir().unwrap();
        let container = format!("/docker/{}", "a".repeat(64));
        let inner = format!("{container}/inner");
        let mut tree = Tree::default();
        for (id, path, charge) in [
            (1, "/", None),
            (2, "/docker", Some(70)),
            (3, &*container, Some(60)),
            (4, &*inner, Some(50)),
            (5, "/plain", Some(30)),
            (6, "/plain/below", Some(10)),
        ] {
            tree.insert(CgroupId(id), path.as_bytes());
            let folder = mount.path().join(&path[1..]);
            fs::create_dir_all(&folder).unwrap();
            if let Some(charge) = charge {
                fs::write(folder.join("pids.current"), format!("{charge}\n")).unwrap();
            }
        }
        let files = files(mount.path(), mount.path());
        fs::write(mount.path().join("loadavg"), "0 0 0 2/103 4711\n").unwrap();
        let mut census = Census::default();
        let mut holders = |of| {
            assert_eq!(census.holders(of), []);
            let mut turns = 0;
            while census.is_under_way() {
                census.go_on(&files, &tree, |id| id, &Slice::shortest());
                turns += 1;
            }
            (census.holders(of), turns)
        };
        let id = |id, tasks| (CgroupId(id), tasks);
        let (all, turns) = holders(LimitOwner::Node);
        assert_eq!(all, [id(3, 60), id(5, 20), id(2, 10), id(6, 10), id(1, 3)]);
        assert_eq!(turns, 7);
        let (plain, _) = holders(LimitOwner::Cgroup(CgroupId(5)));
        assert_eq!(plain, [id(5, 20), id(6, 10)]);
        // A limit inside of a container.
        let (inside, _) = holders(LimitOwner::Cgroup(CgroupId(4)));
        assert_eq!(inside, [id(4, 50)]);
    }

    fn files(mount: &Path, proc_root: &Path) -> Files {
        let layout = Layout {
            kind: LayoutKind::V2,
            mount: mount.to_owned(),
            hierarchy_id: 0,
            unified: true,
            has_pids: true,
        };
        Files::new(&layout, proc_root)
    }
}
