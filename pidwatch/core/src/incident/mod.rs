//! Incidents: one for each limit that stops, or soon will stop, somebody from creating tasks.
//!
//! In: failed creations with their reasons, who grows how fast below which limits. Out: incidents
//! that open, go on and close, each with its limit, its culprits (who eats the headroom), its victims
//! (who is refused though it does not grow) and its timeline. Pure: time comes in as an argument.

mod model;
mod open;
mod parties;
mod settings;
mod timeline;

use hashbrown::{HashMap, HashSet};

pub use self::{
    model::{Culprit, Incident, LimitKey, Phase, Victim},
    open::NodeView,
    settings::IncidentSettings,
    timeline::{Moment, What},
};
use self::{
    open::{MOST_OWNERS, Open, seen},
    parties::{blame, suffer},
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{Grower, State},
    identity::Owner,
    limits::{FailedClone, Limit, LimitOwner, Reason},
};

/// Names of tasks that are kept of a victim.
const MOST_COMMS: usize = 8;

/// All incidents that are open.
#[derive(Debug, Default)]
pub struct Tracker {
    settings: IncidentSettings,
    open: Vec<Open>,
}

impl Tracker {
    /// With other thresholds.
    pub fn new(settings: IncidentSettings) -> Self {
        Self {
            settings,
            open: Vec::new(),
        }
    }

    /// Goes on with an incident that was open when pidwatch ended.
    pub fn restore(&mut self, mut incident: Incident, now: BootTime) {
        timeline::note(
            &mut incident.timeline,
            now,
            What::Restarted,
            "pidwatch was restarted".into(),
        );
        let refused = incident.victims.iter();
        let refused = refused
            .map(|victim| (victim.owner.key(), victim.clone()))
            .collect();
        self.open.push(Open {
            failures_told: incident.failures,
            flagged: incident
                .culprits
                .iter()
                .map(|culprit| culprit.owner.key())
                .collect(),
            incident,
            refused,
            failing: HashMap::new(),
            told: now,
            alive: now,
            has_news: true,
            is_due: false,
        });
    }

