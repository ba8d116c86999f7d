//! Cgroups inside of a container or a unit: what is counted in a part counts as its owner's too. Pure.
//!
//! In: cgroups with the owner that their path names, and their counters. Out: a part's owner, and the sum
//! over all parts of one.

use hashbrown::HashMap;

use crate::{
    cgroup::{CgroupId, Tree},
    identity::anchor,
};

/// What is counted in a cgroup since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub created: u64,
    pub ended: u64,
    /// May fall.
    pub zombies: u64,
}

impl Counted {
    /// With what came to one of its parts since `before`.
    fn and(self, before: Self, now: Self) -> Self {
        let sum = |sum: u64, before: u64, now: u64| (sum + now).saturating_sub(before);
        Self {
            created: sum(self.created, before.created, now.created),
            ended: sum(self.ended, before.ended, now.ended),
            zombies: sum(self.zombies, before.zombies, now.zombies),
        }
    }
}

#[derive(Debug)]
struct Part {
    owner: CgroupId,
    counted: Counted,
}

#[derive(Debug, Default)]
struct Whole {
    parts: usize,
    /// Of all parts, those that are gone too.
    counted: Counted,
}

/// All parts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: HashMap<CgroupId, Part>,
    wholes: HashMap<CgroupId, Whole>,
}

impl Parts {
    /// Learns whose a cgroup is, as its path says.
    pub fn learn_by_path(&mut self, tree: &Tree, id: CgroupId) {
        let path = tree.get(id).map(|node| &*node.path);
        let owner = path.and_then(|path| {
            let anchor = anchor(path)?;
            (anchor.len() < path.len()).then(|| tree.find(anchor))?
        });
        self.learn(id, owner);
    }

    /// A cgroup is a part of this owner; `None`: of none.
    pub fn learn(&mut self, cgroup: CgroupId, owner: Option<CgroupId>) {
        let known = self.parts.get(&cgroup).map(|part| part.owner);
        if known == owner {
            return;
        }
        self.forget(cgroup);
        if let Some(owner) = owner {
            self.wholes.entry(owner).or_default().parts += 1;
            let counted = Counted::default();
            self.parts.insert(cgroup, Part { owner, counted });
        }
    }

    /// The owner that a cgroup is a part of; `None` where it is its own.
    pub fn owner(&self, cgroup: CgroupId) -> Option<CgroupId> {
        self.parts.get(&cgroup).map(|part| part.owner)
    }

    /// Whether two cgroups belong to the same owner.
    pub fn is_same_owner(&self, one: CgroupId, other: CgroupId) -> bool {
        self.owner(one).unwrap_or(one) == self.owner(other).unwrap_or(other)
    }

    /// Takes in what is counted in a cgroup by now. Its owner, if it is a part.
    pub fn count(&mut self, cgroup: CgroupId, now: Counted) -> Option<CgroupId> {
        let part = self.parts.get_mut(&cgroup)?;
        let before = std::mem::replace(&mut part.counted, now);
        let whole = self.wholes.get_mut(&part.owner)?;
        whole.counted = whole.counted.and(before, now);
        Some(part.owner)
    }

    /// What is counted in the parts of an owner; `None` if it has none.
    pub fn of(&self, owner: CgroupId) -> Option<Counted> {
        self.wholes.get(&owner).map(|whole| whole.counted)
    }

    /// Nothing more will come of this cgroup. What was created and ended in a part stays its owner's.
    pub fn forget(&mut self, cgroup: CgroupId) {
        let Some(part) = self.parts.remove(&cgroup) else {
            return;
        };
        let Some(whole) = self.wholes.get_mut(&part.owner) else {
            return;
        };
        whole.parts -= 1;
        let now = Counted {
            zombies: 0,
            ..part.counted
        };
        whole.counted = whole.counted.and(part.counted, now);
    }

    /// The cgroup of an owner is gone for good.
    pub fn forget_owner(&mut self, owner: CgroupId) {
        if self
            .wholes
            .get(&owner)
            .is_some_and(|whole| whole.parts == 0)
        {
            self.wholes.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: CgroupId = CgroupId(1);

    fn counted(created: u64, ended: u64, zombies: u64) -> Counted {
        Counted {
            created,
            ended,
            zombies,
        }
    }

    #[test]
    fn an_owner_has_what_its_parts_have_and_keeps_what_they_did() {
        let mut parts = Parts::default();
        for id in [2, 3] {
            parts.learn(CgroupId(id), Some(OWNER));
        }
        assert_eq!(parts.count(CgroupId(2), counted(10, 4, 2)), Some(OWNER));
        assert_eq!(parts.count(CgroupId(3), counted(5, 5, 1)), Some(OWNER));
        assert_eq!(parts.count(CgroupId(2), counted(12, 9, 0)), Some(OWNER));
        assert_eq!(parts.of(OWNER), Some(counted(17, 14, 1)));
        parts.forget(CgroupId(3));
        assert_eq!(parts.of(OWNER), Some(counted(17, 14, 0)));
        assert_eq!(parts.owner(CgroupId(3)), None);
        assert!(parts.is_same_owner(CgroupId(2), OWNER));
        assert!(!parts.is_same_owner(CgroupId(2), CgroupId(3)));
        assert_eq!(parts.count(CgroupId(3), counted(6, 6, 0)), None);
    }

    #[test]
    fn who_moves_to_another_owner_is_counted_there() {
        let mut parts = Parts::default();
        parts.learn(CgroupId(2), Some(OWNER));
        parts.count(CgroupId(2), counted(10, 4, 2));
        parts.learn(CgroupId(2), Some(CgroupId(9)));
        parts.count(CgroupId(2), counted(11, 4, 2));
        assert_eq!(parts.of(CgroupId(9)), Some(counted(11, 4, 2)));
        parts.learn(CgroupId(2), None);
        assert_eq!(parts.owner(CgroupId(2)), None);
    }

    #[test]
    fn thousands_of_parts_come_and_go_and_nothing_stays() {
        let mut parts = Parts::default();
        for id in 10..20_000 {
            parts.learn(CgroupId(id), Some(OWNER));
            parts.count(CgroupId(id), counted(1, 1, 0));
            parts.forget_owner(OWNER);
            parts.forget(CgroupId(id));
        }
        assert_eq!(parts.of(OWNER), Some(counted(19_990, 19_990, 0)));
        assert!(parts.parts.is_empty());
        parts.forget_owner(OWNER);
        assert!(parts.wholes.is_empty());
    }
}
