//! One pass over a stream, in bounded room.
//!
//! In: lines in the order in which they were told. Out: for every owner that may matter its curves,
//! for every limit its usage, who was refused by it how often, and the incidents as they ended.
//! Invariant: what is kept does not grow with the length of the stream; what had to be left out is
//! counted.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use jiff::Timestamp;

use super::{
    curve::{Histogram, SampledCurve},
    members::{MemberCounts, Members},
    words::seconds,
};
use crate::{
    detect,
    incident::Phase,
    limits::{Basis, Errno, Reason},
    stream::{
        BrakeEvent, Breakdown, ByKind, Change, CloneFailure, Event, IncidentEvent, LimitId,
        LimitUse, Line, NodeWindow, OwnerRef, RateEvent, Rejection, Started, StateEvent, Word,
    },
};

/// Owners that are kept when there are twice as many: who was flagged or refused first, then who
/// holds and creates the most.
const OWNERS: usize = 256;
/// Limits whose usage is kept.
const LIMITS: usize = 256;
/// Incidents that are kept, those with the most refused creations.
const INCIDENTS: usize = 100;
/// Owners that are kept by name among those refused by one limit.
const REFUSED: usize = 64;
/// Kinds of failure that are kept of one owner.
const KINDS: usize = 16;
/// Changes of state that are kept of one owner, the latest.
const CHANGES: usize = 32;
/// Creators that are kept of one owner.
const CREATORS: usize = 16;
/// Gaps that are kept.
const GAPS: usize = 16;
/// So many windows without a word are a gap.
const GAP_WINDOWS: f64 = 5.0;

/// Whether an owner in this state leaks or fills its limit.
pub(super) fn is_alarming(state: &Word<detect::State>) -> bool {
    matches!(
        state.known(),
        Some(detect::State::Leaking | detect::State::Saturated)
    )
}

/// A limit over time.
#[derive(Clone, Debug, Default)]
pub struct LimitTrack {
    /// What of it is used.
    pub usage: SampledCurve,
    /// Itself: it may be changed.
    pub value: SampledCurve,
}

/// An owner over time.
#[derive(Clone, Debug)]
pub struct Track {
    /// Who.
    pub owner: OwnerRef,
    /// Its own charge.
    pub tasks: SampledCurve,
    /// Processes and threads created since the stream began.
    pub created: [SampledCurve; 2],
    /// Those created before the last start of pidwatch.
    before_start: [u64; 2],
    /// The most tasks it had.
    pub peak: u64,
    /// What its cgroup was charged with last, with all below it.
    pub charged: Option<u64>,
    /// Who created, by name and process, with about how many.
    pub creators: HashMap<(String, u32), f64>,
    /// Creations refused, by the counters.
    pub refused: u64,
    /// Creations rejected with EPERM or EACCES.
    pub forbidden: u64,
    /// The most zombies it had.
    pub zombies: u64,
    /// Its states, oldest first.
    pub changes: Vec<(Timestamp, StateEvent)>,
    /// Steps of brakes on it, oldest first.
    pub brakes: Vec<(Timestamp, BrakeEvent)>,
    /// Changes of state that led to a leak or a full limit.
    pub flags: u64,
    /// Its cgroup was removed.
    pub removed: Option<Timestamp>,
}

impl Track {
    fn new(owner: OwnerRef) -> Self {
        Self {
            owner,
            tasks: SampledCurve::default(),
            created: [SampledCurve::default(), SampledCurve::default()],
            before_start: [0; 2],
            peak: 0,
            charged: None,
            creators: HashMap::new(),
            refused: 0,
            forbidden: 0,
            zombies: 0,
            changes: Vec::new(),
            brakes: Vec::new(),
            flags: 0,
            removed: None,
        }
    }

    /// Tasks created in all.
    pub fn created_in_all(&self) -> u64 {
        let last = |curve: &SampledCurve| curve.last().unwrap_or(0.0) as u64;
        self.created.iter().map(last).sum()
    }

