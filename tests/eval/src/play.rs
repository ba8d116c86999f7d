//! Plays a case to the detector, and to the rules that people use today, and notes what each said.

use pidwatch_core::clock::BootTime;
use pidwatch_core::detect::evidence::TaskTally;
use pidwatch_core::detect::{DetectSettings, Detector, Limits, State};

use super::baseline::{self, Baselines, NodeRule};
use super::case::{Case, Readings, id};

/// Boot time at which a case begins: not a round number for any horizon.
const BOOT: u64 = 100_003;
/// A flag of an episode that comes so late after its end still is its.
const AFTERMATH: u64 = 5;
/// A leak that fills its limit within seconds can only be told as what it then is: `saturated`.
const AFTER_FULL: u64 = 30;
/// A forecast is looked at for so long after the first one.
const FORECASTS_S: u64 = 600;

/// What came of one episode of a leak.
#[derive(Clone, Debug, Default)]
pub struct Episode {
    pub owner: usize,
    pub from: u64,
    pub until: u64,
    pub steady_per_s: Option<f64>,
    /// How many leak in its case.
    pub share_of: usize,
    /// `pids.max` of its pod.
    pub pids_max: Option<u64>,
    /// Headroom of the limit that it was to hit first, when it began.
    pub headroom: u64,
    /// Seconds from its beginning.
    pub growing: Option<u64>,
    pub leaking: Option<u64>,
    /// Seconds from its beginning to when 3 % of the headroom were used.
    pub three_percent: Option<u64>,
    /// Share of the headroom that was used when it was flagged.
    pub used: f64,
    /// Whether nobody else was named, at the flag and to the end.
    pub is_named_right: bool,
    /// Relative errors of the forecast: the first due one, and later ones.
    pub forecasts: Vec<f64>,
    /// Seconds from its beginning to the first flag of each baseline, and the headroom used then.
    pub baselines: [Option<(u64, f64)>; 3],
    /// Of those, which named it and nobody else.
    pub baselines_named: [bool; 3],
    /// Seconds from its beginning until its limit was full.
    pub full: Option<u64>,
}

/// A flag of an owner that did not leak then.
#[derive(Clone, Debug)]
pub struct False {
    pub owner: usize,
    pub at: u64,
    pub why: String,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub class: &'static str,
    pub number: u64,
    pub is_unseen: bool,
    pub is_leak: bool,
    pub owners: usize,
    pub episodes: Vec<Episode>,
    /// Seconds of owners that did not leak.
    pub calm_s: u64,
    pub growing: Vec<False>,
    pub leaking: Vec<False>,
    pub baselines: [u64; 3],
}

/// How much is wanted of a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything, to the end.
    Whole,
    /// The detector alone, and a leak's case only until all are flagged.
    Flags,
}

/// What the detector sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// How many tasks there are.
    Curve,
    /// Also what they do, where something grows.
    Tasks,
}

/// Seconds between passes over tasks.
const PACE: u64 = 10;

