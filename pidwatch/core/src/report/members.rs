//! Which cgroups of a stream are one owner: those inside of a container or a unit, and those that were made
//! anew at the same path. Pure.
//!
//! In: owners as lines name them, and what their lines count. Out: one owner for all of them, with the sum.

use hashbrown::HashMap;

use crate::{cgroup::CgroupId, identity, stream::OwnerRef};

/// Owners and cgroups that are known at a time; beyond, a cgroup stands for itself.
const MOST: usize = 16 * 1024;

/// What is counted in an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Tasks; `None` if no line has said.
    pub tasks: Option<u64>,
    /// Processes and threads created.
    pub created: [u64; 2],
}

#[derive(Clone, Debug, Default)]
struct MemberSum {
    id: u64,
    tasks: Option<u64>,
    created: [u64; 2],
}

#[derive(Clone, Debug)]
struct Member {
    path: Box<str>,
    counted: MemberCounts,
}

/// All owners that have a path.
#[derive(Clone, Debug, Default)]
pub struct Members {
    wholes: HashMap<Box<str>, MemberSum>,
    members: HashMap<u64, Member>,
}

impl Members {
    /// The container or unit that a cgroup belongs to, under the id that it was first seen with.
    pub fn owner(&mut self, owner: &OwnerRef) -> OwnerRef {
        let mut whole = owner.clone();
        let Some(path) = &mut whole.cgroup.path else {
            return whole;
        };
        if let Some(anchor) = identity::anchor(path.as_bytes()) {
            path.truncate(anchor.len());
        }
        if let Some(known) = self.wholes.get(path.as_str()) {
            whole.cgroup.id = known.id;
        } else if self.wholes.len() < MOST {
            let id = whole.cgroup.id;
            let known = MemberSum {
                id,
                ..MemberSum::default()
            };
            self.wholes.insert(path.as_str().into(), known);
        }
        whole
    }

    /// Whether a cgroup is a part of the owner that it belongs to, and not its own.
    pub fn is_part(owner: &OwnerRef) -> bool {
        let cgroup = owner
            .cgroup
            .path
            .clone()
            .map(|path| path.into_bytes().into());
        let cgroup = identity::Owner::new(CgroupId(owner.cgroup.id), cgroup);
        cgroup.anchor().is_some()
    }

    /// Takes in what a line counts in a cgroup; what is counted in its owner by then.
    pub fn count(&mut self, owner: &OwnerRef, now: MemberCounts) -> MemberCounts {
        let whole = self.owner(owner);
        let path = whole.cgroup.path.unwrap_or_default();
        let id = owner.cgroup.id;
        let has_room = self.members.len() < MOST || self.members.contains_key(&id);
        let Some(whole) = self.wholes.get_mut(path.as_str()).filter(|_| has_room) else {
            return now;
        };
        let member = self.members.entry(id).or_insert_with(|| Member {
            path: path.into(),
            counted: MemberCounts::default(),
        });
        let before = std::mem::replace(&mut member.counted, now);
        if let Some(tasks) = now.tasks {
            let others = whole
                .tasks
                .unwrap_or(0)
                .saturating_sub(before.tasks.unwrap_or(0));
            whole.tasks = Some(others.saturating_add(tasks));
        } else {
            member.counted.tasks = before.tasks;
        }
        for (sum, (before, now)) in whole
            .created
            .iter_mut()
            .zip(before.created.into_iter().zip(now.created))
        {
            *sum = sum.saturating_add(now.saturating_sub(before));
        }
        whole.counted()
    }

    /// A cgroup is gone, and its tasks with it. What its owner has left.
    pub fn removed(&mut self, owner: &OwnerRef) -> Option<u64> {
        let member = self.members.remove(&owner.cgroup.id)?;
        let whole = self.wholes.get_mut(&member.path)?;
        let tasks = whole
            .tasks?
            .saturating_sub(member.counted.tasks.unwrap_or(0));
        whole.tasks = Some(tasks);
        whole.tasks
    }

    /// Counters begin anew.
    pub fn restarted(&mut self) {
        for member in self.members.values_mut() {
            member.counted.created = [0; 2];
        }
        for whole in self.wholes.values_mut() {
            whole.created = [0; 2];
        }
    }
}

impl MemberSum {
    fn counted(&self) -> MemberCounts {
        MemberCounts {
            tasks: self.tasks,
            created: self.created,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::CgroupRef;

    fn owner(id: u64, path: &str) -> OwnerRef {
        OwnerRef {
            cgroup: CgroupRef {
                id,
                path: Some(path.to_owned()),
            },
            k8s: None,
            runtime: None,
            unit: None,
        }
    }

    fn counted(tasks: u64, threads: u64) -> MemberCounts {
        MemberCounts {
            tasks: Some(tasks),
            created: [0, threads],
        }
    }

    #[test]
    fn an_owner_has_what_all_its_cgroups_have() {
        let mut members = Members::default();
        let whole = owner(1, "/system.slice/web.service");
        let parts = [2, 3].map(|id| owner(id, &format!("/system.slice/web.service/w{id}")));
        assert_eq!(members.count(&whole, counted(1, 0)), counted(1, 0));
        assert_eq!(members.count(&parts[0], counted(10, 12)), counted(11, 12));
        assert_eq!(members.count(&parts[1], counted(5, 5)), counted(16, 17));
        assert_eq!(members.count(&parts[0], counted(4, 13)), counted(10, 18));
        assert_eq!(members.owner(&parts[1]), whole);
        assert!(Members::is_part(&parts[0]) && !Members::is_part(&whole));
        assert_eq!(members.removed(&parts[0]), Some(6));
        assert_eq!(members.removed(&parts[0]), None);
        members.restarted();
        assert_eq!(members.count(&parts[1], counted(5, 2)), counted(6, 2));
    }

    #[test]
    fn what_is_made_anew_at_a_path_is_the_same_owner() {
        let mut members = Members::default();
        for id in 10..20 {
            let it = owner(id, "/app");
            assert_eq!(members.owner(&it).cgroup.id, 10);
            let threads = 3 * (id - 9);
            assert_eq!(members.count(&it, counted(2, 3)), counted(2, threads));
            assert_eq!(members.removed(&it), Some(0));
        }
        assert!(members.members.is_empty());
        let gone = OwnerRef {
            cgroup: CgroupRef { id: 5, path: None },
            ..owner(5, "")
        };
        assert_eq!(members.owner(&gone), gone);
        assert_eq!(members.count(&gone, counted(2, 3)), counted(2, 3));
    }
}