    /// What makes it worth keeping.
    fn weight(&self) -> (bool, u64, u64, u64) {
        let is_flagged = self.flags > 0;
        let refused = self.refused.saturating_add(self.forbidden);
        (is_flagged, refused, self.peak, self.created_in_all())
    }
}

/// A kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FailureKind {
    /// Name of the calling task.
    pub comm: String,
    /// How it asked.
    pub syscall: Option<String>,
    /// The error's name.
    pub errno: Word<Errno>,
    /// Why.
    pub reason: Word<Reason>,
    /// How that is known.
    pub evidence: Option<Word<Basis>>,
    /// The caller was an exec probe.
    pub exec_probe: bool,
}

/// Who was refused by a limit.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Who.
    pub owner: OwnerRef,
    /// How often, with those that were not shown.
    pub count: u64,
    /// By kind, with the first caller's process; only those that were shown.
    pub kinds: HashMap<FailureKind, (u64, u32)>,
    /// When.
    pub when: Histogram,
    /// The first and the last time.
    pub span: (Timestamp, Timestamp),
}

/// Everybody refused by one limit in one incident.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By owner: the id of the first cgroup that it was seen with.
    pub owners: HashMap<u64, Refused>,
    /// Of owners that are not kept by name.
    pub others: u64,
    /// When those were.
    pub others_when: Histogram,
}

impl Tally {
    fn push(&mut self, time: Timestamp, failed: &CloneFailure, members: &mut Members) {
        if failed.suppressed > 0 {
            // Whom those were for is not known.
            let owner = members.owner(&failed.owner);
            self.add(time, &owner, failed.suppressed);
        }
        let victim = members.owner(failed.sufferer());
        let Some(refused) = self.add(time, &victim, 1) else {
            return;
        };
        let kind = FailureKind {
            comm: failed.proc.comm.clone(),
            syscall: failed.syscall.clone(),
            errno: failed.errno.clone(),
            reason: failed.reason.clone(),
            evidence: failed.evidence.clone(),
            exec_probe: failed.proc.exec_probe,
        };
        if refused.kinds.len() < KINDS || refused.kinds.contains_key(&kind) {
            refused.kinds.entry(kind).or_insert((0, failed.proc.pid)).0 += 1;
        }
    }

    fn add(&mut self, time: Timestamp, owner: &OwnerRef, count: u64) -> Option<&mut Refused> {
        let id = owner.cgroup.id;
        if self.owners.len() >= REFUSED && !self.owners.contains_key(&id) {
            self.others += count;
            self.others_when.push(seconds(time), count);
            return None;
        }
        let refused = self.owners.entry(id).or_insert_with(|| Refused {
            owner: owner.clone(),
            count: 0,
            kinds: HashMap::new(),
            when: Histogram::default(),
            span: (time, time),
        });
        refused.count += count;
        refused.when.push(seconds(time), count);
        refused.span.1 = refused.span.1.max(time);
        Some(refused)
    }

    /// Creations refused in all.
    pub fn count(&self) -> u64 {
        self.owners
            .values()
            .map(|refused| refused.count)
            .sum::<u64>()
            + self.others
    }
}

/// An incident as it was told last.
#[derive(Clone, Debug)]
pub struct CollectedIncident {
    /// It.
    pub incident: IncidentEvent,
    /// When it was told last.
    pub last: Timestamp,
    /// Who was refused in it; taken when it closes.
    pub tally: Tally,
}

