//! What the agent knows of the node now: every owner as it was last told or read.
//!
//! In: the node's updates, and readings of owners that tell nothing. Out: one consistent view, for
//! metrics, for the snapshot and for who begins to listen. Pure: time comes in as an argument.
//!
//! Invariant: a counter that is exported never falls while its series is there. An owner that has a
//! series keeps it until it is gone; one for which there was no room is counted into a sum that only
//! grows, and what was counted there is not told again when it gets a series of its own.

mod exported;

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;

use super::{event_log, events, flight, kubernetes};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::State,
    event::Update,
    incident::{Incident, Phase},
    limits::Reason,
    model::Counts,
    output::prometheus::{MOST_SAMPLES, other_labels, owner_labels},
    probe::Losses,
    snapshot::{Row, Snapshot},
    stream::{self, Started},
};

/// Series of an owner that is gone stay this long: long enough for the usual two scrapes.
pub const GRACE: Duration = Duration::from_secs(120);
/// A container's series begin with its names, which a runtime tells within a second; without them
/// after this.
const NAMES: Duration = Duration::from_secs(5);
/// Owners that are not `ok` may have series beyond the most there are for others.
const RESERVE: usize = 64;
/// Closed incidents that are remembered.
const CLOSED: usize = 64;

/// Where an owner's counts go.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every owner has series of its own"
)]
enum Place {
    /// To series of its own, less what was counted elsewhere before.
    Own(Counts),
    /// To the sum of those without.
    Other,
}

/// An owner.
#[derive(Debug)]
struct Entry {
    row: Row,
    labels: Box<str>,
    /// The window that last told of it.
    window: u64,
    /// When it was first heard of.
    since: BootTime,
    gone: Option<BootTime>,
    /// The smallest `pids.max` up to the root; `None` for none or unknown.
    limit: Option<u64>,
    place: Option<Place>,
}

/// All of it.
#[derive(Debug)]
pub struct Board {
    started: Started,
    /// Boxed, as the model's states are: most slots are empty where owners come and go.
    owners: HashMap<CgroupId, Box<Entry>>,
    by_path: HashMap<Box<[u8]>, CgroupId>,
    /// Cgroups that are gone, since when: their last counts may still be told.
    removed: HashMap<CgroupId, BootTime>,
    /// States as they were told, while they are not `ok`: an owner's may come before its first row.
    told: HashMap<CgroupId, (BootTime, stream::State)>,
    most_owners: usize,
    with_series: usize,
    other: Counts,
    other_labels: String,
    failures: [u64; Reason::ALL.len()],
    /// The last window, without its rows.
    last: Snapshot,
    windows: u64,
    /// Incidents that opened earlier are not this agent's to count.
    began: BootTime,
    opened: BTreeMap<&'static str, u64>,
    /// Those of them that were counted and are not closed.
    counted: HashSet<String>,
    closed: VecDeque<(Timestamp, stream::Incident)>,
    lost: BTreeMap<Cow<'static, str>, u64>,
}

