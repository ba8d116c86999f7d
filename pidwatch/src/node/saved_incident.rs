//! An open incident as the state file has it, and back.
//!
//! In: the incident; cgroups as they are after the restart. Out: the same incident. Ids are those of the
//! cgroups that have the paths now; one that is gone keeps the id that was saved with it, and what has
//! none is left out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::{CgroupId, Tree},
    clock::BootTime,
    identity::Owner,
    incident::{Culprit, Incident, LimitKey, Moment, Victim},
    limits::{Limit, LimitOwner},
    stream,
};

/// An incident as it was told, with what lines lack.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct SavedIncident {
    #[serde(flatten)]
    incident: stream::IncidentEvent,
    /// Id of the cgroup whose limit it is; 0.1.0 had it only in the incident's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<u64>,
}

impl SavedIncident {
    /// An incident; `wall` gives a moment's wall time.
    pub fn of(incident: &Incident, wall: impl Fn(BootTime) -> Timestamp) -> Self {
        Self {
            cgroup_id: match incident.limit.owner {
                LimitOwner::Cgroup(id) => Some(id.0),
                LimitOwner::Node | LimitOwner::User(_) | LimitOwner::PidNamespace(_) => None,
            },
            incident: stream::IncidentEvent::of(incident, wall),
        }
    }

    /// Back to what it was made of; `boot` gives the moment of a wall time. `None` when its phase or its
    /// limit is none that is known here, or the limit's cgroup cannot be made out.
    pub fn restore(self, tree: &Tree, boot: impl Fn(Timestamp) -> BootTime) -> Option<Incident> {
        let Self {
            incident: saved,
            cgroup_id,
        } = self;
        let limit = LimitKey {
            name: Limit::known_name(&saved.limit)?,
            owner: match saved.holder() {
                stream::LimitHolder::Node => LimitOwner::Node,
                stream::LimitHolder::User(uid) => LimitOwner::User(uid),
                stream::LimitHolder::PidNamespace(inum) => LimitOwner::PidNamespace(inum),
                stream::LimitHolder::Cgroup(path) => {
                    let there = path.and_then(|path| tree.find(path.as_bytes()));
                    let saved = || {
                        let id = cgroup_id.or_else(|| cgroup_in(&saved.id, &saved.limit));
                        id.map(CgroupId)
                    };
                    LimitOwner::Cgroup(there.or_else(saved)?)
                }
            },
            path: saved.cgroup.map(|path| path.into_bytes().into()),
        };
        let timeline = saved.timeline.into_iter();
        let timeline = timeline.filter_map(|moment| {
            Some(Moment {
                time: boot(moment.time),
                what: moment.what.known()?,
                text: moment.text,
            })
        });
        Some(Incident {
            id: saved.id,
            phase: saved.phase.known()?,
            limit,
            value: saved.value,
            usage: saved.usage,
            peak: saved.peak,
            opened: boot(saved.opened),
            culprits: saved
                .culprits
                .into_iter()
                .map(|culprit| restore_culprit(culprit, tree))
                .collect(),
            victims: saved.victims.into_iter().map(restore_victim).collect(),
            failures: saved.failures,
            timeline: timeline.collect(),
        })
    }
}

/// The cgroup in an incident's id: `pids.max-108089-633564`.
fn cgroup_in(id: &str, limit: &str) -> Option<u64> {
    let rest = id.strip_prefix(limit)?.strip_prefix('-')?;
    rest.split_once('-')?.0.parse().ok()
}

fn restore_culprit(saved: stream::CulpritEntry, tree: &Tree) -> Culprit {
    let owner = Owner::from(&saved.owner);
    let inside = saved.inside.and_then(|path| {
        let id = tree.find(path.as_bytes())?;
        Some(Owner {
            names: owner.names.clone(),
            ..Owner::new(id, Some(path.into_bytes().into()))
        })
    });
    Culprit {
        owner,
        inside,
        share: saved.share,
        growth_per_s: saved.growth_per_s,
        tasks: saved.tasks,
    }
}