/// Plays a case.
pub fn play(mut case: Case, settings: &DetectSettings, depth: Depth, sight: Sight) -> Outcome {
    let mut detector = Detector::new(settings.clone());
    let mut readings = Readings::new(case.node, &case.owners);
    let mut baselines = vec![Baselines::default(); case.owners.len()];
    let mut outcome = Outcome {
        class: case.class,
        number: case.number,
        is_unseen: case.is_unseen,
        is_leak: case.owners.iter().any(|owner| owner.label.is_some()),
        owners: case.owners.len(),
        episodes: episodes(&case),
        calm_s: 0,
        growing: Vec::new(),
        leaking: Vec::new(),
        baselines: [0; 3],
    };
    let mut full = None;
    let mut node_rule = NodeRule::default();
    let mut is_shown = vec![false; case.owners.len()];
    for at in 0..case.duration {
        let time = BootTime::from_seconds(BOOT + at);
        let is_watched = at >= case.warm_up;
        for (i, owner) in case.owners.iter_mut().enumerate() {
            if at == owner.gone {
                readings.set(i, 0);
                if is_watched {
                    detector.gone(id(i), time);
                }
            }
            if !owner.is_alive(at) {
                continue;
            }
            if at == owner.born && is_watched {
                detector.born(id(i), time);
            }
            let (changed, refused) = owner.step(at, readings.room(i));
            if changed {
                readings.set(i, owner.now().tasks);
            }
            if is_watched && (changed || !is_shown[i]) {
                detector.observe(id(i), time, owner.now());
                is_shown[i] = true;
            }
            if refused && is_watched {
                if readings.pods[i].0.is_some() {
                    detector.refused(id(i), time);
                }
                if owner.leaks(at) {
                    full.get_or_insert(at);
                }
            }
            outcome.calm_s += u64::from(is_watched && !owner.leaks(at));
        }
        begin(&mut outcome.episodes, &readings, at);
        if is_watched {
            let changes = detector.look(time, &readings);
            // Not those that only say why a growth is in doubt.
            for change in changes
                .iter()
                .filter(|change| change.from != change.verdict.state)
            {
                let owner = change.owner.0 as usize - 1;
                note(&mut outcome, owner, at, change.verdict.state, || {
                    change.verdict.why.clone()
                });
            }
            if outcome.is_leak && (at % 10 == 0 || !changes.is_empty()) {
                judge_names(&mut outcome, &case, &detector, &readings, at);
                if depth == Depth::Whole {
                    judge_forecasts(&mut outcome, &detector, &readings, at);
                }
            }
        }
        if sight == Sight::Tasks && is_watched && at % PACE == 0 {
            examine(&mut detector, &case, time, at);
        }
        if depth == Depth::Whole && is_watched && at % baseline::SCRAPE == 0 {
            scrape(&mut outcome, &mut baselines, &case, &readings, at);
            let fires = node_rule.scrape(at, readings.node_ratio());
            if fires {
                scrape_node(&mut outcome, &readings, at);
            }
        }
        let is_done = outcome.is_leak
            && depth == Depth::Flags
            && outcome
                .episodes
                .iter()
                .all(|episode| episode.leaking.is_some());
        if full.is_some_and(|full| at >= full + AFTER_FULL) || is_done {
            break;
        }
        three_percent(&mut outcome.episodes, &readings, at);
    }
    for episode in &mut outcome.episodes {
        episode.full = full.map(|full| full.saturating_sub(episode.from));
    }
    outcome
}

/// A pass over the tasks of owners of which it is open whether they leak.
fn examine(detector: &mut Detector, case: &Case, time: BootTime, at: u64) {
    for examinee in detector.to_examine(time) {
        if !examinee.is_decided {
            let mut tally = TaskTally::new(examinee.scope, detector.evidence_settings());
            let owner = &case.owners[examinee.owner.0 as usize - 1];
            owner.each_task(at, |task| tally.add(task));
            detector.examined(examinee.owner, time, &tally.finish());
        }
    }
}

fn episodes(case: &Case) -> Vec<Episode> {
    let mut episodes = Vec::new();
    let leakers = case
        .owners
        .iter()
        .filter(|owner| owner.label.is_some())
        .count();
    for (owner, label) in case.owners.iter().enumerate() {
        let Some(label) = &label.label else {
            continue;
        };
        episodes.extend(label.episodes.iter().map(|&(from, until)| Episode {
            owner,
            from,
            until: until.min(case.duration),
            steady_per_s: label.steady_per_s,
            share_of: leakers,
            pids_max: case.owners[owner].pids_max,
            is_named_right: true,
            baselines_named: [true; 3],
            ..Episode::default()
        }));
    }
    episodes
}

/// Notes from where an episode begins.
fn begin(episodes: &mut [Episode], readings: &Readings, at: u64) {
    for episode in episodes {
        if episode.from == at || episode.from == at + 1 {
            // A restart gives back first what was there.
            let room = readings.room(episode.owner);
            episode.headroom = episode.headroom.max(room);
        }
    }
}

/// Share of the headroom at an episode's beginning that is gone, whoever took it.
fn used(episode: &Episode, readings: &Readings) -> f64 {
    1.0 - readings.room(episode.owner) as f64 / episode.headroom.max(1) as f64
}

fn three_percent(episodes: &mut [Episode], readings: &Readings, at: u64) {
    for episode in episodes {
        if (episode.from..episode.until).contains(&at)
            && episode.three_percent.is_none()
            && used(episode, readings) >= 0.03
        {
            episode.three_percent = Some(at - episode.from);
        }
    }
}

