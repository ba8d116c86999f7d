//! What the agent knows of the node now: every owner as it was last told or read.
//!
//! In: lines of the stream. Out: one consistent view, for
//! metrics, for the snapshot and for who begins to listen. Pure: time comes in as an argument.
//!
//! Invariant: a counter that is exported never falls while its series is there. An owner that has a
//! series keeps it until it is gone, and for two minutes if nobody living needs the room; one for which there was no room
//! is counted into a sum that only grows, and what was counted there is not told again when it gets a series of its own.

mod exported;

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use hashbrown::HashMap;
use jiff::Timestamp;

use super::{event_log, events, flight, kubernetes};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    incident::Phase,
    limits::Reason,
    model::Counts,
    output::prometheus::{BrakeCounts, MOST_SAMPLES, other_labels, owner_labels},
    probe::LossCounts,
    stream::{
        CgroupEvent, Change, Event, IncidentEvent, Line, NodeWindow, RateEvent, Started,
        StateEvent, StateNow,
    },
};

/// Series of an owner that is gone stay this long: long enough for the usual two scrapes.
pub const GRACE: Duration = Duration::from_mins(2);
/// A container's series begin with its names, which a runtime tells within a second; without them
/// after this.
const NAMES: Duration = Duration::from_secs(5);
/// Owners that are not `ok` may have series beyond the most there are for others.
const RESERVE: usize = 64;
/// Closed incidents that are remembered.
const CLOSED: usize = 64;

/// Where an owner's counts go.
#[derive(Debug)]
enum SeriesPlace {
    /// To series of its own, less what was counted elsewhere before, if anything was.
    Own(Option<Box<Counts>>),
    /// To the sum of those without.
    Other,
}

/// An owner.
#[derive(Debug)]
struct OwnerSeries {
    rate: Box<RateEvent>,
    labels: Box<str>,
    /// The window that last told of it.
    window: u64,
    /// When it was first heard of.
    since: BootTime,
    gone: Option<BootTime>,
    place: Option<SeriesPlace>,
}

/// How urgently an owner is to have series of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It is not `ok`.
    Flagged,
    /// It is there.
    Living,
    /// It is gone.
    Gone,
}

impl OwnerSeries {
    /// What was counted in it since it is known.
    fn total(&self) -> Counts {
        (&self.rate.total).into()
    }

    /// Its claim to series that it does not have; `None` where it has them, or nothing to tell. Of those that are summed
    /// up, only living ones, and without room only those that are not `ok`.
    fn claim(&self, now: BootTime, has_room: bool) -> Option<Claim> {
        let rate = &self.rate;
        let claim = match (self.gone, &rate.verdict) {
            (Some(_), _) => Claim::Gone,
            (None, Some(_)) => Claim::Flagged,
            (None, None) => Claim::Living,
        };
        let has_tasks = rate.tasks.is_some_and(|tasks| tasks > 0);
        let is_due = match self.place {
            Some(SeriesPlace::Own(_)) => false,
            Some(SeriesPlace::Other) => {
                claim == Claim::Flagged || has_room && has_tasks && claim == Claim::Living
            }
            None => {
                let is_named = rate.owner.has_names()
                    || rate.owner.runtime.is_none()
                    || self.gone.is_some()
                    || now.since(self.since) >= NAMES;
                is_named && (has_tasks || !self.total().is_zero())
            }
        };
        is_due.then_some(claim)
    }
}