    /// The incidents that are open.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter().map(|open| &open.incident)
    }

    /// A creation was refused in a cgroup of `anchor`, the container or unit that it belongs to. Opens an
    /// incident if it was by a limit.
    pub fn failed(&mut self, failed: &FailedClone, anchor: &Owner) {
        let Some(key) = key_of(failed) else { return };
        let time = failed.failure.time;
        let open = self.at(&key, time);
        let incident = &mut open.incident;
        if incident.failures == 0 {
            let text = format!(
                "first refused creation: {} in {}",
                crate::escape::for_terminal(&failed.failure.comm),
                failed.sufferer().name(),
            );
            timeline::note(&mut incident.timeline, time, What::FirstFailure, text);
            open.has_news = true;
        }
        incident.failures += 1;
        if let Some(limit) = failed.verdict.limit {
            seen(incident, limit.value, limit.usage);
        }
        open.alive = open.alive.max(time);
        note_failing(open, failed, anchor);
        let victim = failed.on_behalf_of.as_ref().unwrap_or(anchor);
        if let Some(victim) = refused(open, victim) {
            victim.failures += 1;
            add_comm(&mut victim.comms, &failed.failure.comm, 1);
        }
    }

    /// Creations of a cgroup were refused of which there is no record. They are counted where it was last
    /// refused; for whom a container runtime worked then is not known.
    pub fn failed_unrecorded(&mut self, cgroup: CgroupId, count: u64) {
        let last = self.open.iter_mut().max_by_key(|open| {
            let failing = open.failing.get(&cgroup);
            failing.map(|(time, _)| *time)
        });
        let Some(open) = last else { return };
        let Some((_, owner)) = open.failing.get(&cgroup).cloned() else {
            return;
        };
        open.incident.failures += count;
        if let Some(victim) = refused(open, &owner) {
            victim.failures += count;
        }
    }

    /// Looks at who grows, and tells what opened, went on and closed. To be called about once a
    /// second, after the detector looked.
    pub fn look(
        &mut self,
        time: BootTime,
        growers: &[Grower],
        view: &impl NodeView,
    ) -> Vec<Incident> {
        // An owner before its parts: what is told of it says it for them.
        let (owners, parts): (Vec<_>, Vec<_>) =
            growers.iter().partition(|grower| grower.part_of.is_none());
        for grower in owners.into_iter().chain(parts) {
            self.note_leak(time, grower, view);
        }
        let settings = &self.settings;
        for open in &mut self.open {
            name(open, view);
            let is_time = open.has_news || time.since(open.told) >= settings.update_every;
            open.is_due = is_time && open.incident.failures > open.failures_told;
            blame(open, time, growers, view);
            suffer(open, time);
        }
        let mut told = Vec::new();
        self.open.retain_mut(|open| {
            let is_over = time.since(open.alive) >= settings.calm;
            let opens = open.incident.phase == Phase::Opened;
            if is_over {
                close(open, time);
            } else if !(open.has_news || open.is_due) {
                return true;
            }
            told.push(open.incident.clone());
            if opens && is_over {
                // Nobody heard of it yet.
                told.last_mut().expect("pushed above").phase = Phase::Opened;
                told.push(open.incident.clone());
            }
            open.incident.phase = Phase::Updated;
            open.told = time;
            open.failures_told = open.incident.failures;
            open.has_news = false;
            !is_over
        });
        told
    }

    /// Opens an incident for a leak that will hit its limit within the horizon, or keeps it open.
    fn note_leak(&mut self, time: BootTime, grower: &Grower, view: &impl NodeView) {
        let Some(verdict) = view.verdict(grower.owner) else {
            return;
        };
        if !matches!(verdict.state, State::Leaking | State::Saturated) {
            return;
        }
        let Some(exhaustion) = verdict.exhaustion else {
            return;
        };
        if exhaustion.in_s > self.settings.horizon.as_secs_f64() {
            return;
        }
        let limit = exhaustion.limit;
        let path = match limit.owner {
            LimitOwner::Cgroup(id) => view.owner(id).path,
            _ => None,
        };
        let key = LimitKey {
            name: limit.name,
            owner: limit.owner,
            path,
        };
        let owner = view.owner(grower.owner);
        let open = self.at(&key, time);
        open.alive = open.alive.max(time);
        if open.flagged.len() < MOST_OWNERS && open.flagged.insert(owner.key()) {
            let name = owner.name();
            let timeline = &mut open.incident.timeline;
            let text = format!("{name} begins to grow");
            timeline::note(timeline, verdict.since, What::FirstSign, text);
            let text = format!("{name} is {}: {}", verdict.state.name(), verdict.why);
            timeline::note(timeline, time, What::Flagged, text);
            open.has_news = true;
        }
    }

    /// The open incident about a limit, or a new one.
    fn at(&mut self, key: &LimitKey, time: BootTime) -> &mut Open {
        let same = |open: &Open| open.incident.limit.is_same(key);
        if let Some(index) = self.open.iter().position(same) {
            let open = &mut self.open[index];
            // Its cgroup may be another one by now.
            open.incident.limit.owner = key.owner;
            return open;
        }
        self.open.push(Open {
            incident: Incident {
                id: id(key, time),
                phase: Phase::Opened,
                limit: key.clone(),
                value: None,
                usage: None,
                peak: None,
                opened: time,
                culprits: Vec::new(),
                victims: Vec::new(),
                failures: 0,
                timeline: Vec::new(),
            },
            refused: HashMap::new(),
            failing: HashMap::new(),
            flagged: HashSet::new(),
            told: time,
            alive: time,
            has_news: true,
            is_due: false,
            failures_told: 0,
        });
        self.open.last_mut().expect("pushed above")
    }
}

/// Notes in which cgroup creations fail, in place of the one that has not failed for longest if there are
/// many.
fn note_failing(open: &mut Open, failed: &FailedClone, anchor: &Owner) {
    let failing = &mut open.failing;
    if failing.len() >= MOST_OWNERS && !failing.contains_key(&failed.owner.id) {
        let oldest = failing.iter().min_by_key(|(_, (time, _))| *time);
        if let Some(oldest) = oldest.map(|(id, _)| *id) {
            failing.remove(&oldest);
        }
    }
    failing.insert(failed.owner.id, (failed.failure.time, anchor.clone()));
}

