//! A row of the owners' table: an owner, or the sum of several.

use std::sync::Arc;

use super::{
    gauge::Gauge,
    owner::{Badge, OwnerEntry},
};
use crate::{
    cgroup::CgroupId,
    escape,
    stream::{LimitHolder, LimitId},
};

/// What a row stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// An owner.
    Owner(CgroupId),
    /// A group, or a cgroup of which nothing is known but that others are below it: its name or path.
    Group(String),
}

/// Which limit a share is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// It is not known.
    None,
    /// One, and its value.
    One(Arc<LimitId>, u64),
    /// Not all that were summed up have the same.
    Several,
}

impl Of {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, of) | (of, Self::None) => of,
            (a, b) if a == b => a,
            _ => Self::Several,
        }
    }
}

/// A row.
#[derive(Clone, Debug)]
pub struct TableRow {
    /// What it stands for.
    pub key: RowKey,
    /// How deep it stands.
    pub depth: u16,
    /// Whether others stand below it, and are hidden.
    pub fold: Option<bool>,
    /// Of a group its name and of a cgroup its path, by which it is folded: of a cgroup above others more
    /// may become known, and it stays folded.
    pub place: String,
    /// Its name, safe to show.
    pub name: String,
    /// What it is to the person who looks: of a group, the worst in it.
    pub badge: Badge,
    /// Tasks.
    pub tasks: Option<u64>,
    /// Their share of the limit that is reached first, 0 to 1 and above.
    pub share: Option<f64>,
    /// Which limit that is.
    pub of: Of,
    /// Processes.
    pub processes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Zombies.
    pub zombies: Option<u64>,
    /// Growth a second.
    pub growth: Option<f64>,
    /// Created a second.
    pub created: f64,
    /// Ended a second.
    pub exited: f64,
    /// Refused a second.
    pub failed: f64,
    /// Refused in all.
    pub failures: u64,
    /// Seconds until a limit is hit.
    pub full_in: Option<f64>,
}

impl TableRow {
    /// Of an owner, with the limits there are.
    pub(super) fn of(known: &OwnerEntry, gauges: &[Gauge]) -> Self {
        let is_above = |gauge: &&Gauge| match gauge.limit.holder() {
            LimitHolder::Cgroup(Some(path)) => known.is_below(path),
            LimitHolder::Cgroup(None) => false,
            LimitHolder::Node | LimitHolder::User(_) | LimitHolder::PidNamespace(_) => true,
        };
        // Of one that is silent the others below a limit may have taken what was left.
        let above = gauges.iter().filter(is_above).map(|gauge| {
            let headroom = gauge.value.saturating_sub(gauge.usage);
            (headroom, (&gauge.limit, gauge.value))
        });
        let own = known.limit.as_ref().map(|limit| {
            let headroom = limit.value.saturating_sub(limit.usage);
            (headroom, (&limit.id, limit.value))
        });
        let limit = match own.filter(|_| known.full_in().is_some()) {
            Some(by_forecast) => Some(by_forecast),
            None => own
                .into_iter()
                .chain(above)
                .min_by_key(|(headroom, _)| *headroom),
        };
        let limit = limit.map(|(_, of)| of);
        let share = |value: u64| Some(known.tasks? as f64 / value.max(1) as f64);
        Self {
            key: RowKey::Owner(known.owner.id()),
            depth: 0,
            fold: None,
            place: String::new(),
            name: known.name.clone(),
            badge: known.badge,
            tasks: known.tasks,
            share: limit.and_then(|(_, value)| share(value)),
            of: limit.map_or(Of::None, |(id, value)| Of::One(id.clone(), value)),
            processes: known.processes,
            threads: known.threads(),
            zombies: known.zombies,
            growth: known.growth(),
            created: known.created,
            exited: known.exited,
            failed: known.failed,
            failures: known.failures,
            full_in: known.full_in(),
        }
    }

    /// Takes in the row of a cgroup that stood for the same owner before: its limit matters no more.
    pub(super) fn succeed(&mut self, former: &Self) {
        let (share, of) = (self.share, self.of.clone());
        self.add(former);
        if self.of != of {
            (self.share, self.of) = (share, of);
        }
    }

    /// Of nothing yet, to be added to.
    pub(super) fn group(place: &str, name: &[u8]) -> Self {
        Self {
            key: RowKey::Group(place.to_owned()),
            depth: 0,
            fold: Some(false),
            place: place.to_owned(),
            name: escape::for_terminal(name),
            badge: Badge::Gone,
            tasks: None,
            share: None,
            of: Of::None,
            processes: None,
            threads: None,
            zombies: None,
            growth: None,
            created: 0.0,
            exited: 0.0,
            failed: 0.0,
            failures: 0,
            full_in: None,
        }
    }

    /// Takes another row into its sums.
    pub(super) fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        let sum_f = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.badge = self.badge.max(other.badge);
        self.tasks = sum(self.tasks, other.tasks);
        let of = std::mem::replace(&mut self.of, Of::None);
        self.of = of.and(other.of.clone());
        // Shares of different limits have no sum.
        self.share = match self.of {
            Of::Several => None,
            Of::None | Of::One(..) => sum_f(self.share, other.share),
        };
        self.processes = sum(self.processes, other.processes);
        self.threads = sum(self.threads, other.threads);
        self.zombies = sum(self.zombies, other.zombies);
        self.growth = sum_f(self.growth, other.growth);
        self.created += other.created;
        self.exited += other.exited;
        self.failed += other.failed;
        self.failures += other.failures;
        self.full_in = match (self.full_in, other.full_in) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
