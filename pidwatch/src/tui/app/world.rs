//! What is known of the node: what every view is drawn from.
//!
//! In: [`Update`]s, as the node, a recording or an agent gives them. Out: owners with their past, the
//! node, incidents, and what happened of late. Pure: times come with the updates.
//!
//! Invariant: room is bounded by the owners that are there and a fixed number of events.

use std::{borrow::Cow, cmp::Ordering, collections::VecDeque, time::Duration};

use hashbrown::HashMap;

use super::owner::{Badge, Known, Refusal};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::State,
    escape,
    event::Update,
    history::{History, Reading},
    identity::Owner,
    incident::{Incident, Phase},
    limits::{FailedClone, Limit, LimitOwner},
    snapshot::{NodeState, Snapshot},
};

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
pub enum What {
    /// A creation was refused.
    Failure,
    /// An owner is in another state.
    State,
    /// An incident opened or closed.
    Incident,
    /// A cgroup came or went.
    Cgroup,
    /// Something was lost.
    Lost,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When, the last time.
    pub time: BootTime,
    /// What.
    pub what: What,
    /// To whom, if to one.
    pub owner: Option<CgroupId>,
    /// The same with its path and its names, as they were then.
    pub whose: Option<Owner>,
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

/// A limit whose usage is worth a gauge.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// As people set it, with whose it is.
    pub name: String,
    /// The limit's name alone.
    pub limit: &'static str,
    /// What of it is used, as far as is known.
    pub usage: u64,
    /// The limit.
    pub value: u64,
    /// Seconds until it is hit, if it goes on as it does.
    pub in_s: Option<f64>,
    /// Creations that it refused.
    pub failures: u64,
    /// Whose it is.
    pub owner: LimitOwner,
    /// Path of the cgroup whose it is; `None` for the node's.
    pub path: Option<Box<[u8]>>,
}

impl Gauge {
    /// How much of it is used, 0 to 1 and above.
    pub fn ratio(&self) -> f64 {
        self.usage as f64 / self.value.max(1) as f64
    }
}

/// The node as far as is known.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Its name.
    pub node_name: String,
    /// When the last window closed.
    pub time: Option<BootTime>,
    /// The node as a whole.
    pub node: NodeState,
    /// Its past.
    pub history: History,
    /// Owners by their cgroups.
    pub owners: HashMap<CgroupId, Known>,
    /// Incidents, the newest last.
    pub incidents: Vec<Incident>,
    /// When an open incident last had a creation refused, and its failures then.
    pub(super) refused: HashMap<String, (BootTime, u64)>,
    /// What happened of late, the newest last.
    pub events: VecDeque<Happening>,
    /// Counts that were lost, by place.
    pub lost: HashMap<Cow<'static, str>, u64>,
    /// Failed creations are seen.
    pub knows_failures: bool,
    /// Created, ended, refused a second in the last window, of the whole node.
    pub rates: [f64; 3],
}