impl Board {
    /// Of a stream that began at `time`; with at most about so many series of owners.
    pub fn new(started: Started, time: BootTime, max_series: usize) -> Self {
        // An increase from nothing would be missed.
        let hooks = started.probes.iter().map(|probe| probe.name.clone().into());
        let places = Losses::places().chain([
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
            last: Snapshot {
                time,
                window: Duration::ZERO,
                rows: Vec::new(),
                knows_frees: false,
                knows_failures: false,
                node: crate::snapshot::NodeState::default(),
                incidents: Vec::new(),
            },
            windows: 0,
            began: time,
            opened: BTreeMap::new(),
            counted: HashSet::new(),
            closed: VecDeque::new(),
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

    /// Whether a reading says anything that is not known.
    pub fn is_news(&self, row: &Row) -> bool {
        self.owners.get(&row.owner.id).is_none_or(|entry| {
            let known = &entry.row;
            known.tasks != row.tasks
                || known.subtree_tasks != row.subtree_tasks
                || known.processes != row.processes
                || known.zombies != row.zombies
                || known.owner != row.owner
        })
    }

    /// The limit that an owner's tasks are held against.
    pub fn set_limit(&mut self, id: CgroupId, limit: Option<u64>) {
        if let Some(entry) = self.owners.get_mut(&id) {
            entry.limit = limit;
        }
    }

    /// Every owner that is there.
    pub fn ids(&self) -> impl Iterator<Item = CgroupId> {
        let there = self.owners.iter().filter(|(_, entry)| entry.gone.is_none());
        there.map(|(id, _)| *id)
    }

    /// A cgroup is gone.
    pub fn set_gone(&mut self, id: CgroupId, time: BootTime) {
        self.removed.entry(id).or_insert(time);
        self.told.remove(&id);
        if let Some(entry) = self.owners.get_mut(&id)
            && entry.gone.is_none()
        {
            entry.gone = Some(time);
            entry.row.tasks = None;
            entry.row.subtree_tasks = None;
            entry.row.processes = None;
            entry.limit = None;
        }
    }

    /// Something that was lost on the way to whoever listens.
    pub fn lose(&mut self, place: &'static str, count: u64) {
        *self.lost.entry(place.into()).or_default() += count;
    }

    /// Takes an update in; `wall` gives a moment's wall time.
    pub fn take(&mut self, update: &Update, wall: impl Fn(BootTime) -> Timestamp) {
        match update {
            Update::Window(snapshot) => self.window(snapshot),
            Update::State(change) => {
                let verdict = &change.change.verdict;
                let is_calm = matches!(verdict.state, State::Ok | State::Gone);
                let id = change.owner.id;
                if let Some(entry) = self.owners.get_mut(&id) {
                    entry.row.verdict = Some(verdict.clone()).filter(|_| !is_calm);
                }
                if is_calm {
                    self.told.remove(&id);
                } else {
                    let told = stream::State::of(change, wall(verdict.since));
                    self.told.insert(id, (change.time, told));
                }
            }
            Update::Incident(incident, time) => {
                self.count(incident);
                if incident.phase == Phase::Closed {
                    self.counted.remove(&incident.id);
                    self.closed.truncate(CLOSED - 1);
                    let told = stream::Incident::of(incident, &wall);
                    self.closed.push_front((wall(*time), told));
                }
            }
            Update::Removed(owner, time) => {
                self.set_gone(owner.id, *time);
            }
            Update::Named(owner, _) => {
                if let Some(entry) = self.owners.get_mut(&owner.id) {
                    entry.row.owner = owner.clone();
                    entry.labels = owner_labels(owner).into();
                }
            }
            Update::Lost { place, count, .. } => {
                *self.lost.entry(place.clone()).or_default() += count;
            }
            Update::Failed(_) | Update::Added(..) => {}
        }
    }

    /// Counts an incident, once: a window may have it before it is told.
    fn count(&mut self, incident: &Incident) {
        if incident.opened >= self.began && self.counted.insert(incident.id.clone()) {
            *self.opened.entry(incident.limit.name).or_default() += 1;
        }
    }

    fn window(&mut self, snapshot: &Snapshot) {
        self.windows += 1;
        for incident in &snapshot.incidents {
            self.count(incident);
        }
        for row in &snapshot.rows {
            self.row(row, snapshot.time);
        }
        let now = snapshot.time;
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
        self.last = Snapshot {
            rows: Vec::new(),
            node: snapshot.node.clone(),
            incidents: snapshot.incidents.clone(),
            ..*snapshot
        };
        self.give_series(now);
    }

    fn row(&mut self, row: &Row, now: BootTime) {
        let id = row.owner.id;
        if let Some(path) = &row.owner.path
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
        let more = match self.owners.get(&id) {
            Some(entry) => row.total.minus(&entry.row.total),
            // It may have been known before, and only its zombies have kept it from being forgotten.
            None => row.counts,
        };
        for (sum, n) in self.failures.iter_mut().zip(more.failed) {
            *sum += n;
        }
        if let Some(entry) = self.owners.get_mut(&id) {
            if matches!(entry.place, Some(Place::Other)) {
                self.other = self.other.plus(&more);
            }
            if entry.row.owner != row.owner {
                entry.labels = owner_labels(&row.owner).into();
            }
            if entry.row.owner.path != row.owner.path {
                // Renamed.
                self.by_path.retain(|_, known| *known != id);
                let path = row.owner.path.clone();
                self.by_path.extend(path.map(|path| (path, id)));
            }
            entry.row.clone_from(row);
            entry.window = self.windows;
            return;
        }
        if let Some(path) = &row.owner.path {
            self.by_path.insert(path.clone(), id);
        }
        let entry = Entry {
            labels: owner_labels(&row.owner).into(),
            row: row.clone(),
            window: self.windows,
            since: now,
            // It may have come and gone within a window.
            gone: self.removed.get(&id).copied(),
            limit: None,
            place: None,
        };
        self.owners.insert(id, Box::new(entry));
    }

    /// Owners that have something to tell get series while there is room, for those not `ok` beyond that.
    fn give_series(&mut self, now: BootTime) {
        for entry in self.owners.values_mut() {
            let is_flagged = entry.row.verdict.is_some();
            let has_reserve = self.with_series < self.most_owners + RESERVE;
            match entry.place {
                Some(Place::Own(_)) => continue,
                Some(Place::Other) if !(is_flagged && has_reserve) => continue,
                Some(Place::Other) => {
                    self.with_series += 1;
                    entry.place = Some(Place::Own(entry.row.total));
                    continue;
                }
                None => {}
            }
            let row = &entry.row;
            let has_tasks = row.tasks.is_some_and(|tasks| tasks > 0);
            let is_named = row.owner.names.is_some()
                || row.owner.identity.container.is_none()
                || entry.gone.is_some()
                || now.since(entry.since) >= NAMES;
            if !(is_named && (has_tasks || !row.total.is_zero())) {
                continue;
            }
            if self.with_series < self.most_owners || (is_flagged && has_reserve) {
                self.with_series += 1;
                entry.place = Some(Place::Own(Counts::NONE));
            } else {
                self.other = self.other.plus(&row.total);
                entry.place = Some(Place::Other);
            }
        }
    }

    /// The node as it was at the end of the last window, with every owner.
    pub fn snapshot(&self) -> Snapshot {
        let mut rows: Vec<Row> = self
            .owners
            .values()
            .filter(|entry| entry.gone.is_none())
            .map(|entry| Row {
                counts: if entry.window == self.windows {
                    entry.row.counts
                } else {
                    Counts::NONE
                },
                ..entry.row.clone()
            })
            .collect();
        rows.sort_by_key(|row| row.owner.id);
        Snapshot {
            rows,
            ..self.last.clone()
        }
    }

    /// States that are not `ok`, as they were told, with when.
    pub fn states(&self) -> impl Iterator<Item = (BootTime, &stream::State)> {
        self.told.values().map(|(time, told)| (*time, told))
    }

    /// Incidents that are open.
    pub fn open(&self) -> &[Incident] {
        &self.last.incidents
    }

    /// Incidents that closed, the last first, with when.
    pub fn closed(&self) -> impl Iterator<Item = &(Timestamp, stream::Incident)> {
        self.closed.iter()
    }
}

fn forget(
    by_path: &mut HashMap<Box<[u8]>, CgroupId>,
    with_series: &mut usize,
    id: CgroupId,
    entry: &Entry,
) {
    if let Some(path) = &entry.row.owner.path
        && by_path.get(path) == Some(&id)
    {
        by_path.remove(path);
    }
    if matches!(entry.place, Some(Place::Own(_))) {
        *with_series = with_series.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests;
