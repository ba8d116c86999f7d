//! A verdict in words.

use std::time::Duration;

use super::{
    Exhaustion, State,
    evidence::{Evidence, EvidenceKind},
    trend::Growth,
};
use crate::{
    limits::{Limit, LimitOwner},
    values::{about, count},
};

/// What a verdict stands on.
pub(super) struct Facts<'a> {
    pub state: State,
    pub tasks: u64,
    pub growth: Option<&'a Growth>,
    /// Creations and ends a second, of late.
    pub rates: (f64, f64),
    pub zombies: u64,
    pub chain: &'a [Limit],
    pub exhaustion: Option<&'a Exhaustion>,
    pub evidence: &'a [&'a Evidence],
}

impl Facts<'_> {
    /// `+41 tasks/s for 12 s, 40 to 532 tasks`.
    fn growth(&self, growth: &Growth) -> String {
        let time = about(Duration::from_secs(growth.for_s));
        let (speed, base) = (per_time(growth.per_s), growth.base);
        format!(
            "{speed} for {time}, {base} to {}",
            count(self.tasks, "task")
        )
    }

    /// The growth, and what the tasks show of it.
    pub fn evidence(&self) -> Vec<Evidence> {
        let Some(growth) = self.growth.filter(|_| self.state.grows()) else {
            return Vec::new();
        };
        let lasted = Duration::from_secs(growth.for_s);
        let mut evidence = vec![Evidence::of_growth(
            self.growth(growth),
            growth.gain,
            lasted,
        )];
        evidence.extend(self.evidence.iter().copied().cloned());
        evidence
    }

    /// `+41 tasks/s for 12 s, 40 to 532 tasks, 42 created/s and 1 ended/s; kernel.pid_max in 19 min`.
    pub fn why(&self) -> String {
        let tasks = self.tasks;
        let (created, ended) = self.rates;
        let mut words = match (self.state, self.growth) {
            (State::Storm, _) => {
                return format!("{created:.0} creations/s and {ended:.0} ends/s, no growth");
            }
            (State::Ok, _) => return format!("{}, steady", count(tasks, "task")),
            (_, Some(growth)) => {
                let mut words = self.growth(growth);
                if created >= 1.0 {
                    words += &format!(", {created:.0} created/s and {ended:.0} ended/s");
                }
                words
            }
            (_, None) => count(tasks, "task"),
        };
        // Those that can be half of what has come to stay.
        let gain = self.growth.map_or(0, |growth| growth.gain);
        if self.zombies > 0 && self.zombies >= gain / 2 {
            words += &format!(
                "; {} of its tasks are zombies that nobody reaps",
                self.zombies
            );
        }
        for evidence in self.evidence {
            // A leak is beyond doubt, whatever spoke against it.
            if evidence.kind.is_proof() {
                words += &format!("; {}", evidence.text);
            } else if self.state == State::Growing && evidence.kind != EvidenceKind::Growth {
                words += &format!("; in doubt: {}", evidence.text);
            }
        }
        let full = self.chain.iter().find(|limit| limit.usage >= limit.value);
        match (full, self.exhaustion) {
            (Some(limit), _) => words += &format!("; {} is full", named(limit)),
            (_, Some(exhaustion)) => {
                let time = Duration::try_from_secs_f64(exhaustion.in_s).unwrap_or(Duration::MAX);
                words += &format!("; {} in {}", named(&exhaustion.limit), about(time));
            }
            (None, None) => {}
        }
        words
    }
}

/// A limit by its name; that of a PID namespace is not the node's.
fn named(limit: &Limit) -> String {
    match limit.owner {
        LimitOwner::PidNamespace(_) => format!("{} of its PID namespace", limit.name),
        _ => limit.name.to_owned(),
    }
}

/// `+41 tasks/s`, `+12 tasks/min`, `+3 tasks/h`.
fn per_time(per_s: f64) -> String {
    if per_s >= 9.95 {
        format!("+{per_s:.0} tasks/s")
    } else if per_s >= 0.95 {
        format!("+{per_s:.1} tasks/s")
    } else if per_s * 60.0 >= 0.95 {
        format!("+{:.1} tasks/min", per_s * 60.0)
    } else {
        format!("+{:.1} tasks/h", per_s * 3600.0)
    }
}
