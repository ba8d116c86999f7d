//! The limits above an owner as they are at this moment: a few files for each cgroup on the way up.
//!
//! Read for owners that grow or are refused, never for all.

use std::{cell::OnceCell, io, sync::Arc};

use super::namespaces::Namespaces;
use crate::{
    cgroup::{CgroupId, Files, Tree},
    detect::{Limits, PartOf},
    escape,
    identity::{Resolver, anchor, identify},
    limits::{Limit, LimitOwner},
};

/// `kernel.pid_max` and `kernel.threads-max`.
const NODE_LIMITS: usize = 2;

/// A limit may be there, but cannot be read.
struct Unread;

/// Reader of limits; what concerns the whole node is read once in its life.
pub struct Live<'a> {
    files: &'a Files,
    tree: &'a Tree,
    namespaces: &'a Namespaces,
    names: Option<&'a Resolver>,
    node_tasks: OnceCell<Option<u64>>,
    node: OnceCell<Vec<Limit>>,
}

impl<'a> Live<'a> {
    /// For one look.
    pub fn new(files: &'a Files, tree: &'a Tree, namespaces: &'a Namespaces) -> Self {
        Self {
            files,
            tree,
            namespaces,
            names: None,
            node_tasks: OnceCell::new(),
            node: OnceCell::new(),
        }
    }

    /// Knows workloads as well.
    pub fn with_names(self, names: &'a Resolver) -> Self {
        Self {
            names: Some(names),
            ..self
        }
    }

    /// Tasks of the node.
    pub fn node_tasks(&self) -> Option<u64> {
        *self
            .node_tasks
            .get_or_init(|| self.files.proc().node_tasks())
    }

    /// `kernel.pid_max` and `kernel.threads-max`.
    pub fn of_node(&self) -> Vec<Limit> {
        self.node.get_or_init(|| self.read_node()).clone()
    }

    fn read_node(&self) -> Vec<Limit> {
        let limits = |tasks| self.files.proc().node_limits(tasks);
        self.node_tasks().map_or(Vec::new(), limits)
    }

    /// A limit by its name and owner, if it is set and can be read.
    pub fn limit(&self, name: &str, owner: LimitOwner) -> Option<Limit> {
        match owner {
            LimitOwner::Node => self.of_node().into_iter().find(|limit| limit.name == name),
            LimitOwner::Cgroup(id) => self.of_cgroup(id),
            LimitOwner::PidNamespace(inum) => self.namespaces.limit(inum),
            LimitOwner::User(_) => None,
        }
    }

    fn of_cgroup(&self, id: CgroupId) -> Option<Limit> {
        self.read_cgroup(id).ok()?
    }

    /// `Ok(None)` for no limit; an error for one that cannot be read.
    fn read_cgroup(&self, id: CgroupId) -> Result<Option<Limit>, Unread> {
        let path = self.path(id).ok_or(Unread)?;
        let value = match self.files.pids_max(path) {
            Ok(Some(value)) => value,
            Ok(None) => return Ok(None),
            // The root, and a cgroup that the controller is not switched on for, have no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.files.exists(path) => {
                return Ok(None);
            }
            Err(_) => return Err(Unread),
        };
        Ok(Some(Limit {
            name: "pids.max",
            value,
            usage: self.files.charge_below(path, value).ok_or(Unread)?,
            owner: LimitOwner::Cgroup(id),
        }))
    }

    /// Every limit above an owner that is set, nearest first, those of the PID namespaces that it grows in among
    /// them; `None` when one of them cannot be read,
    /// so that what is not in it is not there.
    pub fn whole_chain(&self, owner: CgroupId) -> Option<Vec<Limit>> {
        self.chain_with(owner, &self.of_node())
    }

    /// The same where the node's limits are known already.
    pub fn chain_with(&self, owner: CgroupId, node: &[Limit]) -> Option<Vec<Limit>> {
        let mut chain = Vec::new();
        let mut is_whole = false;
        let outermost = self.outermost_own(owner);
        for (id, path) in self.tree.upwards(owner) {
            chain.extend(self.read_cgroup(id).ok()?);
            if Some(id) == outermost {
                chain.extend(self.namespaces.of(owner));
            }
            is_whole = path == b"/";
        }
        if !is_whole || node.len() < NODE_LIMITS {
            return None;
        }
        chain.extend(node);
        Some(chain)
    }

    /// The container or unit that a cgroup belongs to, or the cgroup itself: its PID namespaces' limits come
    /// after its own `pids.max` and before those that it shares.
    fn outermost_own(&self, cgroup: CgroupId) -> Option<CgroupId> {
        let anchor = anchor(self.path(cgroup)?).and_then(|path| self.tree.find(path));
        anchor.or(Some(cgroup))
    }

    /// The cgroups that are there.
    pub fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// Path of a cgroup that is there.
    pub fn path(&self, id: CgroupId) -> Option<&'a [u8]> {
        self.tree.get(id).map(|node| &*node.path)
    }
}

impl Limits for Live<'_> {
    fn chain(&self, owner: CgroupId) -> Vec<Limit> {
        let outermost = self.outermost_own(owner);
        let mut chain = Vec::new();
        for (id, _) in self.tree.upwards(owner) {
            chain.extend(self.of_cgroup(id));
            if Some(id) == outermost {
                chain.extend(self.namespaces.of(owner));
            }
        }
        chain.extend(self.of_node());
        chain
    }

    fn part_of(&self, cgroup: CgroupId) -> Option<PartOf> {
        let path = self.path(cgroup)?;
        let anchor = anchor(path).filter(|anchor| anchor.len() < path.len())?;
        let inside = self.tree.upwards(cgroup);
        let inside = inside.take_while(|(_, path)| path.len() > anchor.len());
        Some(PartOf {
            owner: self.tree.find(anchor)?,
            limits_inside: inside
                .filter(|&(id, _)| self.of_cgroup(id).is_some())
                .count(),
        })
    }

    fn workload(&self, owner: CgroupId) -> Option<Arc<str>> {
        let names = self.names?.look_up(owner, &identify(self.path(owner)?))?;
        let (namespace, workload) = (names.namespace.as_ref()?, names.workload.as_ref()?);
        let text = format!("{} {namespace}/{}", workload.kind, workload.name);
        Some(escape::for_terminal(text.as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::cgroup::{self, Layout, LayoutKind};

    #[test]
    fn a_chain_is_whole_or_none() {
        let mount = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(mount.path().join(name), text).unwrap();
        fs::create_dir_all(mount.path().join("a/b")).unwrap();
        file("a/pids.max", "100\n");
        file("a/pids.current", "7\n");
        file("a/b/pids.max", "max\n");
        let layout = Layout {
            kind: LayoutKind::V2,
            mount: mount.path().to_owned(),
            hierarchy_id: 0,
            unified: true,
            has_pids: true,
        };
        let files = Files::new(&layout, Path::new("/proc"));
        let tree = cgroup::walk(mount.path()).unwrap();
        let owner = tree.find(b"/a/b").unwrap();
        let namespaces = Namespaces::default();
        let chain = || {
            let limits = Live::new(&files, &tree, &namespaces).whole_chain(owner)?;
            Some(limits.iter().map(|limit| limit.name).collect::<Vec<_>>())
        };
        // The root has no file, and so no limit.
        let node = ["kernel.pid_max", "kernel.threads-max"];
        assert_eq!(chain().unwrap(), [&["pids.max"], &node[..]].concat());
        file("a/pids.max", "max\n");
        assert_eq!(chain().unwrap(), node);
        file("a/pids.max", "?\n");
        assert_eq!(chain(), None);
    }
}
