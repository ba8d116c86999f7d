//! What is known of the node: what every view is drawn from.
//!
//! In: [`Line`]s, as the node, a recording or an agent gives them. Out: owners with their past, the
//! node, incidents, and what happened of late. Pure: times come with the lines.
//!
//! Invariant: room is bounded by the owners that are there and a fixed number of events.

use std::{cmp::Ordering, collections::VecDeque, sync::Arc, time::Duration};

use hashbrown::HashMap;
use jiff::Timestamp;

use super::owner::{Badge, OwnerEntry, RefusalEntry};
use crate::{
    brake::BrakePhase,
    cgroup::CgroupId,
    clock::{self, between},
    detect::State,
    escape,
    history::{History, Reading},
    stream::{
        self, BrakeEvent, CgroupEvent, Change, CloneFailure, Event, IncidentEvent, IncidentNow,
        LimitForecast, LimitHolder, LimitUse, Line, NodeWindow, OwnerRef, RateEvent, StateNow,
    },
};

/// Owners that are known at a time: twice as many as a node counts, with those that have just gone.
const MOST_OWNERS: usize = 2 * 16 * 1024;
/// Events that are kept.
const MOST_EVENTS: usize = 2_000;
/// Incidents that are kept, the closed ones too.
const MOST_INCIDENTS: usize = 100;
/// An owner whose cgroup is gone stays on screen this long.
const GONE_STAYS: Duration = Duration::from_secs(30);
/// An incident refuses as long as the last refusal is no longer ago than this.
const REFUSES_FOR: Duration = Duration::from_secs(10);
/// Failures of one kind that follow each other within this, and with few others between them, are one
/// event.
const SAME_BURST: Duration = Duration::from_secs(2);
const SAME_AMONG: usize = 16;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// A creation was refused.
    Failure,
    /// An owner is in another state.
    State,
    /// An incident opened or closed.
    Incident,
    /// A brake, or what the automatic brake makes of an owner.
    Brake,
    /// A cgroup came or went.
    Cgroup,
    /// Something was lost.
    Lost,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// When, the last time.
    pub time: Timestamp,
    /// What.
    pub what: LogKind,
    /// To whom, if to one.
    pub owner: Option<CgroupId>,
    /// The same with its path and its names, as they were then.
    pub whose: Option<Arc<OwnerRef>>,
    /// Its name, safe to show.
    pub name: String,
    /// In words, safe to show.
    pub text: String,
    /// Worth a strong colour.
    pub is_bad: bool,
    /// How often, one after the other.
    pub times: u64,
    /// Which incident it is about, if one.
    pub incident: Option<String>,
}

/// The node as far as is known.
#[derive(Clone, Debug, Default)]
pub struct NodeStore {
    /// Its name.
    pub node_name: String,
    /// When the last window closed.
    pub time: Option<Timestamp>,
    /// Rates of a window that is not over.
    pub(super) rates_ahead: Vec<RateEvent>,
    /// The node's limits.
    pub limits: Vec<LimitUse>,
    /// Which of them is hit first if it goes on as it does.
    pub exhaustion: Option<LimitForecast>,
    /// Its past.
    pub history: History,
    /// Owners by their cgroups.
    pub owners: HashMap<CgroupId, OwnerEntry>,
    /// Incidents, the newest last.
    pub incidents: Vec<IncidentEvent>,
    /// When an open incident last had a creation refused, and its failures then.
    pub(super) refused: HashMap<String, (Timestamp, u64)>,
    /// What happened of late, the newest last.
    pub events: VecDeque<LogEntry>,
    /// Counts that were lost, by place.
    pub lost: HashMap<String, u64>,
    /// Failed creations are seen.
    pub knows_failures: bool,
    /// Created, ended, refused a second in the last window, of the whole node.
    pub rates: [f64; 3],
}

impl NodeStore {
    /// Takes a line; whether it ended a window.
    pub fn apply(&mut self, line: Line) -> bool {
        let time = line.time;
        match line.event {
            Event::Started(_) => {
                self.node_name = escape::for_terminal(line.node.as_bytes());
                // Of the pidwatch that was there before.
                self.rates_ahead.clear();
                for known in self.owners.values_mut() {
                    known.verdict = None;
                }
            }
            // A stream without windows must not fill the memory.
            Event::Rate(rate) if self.rates_ahead.len() < MOST_OWNERS => {
                self.rates_ahead.push(*rate);
            }
            Event::Rate(_) => {}
            Event::Node(node) => {
                self.window(node, time);
                return true;
            }
            Event::CloneFailed(failed) => self.failed(&failed, time),
            Event::Brake(brake) => self.brake(&brake, time),
            Event::Cgroup(change) => self.changed(&change, time),
            Event::State(state) if self.has_room_for(&state.owner) => self.state(*state, time),
            Event::State(_) => {}
            Event::Incident(incident) => self.incident(*incident, time),
            Event::Lost { place, count } => {
                let text = format!("{count} lost at {}", escape::for_terminal(place.as_bytes()));
                self.note(LogKind::Lost, time, None, text, true);
                *self.lost.entry(place).or_default() += count;
            }
        }
        false
    }