/// A change of state: of an episode, or a false flag.
fn note(outcome: &mut Outcome, owner: usize, at: u64, state: State, why: impl Fn() -> String) {
    if !matches!(state, State::Growing | State::Leaking | State::Saturated) {
        return;
    }
    let mut episodes = outcome.episodes.iter_mut();
    let Some(episode) = episodes.find(|episode| {
        episode.owner == owner && (episode.from..episode.until + AFTERMATH).contains(&at)
    }) else {
        let false_flag = False {
            owner,
            at,
            why: why(),
        };
        match state {
            State::Growing => outcome.growing.push(false_flag),
            _ => outcome.leaking.push(false_flag),
        }
        return;
    };
    let after = at - episode.from;
    episode.growing.get_or_insert(after);
    if state != State::Growing {
        episode.leaking.get_or_insert(after);
    }
}

/// Who is named as culprit: all that are leaking, fastest first.
fn judge_names(
    outcome: &mut Outcome,
    case: &Case,
    detector: &Detector,
    readings: &Readings,
    at: u64,
) {
    let leaking = |state| matches!(state, State::Leaking | State::Saturated);
    let growers = detector.growers().iter();
    let named = || growers.clone().filter(|grower| leaking(grower.state));
    let is_right = named().all(|grower| case.owners[grower.owner.0 as usize - 1].label.is_some());
    for episode in &mut outcome.episodes {
        let is_flagged = episode.leaking.is_some() && (episode.from..episode.until).contains(&at);
        episode.is_named_right &= is_right || !is_flagged;
    }
    for episode in &mut outcome.episodes {
        if episode.leaking == Some(at - episode.from.min(at)) {
            episode.used = used(episode, readings);
        }
    }
}

/// How far off forecasts are, of a steady leak: from 30 s after its beginning where it is fast, or
/// after it was called growing.
fn judge_forecasts(outcome: &mut Outcome, detector: &Detector, readings: &Readings, at: u64) {
    for episode in &mut outcome.episodes {
        let (Some(per_s), Some(growing)) = (episode.steady_per_s, episode.growing) else {
            continue;
        };
        let from = episode.from + if per_s >= 10.0 { 30 } else { growing + 30 };
        if !(from..from + FORECASTS_S).contains(&at) {
            continue;
        }
        let owner = id(episode.owner);
        let left = readings.chain(owner).into_iter();
        let left = left
            .map(|limit| limit.value.saturating_sub(limit.usage))
            .min();
        let truth = left.unwrap_or(0) as f64 / per_s;
        let told = detector
            .verdict(owner)
            .and_then(|verdict| verdict.exhaustion);
        if truth >= 20.0 {
            let error = told.map_or(f64::INFINITY, |told| told.in_s / truth - 1.0);
            episode.forecasts.push(error);
        }
    }
}

fn scrape(
    outcome: &mut Outcome,
    baselines: &mut [Baselines],
    case: &Case,
    readings: &Readings,
    at: u64,
) {
    for (i, rules) in baselines.iter_mut().enumerate() {
        let owner = &case.owners[i];
        if !owner.is_alive(at) {
            continue;
        }
        let now = owner.now();
        let ratio = readings.pod_ratio(i);
        let fired = rules.scrape(at, now.tasks, now.created, readings.room(i), ratio);
        for (rule, _) in fired.iter().enumerate().filter(|(_, fired)| **fired) {
            let mut is_of_leak = false;
            for episode in &mut outcome.episodes {
                let is_now = (episode.from..episode.until + AFTERMATH).contains(&at);
                if is_now && episode.owner == i {
                    is_of_leak = true;
                    let used = used(episode, readings);
                    episode.baselines[rule].get_or_insert((at - episode.from, used));
                } else if is_now && owner.label.is_none() {
                    episode.baselines_named[rule] = false;
                }
            }
            outcome.baselines[rule] += u64::from(!is_of_leak);
        }
    }
}

/// The usage rule on the node's own limits: it fires, and names nobody.
fn scrape_node(outcome: &mut Outcome, readings: &Readings, at: u64) {
    let mut is_of_leak = false;
    for episode in &mut outcome.episodes {
        if (episode.from..episode.until + AFTERMATH).contains(&at) {
            is_of_leak = true;
            if episode.baselines[0].is_none() {
                episode.baselines[0] = Some((at - episode.from, used(episode, readings)));
                episode.baselines_named[0] = false;
            }
        }
    }
    outcome.baselines[0] += u64::from(!is_of_leak);
}
