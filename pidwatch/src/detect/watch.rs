//! One owner under watch: its series, its state, and what led to it.

use super::{
    DetectSettings, Exhaustion, Forecast, Grower, Sample, State, Verdict, about,
    forecast::Speed,
    series::{Series, WIDTHS},
    trend::{Demand, Growth, sustained},
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    limits::{Limit, LimitOwner},
};

/// What growth must be like on the shortest horizon: eight seconds, so that ten tasks a second are
/// found within ten.
const AT_ONCE: Demand = Demand {
    steps: 8,
    rising: 0.6,
    top_step: 0.4,
    late: 0.4,
    tau: 0.6,
    gain: 0,
    known_from: 0,
};
/// On the longer ones each bucket sums up many readings.
const LONGER: Demand = Demand {
    steps: 6,
    ..AT_ONCE
};
/// A leak goes on nearly as fast as it began.
const LEAK_LATE: f64 = 0.6;
/// A growth is over when it was not seen for this long, or two buckets of its horizon.
const GROWING_HOLD_S: u64 = 10;
/// A leak is over when nothing came for half as long as it had lasted, within these bounds ...
const LEAK_HOLD_S: (u64, u64) = (60, 3600);
/// ... or when this share of what had leaked was given back.
const GIVEN_BACK: f64 = 0.5;
/// Tasks gained that make a slope as sure as is asked of a forecast: their noise is its root.
const SURE_GAIN: u64 = 100;
/// The gain beyond all that the owner had before must be this share of what a leak needs.
const NEW_SHARE: f64 = 0.5;
/// So must it be of a growth, to be called one though no limit is near.
const NEWS: f64 = 0.5;
/// An owner that fills a limit holds at least this share of it.
const HOLDS_MOST: f64 = 0.5;
/// A refusal by a cgroup's limit counts for so long.
const REFUSED_S: u64 = 10;
/// Seconds between two notes of the totals, and how many are kept: storms are judged over ten to
/// fifteen seconds.
const MARK_S: u64 = 5;
const MARKS: usize = 3;

/// Totals at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    time: u64,
    created: u64,
    ended: u64,
}

/// A leak under way.
#[derive(Clone, Copy, Debug)]
struct Leak {
    onset: u64,
    base: u64,
    /// The most that stayed.
    most: u64,
    /// When it last grew.
    grew: u64,
}

/// What there was when a growth began: what others take of it meanwhile makes nobody's growth a leak.
#[derive(Clone, Copy, Debug)]
struct Headroom {
    /// Of all limits.
    least: u64,
    /// Of those of cgroups.
    of_cgroups: Option<u64>,
}

impl Headroom {
    fn before(growth: &Growth, chain: &[Limit]) -> Option<Self> {
        let room = |limit: &Limit| limit.value.saturating_sub(limit.usage) + growth.gain;
        let is_cgroups = |limit: &&Limit| matches!(limit.owner, LimitOwner::Cgroup(_));
        Some(Self {
            least: chain.iter().map(room).min()?,
            of_cgroups: chain.iter().filter(is_cgroups).map(room).min(),
        })
    }
}

/// One owner.
#[derive(Debug)]
pub(super) struct Watch {
    series: Option<Series>,
    state: State,
    state_since: u64,
    first_seen: u64,
    now: Mark,
    marks: [Mark; MARKS],
    /// Totals when nothing grew last.
    before_growth: Mark,
    zombies: u64,
    zombies_before_growth: u64,
    found: [Option<Growth>; WIDTHS.len()],
    /// Of each horizon, the bucket at which it was looked at last.
    looked_at: [u64; WIDTHS.len()],
    growing_until: u64,
    growth: Option<Growth>,
    leak: Option<Leak>,
    refused: Option<u64>,
    /// Peaks before this are those of a leak.
    peaks_from: u64,
    /// Of the growth, while there is one.
    headroom: Option<Headroom>,
    chain: Vec<Limit>,
    /// Share of what makes a leak that the growth has reached.
    progress: f64,
}