    fn changed(&mut self, CgroupEvent { owner, change }: &CgroupEvent, time: Timestamp) {
        let mut note =
            |text: &str| self.note(LogKind::Cgroup, time, Some(owner), text.into(), false);
        match change.known() {
            Some(Change::Added) => {
                note("cgroup came");
                if self.has_room_for(owner) {
                    self.known(owner);
                }
            }
            Some(Change::Removed) => {
                note("cgroup went");
                if let Some(known) = self.owners.get_mut(&owner.id()) {
                    known.gone = Some(time);
                }
            }
            Some(Change::Named) if self.has_room_for(owner) => {
                self.known(owner);
            }
            Some(Change::Named) | None => {}
        }
    }

    fn state(&mut self, state: stream::StateEvent, time: Timestamp) {
        let now = StateNow::from(&state);
        let text = format!(
            "{}: {}",
            escape::for_terminal(now.state.name(State::name).as_bytes()),
            escape::for_terminal(now.why.as_bytes())
        );
        let is_bad = matches!(now.state.known(), Some(State::Leaking | State::Saturated));
        self.note(LogKind::State, time, Some(&state.owner), text, is_bad);
        let known = self.known(&state.owner);
        known.task_names = state.task_names.or(known.task_names.take());
        if state.limits.is_some() {
            known.limits = state.limits;
        }
        known.verdict = Some(now).filter(|now| !now.is_calm());
    }

    fn brake(&mut self, brake: &BrakeEvent, time: Timestamp) {
        let phase = brake.phase.name(BrakePhase::name);
        let text = format!(
            "{}: {}",
            escape::for_terminal(phase.as_bytes()),
            escape::for_terminal(brake.why.as_bytes())
        );
        let is_bad = brake.phase == BrakePhase::Failed;
        self.note(LogKind::Brake, time, Some(&brake.owner), text, is_bad);
    }

    /// The limits above an owner, as they are now.
    pub fn tell_limits(&mut self, id: CgroupId, limits: Option<Vec<LimitUse>>) {
        if let Some(known) = self.owners.get_mut(&id)
            && limits.is_some()
        {
            known.limits = limits;
        }
    }

    /// What the cgroup at a path is called, as far as is known; safe to show.
    pub fn name_at(&self, path: &str) -> String {
        let mut owners = self.owners.values();
        let known = owners.find(|known| known.owner.path() == Some(path));
        known.map_or_else(|| stream::name_of_path(path), |known| known.name.clone())
    }

    /// Seconds of the clock that the lines have.
    pub fn now_s(&self) -> u64 {
        self.time.map_or(0, clock::seconds)
    }

    /// The incidents that are open.
    pub fn open_incidents(&self) -> impl DoubleEndedIterator<Item = &IncidentEvent> {
        self.incidents.iter().filter(|incident| incident.is_open())
    }

    /// How long no creation was refused of an incident that had some; `None` while there are.
    pub fn calm(&self, incident: &IncidentEvent) -> Option<Duration> {
        let (last, _) = self.refused.get(&incident.id)?;
        let calm = between(*last, self.time?);
        (incident.failures > 0 && calm > REFUSES_FOR).then_some(calm)
    }

    /// The most urgent of two incidents first: what is refused now, then what will be soon, then what is fuller.
    pub fn urgency(&self, a: &IncidentEvent, b: &IncidentEvent) -> Ordering {
        let refuses = |open: &IncidentEvent| open.failures > 0 && self.calm(open).is_none();
        let full_in = |open: &IncidentEvent| self.full_in(open).unwrap_or(f64::INFINITY);
        let ratio = |open: &IncidentEvent| {
            open.usage.unwrap_or(0) as f64 / open.value.unwrap_or(u64::MAX).max(1) as f64
        };
        let is_nodes = |open: &IncidentEvent| open.holder() == LimitHolder::Node;
        (refuses(b).cmp(&refuses(a)))
            .then_with(|| is_nodes(b).cmp(&is_nodes(a)))
            .then_with(|| full_in(a).total_cmp(&full_in(b)))
            .then_with(|| ratio(b).total_cmp(&ratio(a)))
            .then_with(|| b.opened.cmp(&a.opened))
    }

    fn has_room_for(&self, owner: &OwnerRef) -> bool {
        self.owners.len() < MOST_OWNERS || self.owners.contains_key(&owner.id())
    }

    fn known(&mut self, owner: &Arc<OwnerRef>) -> &mut OwnerEntry {
        let known = self
            .owners
            .entry(owner.id())
            .or_insert_with(|| OwnerEntry::new(owner.clone()));
        known.call(owner);
        known
    }

