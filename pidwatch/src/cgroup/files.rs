//! What the cgroup file system says of a cgroup now. A file that cannot be read is an
//! unknown value: the cgroup may be gone.

use std::{
    cell::RefCell,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use hashbrown::HashMap;

use super::{Layout, SampledTaskNames, Tree, TreeNode, charges::Charges, names, walk::directory};
use crate::procfs::Proc;

/// `pids.max` by path; `None` for no limit.
type LimitCache = HashMap<Box<[u8]>, Option<u64>>;

/// The own charge of a cgroup with more children than this is added up in slices: a file takes some
/// microseconds.
pub(super) const MANY: usize = 256;

/// Reader of the files of one hierarchy.
#[derive(Debug)]
pub struct Files {
    mount: PathBuf,
    proc: Proc,
    has_pids: bool,
    charges: RefCell<Charges>,
    /// `pids.max` of those that were asked for while all is held: what is above many is read once.
    limits: RefCell<Option<LimitCache>>,
    /// Own charges that were added up in slices, by path, until the next release.
    owns: RefCell<HashMap<Box<[u8]>, Option<u64>>>,
}

impl Files {
    /// Reads the files of a layout's hierarchy.
    pub fn new(layout: &Layout, proc_root: &Path) -> Self {
        Self {
            mount: layout.mount.clone(),
            proc: Proc::new(proc_root),
            has_pids: layout.has_pids,
            charges: RefCell::default(),
            limits: RefCell::default(),
            owns: RefCell::default(),
        }
    }

    /// The host's /proc.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// Cgroups may have other paths than before.
    pub fn renamed(&self) {
        self.charges.borrow_mut().forget();
        self.owns.borrow_mut().clear();
        if let Some(held) = self.limits.borrow_mut().as_mut() {
            held.clear();
        }
    }

    /// From now on each charge is read once, until [`Files::release`]: what is looked at is of one moment.
    pub fn hold(&self) {
        self.charges.borrow_mut().hold();
        self.limits.borrow_mut().get_or_insert_default();
    }

    /// The end of [`Files::hold`].
    pub fn release(&self) {
        self.charges.borrow_mut().release();
        self.owns.borrow_mut().clear();
        *self.limits.borrow_mut() = None;
    }

    /// Tasks of a cgroup and its descendants (`pids.current`), zombies included; for the root,
    /// which the controller does not count, the node's tasks.
    pub fn subtree_charge(&self, path: &[u8]) -> Option<u64> {
        self.read_charge(path).ok().flatten()
    }

    /// The same of a cgroup with this limit: no more than it, unless tasks were moved in.
    pub fn charge_below(&self, path: &[u8], limit: u64) -> Option<u64> {
        if !self.has_pids || path == b"/" {
            return self.subtree_charge(path);
        }
        let file = || directory(&self.mount, path).join("pids.current");
        self.charges.borrow_mut().read_below(path, limit, file).ok()
    }

    /// `None` where the controller does not count.
    fn read_charge(&self, path: &[u8]) -> io::Result<Option<u64>> {
        if !self.has_pids {
            return Ok(None);
        }
        if path == b"/" {
            return Ok(self.proc.node_tasks());
        }
        let file = || directory(&self.mount, path).join("pids.current");
        self.charges.borrow_mut().read(path, file).map(Some)
    }

    /// Tasks of a cgroup without its descendants', zombies included.
    pub fn own_charge(&self, tree: &Tree, node: &TreeNode) -> Option<u64> {
        self.charges(tree, node).0
    }

    /// Tasks of a cgroup, zombies included: without its descendants', and with them. The files are read
    /// one after the other, so while children change the first is off by what changed meanwhile.
    pub fn charges(&self, tree: &Tree, node: &TreeNode) -> (Option<u64>, Option<u64>) {
        let subtree = self.subtree_charge(&node.path);
        if let Some(own) = self.owns.borrow().get(&node.path) {
            return (*own, subtree);
        }
        let below = || {
            let children = node.children.iter().filter_map(|&child| tree.get(child));
            let charges = children.map(|child| self.charge_of_child(child));
            charges.sum::<Option<u64>>()
        };
        let own = subtree.and_then(|subtree| Some(subtree.saturating_sub(below()?)));
        (own, subtree)
    }

    /// What a cgroup and all below it count for in the charge of the one above; `None` when it cannot be read.
    pub(super) fn charge_of_child(&self, child: &TreeNode) -> Option<u64> {
        match self.read_charge(&child.path) {
            Ok(charge) => Some(charge.unwrap_or(0)),
            // One that is gone, or without the controller, counts nothing of its own.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
                Some(0)
            }
            Err(_) => None,
        }
    }

    /// Keeps an own charge that was added up elsewhere.
    pub(super) fn keep_own(&self, path: &[u8], own: Option<u64>) {
        self.owns.borrow_mut().insert(path.into(), own);
    }

    /// Whether the own charge of a cgroup takes more than a moment to read.
    pub fn takes_long(&self, node: &TreeNode) -> bool {
        self.has_pids && node.children.len() > MANY && !self.owns.borrow().contains_key(&node.path)
    }

    /// Processes of a cgroup without its descendants'. Makes the kernel walk the cgroup's tasks:
    /// not for large ones, or not often.
    pub fn processes(&self, path: &[u8]) -> Option<u64> {
        let mut file = fs::File::open(directory(&self.mount, path).join("cgroup.procs")).ok()?;
        let mut lines = 0;
        let mut buffer = [0; 16 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Some(lines),
                Ok(len) => lines += buffer[..len].iter().filter(|&&b| b == b'\n').count() as u64,
                Err(_) => return None,
            }
        }
    }

    /// `pids.max` of a cgroup; `Ok(None)` for no limit.
    ///
    /// # Errors
    /// Those of reading the file: the cgroup may be gone, or not have the controller.
    /// [`io::ErrorKind::InvalidData`] for what is neither a number nor `max`.
    pub fn pids_max(&self, path: &[u8]) -> io::Result<Option<u64>> {
        let held = self
            .limits
            .borrow()
            .as_ref()
            .and_then(|held| held.get(path).copied());
        if let Some(max) = held {
            return Ok(max);
        }
        let max = self.read_pids_max(path)?;
        if let Some(held) = self.limits.borrow_mut().as_mut() {
            held.insert(path.into(), max);
        }
        Ok(max)
    }

    fn read_pids_max(&self, path: &[u8]) -> io::Result<Option<u64>> {
        match self.word(path, "pids.max")?.as_str() {
            "max" => Ok(None),
            number => parse(number).map(Some),
        }
    }

    /// Whether a cgroup is there.
    pub fn exists(&self, path: &[u8]) -> bool {
        directory(&self.mount, path).is_dir()
    }

    /// Most tasks that a cgroup ever had (`pids.peak`, 6.6).
    pub fn pids_peak(&self, path: &[u8]) -> Option<u64> {
        self.number(path, "pids.peak").ok()
    }

    /// How often `pids.max` of a cgroup has refused: `pids.events.local` (6.11) or `pids.events`.
    pub fn pids_refused(&self, path: &[u8]) -> Option<u64> {
        let directory = directory(&self.mount, path);
        let text = fs::read_to_string(directory.join("pids.events.local"))
            .or_else(|_| fs::read_to_string(directory.join("pids.events")))
            .ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("max "))?;
        line.trim().parse().ok()
    }

    /// What some of a cgroup's tasks are called. Makes the kernel walk them: only for who is flagged.
    pub fn task_names(&self, path: &[u8]) -> Option<SampledTaskNames> {
        names::sample(&directory(&self.mount, path), self.proc.root())
    }

    fn number(&self, path: &[u8], file: &str) -> io::Result<u64> {
        parse(&self.word(path, file)?)
    }

    fn word(&self, path: &[u8], file: &str) -> io::Result<String> {
        let mut text = [0; 24];
        let mut file = fs::File::open(directory(&self.mount, path).join(file))?;
        let len = file.read(&mut text)?;
        Ok(String::from_utf8_lossy(&text[..len]).trim().to_owned())
    }
}

fn parse(number: &str) -> io::Result<u64> {
    number
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::LayoutKind;

    #[test]
    fn only_the_word_max_is_no_limit() {
        let mount = tempfile::tempdir().unwrap();
        let layout = Layout {
            kind: LayoutKind::V2,
            mount: mount.path().to_owned(),
            hierarchy_id: 0,
            unified: true,
            has_pids: true,
        };
        let files = Files::new(&layout, Path::new("/proc"));
        let read = |text: &str| {
            fs::write(mount.path().join("pids.max"), text).unwrap();
            files.pids_max(b"/").map_err(|error| error.kind())
        };
        assert_eq!(read("max\n"), Ok(None));
        assert_eq!(read("0\n"), Ok(Some(0)));
        for bad in ["", "-1\n", "18446744073709551616\n"] {
            assert_eq!(read(bad), Err(io::ErrorKind::InvalidData), "{bad:?}");
        }
    }
}
