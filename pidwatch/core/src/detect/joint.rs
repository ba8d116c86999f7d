//! Owners below one limit, none of which grows enough by itself, and which together take half of it. Pure.

use std::sync::Arc;

use hashbrown::HashMap;

use super::evidence::{Evidence, EvidenceSettings};
use crate::{
    cgroup::CgroupId,
    limits::{Limit, LimitOwner},
};

/// Replicas grow alike: each at least at this share of the fastest one's speed. Others below the limit that
/// grow beside them are not accused with them.
const ALIKE: f64 = 1.0 / 3.0;

/// An owner that grows, and is not called a leak.
#[derive(Clone, Debug)]
pub(super) struct JointGrower {
    pub owner: CgroupId,
    /// Tasks that it gained.
    pub gain: u64,
    /// Tasks a second.
    pub per_s: f64,
    /// The limits above it.
    pub chain: Vec<Limit>,
    /// The workload that it is a replica of, by its kind and name.
    pub workload: Option<Arc<str>>,
}

/// Who is judged together.
#[derive(PartialEq, Eq, Hash)]
enum Group<'a> {
    /// All below the limit of a cgroup.
    Below(CgroupId),
    /// The replicas of a workload, against a limit of the node.
    Replicas(&'a str, &'static str),
}

impl<'a> Group<'a> {
    fn of(member: &'a JointGrower, limit: &Limit) -> Option<Self> {
        match (limit.owner, &member.workload) {
            (LimitOwner::Cgroup(id), _) => Some(Self::Below(id)),
            (LimitOwner::Node, Some(workload)) => Some(Self::Replicas(workload, limit.name)),
            _ => None,
        }
    }
}

/// Those that together have taken so much of a limit's headroom that they are a leak, with what shows it.
/// The node's limits have everybody below them, who grow for reasons of their own: against those only the replicas of one
/// workload count together.
pub(super) fn together(
    members: &[JointGrower],
    settings: &EvidenceSettings,
) -> Vec<(CgroupId, Evidence)> {
    let mut groups: HashMap<Group<'_>, (Limit, Vec<&JointGrower>)> = HashMap::new();
    for member in members {
        for limit in &member.chain {
            if let Some(group) = Group::of(member, limit) {
                let (_, members) = groups.entry(group).or_insert((*limit, Vec::new()));
                members.push(member);
            }
        }
    }
    let mut found: Vec<(CgroupId, Evidence)> = Vec::new();
    for (limit, members) in groups.into_values() {
        let fastest = members
            .iter()
            .map(|member| member.per_s)
            .fold(0.0, f64::max);
        let gained: u64 = members.iter().map(|member| member.gain).sum();
        let headroom = limit.value.saturating_sub(limit.usage) + gained;
        let alike = members
            .into_iter()
            .filter(|member| member.per_s >= ALIKE * fastest);
        let alike: Vec<&JointGrower> = alike.collect();
        let taken: u64 = alike.iter().map(|member| member.gain).sum();
        let share = taken as f64 / headroom.max(1) as f64;
        if alike.len() > 1 && share >= settings.joint_share {
            let evidence = Evidence::of_joint(
                limit.name,
                alike.len() - 1,
                workload_of(&alike),
                (taken, share),
            );
            found.extend(alike.iter().map(|member| (member.owner, evidence.clone())));
        }
    }
    // Of two limits one is enough.
    found.sort_by_key(|(owner, _)| *owner);
    found.dedup_by_key(|(owner, _)| *owner);
    found
}

/// The workload that all of them are replicas of.
fn workload_of<'a>(members: &[&'a JointGrower]) -> Option<&'a str> {
    let first = members.first()?.workload.as_deref()?;
    let mut all = members.iter();
    all.all(|member| member.workload.as_deref() == Some(first))
        .then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(owner: LimitOwner, value: u64, usage: u64) -> Limit {
        Limit {
            name: "pids.max",
            value,
            usage,
            owner,
        }
    }

    fn member(owner: u64, gain: u64, per_s: f64, limit: Limit) -> JointGrower {
        JointGrower {
            owner: CgroupId(owner),
            gain,
            per_s,
            chain: vec![limit],
            workload: None,
        }
    }

    fn accused(members: &[JointGrower]) -> Vec<u64> {
        let found = together(members, &EvidenceSettings::default());
        found.iter().map(|(owner, _)| owner.0).collect()
    }

    #[test]
    fn replicas_that_together_take_half_of_their_pods_limit_are_a_leak() {
        let pod = |usage| limit(LimitOwner::Cgroup(CgroupId(9)), 1500, usage);
        let replicas = |gain| [1, 2, 3].map(|id| member(id, gain, 0.7, pod(6 + 3 * gain)));
        assert!(accused(&replicas(240)).is_empty());
        assert_eq!(accused(&replicas(250)), [1, 2, 3]);
        let found = together(&replicas(250), &EvidenceSettings::default());
        assert_eq!(
            found[0].1.text,
            "together with 2 others that grow alike 750 tasks, 50 % of the headroom of pids.max"
        );
    }

    #[test]
    fn who_grows_slowly_beside_them_and_who_grows_alone_is_not_accused() {
        let pod = limit(LimitOwner::Cgroup(CgroupId(9)), 1500, 1000);
        let (one, other) = (member(1, 400, 0.7, pod), member(2, 400, 0.8, pod));
        let sidecar = member(3, 50, 0.1, pod);
        assert_eq!(accused(&[one.clone(), other, sidecar.clone()]), [1, 2]);
        assert!(accused(&[one, sidecar]).is_empty());
    }

    #[test]
    fn replicas_of_one_workload_are_judged_together_by_the_nodes_limits() {
        let node = limit(LimitOwner::Node, 1500, 1000);
        let replica = |id, workload: &str| JointGrower {
            workload: Some(workload.into()),
            ..member(id, 300, 0.7, node)
        };
        let cart = "Deployment shop/cart";
        let members = [
            replica(1, cart),
            replica(2, cart),
            replica(3, cart),
            replica(4, "Deployment shop/web"),
        ];
        assert_eq!(accused(&members), [1, 2, 3]);
        let found = together(&members, &EvidenceSettings::default());
        let text = &found[0].1.text;
        let expected = "together with 2 others of Deployment shop/cart that grow alike 900 tasks";
        assert!(text.starts_with(expected), "{text}");
        // By two workloads nothing is proven against either.
        assert!(accused(&[replica(1, cart), replica(4, "Deployment shop/web")]).is_empty());
    }

    #[test]
    fn who_only_shares_the_node_is_not_accused() {
        let node = limit(LimitOwner::Node, 1500, 1000);
        assert!(accused(&[1, 2, 3].map(|id| member(id, 300, 0.7, node))).is_empty());
    }
}