/// All of it.
#[derive(Debug)]
pub struct Board {
    started: Started,
    /// Boxed, as the model's states are: most slots are empty where owners come and go.
    owners: HashMap<CgroupId, Box<OwnerSeries>>,
    by_path: HashMap<Box<str>, CgroupId>,
    /// Cgroups that are gone, since when: their last counts may still be told.
    removed: HashMap<CgroupId, BootTime>,
    /// States as they were told, while they are not `ok`: an owner's may come before its first row.
    told: HashMap<CgroupId, (Timestamp, StateEvent)>,
    most_owners: usize,
    with_series: usize,
    other: Counts,
    other_labels: String,
    failures: [u64; Reason::ALL.len()],
    /// The last window, and when it ended.
    last: NodeWindow,
    time: Timestamp,
    windows: u64,
    /// Incidents that opened since the stream began, by limit.
    opened: BTreeMap<Cow<'static, str>, u64>,
    open: Vec<IncidentEvent>,
    closed: VecDeque<(Timestamp, IncidentEvent)>,
    brakes: BrakeCounts,
    lost: BTreeMap<Cow<'static, str>, u64>,
}

impl Board {
    /// Of a stream that begins, with at most about so many series of owners.
    pub fn new(started: Started, max_series: usize) -> Self {
        // An increase from nothing would be missed.
        let hooks = started.probes.iter().map(|probe| probe.name.clone().into());
        let places = LossCounts::places().chain([
            event_log::PLACE,
            events::PLACE,
            flight::PLACE,
            kubernetes::PLACE,
        ]);
        let lost = places.map(Cow::from).chain(hooks);
        Self {
            lost: lost.map(|place| (place, 0)).collect(),
            started,
            owners: HashMap::new(),
            by_path: HashMap::new(),
            removed: HashMap::new(),
            told: HashMap::new(),
            most_owners: (max_series / MOST_SAMPLES).max(1),
            with_series: 0,
            other: Counts::NONE,
            other_labels: other_labels(),
            failures: [0; Reason::ALL.len()],
            last: NodeWindow::default(),
            time: Timestamp::UNIX_EPOCH,
            windows: 0,
            opened: BTreeMap::new(),
            open: Vec::new(),
            closed: VecDeque::new(),
            brakes: BrakeCounts::default(),
        }
    }

    /// How the stream began.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Whether a window was closed: every owner is known from then on.
    pub fn is_ready(&self) -> bool {
        self.windows > 0
    }

    /// A cgroup is gone.
    fn set_gone(&mut self, id: CgroupId, time: BootTime) {
        self.removed.entry(id).or_insert(time);
        self.told.remove(&id);
        if let Some(entry) = self.owners.get_mut(&id)
            && entry.gone.is_none()
        {
            entry.gone = Some(time);
            entry.rate.tasks = None;
            entry.rate.subtree_tasks = None;
            entry.rate.processes = None;
            entry.rate.tasks_limit = None;
        }
    }

    /// Something that was lost on the way to whoever listens.
    pub fn lose(&mut self, place: &'static str, count: u64) {
        *self.lost.entry(place.into()).or_default() += count;
    }

    /// Takes a line in, at a moment of the clock that never steps.
    pub fn take(&mut self, line: Line, now: BootTime) {
        match line.event {
            Event::Rate(rate) => self.rate(rate, now),
            Event::Node(node) => self.window(node, line.time, now),
            Event::State(state) => self.state(*state, line.time),
            Event::Incident(incident) => self.incident(*incident, line.time),
            Event::Brake(brake) => self.brakes.take(&brake),
            Event::Cgroup(change) => self.changed(&change, now),
            Event::Lost { place, count } => {
                *self.lost.entry(place.into()).or_default() += count;
            }
            Event::Started(_) | Event::CloneFailed(_) => {}
        }
    }

    fn state(&mut self, state: StateEvent, time: Timestamp) {
        let id = state.owner.id();
        let now = StateNow::from(&state);
        let is_calm = now.is_calm();
        if let Some(entry) = self.owners.get_mut(&id) {
            entry.rate.verdict = (!is_calm).then(|| Box::new(now));
        }
        if is_calm {
            self.told.remove(&id);
        } else {
            self.told.insert(id, (time, state));
        }
    }