/// Somebody refused, if there is room for one more.
fn refused<'a>(open: &'a mut Open, owner: &Owner) -> Option<&'a mut Victim> {
    let key = owner.key();
    if open.refused.len() >= MOST_OWNERS && !open.refused.contains_key(&key) {
        return None;
    }
    let victim = open.refused.entry(key).or_insert_with(|| Victim {
        owner: owner.clone(),
        failures: 0,
        comms: Vec::new(),
    });
    Some(victim)
}

fn add_comm(comms: &mut Vec<(Vec<u8>, u64)>, comm: &[u8], times: u64) {
    match comms.iter().position(|(known, _)| known == comm) {
        Some(index) => comms[index].1 += times,
        None if comms.len() < MOST_COMMS => comms.push((comm.to_vec(), times)),
        None => {}
    }
}

/// The limit that refused, where it was one.
pub fn key_of(failed: &FailedClone) -> Option<LimitKey> {
    let is_of_tasks = failed.verdict.reason.is_task_limit();
    if let Some(Limit { name, owner, .. }) = failed.verdict.limit.filter(|_| is_of_tasks) {
        let path = failed
            .limit_owner
            .as_ref()
            .and_then(|owner| owner.path.clone());
        return Some(LimitKey { name, owner, path });
    }
    let (name, owner) = match failed.verdict.reason {
        Reason::PidMax => ("kernel.pid_max", LimitOwner::Node),
        Reason::ThreadsMax => ("kernel.threads-max", LimitOwner::Node),
        Reason::RlimitNproc => ("RLIMIT_NPROC", LimitOwner::User(failed.failure.uid)),
        _ => return None,
    };
    Some(LimitKey {
        name,
        owner,
        path: None,
    })
}

/// Unique on a node while it is up: when, and about which limit.
fn id(key: &LimitKey, time: BootTime) -> String {
    let whose = match key.owner {
        LimitOwner::Node => String::new(),
        LimitOwner::Cgroup(id) => format!("-{}", id.0),
        LimitOwner::User(uid) => format!("-{uid}"),
        LimitOwner::PidNamespace(inum) => format!("-{inum}"),
    };
    format!("{}{whose}-{}", key.name, time.nanos() / 1_000_000)
}

/// Names that came after an owner was noted: by them containers that replace each other in a pod turn out
/// to be the same owner.
fn name(open: &mut Open, view: &impl NodeView) {
    let is_named = |owner: &mut Owner| {
        if owner.names.is_none() && owner.identity.may_have_names() {
            owner.names = view.owner(owner.id).names;
        }
        owner.names.is_some()
    };
    let culprits = &mut open.incident.culprits;
    for index in (0..culprits.len()).rev() {
        if !is_named(&mut culprits[index].owner) {
            continue;
        }
        let key = culprits[index].owner.key();
        let mut others = culprits.iter().take(index);
        if let Some(same) = others.position(|other| other.owner.key() == key) {
            let later = culprits.remove(index);
            culprits[same].tasks = culprits[same].tasks.max(later.tasks);
        }
    }
    for (key, mut victim) in std::mem::take(&mut open.refused) {
        let key = if is_named(&mut victim.owner) {
            victim.owner.key()
        } else {
            key
        };
        match open.refused.get_mut(&key) {
            Some(same) => {
                same.failures += victim.failures;
                for (comm, times) in &victim.comms {
                    add_comm(&mut same.comms, comm, *times);
                }
            }
            None => {
                open.refused.insert(key, victim);
            }
        }
    }
}

fn close(open: &mut Open, time: BootTime) {
    let incident = &mut open.incident;
    let text = match incident.peak {
        Some(peak) => format!("calm again; at most {peak} were used"),
        None => "calm again".to_owned(),
    };
    timeline::note(&mut incident.timeline, time, What::Closed, text);
    incident.phase = Phase::Closed;
}

#[cfg(test)]
mod tests;
