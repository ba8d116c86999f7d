//! One owner under watch: its series, its state, and what led to it.
//!
//! Whether a growth is a leak is decided in [`weigh`].
//!
//! Of an owner that is calm there is its series and little else, below 1 KiB; what is needed to
//! follow a growth is made when there is one ([`Close`]).

mod weigh;

use super::{
    DetectSettings, Forecast, Grower, Sample, State, Verdict,
    evidence::{Evidence, EvidenceKind},
    examination::Examination,
    forecast::Speed,
    series::{Series, WIDTHS},
    trend::{Demand, Growth, sustained},
    words,
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
/// A growth is over when it was not seen for this long, or two buckets of its horizon.
const GROWING_HOLD_S: u64 = 10;
/// A leak is over when nothing came for half as long as it had lasted, within these bounds ...
const LEAK_HOLD_S: (u64, u64) = (60, 3600);
/// ... or when this share of what had leaked was given back.
const GIVEN_BACK: f64 = 0.5;
/// Tasks gained that make a slope as sure as is asked of a forecast: their noise is its root.
const SURE_GAIN: u64 = 100;
/// A growth must bring this share of it beyond all that the owner had before, to be called one though no
/// limit is near.
const NEWS: f64 = 0.5;
/// A growth that brings something new as often as this goes on, however unevenly.
const GROWS_S: u64 = 60;
/// A longer horizon that shows a growth to have begun so many of its buckets sooner has seen more of it.
const SOONER: u64 = 2;
/// An owner that fills a limit holds at least this share of it.
const HOLDS_MOST: f64 = 0.5;
/// A refusal by a cgroup's limit counts for so long.
const REFUSED_S: u64 = 10;
/// Seconds between two notes of the totals, and how many are kept: storms are judged over ten to
/// fifteen seconds.
const MARK_S: u32 = 5;
const MARKS: usize = 3;

/// Totals at a moment: their lower halves, of which only differences are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    time: u32,
    created: u32,
    ended: u32,
}

impl Mark {
    fn new(now: u64, sample: Sample) -> Self {
        Self {
            time: now as u32,
            created: sample.created as u32,
            ended: sample.ended as u32,
        }
    }
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
    /// That a leak would fill before it has brought `leak_gain` tasks, if it is so small: of limits
    /// of cgroups as it is, of the node's at least a quarter of the limit, since who grows a little
    /// on a node that others have filled leaks nothing.
    own: u64,
    /// Limits of PID namespaces among them: they are read a moment after the others.
    namespaces: usize,
}

/// Whether a limit bounds a part of the node.
fn is_partial(limit: &Limit) -> bool {
    matches!(
        limit.owner,
        LimitOwner::Cgroup(_) | LimitOwner::PidNamespace(_)
    )
}

fn namespaces(chain: &[Limit]) -> usize {
    let is_namespaces = |limit: &&Limit| matches!(limit.owner, LimitOwner::PidNamespace(_));
    chain.iter().filter(is_namespaces).count()
}

impl Headroom {
    fn before(growth: &Growth, chain: &[Limit]) -> Option<Self> {
        let room = |limit: &Limit| limit.value.saturating_sub(limit.usage) + growth.gain;
        let own = |limit: &Limit| match is_partial(limit) {
            true => room(limit),
            false => room(limit).max(limit.value / 4),
        };
        Some(Self {
            namespaces: namespaces(chain),
            least: chain.iter().map(room).min()?,
            own: chain.iter().map(own).min()?,
        })
    }
}

/// One owner.
#[derive(Debug)]
pub(super) struct Watch {
    series: Series,
    state_since: u64,
    /// Peaks before this are those of a leak.
    peaks_from: u64,
    close: Option<Box<Close>>,
    now: Mark,
    marks: [Mark; MARKS],
    zombies: u32,
    /// Of each horizon, the bucket at which it was looked at last.
    looked_at: [u32; WIDTHS.len()],
    state: State,
}

/// How a growth began.
#[derive(Clone, Copy, Debug)]
struct Begin {
    onset: u64,
    /// Tasks before it.
    base: u64,
}

/// What is kept of an owner that grows, or is refused.
#[derive(Debug, Default)]
struct Close {
    found: [Option<Growth>; WIDTHS.len()],
    growth: Option<Growth>,
    /// A growth that is not seen any more is kept so long.
    growing_until: u64,
    /// Of the growth.
    headroom: Option<Headroom>,
    /// Share of what makes a leak that the growth has reached.
    progress: f64,
    leak: Option<Leak>,
    refused: Option<u64>,
    chain: Vec<Limit>,
    /// How the growth began, as it was seen then: later a horizon may not reach back so far.
    begin: Option<Begin>,
    /// The most that stayed of the growth, and when it came to that.
    most: u64,
    grew: u64,
    examination: Examination,
    /// Reasons for doubt that were reported of this growth.
    doubts: Vec<EvidenceKind>,
    /// Of a leak that is one only together with others.
    joint: Option<Evidence>,
}

