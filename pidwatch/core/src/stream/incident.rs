//! An incident, written and read back.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    LimitHolder, LimitId, OwnerRef, Word,
    limit::user_or_namespace,
    numbers::{nanoseconds, rounded},
};
use crate::{
    clock::{BootTime, between},
    escape,
    incident::{self, Phase},
    values::about,
};

/// An incident as it stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct IncidentEvent {
    /// Its own.
    pub id: String,
    /// `opened`, `updated` or `closed`.
    pub phase: Word<Phase>,
    /// The limit's name.
    pub limit: Cow<'static, str>,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The user whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The PID namespace whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u32>,
    /// The limit as it was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// What of it was used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    /// The most that was used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// When it opened.
    #[serde(serialize_with = "nanoseconds")]
    pub opened: Timestamp,
    /// Who ate the headroom, the largest share first.
    pub culprits: Vec<CulpritEntry>,
    /// Who was refused, most often first.
    pub victims: Vec<VictimEntry>,
    /// Creations refused in all.
    pub failures: u64,
    /// What happened when.
    pub timeline: Vec<TimelinePoint>,
    /// In words.
    pub summary: String,
}

/// Who eats a limit's headroom.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CulpritEntry {
    /// Who.
    #[serde(flatten)]
    pub owner: OwnerRef,
    /// Path of the cgroup inside of it that most of it comes from, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
    /// Its share of the growth or, where nothing grows, of what is held; 0 to 1.
    pub share: f64,
    /// Tasks a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// The most tasks it had.
    pub tasks: u64,
}

impl CulpritEntry {
    /// What people call it or, where most comes from one, the cgroup inside of it; safe to show.
    pub fn name(&self) -> String {
        self.owner.name_with_part(self.inside.as_deref())
    }
}

/// Who suffers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VictimEntry {
    /// Who.
    #[serde(flatten)]
    pub owner: OwnerRef,
    /// Creations refused.
    pub failures: u64,
    /// Names of the tasks that were refused, and how often each was told.
    pub comms: BTreeMap<String, u64>,
}

/// A point of a timeline.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TimelinePoint {
    /// When.
    #[serde(serialize_with = "nanoseconds")]
    pub time: Timestamp,
    /// `first_sign`, `flagged`, `first_failure`, `victim`, `full`, `peak`, `calm`, `closed`, `restarted`.
    pub what: Word<incident::What>,
    /// In words.
    pub text: String,
}

impl IncidentEvent {
    /// Which limit it is about.
    pub fn limit_id(&self) -> LimitId {
        LimitId {
            name: self.limit.clone(),
            cgroup: self.cgroup.clone(),
            uid: self.uid,
            pid_namespace: self.pid_namespace,
        }
    }

    /// Whose limit it is.
    pub fn holder(&self) -> LimitHolder<'_> {
        let cgroup = self.cgroup.as_deref();
        LimitHolder::of(&self.limit, cgroup, self.uid, self.pid_namespace)
    }

    /// How long it lasts, in words.
    pub fn lasted(&self, now: Timestamp) -> String {
        about(between(self.opened, now).max(Duration::from_secs(1)))
    }

    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// An incident; `wall` gives a moment's wall time.
    pub fn of(incident: &incident::Incident, wall: impl Fn(BootTime) -> Timestamp) -> Self {
        let limit = &incident.limit;
        let (uid, pid_namespace) = user_or_namespace(limit.owner);
        let mut told = Self {
            id: incident.id.clone(),
            phase: incident.phase.into(),
            limit: limit.name.into(),
            cgroup: limit.path.as_deref().map(escape::for_json),
            uid,
            pid_namespace,
            value: incident.value,
            usage: incident.usage,
            peak: incident.peak,
            opened: wall(incident.opened),
            culprits: incident
                .culprits
                .iter()
                .map(|culprit| CulpritEntry {
                    owner: (&culprit.owner).into(),
                    inside: culprit
                        .inside
                        .as_ref()
                        .and_then(|inside| inside.path.as_deref().map(escape::for_json)),
                    share: rounded(culprit.share),
                    growth_per_s: culprit.growth_per_s.map(rounded),
                    tasks: culprit.tasks,
                })
                .collect(),
            victims: incident
                .victims
                .iter()
                .map(|victim| VictimEntry {
                    owner: (&victim.owner).into(),
                    failures: victim.failures,
                    comms: victim
                        .comms
                        .iter()
                        .map(|(comm, n)| (escape::for_json(comm), *n))
                        .collect(),
                })
                .collect(),
            failures: incident.failures,
            timeline: incident
                .timeline
                .iter()
                .map(|moment| TimelinePoint {
                    time: wall(moment.time),
                    what: moment.what.into(),
                    text: moment.text.clone(),
                })
                .collect(),
            summary: String::new(),
        };
        told.summarize();
        told
    }
}
