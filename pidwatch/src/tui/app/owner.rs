//! What is known of one owner.
//!
//! In: its rows, failures and verdicts. Out: what a line of the table and its own page show. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    clock::{self, between},
    detect::State,
    escape,
    history::{History, Reading},
    identity::OwnerKey,
    limits::{Basis, Reason},
    stream::{
        CloneFailure, Creator, LimitHolder, LimitId, LimitUse, OwnerRef, RateEvent, StateNow,
        TaskNames,
    },
};

/// Failures that are kept of an owner.
const MOST_REFUSALS: usize = 20;
/// Somebody who was refused this long ago is no victim any more, where no incident says so.
const SUFFERS_FOR: Duration = Duration::from_secs(30);

/// Somebody who ate a limit this long ago is no victim of it.
const ATE_FOR: Duration = Duration::from_mins(10);

/// What an owner is to the person who looks, the most urgent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Badge {
    /// Its cgroup is gone.
    Gone,
    /// Nothing to say.
    #[default]
    Ok,
    /// Many creations, and as many ends.
    Storm,
    /// Grows.
    Growing,
    /// Is refused, though it does not grow.
    Victim,
    /// Fills its own limit.
    Full,
    /// Holds most of what a limit allows.
    Culprit,
    /// Leaks.
    Leak,
}

impl Badge {
    /// In at most seven letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Ok => "",
            Self::Storm => "storm",
            Self::Growing => "grows",
            Self::Victim => "VICTIM",
            Self::Full => "FULL",
            Self::Culprit => "CULPRIT",
            Self::Leak => "LEAK",
        }
    }
}

/// A creation that was refused.
#[derive(Clone, Debug)]
pub struct RefusalEntry {
    /// When.
    pub time: Timestamp,
    /// How, by whom and why, in words; safe to show.
    pub text: String,
    /// For want of something, and not because it was asked wrongly.
    pub is_for_want: bool,
    /// The caller's process.
    pub pid: u32,
    /// How often, one after the other.
    pub times: u64,
}

impl RefusalEntry {
    /// `clone3 by java: EAGAIN, pids.max 400 of /shop, an exec probe`. Neither PID nor usage is in it, so
    /// that a thousand of the same are one line. `name_at` says what the cgroup at a path is called.
    pub fn of(failed: &CloneFailure, time: Timestamp, name_at: impl Fn(&str) -> String) -> Self {
        let safe = |text: &str| escape::for_terminal(text.as_bytes());
        let mut text = format!(
            "{} by {}: {}, {}",
            safe(failed.syscall.as_deref().unwrap_or("creation")),
            safe(&failed.proc.comm),
            safe(&failed.errno.to_string()),
            match &failed.limit {
                Some(limit) => format!("{} {}", safe(&limit.name), limit.value),
                None => safe(failed.reason.name(Reason::name)),
            },
        );
        let holder = failed.limit.as_ref().map(LimitUse::holder);
        if let Some(LimitHolder::Cgroup(Some(path))) = holder
            && Some(path) != failed.owner.path()
        {
            text += &format!(" of {}", name_at(path));
        }
        if failed.proc.exec_probe {
            text += ", an exec probe";
        }
        if failed.evidence == Some(Basis::Inferred.into()) {
            text += " (inferred)";
        }
        Self {
            time,
            text,
            is_for_want: !matches!(
                failed.reason.known(),
                Some(Reason::Other | Reason::Deadline | Reason::ExecInProgress)
            ),
            pid: failed.proc.pid,
            times: 1,
        }
    }
}

/// A limit that an owner reaches, as its last row had it.
#[derive(Clone, Debug)]
pub struct NextLimit {
    /// Which.
    pub id: Arc<LimitId>,
    /// The limit.
    pub value: u64,
    /// What of it was used.
    pub usage: u64,
}

/// One owner.
#[derive(Clone, Debug)]
pub struct OwnerEntry {
    /// Whose.
    pub owner: Arc<OwnerRef>,
    /// Who it is, whatever cgroup stands for it; `None` for a cgroup inside of an owner.
    pub key: Option<OwnerKey>,
    /// Its name, safe to show.
    pub name: String,
    /// The same in lower case, for filters.
    pub lower: String,
    /// What it is to the person who looks.
    pub badge: Badge,
    /// Its own tasks, zombies included.
    pub tasks: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Ended and not reaped.
    pub zombies: Option<u64>,
    /// Created a second in the last window.
    pub created: f64,
    /// Ended a second.
    pub exited: f64,
    /// Refused a second.
    pub failed: f64,
    /// Refused since pidwatch came.
    pub failures: u64,
    /// When it was refused last.
    pub refused: Option<Timestamp>,
    /// What the detector says.
    pub verdict: Option<StateNow>,
    /// Who creates there.
    pub creators: Vec<Creator>,
    /// The limit that it reaches first.
    pub limit: Option<NextLimit>,
    /// The limits above it, as they were when somebody last looked.
    pub limits: Option<Vec<LimitUse>>,
    /// What its tasks are called.
    pub task_names: Option<TaskNames>,
    /// The last that were refused, the newest last.
    pub refusals: VecDeque<RefusalEntry>,
    /// Its past.
    pub history: History,
    /// When it last was the one who eats a limit.
    pub ate: Option<Timestamp>,
    /// Since when its cgroup is gone.
    pub gone: Option<Timestamp>,
}