impl Watch {
    /// `first` is what an owner had that was there before; without it, the owner is new.
    pub fn new(now: u64, first: Option<Sample>) -> Self {
        let mark = first.map_or(Mark::default(), |sample| mark(now, sample));
        Self {
            series: first.map(|sample| Series::new(now, sample.tasks)),
            state: State::Ok,
            state_since: now,
            first_seen: now,
            now: mark,
            marks: [Mark { time: now, ..mark }; MARKS],
            before_growth: mark,
            zombies: first.map_or(0, |sample| sample.zombies),
            zombies_before_growth: first.map_or(0, |sample| sample.zombies),
            found: [None; WIDTHS.len()],
            looked_at: [0; WIDTHS.len()],
            growing_until: 0,
            growth: None,
            leak: None,
            refused: None,
            peaks_from: 0,
            headroom: None,
            chain: Vec::new(),
            progress: 0.0,
        }
    }

    pub fn observe(&mut self, now: u64, sample: Sample) {
        match &mut self.series {
            Some(series) => series.push(now, sample.tasks),
            // A new owner begins with nothing.
            None => {
                let mut series = Series::new(self.first_seen, 0);
                series.push(now, sample.tasks);
                self.series = Some(series);
            }
        }
        self.now = mark(now, sample);
        self.zombies = sample.zombies;
    }