/// What a stream held.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The node's name.
    pub node: String,
    /// How the stream began.
    pub started: Option<Started>,
    /// Starts of pidwatch after the first.
    pub restarts: u64,
    /// The first and the last moment.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Lines.
    pub lines: u64,
    /// Owners by the first cgroup that each was seen with.
    pub owners: HashMap<u64, Track>,
    /// Owners that were not kept.
    pub owners_left_out: u64,
    /// Limits.
    pub limits: HashMap<LimitId, LimitTrack>,
    /// The node's tasks.
    pub tasks: SampledCurve,
    /// Incidents by id.
    pub incidents: HashMap<String, CollectedIncident>,
    /// Incidents that were not kept.
    pub incidents_left_out: u64,
    /// Refused by limits that no incident is open for.
    tallies: HashMap<LimitId, Tally>,
    /// Refused for another reason than a limit, or none that is known.
    pub elsewhere: Tally,
    /// What was lost where.
    pub lost: BTreeMap<String, u64>,
    /// Times without a word from the node.
    pub gaps: Vec<(Timestamp, Timestamp)>,
    /// Gaps in all.
    pub gap_count: u64,
    /// The clock was set back so often.
    pub steps_back: u64,
    last_window: Option<Timestamp>,
    members: Members,
}

impl Collected {
    /// Takes the next line in.
    pub fn push(&mut self, line: &Line) {
        let time = line.time;
        self.lines += 1;
        if self.node.is_empty() {
            line.node.as_ref().clone_into(&mut self.node);
        }
        let span = self.span.get_or_insert((time, time));
        *span = (span.0.min(time), span.1.max(time));
        match &line.event {
            Event::Started(started) => self.start(started),
            Event::Rate(rate) => self.rate(time, rate),
            Event::Node(window) => self.window(time, window),
            Event::CloneFailed(failed) => self.failed(time, failed),
            Event::State(state) => self.state(time, state),
            Event::Incident(incident) => self.incident(time, incident),
            Event::Cgroup(change) => {
                let owner = self.members.owner(&change.owner);
                let is_removed = change.change == Change::Removed;
                let left = match is_removed {
                    true => self.members.removed(&change.owner),
                    false => None,
                };
                if let Some(track) = self.owners.get_mut(&owner.cgroup.id) {
                    learn(&mut track.owner, &owner);
                    let is_part = Members::is_part(&change.owner);
                    if is_removed && !is_part {
                        track.removed = Some(time);
                    }
                    if let Some(left) = left.or((is_removed && !is_part).then_some(0)) {
                        track.tasks.hold(seconds(time));
                        track.tasks.push(seconds(time) + 0.001, left as f64);
                    }
                }
            }
            Event::Brake(brake) => self.brake(time, brake),
            Event::Lost { place, count } => {
                let room = self.lost.len() < LIMITS;
                match self.lost.get_mut(place) {
                    Some(lost) => *lost = lost.saturating_add(*count),
                    None if room => {
                        self.lost.insert(place.clone(), *count);
                    }
                    None => {}
                }
            }
        }
    }

    fn start(&mut self, started: &Started) {
        if self.started.is_some() {
            self.restarts += 1;
            self.members.restarted();
            // Counters begin anew.
            for track in self.owners.values_mut() {
                let last = |curve: &SampledCurve| curve.last().unwrap_or(0.0) as u64;
                track.before_start = [last(&track.created[0]), last(&track.created[1])];
            }
        }
        self.started = Some(started.clone());
    }