    fn window(&mut self, node: NodeWindow, time: Timestamp) {
        let seconds = node.window_s.max(0.001);
        self.time = Some(time);
        self.knows_failures = node.knows_failures;
        for known in self.owners.values_mut() {
            known.quiet();
        }
        let mut sum = Reading {
            tasks: node.tasks,
            ..Reading::default()
        };
        for rate in std::mem::take(&mut self.rates_ahead) {
            let owner = rate.owner.clone();
            if !self.has_room_for(&owner) {
                continue;
            }
            let reading = self.known(&owner).window(rate, time, seconds);
            sum.created += reading.created;
            sum.exited += reading.exited;
            sum.failed += reading.failed;
        }
        self.rates = [sum.created, sum.exited, sum.failed].map(|n| n as f64 / seconds);
        self.history.push(clock::seconds(time), seconds, sum);
        (self.limits, self.exhaustion) = (node.limits, node.exhaustion);
        for now in &node.incidents {
            self.incident_now(now, time);
        }
        let is_over = |known: &OwnerEntry| {
            known
                .gone
                .is_some_and(|gone| between(gone, time) > GONE_STAYS)
        };
        self.owners.retain(|_, known| !is_over(known));
        self.judge(time);
    }

    fn incident_now(&mut self, now: &IncidentNow, time: Timestamp) {
        let mut open = self.incidents.iter_mut();
        if let Some(open) = open.find(|open| open.id == now.id && open.is_open()) {
            open.update(now);
            refusals(&mut self.refused, open, time);
        }
    }

    /// What each owner is in the incidents that are open.
    fn judge(&mut self, time: Timestamp) {
        let mut roles: HashMap<CgroupId, Badge> = HashMap::new();
        for open in self.incidents.iter().filter(|open| open.is_open()) {
            for victim in &open.victims {
                roles.entry(victim.owner.id()).or_insert(Badge::Victim);
            }
            for culprit in &open.culprits {
                roles.insert(culprit.owner.id(), Badge::Culprit);
            }
        }
        for (id, known) in &mut self.owners {
            known.judge(roles.get(id).copied(), time);
        }
    }

    fn failed(&mut self, failed: &CloneFailure, time: Timestamp) {
        let refusal = RefusalEntry::of(failed, time, |path| self.name_at(path));
        let times = 1 + failed.suppressed;
        let text = refusal.text.clone();
        let mut latest = self.events.iter().rev().take(SAME_AMONG);
        let same = latest.position(|event| {
            event.owner == Some(failed.sufferer().id())
                && event.text == text
                && between(event.time, time) < SAME_BURST
        });
        let same = same.and_then(|place| self.events.remove(self.events.len() - 1 - place));
        if let Some(mut same) = same {
            same.time = time;
            same.times += times;
            // The newest is last.
            self.events.push_back(same);
        } else {
            let is_bad = refusal.is_for_want;
            self.note(
                LogKind::Failure,
                time,
                Some(failed.sufferer()),
                text,
                is_bad,
            );
            if let Some(last) = self.events.back_mut() {
                last.times = times;
            }
        }
        // Whom a container runtime was at work for suffers, not the runtime.
        self.known(failed.sufferer()).refused(refusal, times);
    }

    fn incident(&mut self, incident: IncidentEvent, time: Timestamp) {
        let place = self
            .incidents
            .iter()
            .position(|known| known.id == incident.id);
        let was_open = place.map(|place| self.incidents[place].is_open());
        let is_open = incident.is_open();
        if was_open != Some(is_open) {
            let word = if is_open { "incident" } else { "incident over" };
            let text = format!(
                "{word}: {}",
                escape::for_terminal(incident.summary.as_bytes())
            );
            self.note(LogKind::Incident, time, None, text, is_open);
            if let Some(last) = self.events.back_mut() {
                last.incident = Some(incident.id.clone());
            }
        }
        refusals(&mut self.refused, &incident, time);
        match place {
            Some(place) => self.incidents[place] = incident,
            None => self.incidents.push(incident),
        }
        if self.incidents.len() > MOST_INCIDENTS {
            let closed = self.incidents.iter().position(|known| !known.is_open());
            self.incidents.remove(closed.unwrap_or(0));
        }
        self.judge(time);
    }

    fn note(
        &mut self,
        what: LogKind,
        time: Timestamp,
        owner: Option<&Arc<OwnerRef>>,
        text: String,
        is_bad: bool,
    ) {
        if self.events.len() >= MOST_EVENTS {
            // What comes and goes all the time is the first to be forgotten.
            let cgroup = self
                .events
                .iter()
                .position(|event| event.what == LogKind::Cgroup);
            self.events.remove(cgroup.unwrap_or(0));
        }
        self.events.push_back(LogEntry {
            time,
            what,
            owner: owner.map(|owner| owner.id()),
            whose: owner.cloned(),
            name: owner.map(|owner| owner.name()).unwrap_or_default(),
            text,
            is_bad,
            times: 1,
            incident: None,
        });
    }
}

/// Notes when an incident's failures grew.
fn refusals(
    refused: &mut HashMap<String, (Timestamp, u64)>,
    incident: &IncidentEvent,
    time: Timestamp,
) {
    if !incident.is_open() {
        refused.remove(&incident.id);
        return;
    }
    let last = refused.entry_ref(&incident.id).or_insert((time, 0));
    if incident.failures > last.1 {
        *last = (time, incident.failures);
    }
}
