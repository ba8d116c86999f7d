//! Whose a cgroup is, and what to do about those that nobody announced.

use tokio::time::Instant;

use super::{
    Node,
    parts::{Counted, Parts},
};
use crate::{
    cgroup::{CgroupId, Tree},
    identity::{Owner, Resolver},
    limits::{Limit, LimitOwner},
    probe::Failure,
    slice::Slice,
};

impl Node {
    pub(super) fn owner(&mut self, id: CgroupId, now: Instant) -> Owner {
        if !self.is_known(id) {
            self.unknown.insert(id);
            self.look_for_unknown(now);
        }
        let path = self
            .tree
            .get(id)
            .map(|node| &*node.path)
            .or_else(|| self.model.gone_path(id));
        self.named(Owner::new(id, path.map(Into::into)))
    }

    /// The container or unit that a cgroup belongs to, with everything below it; the cgroup itself where
    /// that is none's.
    pub(super) fn anchored(&mut self, id: CgroupId, now: Instant) -> Owner {
        let owner = self.owner(id, now);
        match owner.anchor() {
            Some(path) => self.named(anchor_at(&self.tree, &self.parts, id, path)),
            None => owner,
        }
    }

    /// Goes on finding out who has the tasks of a user or of a PID namespace, if that is asked for.
    pub(super) fn go_on_counting(&mut self, slice: &Slice) {
        let Self {
            census,
            files,
            tree,
            parts,
            ..
        } = self;
        let owner = |id| parts.owner(id).unwrap_or(id);
        census.go_on(files, tree, owner, slice);
    }

    /// Takes in what is counted in a cgroup by now. Its owner, if it is a part of one.
    pub(super) fn count_part(&mut self, id: CgroupId) -> Option<CgroupId> {
        self.parts.owner(id)?;
        self.parts.count(id, self.counted(id))
    }

    /// What is counted in a cgroup by now.
    pub(super) fn counted(&self, id: CgroupId) -> Counted {
        let total = self.model.total(id);
        Counted {
            created: total.created.processes + total.created.threads,
            ended: total.exited.processes + total.exited.threads,
            zombies: self.model.zombies(id).unwrap_or(0),
        }
    }

    /// Path of the cgroup whose a limit is, if one's.
    pub(super) fn limit_path(&self, limit: &Limit) -> Option<&[u8]> {
        let LimitOwner::Cgroup(id) = limit.owner else {
            return None;
        };
        let there = self.tree.get(id).map(|node| &*node.path);
        there.or_else(|| self.model.gone_path(id))
    }

    /// Whose a limit is, if a cgroup's.
    pub(super) fn limit_owner(&mut self, limit: &Limit, now: Instant) -> Option<Owner> {
        match limit.owner {
            LimitOwner::Cgroup(id) => Some(self.owner(id, now)),
            _ => None,
        }
    }

    /// The memory cgroup that refused. It may be in another hierarchy than the one that counts tasks, with
    /// ids of its own.
    pub(super) fn memory_owner(&self, failure: &Failure) -> Option<Owner> {
        let full = failure.evidence.memory;
        let path = self.files.proc().memory_cgroup(failure.pid, full.height)?;
        Some(Owner::new(CgroupId(full.cgroup), Some(path.into())))
    }

    pub(super) fn is_known(&self, id: CgroupId) -> bool {
        self.tree.get(id).is_some() || self.model.is_gone(id)
    }

    /// Their announcement was lost, and perhaps their end as well: who is not found is forgotten in time, or
    /// the kernel side's room for cgroups would be used up.
    pub(super) fn look_for_unknown(&mut self, now: Instant) {
        if !self.unknown.is_empty() {
            self.walk(now);
        }
    }

    /// The container or pod that a failing task of a container runtime works for.
    pub(super) fn on_behalf_of(&mut self, failure: &Failure, now: Instant) -> Option<Owner> {
        let read = |pid| self.files.proc().command_line(pid);
        let container = self.errands.of(failure, &self.tree, read)?;
        if self.upwards(failure.cgroup).any(|id| id == container) {
            return None;
        }
        let container = self.owner(container, now);
        // A sandbox is its pod, to people.
        let is_sandbox = container
            .names
            .as_ref()
            .is_some_and(|names| names.pod.is_some() && names.container.is_none());
        let above = self.tree.upwards(container.id).nth(1).map(|(id, _)| id);
        let pod = above.filter(|_| is_sandbox).map(|id| self.owner(id, now));
        let pod = pod.filter(|pod| pod.identity.pod_uid.is_some());
        Some(pod.unwrap_or(container))
    }

    /// With the names that a container runtime has for the owner, if they are known by now.
    pub(super) fn named(&self, owner: Owner) -> Owner {
        with_names(&self.names, owner)
    }
}

/// The owner at the head of a cgroup's path. Its own cgroup may be gone; then it is known by its parts.
pub(super) fn anchor_at(tree: &Tree, parts: &Parts, part: CgroupId, path: &[u8]) -> Owner {
    let id = parts.owner(part).or_else(|| tree.find(path));
    Owner::new(id.unwrap_or(part), Some(path.into()))
}

/// With the names that a container runtime has for it, if they are known by now.
pub(super) fn with_names(names: &Resolver, owner: Owner) -> Owner {
    Owner {
        names: names.look_up(owner.id, &owner.identity),
        ..owner
    }
}