    fn incident(&mut self, incident: IncidentEvent, time: Timestamp) {
        // One that was open before the stream began is not this agent's to count.
        if incident.phase == Phase::Opened {
            *self.opened.entry(incident.limit.clone()).or_default() += 1;
        }
        self.open.retain(|open| open.id != incident.id);
        if incident.is_open() {
            self.open.push(incident);
        } else {
            self.closed.truncate(CLOSED - 1);
            self.closed.push_front((time, incident));
        }
    }

    fn changed(&mut self, CgroupEvent { owner, change }: &CgroupEvent, now: BootTime) {
        match change.known() {
            Some(Change::Removed) => self.set_gone(owner.id(), now),
            Some(Change::Named) => {
                if let Some(entry) = self.owners.get_mut(&owner.id()) {
                    entry.rate.owner = owner.clone();
                    entry.labels = owner_labels(owner).into();
                }
            }
            Some(Change::Added) | None => {}
        }
    }

    fn window(&mut self, node: NodeWindow, time: Timestamp, now: BootTime) {
        self.windows += 1;
        for open in &mut self.open {
            if let Some(now) = node.incidents.iter().find(|now| now.id == open.id) {
                open.update(now);
            }
        }
        let Self {
            owners,
            by_path,
            with_series,
            ..
        } = self;
        owners.retain(|id, entry| {
            let is_over = entry.gone.is_some_and(|gone| now.since(gone) >= GRACE);
            if is_over {
                forget(by_path, with_series, *id, entry);
            }
            !is_over
        });
        self.removed.retain(|_, gone| now.since(*gone) < GRACE);
        (self.last, self.time) = (node, time);
        self.give_series(now);
    }