impl World {
    /// Takes an update.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Window(snapshot) => self.window(snapshot),
            Update::Failed(failed) => self.failed(&failed),
            Update::Added(owner, time) => {
                self.note(
                    What::Cgroup,
                    time,
                    Some(&owner),
                    "cgroup came".into(),
                    false,
                );
                self.known(&owner);
            }
            Update::Removed(owner, time) => {
                self.note(
                    What::Cgroup,
                    time,
                    Some(&owner),
                    "cgroup went".into(),
                    false,
                );
                if let Some(known) = self.owners.get_mut(&owner.id) {
                    known.gone = Some(time);
                }
            }
            Update::Named(owner, _) => {
                self.known(&owner);
            }
            Update::State(told) => {
                let verdict = &told.change.verdict;
                let text = format!("{}: {}", verdict.state.name(), verdict.why);
                let is_bad = matches!(verdict.state, State::Leaking | State::Saturated);
                self.note(What::State, told.time, Some(&told.owner), text, is_bad);
                let known = self.known(&told.owner);
                known.task_names = told.task_names.or(known.task_names.take());
                if told.limits.is_some() {
                    known.limits = told.limits;
                }
                known.verdict = match told.change.verdict.state {
                    State::Ok | State::Gone => None,
                    _ => Some(told.change.verdict),
                };
            }
            Update::Incident(incident, time) => self.incident(*incident, time),
            Update::Lost { place, count, time } => {
                let text = format!("{count} lost at {}", escape::for_terminal(place.as_bytes()));
                self.note(What::Lost, time, None, text, true);
                *self.lost.entry(place).or_default() += count;
            }
        }
    }

    /// The limits above an owner, as they are now.
    pub fn tell_limits(&mut self, id: CgroupId, limits: Option<Vec<(Limit, Option<Owner>)>>) {
        if let Some(known) = self.owners.get_mut(&id)
            && limits.is_some()
        {
            known.limits = limits;
        }
    }

    /// Seconds of the clock that the updates have.
    pub fn now_s(&self) -> u64 {
        self.time.map_or(0, BootTime::seconds)
    }

    /// The incidents that are open.
    pub fn open_incidents(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        let is_open = |incident: &&Incident| incident.phase != Phase::Closed;
        self.incidents.iter().filter(is_open)
    }

    /// How long no creation was refused of an incident that had some; `None` while there are.
    pub fn calm(&self, incident: &Incident) -> Option<Duration> {
        let (last, _) = self.refused.get(&incident.id)?;
        let calm = self.time?.since(*last);
        (incident.failures > 0 && calm > REFUSES_FOR).then_some(calm)
    }

    /// The most urgent of two incidents first: what is refused now, then what will be soon, then what is fuller.
    pub fn urgency(&self, a: &Incident, b: &Incident) -> Ordering {
        let refuses = |open: &Incident| open.failures > 0 && self.calm(open).is_none();
        let full_in = |open: &Incident| self.full_in(open).unwrap_or(f64::INFINITY);
        let ratio = |open: &Incident| {
            open.usage.unwrap_or(0) as f64 / open.value.unwrap_or(u64::MAX).max(1) as f64
        };
        let is_nodes = |open: &Incident| open.limit.owner == LimitOwner::Node;
        (refuses(b).cmp(&refuses(a)))
            .then_with(|| is_nodes(b).cmp(&is_nodes(a)))
            .then_with(|| full_in(a).total_cmp(&full_in(b)))
            .then_with(|| ratio(b).total_cmp(&ratio(a)))
            .then_with(|| b.opened.cmp(&a.opened))
    }

    /// Seconds until an incident's limit is hit.
    fn full_in(&self, open: &Incident) -> Option<f64> {
        let of_node = self.node.exhaustion.iter();
        let of_owners = self.owners.values();
        let of_owners = of_owners.filter_map(|known| known.verdict.as_ref()?.exhaustion.as_ref());
        let all = of_node.chain(of_owners);
        let this = all.filter(|told| {
            (told.limit.name, told.limit.owner) == (open.limit.name, open.limit.owner)
        });
        this.map(|told| told.in_s).min_by(f64::total_cmp)
    }

    /// The limits that matter now, of all incidents.
    pub fn gauges(&self) -> Vec<Gauge> {
        self.gauges_of(&self.open_incidents().collect::<Vec<_>>())
    }

    /// The limits that matter now: the node's that is hit first, then those of some open incidents.
    pub fn gauges_of(&self, incidents: &[&Incident]) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        let of_node = |name: &str| {
            let all = self
                .open_incidents()
                .filter(|open| open.limit.owner == LimitOwner::Node && open.limit.name == name);
            all.map(|open| open.failures).sum()
        };
        if let Some(limit) = self.binding() {
            let forecast = self.node.exhaustion.as_ref();
            let forecast = forecast.filter(|told| told.limit.name == limit.name);
            gauges.push(Gauge {
                name: limit.name.into(),
                limit: limit.name,
                usage: limit.usage,
                value: limit.value,
                in_s: forecast.map(|told| told.in_s),
                failures: of_node(limit.name),
                owner: LimitOwner::Node,
                path: None,
            });
        }
        for open in incidents {
            let (Some(value), LimitOwner::Cgroup(_)) = (open.value, open.limit.owner) else {
                continue;
            };
            let path = open.limit.path.as_deref().unwrap_or_default();
            gauges.push(Gauge {
                name: format!("{} {}", open.limit.name, escape::for_terminal(path)),
                limit: open.limit.name,
                usage: open.usage.unwrap_or(0),
                value,
                in_s: self.full_in(open),
                failures: open.failures,
                owner: open.limit.owner,
                path: open.limit.path.clone(),
            });
        }
        gauges
    }

    /// The node's limit that is hit first: by the forecast, or else by what is used.
    fn binding(&self) -> Option<&Limit> {
        let ratio = |limit: &&Limit| limit.usage as f64 / limit.value.max(1) as f64;
        let by_forecast = self.node.exhaustion.as_ref().and_then(|told| {
            let mut all = self.node.limits.iter();
            all.find(|limit| limit.name == told.limit.name)
        });
        let by_usage = || {
            let all = self.node.limits.iter();
            all.max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
        };
        by_forecast.or_else(by_usage)
    }

    fn known(&mut self, owner: &Owner) -> &mut Known {
        let known = self
            .owners
            .entry(owner.id)
            .or_insert_with(|| Known::new(owner.clone()));
        known.call(owner);
        known
    }

    fn window(&mut self, snapshot: Snapshot) {
        let seconds = snapshot.window.as_secs_f64().max(0.001);
        let time = snapshot.time;
        self.time = Some(time);
        self.knows_failures = snapshot.knows_failures;
        for known in self.owners.values_mut() {
            known.quiet();
        }
        let mut sum = Reading {
            tasks: snapshot.node.tasks,
            ..Reading::default()
        };
        for row in snapshot.rows {
            let reading = self.known(&row.owner).window(row, time, seconds);
            sum.created += reading.created;
            sum.exited += reading.exited;
            sum.failed += reading.failed;
        }
        self.rates = [sum.created, sum.exited, sum.failed].map(|n| n as f64 / seconds);
        self.history.push(time.seconds(), seconds, sum);
        self.node = snapshot.node;
        for now in snapshot.incidents {
            self.refusals(&now, time);
            let mut open = self.incidents.iter_mut();
            let open = open.find(|open| open.id == now.id && open.phase != Phase::Closed);
            if let Some(open) = open {
                *open = now;
            }
        }
        let is_over = |known: &Known| known.gone.is_some_and(|gone| time.since(gone) > GONE_STAYS);
        self.owners.retain(|_, known| !is_over(known));
        self.judge(time);
    }

    /// Notes when an incident's failures grew.
    fn refusals(&mut self, incident: &Incident, time: BootTime) {
        if incident.phase == Phase::Closed {
            self.refused.remove(&incident.id);
            return;
        }
        let last = self.refused.entry_ref(&incident.id).or_insert((time, 0));
        if incident.failures > last.1 {
            *last = (time, incident.failures);
        }
    }

    /// What each owner is in the incidents that are open.
    fn judge(&mut self, time: BootTime) {
        let mut roles: HashMap<CgroupId, Badge> = HashMap::new();
        for open in self
            .incidents
            .iter()
            .filter(|open| open.phase != Phase::Closed)
        {
            for victim in &open.victims {
                roles.entry(victim.owner.id).or_insert(Badge::Victim);
            }
            for culprit in &open.culprits {
                roles.insert(culprit.owner.id, Badge::Culprit);
            }
        }
        for (id, known) in &mut self.owners {
            known.judge(roles.get(id).copied(), time);
        }
    }

    fn failed(&mut self, failed: &FailedClone) {
        let refusal = Refusal::of(failed);
        let times = 1 + failed.suppressed;
        let text = refusal.text.clone();
        let time = failed.failure.time;
        let mut latest = self.events.iter().rev().take(SAME_AMONG);
        let same = latest.position(|event| {
            event.owner == Some(failed.sufferer().id)
                && event.text == text
                && time.since(event.time) < SAME_BURST
        });
        let same = same.and_then(|place| self.events.remove(self.events.len() - 1 - place));
        if let Some(mut same) = same {
            same.time = time;
            same.times += times;
            // The newest is last.
            self.events.push_back(same);
        } else {
            let is_bad = refusal.is_for_want;
            self.note(What::Failure, time, Some(failed.sufferer()), text, is_bad);
            if let Some(last) = self.events.back_mut() {
                last.times = times;
            }
        }
        // Whom a container runtime was at work for suffers, not the runtime.
        self.known(failed.sufferer()).refused(refusal, times);
    }

    fn incident(&mut self, incident: Incident, time: BootTime) {
        let place = self
            .incidents
            .iter()
            .position(|known| known.id == incident.id);
        let was_open = place.map(|place| self.incidents[place].phase != Phase::Closed);
        let is_open = incident.phase != Phase::Closed;
        if was_open != Some(is_open) {
            let word = if is_open { "incident" } else { "incident over" };
            let text = format!("{word}: {}", incident.summary);
            self.note(What::Incident, time, None, text, is_open);
            if let Some(last) = self.events.back_mut() {
                last.incident = Some(incident.id.clone());
            }
        }
        self.refusals(&incident, time);
        match place {
            Some(place) => self.incidents[place] = incident,
            None => self.incidents.push(incident),
        }
        if self.incidents.len() > MOST_INCIDENTS {
            let closed = self
                .incidents
                .iter()
                .position(|known| known.phase == Phase::Closed);
            self.incidents.remove(closed.unwrap_or(0));
        }
        self.judge(time);
    }

    fn note(
        &mut self,
        what: What,
        time: BootTime,
        owner: Option<&Owner>,
        text: String,
        is_bad: bool,
    ) {
        if self.events.len() >= MOST_EVENTS {
            // What comes and goes all the time is the first to be forgotten.
            let cgroup = self
                .events
                .iter()
                .position(|event| event.what == What::Cgroup);
            self.events.remove(cgroup.unwrap_or(0));
        }
        self.events.push_back(Happening {
            time,
            what,
            owner: owner.map(|owner| owner.id),
            whose: owner.cloned(),
            name: owner.map(Owner::name).unwrap_or_default(),
            text,
            is_bad,
            times: 1,
            incident: None,
        });
    }
}