    pub fn refused(&mut self, now: u64) {
        self.refused = Some(now);
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn tasks(&self) -> u64 {
        self.series.as_ref().map_or(0, Series::last)
    }

    /// Whether it is to be looked at though nothing is heard of it.
    pub fn is_close(&self) -> bool {
        self.state != State::Ok || self.growth.is_some()
    }

    /// What it contributes to the forecast.
    pub fn grower(&self, owner: CgroupId) -> Option<Grower> {
        let growth = self.growth?;
        matches!(
            self.state,
            State::Growing | State::Leaking | State::Saturated
        )
        .then(|| Grower {
            owner,
            state: self.state,
            per_s: growth.per_s,
            tasks: self.tasks(),
            chain: self.chain.clone(),
        })
    }

    pub fn judge(
        &mut self,
        now: u64,
        settings: &DetectSettings,
        chain: impl FnOnce() -> Vec<Limit>,
    ) {
        let Some(series) = &mut self.series else {
            return;
        };
        series.advance(now);
        for (level, width) in WIDTHS.into_iter().enumerate() {
            let bucket = now / width;
            if self.looked_at[level] != bucket {
                self.looked_at[level] = bucket;
                let points = series.points(level, now);
                self.found[level] = sustained(&points, &demand(level, settings, self.peaks_from));
            }
        }
        self.forget_what_came_back();
        if let Some(level) = self.found.iter().position(Option::is_some) {
            self.growing_until = now + GROWING_HOLD_S.max(2 * WIDTHS[level]);
        }
        let held = self.growth.filter(|growth| {
            now < self.growing_until && has_kept(self.tasks(), growth.base, growth.gain)
        });
        let growth = best(&self.found).or(held);
        let is_watched = growth.is_some() || self.leak.is_some();
        self.chain = if is_watched || self.refused.is_some() || self.state == State::Saturated {
            chain()
        } else {
            Vec::new()
        };
        self.growth = growth.filter(|growth| {
            let known = self.state == State::Growing || self.leak.is_some();
            known || self.is_news(growth) || self.is_soon(growth, settings)
        });
        match &self.growth {
            Some(growth) if self.headroom.is_none() => {
                self.headroom = Headroom::before(growth, &self.chain);
            }
            Some(_) => {}
            None => self.headroom = None,
        }
        if self.growth.is_none() && self.leak.is_none() {
            self.before_growth = self.now;
            self.zombies_before_growth = self.zombies;
        }
        self.follow_leak(now, settings);
        self.note_totals(now);
        let state = self.decide(now, settings);
        if state != self.state {
            self.state = state;
            self.state_since = now;
        }
    }

    /// A longer horizon was looked at some time ago.
    fn forget_what_came_back(&mut self) {
        let tasks = self.tasks();
        for found in &mut self.found {
            if found.is_some_and(|growth| !has_kept(tasks, growth.base, growth.gain)) {
                *found = None;
            }
        }
    }

    /// The most that stayed before a growth began, of the last day and a half.
    fn had_before(&self, growth: &Growth) -> u64 {
        let series = self.series.as_ref();
        let peak = series.and_then(|series| series.peak(self.peaks_from, growth.onset));
        peak.unwrap_or(0).max(growth.base)
    }

    fn is_news(&self, growth: &Growth) -> bool {
        let beyond = self.tasks().saturating_sub(self.had_before(growth)) as f64;
        beyond >= NEWS * growth.gain as f64
    }

    fn is_soon(&self, growth: &Growth, settings: &DetectSettings) -> bool {
        let room = |limit: &Limit| limit.value.saturating_sub(limit.usage) as f64;
        let will_come = growth.per_s * settings.soon.as_secs_f64();
        self.chain.iter().any(|limit| room(limit) <= will_come)
    }

    fn follow_leak(&mut self, now: u64, settings: &DetectSettings) {
        let tasks = self.tasks();
        if let Some(leak) = &mut self.leak {
            if tasks > leak.most {
                leak.most = tasks;
                leak.grew = now;
            }
            let leaked = leak.most.saturating_sub(leak.base);
            let (least, most) = LEAK_HOLD_S;
            let hold = (leak.grew.saturating_sub(leak.onset) / 2).clamp(least, most);
            let is_full = is_full(&self.chain, settings);
            if !has_kept(tasks, leak.base, leaked) || (now - leak.grew > hold && !is_full) {
                self.leak = None;
                self.peaks_from = now;
                self.found = [None; WIDTHS.len()];
                self.growth = None;
            }
            return;
        }
        self.progress = 0.0;
        for growth in self.found.iter().flatten() {
            let (progress, is_leak) = self.weigh(growth, settings);
            self.progress = self.progress.max(progress);
            if is_leak {
                self.leak = Some(Leak {
                    onset: growth.onset,
                    base: growth.base,
                    most: tasks,
                    grew: now,
                });
                break;
            }
        }
    }

    /// How far a growth is on the way to be called a leak, and whether it is one.
    fn weigh(&self, growth: &Growth, settings: &DetectSettings) -> (f64, bool) {
        let mut need = settings.leak_gain as f64;
        let mut urgent = f64::INFINITY;
        if let Some(Headroom { least, of_cgroups }) = self.headroom {
            if let Some(of_cgroups) = of_cgroups {
                need = need.min(settings.most_share * of_cgroups as f64);
            }
            if growth.for_s < settings.long.as_secs() {
                need = need.max(settings.leak_share * least as f64);
            }
            urgent = settings.urgent_share * least as f64;
        }
        let beyond = self.tasks().saturating_sub(self.had_before(growth)) as f64;
        let gain = growth.gain as f64;
        let has_lasted = growth.for_s >= settings.leak_time.as_secs() || gain >= urgent;
        let is_leak =
            gain >= need && has_lasted && growth.late >= LEAK_LATE && beyond >= NEW_SHARE * need;
        ((gain / need.max(1.0)).min(1.0), is_leak)
    }

    fn note_totals(&mut self, now: u64) {
        if now >= self.marks[MARKS - 1].time + MARK_S {
            self.marks.rotate_left(1);
            self.marks[MARKS - 1] = Mark {
                time: now,
                ..self.now
            };
        }
    }

    /// Creations and ends a second, over the last ten to fifteen.
    fn rates(&self, now: u64) -> (f64, f64) {
        let from = self.marks[0];
        let seconds = now.saturating_sub(from.time).max(MARK_S) as f64;
        let per_s = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (
            per_s(self.now.created, from.created),
            per_s(self.now.ended, from.ended),
        )
    }

    fn decide(&mut self, now: u64, settings: &DetectSettings) -> State {
        if self.refused.is_some_and(|at| now - at > REFUSED_S) {
            self.refused = None;
        }
        // Who is refused at a limit that somebody else below it has filled is no filler.
        let tasks = self.tasks() as f64;
        let fills_own = self.chain.iter().any(|limit| {
            matches!(limit.owner, LimitOwner::Cgroup(_))
                && fills(limit, settings)
                && tasks >= HOLDS_MOST * limit.value as f64
        });
        let was_full = self.state == State::Saturated;
        if fills_own && (self.refused.is_some() || self.leak.is_some() || was_full) {
            return State::Saturated;
        }
        if self.leak.is_some() {
            return State::Leaking;
        }
        let (created, ended) = self.rates(now);
        let is_storm = created >= settings.storm_per_s && ended >= 0.8 * created;
        match self.growth {
            Some(growth) if !is_storm || growth.per_s >= 0.2 * created => State::Growing,
            _ if is_storm => State::Storm,
            _ => State::Ok,
        }
    }

    pub fn verdict(&self, forecast: &Forecast) -> Verdict {
        let exhaustion = self
            .growth
            .and_then(|growth| forecast.of_chain(&self.chain, Speed::from(growth)));
        let since = match (self.state, self.leak, self.growth) {
            (State::Leaking | State::Saturated, Some(leak), _) => leak.onset,
            (State::Growing, _, Some(growth)) => growth.onset,
            _ => self.state_since,
        };
        let confidence = self.growth.map(|growth| match self.leak {
            Some(_) => growth.tau,
            None => growth.tau * (0.5 + 0.5 * self.progress),
        });
        Verdict {
            state: self.state,
            since: BootTime::from_seconds(since),
            tasks: self.tasks(),
            growth_per_s: self.growth.map(|growth| growth.per_s),
            confidence,
            exhaustion,
            why: self.why(exhaustion),
        }
    }

    fn why(&self, exhaustion: Option<Exhaustion>) -> String {
        let tasks = self.tasks();
        let mut words = match (self.state, self.growth) {
            (State::Storm, _) => {
                let (created, ended) = self.rates(self.now.time);
                return format!("{created:.0} creations/s and {ended:.0} ends/s, no growth");
            }
            (State::Ok, _) => return format!("{tasks} tasks, steady"),
            (_, Some(growth)) => {
                let created = self.now.created - self.before_growth.created.min(self.now.created);
                let ended = self.now.ended - self.before_growth.ended.min(self.now.ended);
                let for_s = std::time::Duration::from_secs(growth.for_s);
                format!(
                    "{} for {}, {created} created and {ended} ended",
                    per_time(growth.per_s),
                    about(for_s)
                )
            }
            (_, None) => format!("{tasks} tasks"),
        };
        let zombies = self.zombies.saturating_sub(self.zombies_before_growth);
        let gain = self.growth.map_or(0, |growth| growth.gain);
        if zombies > 0 && zombies >= gain / 2 {
            words += &format!(
                "; {} of its tasks are zombies that nobody reaps",
                self.zombies
            );
        }
        let full = self.chain.iter().find(|limit| limit.usage >= limit.value);
        match (full, exhaustion) {
            (Some(limit), _) => words += &format!("; {} is full", limit.name),
            (_, Some(exhaustion)) => {
                let time = std::time::Duration::try_from_secs_f64(exhaustion.in_s)
                    .unwrap_or(std::time::Duration::MAX);
                words += &format!("; {} in {}", exhaustion.limit.name, about(time));
            }
            (None, None) => {}
        }
        words
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

fn demand(level: usize, settings: &DetectSettings, known_from: u64) -> Demand {
    let demand = if level == 0 { AT_ONCE } else { LONGER };
    Demand {
        gain: settings.growing_gain,
        known_from,
        ..demand
    }
}

/// The growth that tells most of what comes next: on the shortest horizon on which it is sure.
fn best(found: &[Option<Growth>]) -> Option<Growth> {
    let found = || found.iter().flatten();
    found()
        .find(|growth| growth.gain >= SURE_GAIN)
        .or_else(|| found().max_by_key(|growth| growth.gain))
        .copied()
}

/// The growth of a series, whoever's it is.
pub(super) fn growth_of(series: &Series, now: u64, settings: &DetectSettings) -> Option<Growth> {
    let mut found = [None; WIDTHS.len()];
    for (level, found) in found.iter_mut().enumerate() {
        *found = sustained(&series.points(level, now), &demand(level, settings, 0));
    }
    best(&found)
}

/// Whether most of what was gained is still there.
fn has_kept(tasks: u64, base: u64, gain: u64) -> bool {
    tasks.saturating_sub(base) as f64 >= GIVEN_BACK * gain as f64
}

fn fills(limit: &Limit, settings: &DetectSettings) -> bool {
    limit.usage as f64 >= settings.full * limit.value as f64
}

fn is_full(chain: &[Limit], settings: &DetectSettings) -> bool {
    chain.iter().any(|limit| fills(limit, settings))
}

fn mark(now: u64, sample: Sample) -> Mark {
    Mark {
        time: now,
        created: sample.created,
        ended: sample.ended,
    }
}