    fn rate(&mut self, rate: Box<RateEvent>, now: BootTime) {
        let id = rate.owner.id();
        if let Some(path) = rate.owner.path()
            && let Some(&other) = self.by_path.get(path)
            && other != id
        {
            // One of this path was there before: two series of the same labels there must not be.
            let is_late = match (self.removed.get(&id), self.removed.get(&other)) {
                (Some(gone), Some(other)) => gone < other,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if is_late {
                return;
            }
            if let Some(entry) = self.owners.remove(&other) {
                forget(&mut self.by_path, &mut self.with_series, other, &entry);
            }
        }
        let total = Counts::from(&rate.total);
        let more = match self.owners.get(&id) {
            Some(entry) => total.minus(&entry.total()),
            // It may have been known before, and only its zombies have kept it from being forgotten.
            None => Counts::from(&rate.counts),
        };
        for (sum, n) in self.failures.iter_mut().zip(more.failed) {
            *sum += n;
        }
        // Of the window that the rate belongs to, which ends with the line of the node.
        let window = self.windows + 1;
        if let Some(entry) = self.owners.get_mut(&id) {
            if matches!(entry.place, Some(SeriesPlace::Other)) {
                self.other = self.other.plus(&more);
            }
            if entry.rate.owner != rate.owner {
                entry.labels = owner_labels(&rate.owner).into();
            }
            if entry.rate.owner.path() != rate.owner.path() {
                // Renamed.
                self.by_path.retain(|_, known| *known != id);
                let path = rate.owner.path();
                self.by_path.extend(path.map(|path| (path.into(), id)));
            }
            (entry.rate, entry.window) = (rate, window);
            return;
        }
        if let Some(path) = rate.owner.path() {
            self.by_path.insert(path.into(), id);
        }
        let entry = OwnerSeries {
            labels: owner_labels(&rate.owner).into(),
            rate,
            window,
            since: now,
            // It may have come and gone within a window.
            gone: self.removed.get(&id).copied(),
            place: None,
        };
        self.owners.insert(id, Box::new(entry));
    }

    /// Owners that have something to tell get series while there is room: those not `ok` first and beyond that, the living
    /// before those that are gone, whose series they get.
    fn give_series(&mut self, now: BootTime) {
        // Where there are places for all, nobody gets another one's.
        let mut gone = match self.owners.len() > self.most_owners {
            true => self.series_of_the_gone(),
            false => Vec::new(),
        };
        let room = self.most_owners.saturating_sub(self.with_series) + gone.len();
        let mut waiting: Vec<_> = self
            .owners
            .iter()
            .filter_map(|(id, entry)| Some((entry.claim(now, room > 0)?, *id)))
            .collect();
        waiting.sort_unstable();
        for (claim, id) in waiting {
            let most = match claim {
                Claim::Flagged => self.most_owners + RESERVE,
                Claim::Living | Claim::Gone => self.most_owners,
            };
            if self.with_series >= most
                && claim < Claim::Gone
                && let Some(other) = gone.pop()
            {
                self.fold(other);
            }
            let has_room = self.with_series < most;
            let Some(entry) = self.owners.get_mut(&id) else {
                continue;
            };
            match (&entry.place, has_room) {
                (None, true) => entry.place = Some(SeriesPlace::Own(None)),
                // What it counted until now is in the sum.
                (Some(_), true) => {
                    entry.place = Some(SeriesPlace::Own(Some(Box::new(entry.total()))));
                }
                (None, false) => {
                    self.other = self.other.plus(&entry.total());
                    entry.place = Some(SeriesPlace::Other);
                }
                (Some(_), false) => {}
            }
            self.with_series += usize::from(has_room);
        }
    }

    /// Owners that are gone and have series, the oldest last.
    fn series_of_the_gone(&self) -> Vec<CgroupId> {
        let gone = self.owners.iter().filter_map(|(id, entry)| {
            let has_series = matches!(entry.place, Some(SeriesPlace::Own(_)));
            Some((entry.gone.filter(|_| has_series)?, *id))
        });
        let mut gone: Vec<_> = gone.collect();
        gone.sort_unstable_by(|a, b| b.cmp(a));
        gone.into_iter().map(|(_, id)| id).collect()
    }

    /// Ends the series of an owner: what it counted goes to the sum.
    fn fold(&mut self, id: CgroupId) {
        let Some(entry) = self.owners.get_mut(&id) else {
            return;
        };
        if let Some(SeriesPlace::Own(before)) = entry.place.replace(SeriesPlace::Other) {
            let counted = match before {
                Some(before) => entry.total().minus(&before),
                None => entry.total(),
            };
            self.other = self.other.plus(&counted);
            self.with_series = self.with_series.saturating_sub(1);
        }
    }

    /// Every owner that is there, as at the end of the last window.
    pub fn rates(&self) -> Vec<RateEvent> {
        let there = self.owners.values().filter(|entry| entry.gone.is_none());
        let mut rates: Vec<_> = there
            .map(|entry| {
                let mut rate = (*entry.rate).clone();
                rate.window_s = self.last.window_s;
                if entry.window != self.windows {
                    rate.counts = rate.counts.of_nothing();
                    rate.creators.clear();
                }
                rate
            })
            .collect();
        rates.sort_by_key(|rate| rate.owner.cgroup.id);
        rates
    }

    /// The node at the end of the last window.
    pub fn node(&self) -> &NodeWindow {
        &self.last
    }

    /// When that was.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// States that are not `ok`, as they were told, with when.
    pub fn states(&self) -> impl Iterator<Item = &(Timestamp, StateEvent)> {
        self.told.values()
    }

    /// Incidents that are open.
    pub fn open(&self) -> &[IncidentEvent] {
        &self.open
    }

    /// Incidents that closed, the last first, with when.
    pub fn closed(&self) -> impl Iterator<Item = &(Timestamp, IncidentEvent)> {
        self.closed.iter()
    }
}

fn forget(
    by_path: &mut HashMap<Box<str>, CgroupId>,
    with_series: &mut usize,
    id: CgroupId,
    entry: &OwnerSeries,
) {
    if let Some(path) = entry.rate.owner.path()
        && by_path.get(path) == Some(&id)
    {
        by_path.remove(path);
    }
    if matches!(entry.place, Some(SeriesPlace::Own(_))) {
        *with_series = with_series.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests;