    fn rate(&mut self, time: Timestamp, rate: &RateEvent) {
        let at = seconds(time);
        let began = at - rate.window_s;
        let created = rate.total.created;
        let counted = self.members.count(
            &rate.owner,
            MemberCounts {
                tasks: rate.tasks,
                created: [created.processes, created.threads],
            },
        );
        let tasks = rate.tasks.and(counted.tasks);
        let owner = self.members.owner(&rate.owner);
        let track = self.track(&owner);
        if let (None, Some(tasks)) = (track.tasks.last(), tasks) {
            // Where it came from, if nothing moved in or out.
            let sum = |kinds: ByKind| kinds.processes + kinds.threads;
            let before = tasks + sum(rate.counts.exited);
            let before = before.saturating_sub(sum(rate.counts.created));
            track.tasks.push(began, before as f64);
        }
        for (i, total) in counted.created.into_iter().enumerate() {
            let curve = &mut track.created[i];
            curve.hold(began);
            curve.push(at, (track.before_start[i].saturating_add(total)) as f64);
        }
        if let Some(tasks) = tasks {
            track.tasks.hold(began);
            track.tasks.push(at, tasks as f64);
            track.peak = track.peak.max(tasks);
            track.removed = None;
        }
        let created = rate.counts.created;
        let created = (created.processes + created.threads) as f64;
        for creator in &rate.creators {
            let key = (creator.comm.clone(), creator.pid);
            if track.creators.len() < CREATORS || track.creators.contains_key(&key) {
                *track.creators.entry(key).or_default() += creator.share * created;
            }
        }
        track.zombies = track.zombies.max(rate.zombies.unwrap_or(0));
        if let Some(failed) = &rate.counts.failed {
            track.refused = track.refused.saturating_add(failed.total());
        }
        let rejected = rate.counts.rejected_by.iter().flat_map(Breakdown::iter);
        for (errno, count) in rejected {
            if errno.known().is_some_and(Rejection::is_forbidden) {
                track.forbidden = track.forbidden.saturating_add(count);
            }
        }
    }

    fn window(&mut self, time: Timestamp, window: &NodeWindow) {
        if let Some(last) = self.last_window {
            let silence = seconds(time) - seconds(last);
            if silence > GAP_WINDOWS * window.window_s.max(0.1) && silence > window.window_s + 1.0 {
                self.gap_count += 1;
                if self.gaps.len() < GAPS {
                    self.gaps.push((last, time));
                }
            }
            if silence < -1.0 {
                self.steps_back += 1;
            }
        }
        self.last_window = Some(time);
        if let Some(tasks) = window.tasks {
            self.tasks.push(seconds(time), tasks as f64);
        }
        for limit in &window.limits {
            self.limit(time, limit);
        }
    }

    fn limit(&mut self, time: Timestamp, limit: &LimitUse) {
        self.use_of(time, limit.limit_id(), limit.value, limit.usage);
    }

    fn use_of(&mut self, time: Timestamp, key: LimitId, value: u64, usage: u64) {
        if self.limits.len() >= LIMITS && !self.limits.contains_key(&key) {
            return;
        }
        let is_users = key.uid.is_some();
        let track = self.limits.entry(key).or_default();
        let at = seconds(time);
        let is_other = track.value.last().is_some_and(|last| last != value as f64);
        if is_other && is_users {
            // Another process of that user has another limit: no change of the first one's.
            return;
        }
        if is_other {
            // It was set to another value at once, not little by little.
            track.value.hold(at - 0.001);
        }
        track.value.push(at, value as f64);
        track.usage.push(at, usage as f64);
    }

    fn failed(&mut self, time: Timestamp, failed: &CloneFailure) {
        if let Some(limit) = &failed.limit {
            self.limit(time, limit);
        }
        match failed.refused_by() {
            Some(key) if self.tallies.len() < LIMITS || self.tallies.contains_key(&key) => {
                self.tallies
                    .entry(key)
                    .or_default()
                    .push(time, failed, &mut self.members);
            }
            _ => self.elsewhere.push(time, failed, &mut self.members),
        }
    }

    fn state(&mut self, time: Timestamp, state: &StateEvent) {
        if let Some(exhaustion) = &state.exhaustion {
            let (value, usage) = (exhaustion.value, exhaustion.usage);
            self.use_of(time, exhaustion.limit_id(), value, usage);
        }
        let owner = self.members.owner(&state.owner);
        let track = self.track(&owner);
        if Members::is_part(&state.owner) {
            // Its owner is judged with all of its parts.
            return;
        }
        if is_alarming(&state.to) {
            track.flags += 1;
        }
        if state.to != detect::State::Gone {
            track.tasks.push(seconds(time), state.tasks as f64);
            track.peak = track.peak.max(state.tasks);
        }
        if track.changes.len() >= CHANGES {
            track.changes.remove(0);
        }
        track.changes.push((time, state.clone()));
    }