impl OwnerEntry {
    /// Nothing is known but who it is.
    pub fn new(owner: Arc<OwnerRef>) -> Self {
        let name = owner.name();
        Self {
            lower: name.to_lowercase(),
            name,
            key: owner.key(),
            owner,
            badge: Badge::Ok,
            tasks: None,
            processes: None,
            zombies: None,
            created: 0.0,
            exited: 0.0,
            failed: 0.0,
            failures: 0,
            refused: None,
            verdict: None,
            creators: Vec::new(),
            limit: None,
            limits: None,
            task_names: None,
            refusals: VecDeque::new(),
            history: History::default(),
            ate: None,
            gone: None,
        }
    }

    /// Takes its name anew where that has changed.
    pub(super) fn call(&mut self, owner: &Arc<OwnerRef>) {
        if !Arc::ptr_eq(&self.owner, owner) && self.owner != *owner {
            self.owner = owner.clone();
            self.key = owner.key();
            self.name = owner.name();
            self.lower = self.name.to_lowercase();
        }
    }

    /// Whether its cgroup is this one or below it.
    pub fn is_below(&self, path: &str) -> bool {
        let Some(own) = self.owner.path() else {
            return false;
        };
        path == "/"
            || own
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A window without a word of it.
    pub(super) fn quiet(&mut self) {
        (self.created, self.exited, self.failed) = (0.0, 0.0, 0.0);
        if self.gone.is_some() {
            self.tasks = Some(0);
        }
    }

    /// Takes its rate of a window.
    pub(super) fn window(&mut self, rate: RateEvent, time: Timestamp, seconds: f64) -> Reading {
        let counts = &rate.counts;
        let reading = Reading {
            tasks: rate.tasks,
            created: counts.created.sum(),
            exited: counts.exited.sum(),
            failed: counts.failures(),
        };
        self.tasks = rate.tasks.or(self.tasks);
        self.processes = rate.processes.or(self.processes);
        self.zombies = rate.zombies.or(self.zombies);
        self.created = reading.created as f64 / seconds;
        self.exited = reading.exited as f64 / seconds;
        self.failed = reading.failed as f64 / seconds;
        self.failures = self.failures.max(rate.total.failures());
        if reading.failed > 0 {
            self.refused = Some(time);
        }
        // 0.1.0 had it in lines of state only.
        if let Some(verdict) = rate.verdict {
            self.verdict = Some(*verdict);
        }
        self.next_limit(rate.limit);
        self.creators = rate.creators;
        self.history.push(clock::seconds(time), seconds, reading);
        reading
    }

    fn next_limit(&mut self, limit: Option<LimitUse>) {
        self.limit = limit.map(|limit| {
            let id = limit.limit_id();
            let known = self.limit.take().map(|known| known.id);
            NextLimit {
                // Most often the same as before.
                id: known
                    .filter(|known| **known == id)
                    .unwrap_or_else(|| Arc::new(id)),
                value: limit.value,
                usage: limit.usage,
            }
        });
    }

    pub(super) fn refused(&mut self, refusal: RefusalEntry, times: u64) {
        if refusal.is_for_want {
            self.refused = Some(refusal.time);
        }
        match self.refusals.back_mut() {
            Some(last) if last.text == refusal.text => {
                last.time = refusal.time;
                last.pid = refusal.pid;
                last.times += times;
            }
            _ => {
                if self.refusals.len() >= MOST_REFUSALS {
                    self.refusals.pop_front();
                }
                self.refusals.push_back(RefusalEntry { times, ..refusal });
            }
        }
    }

    pub(super) fn judge(&mut self, role: Option<Badge>, time: Timestamp) {
        let state = self.verdict.as_ref().and_then(|now| now.state.known());
        let by_state = match state {
            Some(State::Leaking) => Badge::Leak,
            Some(State::Saturated) => Badge::Full,
            Some(State::Growing) => Badge::Growing,
            Some(State::Storm) => Badge::Storm,
            Some(State::Gone) => Badge::Gone,
            Some(State::Ok) | None => Badge::Ok,
        };
        if role == Some(Badge::Culprit) || matches!(by_state, Badge::Leak | Badge::Full) {
            self.ate = Some(time);
        }
        // Who ate a limit and is then refused by it is no victim.
        let ate = self.ate.is_some_and(|at| between(at, time) < ATE_FOR);
        let suffers = self
            .refused
            .is_some_and(|at| between(at, time) < SUFFERS_FOR)
            && !ate;
        let by_refusal = if suffers { Badge::Victim } else { Badge::Ok };
        self.badge = if self.gone.is_some() {
            Badge::Gone
        } else {
            by_state.max(by_refusal).max(role.unwrap_or_default())
        };
    }

    /// Threads that are not their process's first. A zombie is in no list of processes.
    pub fn threads(&self) -> Option<u64> {
        Some(
            self.tasks?
                .saturating_sub(self.processes? + self.zombies.unwrap_or(0)),
        )
    }

    /// Tasks a second that come to stay.
    pub fn growth(&self) -> Option<f64> {
        self.verdict.as_ref()?.growth_per_s
    }

    /// Seconds until it hits a limit.
    pub fn full_in(&self) -> Option<f64> {
        Some(self.verdict.as_ref()?.exhaustion.as_ref()?.in_s)
    }
}