impl Watch {
    /// An owner that was there before with what it had, or a new one with nothing.
    pub fn new(now: u64, first: Option<Sample>) -> Self {
        let sample = first.unwrap_or(Sample {
            tasks: 0,
            created: 0,
            ended: 0,
            zombies: 0,
        });
        let mark = Mark::new(now, sample);
        Self {
            series: Series::new(now, sample.tasks),
            state_since: now,
            peaks_from: 0,
            close: None,
            now: mark,
            marks: [mark; MARKS],
            zombies: sample.zombies as u32,
            looked_at: [0; WIDTHS.len()],
            state: State::Ok,
        }
    }

    pub fn observe(&mut self, now: u64, sample: Sample) {
        self.series.push(now, sample.tasks);
        self.now = Mark::new(now, sample);
        self.zombies = sample.zombies as u32;
    }

    pub fn refused(&mut self, now: u64) {
        self.close().refused = Some(now);
    }

    fn close(&mut self) -> &mut Close {
        self.close.get_or_insert_default()
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn tasks(&self) -> u64 {
        self.series.last()
    }

    fn growth(&self) -> Option<&Growth> {
        self.close.as_ref()?.growth.as_ref()
    }

    fn onset(&self) -> Option<u64> {
        Some(self.close.as_ref()?.begin?.onset)
    }

    fn leak(&self) -> Option<&Leak> {
        self.close.as_ref()?.leak.as_ref()
    }

    fn chain(&self) -> &[Limit] {
        self.close.as_ref().map_or(&[], |close| &close.chain)
    }

    /// Whether it is to be looked at though nothing is heard of it.
    pub fn is_close(&self) -> bool {
        self.state != State::Ok || self.close.is_some()
    }

    /// What it contributes to the forecast.
    pub fn grower(&self, owner: CgroupId) -> Option<Grower> {
        let growth = self.growth()?;
        self.state.grows().then(|| Grower {
            owner,
            state: self.state,
            per_s: growth.per_s,
            tasks: self.tasks(),
            chain: self.chain().to_vec(),
            part_of: None,
        })
    }

    pub fn judge(
        &mut self,
        now: u64,
        settings: &DetectSettings,
        chain: impl FnOnce() -> Vec<Limit>,
    ) {
        self.series.advance(now);
        self.search(now, settings);
        if self.close.is_some() {
            self.follow_growth(now, settings, chain);
            self.follow_leak(now, settings);
        }
        self.note_totals(now);
        let state = self.decide(now, settings);
        if state != self.state {
            self.state = state;
            self.state_since = now;
        }
        if self.close.as_ref().is_some_and(|close| close.is_over()) && state != State::Saturated {
            self.close = None;
        }
    }

    /// Looks for growth, on each horizon whose points have changed.
    fn search(&mut self, now: u64, settings: &DetectSettings) {
        for (level, width) in WIDTHS.into_iter().enumerate() {
            let bucket = (now / width) as u32;
            if self.looked_at[level] == bucket {
                continue;
            }
            self.looked_at[level] = bucket;
            // Most owners, most of the time, end here.
            let found = (self.series.gain(level) >= settings.growing_gain)
                .then(|| self.series.points(level, now))
                .and_then(|points| sustained(&points, &demand(level, settings, self.peaks_from)));
            if found.is_some() || self.close.is_some() {
                self.close().found[level] = found;
            }
        }
    }

    fn follow_growth(
        &mut self,
        now: u64,
        settings: &DetectSettings,
        chain: impl FnOnce() -> Vec<Limit>,
    ) {
        let (tasks, stays) = (self.tasks(), self.series.stays());
        let is_known = self.state == State::Growing || self.leak().is_some();
        let is_saturated = self.state == State::Saturated;
        let close = self.close();
        for found in &mut close.found {
            // A longer horizon was looked at some time ago.
            found.take_if(|growth| !has_kept(tasks, growth.base, growth.gain));
        }
        if let Some(level) = close.found.iter().position(Option::is_some) {
            close.growing_until = now + GROWING_HOLD_S.max(2 * WIDTHS[level]);
        }
        if stays > close.most {
            (close.most, close.grew) = (stays, now);
        }
        let is_held = now < close.growing_until || now - close.grew < GROWS_S;
        let held = close
            .growth
            .filter(|growth| is_held && has_kept(tasks, growth.base, growth.gain));
        let growth = best(&close.found).or(held);
        let is_watched = growth.is_some() || close.leak.is_some();
        close.chain = if is_watched || close.refused.is_some() || is_saturated {
            chain()
        } else {
            Vec::new()
        };
        let growth = growth.filter(|growth| {
            is_known || self.is_news(growth) || is_soon(growth, self.chain(), settings)
        });
        let close = self.close();
        match &growth {
            Some(growth)
                if close
                    .headroom
                    .is_none_or(|known| known.namespaces < namespaces(&close.chain)) =>
            {
                close.headroom = Headroom::before(growth, &close.chain);
            }
            Some(_) => {}
            None => close.headroom = None,
        }
        close.begin = growth.map(|growth| close.first_begin(&growth));
        if growth.is_none() {
            (close.most, close.grew) = (0, 0);
            close.examination = Examination::default();
            close.doubts.clear();
        }
        close.growth = growth;
    }

    /// The most that stayed before a growth began, of the last day and a half.
    fn had_before(&self, growth: &Growth) -> u64 {
        let peak = self.series.peak(self.peaks_from, growth.onset);
        peak.unwrap_or(0).max(growth.base)
    }

    fn is_news(&self, growth: &Growth) -> bool {
        let beyond = self.tasks().saturating_sub(self.had_before(growth)) as f64;
        beyond >= NEWS * growth.gain as f64
    }

    fn note_totals(&mut self, now: u64) {
        let now = now as u32;
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
        let seconds = (now as u32).saturating_sub(from.time).max(MARK_S);
        let per_s = |now: u32, then: u32| f64::from(now.wrapping_sub(then)) / f64::from(seconds);
        (
            per_s(self.now.created, from.created),
            per_s(self.now.ended, from.ended),
        )
    }

    fn decide(&mut self, now: u64, settings: &DetectSettings) -> State {
        // Who is refused at a limit that somebody else below it has filled is no filler.
        let tasks = self.tasks() as f64;
        if let Some(close) = &mut self.close {
            close.refused.take_if(|at| now - *at > REFUSED_S);
            let is_full = close.chain.iter().any(|limit| {
                is_partial(limit)
                    && fills(limit, settings)
                    && tasks >= HOLDS_MOST * limit.value as f64
            });
            let was_full = self.state == State::Saturated;
            if is_full && (close.refused.is_some() || close.leak.is_some() || was_full) {
                return State::Saturated;
            }
            if close.leak.is_some() {
                return State::Leaking;
            }
            // Whatever else comes and goes meanwhile.
            if close.growth.is_some() {
                return State::Growing;
            }
        }
        let (created, ended) = self.rates(now);
        if created >= settings.storm_per_s && ended >= 0.8 * created {
            State::Storm
        } else {
            State::Ok
        }
    }

    pub fn verdict(&self, now: u64, forecast: &Forecast) -> Verdict {
        let growth = self.growth();
        let exhaustion =
            growth.and_then(|growth| forecast.of_chain(self.chain(), Speed::from(*growth)));
        let since = match (self.state, self.leak(), growth) {
            (State::Leaking | State::Saturated, Some(leak), _) => leak.onset,
            (State::Growing, _, Some(growth)) => self.onset().unwrap_or(growth.onset),
            _ => self.state_since,
        };
        let progress = self.close.as_ref().map_or(0.0, |close| close.progress);
        let confidence = growth.map(|growth| match self.leak() {
            Some(_) => growth.tau,
            None => growth.tau * (0.5 + 0.5 * progress),
        });
        let evidence = match &self.close {
            Some(close) if self.state.grows() => {
                let joint = close.joint.iter();
                joint.chain(close.examination.evidence(now)).collect()
            }
            _ => Vec::new(),
        };
        let facts = words::Facts {
            state: self.state,
            tasks: self.tasks(),
            growth,
            rates: self.rates(now),
            zombies: u64::from(self.zombies),
            chain: self.chain(),
            exhaustion: exhaustion.as_ref(),
            evidence: &evidence,
        };
        Verdict {
            state: self.state,
            since: BootTime::from_seconds(since),
            tasks: self.tasks(),
            growth_per_s: growth.map(|growth| growth.per_s),
            confidence,
            exhaustion,
            evidence: facts.evidence(),
            why: facts.why(),
        }
    }
}

impl Close {
    /// How a growth began: as it was first seen, unless a horizon has seen much more of it since.
    fn first_begin(&self, growth: &Growth) -> Begin {
        let begin = |growth: &Growth| Begin {
            onset: growth.onset,
            base: growth.base,
        };
        let first = self.begin.unwrap_or(begin(growth));
        let longer = self.found.iter().zip(WIDTHS).filter_map(|(found, width)| {
            let found = begin(found.as_ref()?);
            (found.onset + SOONER * width < first.onset).then_some(found)
        });
        longer.min_by_key(|begin| begin.onset).unwrap_or(first)
    }

    fn is_over(&self) -> bool {
        self.growth.is_none()
            && self.leak.is_none()
            && self.refused.is_none()
            && self.found.iter().all(Option::is_none)
    }
}

impl Leak {
    /// Given back for the most part, or nothing came for long though there was room.
    fn is_over(&self, now: u64, tasks: u64, is_full: bool) -> bool {
        let (least, most) = LEAK_HOLD_S;
        let hold = (self.grew.saturating_sub(self.onset) / 2).clamp(least, most);
        let leaked = self.most.saturating_sub(self.base);
        !has_kept(tasks, self.base, leaked) || (now - self.grew > hold && !is_full)
    }
}

fn is_soon(growth: &Growth, chain: &[Limit], settings: &DetectSettings) -> bool {
    let will_come = growth.per_s * settings.soon.as_secs_f64();
    let room = |limit: &Limit| limit.value.saturating_sub(limit.usage) as f64;
    chain.iter().any(|limit| room(limit) <= will_come)
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