    fn brake(&mut self, time: Timestamp, brake: &BrakeEvent) {
        let owner = self.members.owner(&brake.owner);
        let track = self.track(&owner);
        if track.brakes.len() >= CHANGES {
            track.brakes.remove(0);
        }
        track.brakes.push((time, brake.clone()));
    }

    fn incident(&mut self, time: Timestamp, incident: &IncidentEvent) {
        let key = incident.limit_id();
        if let (Some(value), Some(usage)) = (incident.value, incident.usage) {
            self.use_of(time, key.clone(), value, usage);
        }
        let mut incident = incident.clone();
        let culprits = incident.culprits.iter_mut().map(|of| &mut of.owner);
        let victims = incident.victims.iter_mut().map(|of| &mut of.owner);
        for owner in culprits.chain(victims) {
            *owner = self.members.owner(owner);
            self.track(owner).flags += 1;
        }
        if self.incidents.len() >= INCIDENTS && !self.incidents.contains_key(&incident.id) {
            self.forget_incident();
        }
        let told = self.incidents.entry(incident.id.clone());
        let told = told.or_insert_with(|| CollectedIncident {
            incident: incident.clone(),
            last: time,
            tally: Tally::default(),
        });
        let is_closed = incident.phase == Phase::Closed;
        told.incident = incident;
        told.last = time;
        if is_closed && let Some(tally) = self.tallies.remove(&key) {
            told.tally = tally;
        }
    }

    /// Makes room for another incident.
    fn forget_incident(&mut self) {
        let worth = |told: &&CollectedIncident| {
            let incident = &told.incident;
            (
                incident.phase != Phase::Closed,
                incident.failures,
                told.last,
            )
        };
        let least = self.incidents.values().min_by_key(worth);
        let least = least.map(|told| told.incident.id.clone());
        if let Some(id) = least {
            self.incidents.remove(&id);
            self.incidents_left_out += 1;
        }
    }

    fn track(&mut self, owner: &OwnerRef) -> &mut Track {
        let id = owner.cgroup.id;
        if self.owners.len() >= 2 * OWNERS && !self.owners.contains_key(&id) {
            let mut ids: Vec<_> = self
                .owners
                .iter()
                .map(|(&id, track)| (track.weight(), id))
                .collect();
            ids.sort_unstable();
            for (_, id) in &ids[..OWNERS] {
                self.owners.remove(id);
            }
            self.owners_left_out += OWNERS as u64;
        }
        let track = self
            .owners
            .entry(id)
            .or_insert_with(|| Track::new(owner.clone()));
        learn(&mut track.owner, owner);
        track
    }

    /// The stream is over: who was refused goes to the incident that is still open about it.
    pub fn finish(&mut self) {
        let mut open: Vec<_> = self
            .incidents
            .values_mut()
            .filter(|told| told.incident.phase != Phase::Closed)
            .collect();
        open.sort_by_key(|told| std::cmp::Reverse(told.incident.opened));
        for told in open {
            if let Some(tally) = self.tallies.remove(&told.incident.limit_id()) {
                told.tally = tally;
            }
        }
    }

    /// Who was refused by a limit that no incident in the stream is about.
    pub fn stray_tallies(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.values().chain([&self.elsewhere])
    }
}

/// Keeps the most that was ever said of an owner.
fn learn(known: &mut OwnerRef, said: &OwnerRef) {
    if said.cgroup.path.is_some() {
        known.cgroup.path.clone_from(&said.cgroup.path);
    }
    let names = |owner: &OwnerRef| {
        let k8s = owner.k8s.as_ref();
        k8s.is_some_and(|k8s| k8s.pod_name.is_some())
    };
    if said.k8s.is_some() && (names(said) || !names(known)) {
        known.k8s.clone_from(&said.k8s);
    }
    if said.runtime.is_some() {
        known.runtime.clone_from(&said.runtime);
    }
    if said.unit.is_some() {
        known.unit.clone_from(&said.unit);
    }
}