fn restore_victim(saved: stream::VictimEntry) -> Victim {
    let comms = saved.comms.into_iter();
    Victim {
        owner: Owner::from(&saved.owner),
        failures: saved.failures,
        comms: comms.map(|(comm, n)| (comm.into_bytes(), n)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{Phase, What};

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.insert(CgroupId(1), b"/");
        tree.insert(CgroupId(7), b"/demo");
        tree.insert(CgroupId(8), b"/demo/a.service");
        tree.insert(CgroupId(9), b"/demo/a.service/worker");
        tree
    }

    fn incident(path: &[u8]) -> Incident {
        let owner = |id, path: &[u8]| Owner::new(CgroupId(id), Some(path.into()));
        Incident {
            id: "pids.max-7-100000".into(),
            phase: Phase::Updated,
            limit: LimitKey {
                name: "pids.max",
                owner: LimitOwner::Cgroup(CgroupId(7)),
                path: Some(path.into()),
            },
            value: Some(100),
            usage: Some(99),
            peak: Some(100),
            opened: BootTime::from_seconds(100),
            culprits: vec![Culprit {
                owner: owner(8, b"/demo/a.service"),
                inside: Some(owner(9, b"/demo/a.service/worker")),
                share: 0.5,
                growth_per_s: Some(41.0),
                tasks: 90,
            }],
            victims: vec![Victim {
                owner: owner(77, b"/demo/gone.service"),
                failures: 4,
                comms: vec![(b"runc".into(), 4)],
            }],
            failures: 22,
            timeline: vec![Moment {
                time: BootTime::from_seconds(101),
                what: What::Flagged,
                text: "flagged".into(),
            }],
        }
    }

    /// To JSON and back, which `change` may change.
    fn restored(
        incident: &Incident,
        tree: &Tree,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Option<Incident> {
        let wall = |time: BootTime| Timestamp::from_second(time.seconds() as i64).unwrap();
        let boot = |time: Timestamp| BootTime::from_seconds(time.as_second() as u64);
        let mut json = serde_json::to_value(SavedIncident::of(incident, wall)).unwrap();
        change(&mut json);
        let saved: SavedIncident = serde_json::from_value(json).unwrap();
        saved.restore(tree, boot)
    }

    #[test]
    fn all_of_an_incident_is_there_again() {
        for owner in [
            LimitOwner::Cgroup(CgroupId(7)),
            LimitOwner::Node,
            LimitOwner::User(1000),
            LimitOwner::PidNamespace(4_026_531_836),
        ] {
            let mut incident = incident(b"/demo");
            if !matches!(owner, LimitOwner::Cgroup(_)) {
                incident.limit = LimitKey {
                    name: "kernel.pid_max",
                    owner,
                    path: None,
                };
            }
            assert_eq!(restored(&incident, &tree(), |_| {}), Some(incident));
        }
    }

    #[test]
    fn a_cgroup_is_found_by_its_path_and_one_that_is_gone_keeps_its_id() {
        let made_anew = restored(&incident(b"/demo/a.service"), &tree(), |_| {}).unwrap();
        assert_eq!(made_anew.limit.owner, LimitOwner::Cgroup(CgroupId(8)));
        let gone = restored(&incident(b"/gone"), &tree(), |_| {}).unwrap();
        assert_eq!(gone.limit.owner, LimitOwner::Cgroup(CgroupId(7)));
        let without_parts = restored(&incident(b"/gone"), &Tree::default(), |_| {}).unwrap();
        assert_eq!(without_parts.culprits[0].inside, None);
    }

    #[test]
    fn what_0_1_0_wrote_has_its_cgroup_in_the_incident_s_id() {
        let old = |json: &mut serde_json::Value| {
            json.as_object_mut().unwrap().remove("cgroup_id");
        };
        for path in [&b"/demo"[..], b"/gone"] {
            let incident = incident(path);
            assert_eq!(restored(&incident, &tree(), old), Some(incident));
        }
        let foreign = |json: &mut serde_json::Value| {
            old(json);
            json["id"] = "night-7".into();
        };
        let there = restored(&incident(b"/demo"), &tree(), foreign).unwrap();
        assert_eq!(there.limit.owner, LimitOwner::Cgroup(CgroupId(7)));
        assert_eq!(restored(&incident(b"/gone"), &tree(), foreign), None);
    }

    #[test]
    fn what_a_later_version_calls_otherwise_is_left_out() {
        for field in ["limit", "phase"] {
            let later = |json: &mut serde_json::Value| json[field] = "of_2030".into();
            assert_eq!(restored(&incident(b"/demo"), &tree(), later), None);
        }
        let moment = |json: &mut serde_json::Value| json["timeline"][0]["what"] = "tea".into();
        let restored = restored(&incident(b"/demo"), &tree(), moment).unwrap();
        assert_eq!(restored.timeline, []);
    }
}
