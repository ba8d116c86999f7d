//! One incident: from what a stream held to what its chapter says.

use jiff::Timestamp;

use super::{
    actions, alert,
    collect::{Refused, Tally, Track, is_alarming},
    curve::SampledCurve,
    findings,
    model::{
        Case, CaseCreator, CaseCulprit, CaseLimit, CaseSeverity, CaseVictim, Derived, Durations,
        EntryKind, Moments, PointSeries, Symptom, TimelineEntry,
    },
    scene::Scene,
    story,
    words::{Words, code, moment, name_of, number, seconds, words},
};
use crate::{
    incident::{Phase, What},
    stream::{self, IncidentEvent, OwnerRef, StateEvent},
};

/// Lines of a table of symptoms.
const SYMPTOMS: usize = 40;
/// Creators that are named.
const CREATORS: usize = 3;
/// Seconds that make an end belong to what it ends.
const NEAR: f64 = 1e-3;

/// Writes the chapter of an incident.
pub fn case(scene: &Scene<'_>) -> Case {
    let incident = scene.incident();
    let moments = moments(scene);
    let (from, to) = view(scene, &moments);
    let limit = limit(scene, from, to);
    let tally = &scene.told.tally;
    let failures = incident.failures.max(tally.count());
    let culprits: Vec<_> = incident
        .culprits
        .iter()
        .map(|culprit| self::culprit(scene, culprit, &moments, &limit, (from, to)))
        .collect();
    let victims: Vec<_> = incident
        .victims
        .iter()
        .map(|victim| self::victim(scene, victim, (from, to)))
        .collect();
    let severity = match failures {
        0 => CaseSeverity::NearMiss,
        // Also who fills a limit that nobody else shares.
        _ if victims.is_empty() || is_alone(incident) => CaseSeverity::Contained,
        _ => CaseSeverity::Outage,
    };
    let key = incident.limit_id();
    let track = scene.all.limits.get(&key);
    let curve = |curve: Option<&SampledCurve>| match curve {
        Some(curve) => scene.series(curve, from, to),
        None => PointSeries::default(),
    };
    let zero = seconds(scene.from);
    let mut case = Case {
        id: incident.id.clone(),
        severity,
        open: incident.phase != Phase::Closed,
        limit,
        summary: Words::default(),
        durations: durations(scene, &moments),
        timeline: timeline(scene, &moments),
        moments,
        failures,
        symptoms: symptoms(tally, incident, failures),
        cause: Words::default(),
        culprits,
        victims,
        findings: Vec::new(),
        actions: Vec::new(),
        alert: alert::none(),
        usage: curve(track.map(|track| &track.usage)),
        value: curve(track.map(|track| &track.value)),
        refused: refused(tally, incident, zero),
        view: (from - zero, to - zero),
    };
    case.summary = story::summary(scene, &case);
    case.cause = story::cause(&case);
    case.findings = findings::findings(scene, &case);
    case.actions = actions::actions(scene, &case);
    case.alert = alert::alert(scene, &case);
    case
}

/// Nobody grew like a leak, and one owner alone was refused by a limit below the node's.
fn is_alone(incident: &IncidentEvent) -> bool {
    let is_nodes = incident.limit.starts_with("kernel.") && incident.pid_namespace.is_none();
    incident.culprits.is_empty() && incident.victims.len() == 1 && !is_nodes
}

fn moments(scene: &Scene<'_>) -> Moments {
    let incident = scene.incident();
    let first = |what: What| {
        let mut moments = incident.timeline.iter();
        moments.find(|moment| moment.what == what).map(|m| m.time)
    };
    let refused = scene.told.tally.owners.values();
    let first_failure = first(What::FirstFailure).or_else(|| {
        let spans = refused.clone().map(|refused| refused.span.0);
        spans.min()
    });
    let flagged = first(What::Flagged);
    // What was given back after the culprits' last flag.
    let eased = incident
        .culprits
        .iter()
        .map(|culprit| eased(scene.track(&culprit.owner)?, flagged?))
        .collect::<Option<Vec<_>>>()
        .and_then(|all| all.into_iter().max());
    let closed = (incident.phase == Phase::Closed).then_some(scene.told.last);
    let start = [first(What::FirstSign), flagged, first_failure];
    let start = start.into_iter().flatten().min().unwrap_or(incident.opened);
    let end = seconds(closed.unwrap_or(scene.to)) + NEAR;
    let peak = scene.usage().and_then(|usage| {
        let (at, most) = usage.peak(seconds(start), end)?;
        // Where lines told of more than the curve kept, its top is not when it was.
        (most * 1.05 >= incident.peak.unwrap_or(0) as f64).then(|| moment(at))
    });
    Moments {
        first_sign: first(What::FirstSign),
        flagged,
        first_failure,
        peak,
        last_failure: refused.map(|refused| refused.span.1).max(),
        eased,
        closed,
    }
}

/// When an owner last went from a leak, or a full limit, to something harmless.
fn eased(track: &Track, flagged: Timestamp) -> Option<Timestamp> {
    let (time, last) = track.changes.last()?;
    if is_alarming(&last.to) || *time < flagged {
        return None;
    }
    let mut changes = track.changes.iter().rev();
    let change = changes.find(|(_, change)| is_alarming(&change.from) && !is_alarming(&change.to));
    change.map(|(time, _)| *time).filter(|time| *time > flagged)
}

fn durations(scene: &Scene<'_>, moments: &Moments) -> Durations {
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
        let seconds = seconds(to?) - seconds(from?);
        Some((seconds * 1000.0).round() / 1000.0)
    };
    let Moments {
        first_sign,
        flagged,
        first_failure,
        last_failure,
        eased,
        ..
    } = *moments;
    let start = first_sign.or(first_failure).or(flagged);
    let is_over = scene.incident().phase == Phase::Closed;
    let end = last_failure.max(eased).filter(|_| is_over);
    Durations {
        to_flag_s: between(first_sign, flagged),
        warning_s: between(flagged, first_failure),
        failing_s: between(first_failure, last_failure),
        whole_s: between(start, end.or(moments.closed).or(Some(scene.to))),
    }
}

/// What to look at: the incident with some calm before and after it.
fn view(scene: &Scene<'_>, moments: &Moments) -> (f64, f64) {
    let incident = scene.incident();
    let known = [
        Some(incident.opened),
        moments.first_sign,
        moments.flagged,
        moments.first_failure,
        moments.peak,
        moments.last_failure,
        moments.eased,
        moments.closed.is_none().then_some(scene.to),
    ];
    let known = || known.iter().flatten().map(|time| seconds(*time));
    let first = known().fold(f64::INFINITY, f64::min);
    let last = known().fold(f64::NEG_INFINITY, f64::max);
    let calm = ((last - first) * 0.12).max(5.0);
    let from = (first - calm).max(seconds(scene.from));
    let to = (last + calm).min(seconds(scene.to));
    (from, to.max(from + 1.0))
}

fn limit(scene: &Scene<'_>, from: f64, to: f64) -> CaseLimit {
    let incident = scene.incident();
    let seen = scene.usage().and_then(|usage| usage.peak(from, to));
    let peak = incident.peak.max(seen.map(|(_, most)| most as u64));
    // The limit that was in force when most was used of it: it may have been raised since.
    let key = incident.limit_id();
    let track = scene.all.limits.get(&key);
    let then = seen.and_then(|(at, _)| track?.value.at(at));
    let value = then.map(|value| value as u64).or(incident.value);
    CaseLimit {
        name: incident.limit.to_string(),
        cgroup: incident.cgroup.clone(),
        uid: incident.uid,
        pid_namespace: incident.pid_namespace,
        value,
        peak,
        ratio: ratio(peak, value),
    }
}

/// A part of a limit.
pub fn ratio(usage: Option<u64>, value: Option<u64>) -> Option<f64> {
    let value = value.filter(|&value| value > 0)?;
    Some((usage? as f64 / value as f64 * 10_000.0).round() / 10_000.0)
}

fn culprit(
    scene: &Scene<'_>,
    told: &stream::CulpritEntry,
    moments: &Moments,
    limit: &CaseLimit,
    (from, to): (f64, f64),
) -> CaseCulprit {
    let track = scene.track(&told.owner);
    let mut owner = told.owner.clone();
    if let Some(track) = track {
        owner.clone_from(&track.owner);
    }
    let flag = track.and_then(|track| flag(track, scene.incident().opened));
    let sign = flag.map(|flag| flag.since).or(moments.first_sign);
    let top = track.and_then(|track| track.tasks.peak(from, to));
    let peak = told.tasks.max(top.map_or(0, |(_, most)| most as u64));
    let made = |i: usize| {
        let curve = &track?.created[i];
        let (before, after) = (curve.at(seconds(sign?))?, curve.at(top?.0)?);
        Some((after - before).max(0.0).round() as u64)
    };
    CaseCulprit {
        name: name_of(&owner),
        share: told.share,
        held: ratio(Some(peak), limit.peak).map(|held| held.min(1.0)),
        growth_per_s: told.growth_per_s,
        tasks_before: track.and_then(|track| {
            // The curve ends at its first point: what came while watching had none before.
            let first = track.tasks.within(0.0, f64::MAX).first()?.0;
            match seconds(sign?) {
                sign if sign < first => Some(0),
                // A second before: the detector looks once a second.
                sign => Some(track.tasks.at(sign - 1.0)? as u64),
            }
        }),
        tasks_peak: peak,
        tasks_last: track.and_then(|track| Some(track.tasks.last()? as u64)),
        created_processes: made(0),
        created_threads: made(1),
        creators: creators(scene, &owner),
        task_names: flag.and_then(|flag| flag.task_names.clone()),
        verdict: flag.map(|flag| flag.why.clone()),
        limits: flag.and_then(|flag| flag.limits.clone()),
        tasks: track.map_or_else(PointSeries::default, |track| {
            scene.series(&held(&track.tasks, to), from, to)
        }),
        owner,
    }
}

/// Who creates: as counted or, where the stream does not say, who was refused yet another.
fn creators(scene: &Scene<'_>, owner: &OwnerRef) -> Vec<CaseCreator> {
    let counted = scene.track(owner).map(|track| &track.creators);
    let counted = counted.into_iter().flatten();
    let mut all: Vec<_> = counted
        .map(|((comm, pid), weight)| (*weight, comm.clone(), *pid))
        .collect();
    let sum: f64 = all.iter().map(|creator| creator.0).sum();
    if all.is_empty() {
        let refused = scene.told.tally.owners.get(&owner.cgroup.id);
        let kinds = refused.into_iter().flat_map(|refused| &refused.kinds);
        all.extend(kinds.map(|(kind, (n, pid))| (*n as f64, kind.comm.clone(), *pid)));
    }
    all.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| (&a.1, a.2).cmp(&(&b.1, b.2)))
    });
    all.dedup_by(|a, b| (&a.1, a.2) == (&b.1, b.2));
    let share = |weight: f64| (sum > 0.0).then(|| (weight / sum * 100.0).round() / 100.0);
    all.into_iter()
        .take(CREATORS)
        .map(|(weight, comm, pid)| CaseCreator {
            comm,
            pid,
            share: share(weight),
        })
        .collect()
}

/// The change of state that called it a leak: the one nearest to the incident's opening.
fn flag(track: &Track, opened: Timestamp) -> Option<&StateEvent> {
    let bad = |change: &&(Timestamp, StateEvent)| is_alarming(&change.1.to);
    let distance = |time: Timestamp| (seconds(time) - seconds(opened)).abs();
    let flags = track.changes.iter().filter(bad);
    let nearest = flags.min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
    nearest.map(|(_, state)| state)
}

/// A curve as it goes on when nothing more is said.
pub fn held(curve: &SampledCurve, until: f64) -> SampledCurve {
    let mut curve = curve.clone();
    curve.hold(until);
    curve
}

fn victim(scene: &Scene<'_>, told: &stream::VictimEntry, (from, to): (f64, f64)) -> CaseVictim {
    let track = scene.track(&told.owner);
    let mut owner = told.owner.clone();
    if let Some(track) = track {
        owner.clone_from(&track.owner);
    }
    let refused = scene.told.tally.owners.get(&owner.cgroup.id);
    let mut kinds = refused.into_iter().flat_map(|refused| refused.kinds.keys());
    CaseVictim {
        name: name_of(&owner),
        failures: told
            .failures
            .max(refused.map_or(0, |refused| refused.count)),
        exec_probe: kinds.any(|kind| kind.exec_probe),
        tasks: track.map_or_else(PointSeries::default, |track| {
            scene.series(&held(&track.tasks, to), from, to)
        }),
        owner,
    }
}

/// The kinds of failure in a tally, most often first.
pub fn kinds_of(refused: &Refused, culprit: bool) -> Vec<Symptom> {
    let who = name_of(&refused.owner);
    let mut kinds: Vec<_> = refused
        .kinds
        .iter()
        .map(|(kind, &(count, _))| Symptom {
            who: who.clone(),
            culprit,
            comm: Some(kind.comm.clone()),
            syscall: kind.syscall.clone(),
            errno: Some(kind.errno.clone()),
            reason: Some(kind.reason.clone()),
            evidence: kind.evidence.clone(),
            exec_probe: kind.exec_probe,
            count,
        })
        .collect();
    let told: u64 = kinds.iter().map(|kind| kind.count).sum();
    if refused.count > told {
        kinds.push(not_seen(who, culprit, refused.count - told));
    }
    kinds
}

/// Failures that nothing more is known of.
fn not_seen(who: String, culprit: bool, count: u64) -> Symptom {
    Symptom {
        who,
        culprit,
        comm: None,
        syscall: None,
        errno: None,
        reason: None,
        evidence: None,
        exec_probe: false,
        count,
    }
}

fn is_culprit(incident: &IncidentEvent, id: u64) -> bool {
    let mut culprits = incident.culprits.iter();
    culprits.any(|culprit| culprit.owner.cgroup.id == id)
}

fn symptoms(tally: &Tally, incident: &IncidentEvent, failures: u64) -> Vec<Symptom> {
    let mut all: Vec<_> = tally
        .owners
        .iter()
        .flat_map(|(&id, refused)| kinds_of(refused, is_culprit(incident, id)))
        .collect();
    // Victims first: they are what people come with.
    all.sort_by(|a, b| {
        let order = |symptom: &Symptom| (symptom.culprit, std::cmp::Reverse(symptom.count));
        (order(a), &a.who, &a.comm).cmp(&(order(b), &b.who, &b.comm))
    });
    let counted: u64 = all.iter().map(|symptom| symptom.count).sum();
    let cut: u64 = all.iter().skip(SYMPTOMS).map(|symptom| symptom.count).sum();
    all.truncate(SYMPTOMS);
    let rest = failures.saturating_sub(counted) + cut;
    if rest > 0 {
        all.push(not_seen("others".to_owned(), false, rest));
    }
    all
}

/// Failures over time, culprits' and others'.
fn refused(tally: &Tally, incident: &IncidentEvent, zero: f64) -> Vec<(f64, f64, u64, u64)> {
    let sides = || {
        let named = tally.owners.iter();
        let named = named.map(|(&id, refused)| (is_culprit(incident, id), &refused.when));
        named.chain([(false, &tally.others_when)])
    };
    // One grid for all: widths are powers of two.
    let widths = sides().flat_map(|(_, when)| when.slots().map(|slot| slot.1));
    let width = widths.fold(1.0, f64::max);
    let mut slots = std::collections::BTreeMap::new();
    for (culprit, when) in sides() {
        for (at, _, n) in when.slots() {
            let slot = slots.entry((at / width).floor() as i64).or_insert((0, 0));
            if culprit {
                slot.0 += n;
            } else {
                slot.1 += n;
            }
        }
    }
    let of = |(slot, (own, others)): (i64, (u64, u64))| {
        let at = ((slot as f64 * width - zero) * 1000.0).round() / 1000.0;
        (at, width, own, others)
    };
    slots.into_iter().map(of).collect()
}

fn timeline(scene: &Scene<'_>, moments: &Moments) -> Vec<TimelineEntry> {
    let incident = scene.incident();
    let mut all: Vec<(Timestamp, EntryKind, Words)> = incident
        .timeline
        .iter()
        .map(|moment| {
            (
                moment.time,
                EntryKind::Incident(moment.what.clone()),
                code_free(&moment.text),
            )
        })
        .collect();
    let peak = incident.peak.map_or_else(String::new, number);
    if let Some(time) = moments.peak.filter(|_| !peak.is_empty()) {
        all.push((
            time,
            EntryKind::Report(Derived::Peak),
            words!["at most ", peak, " in use"],
        ));
    }
    if let Some(time) = moments
        .last_failure
        .filter(|_| moments.first_failure < moments.last_failure)
    {
        all.push((
            time,
            EntryKind::Report(Derived::LastFailure),
            "last refused creation".into(),
        ));
    }
    if let Some(time) = moments.eased {
        let who = incident.culprits.first();
        let who = who.map_or_else(String::new, |culprit| name_of(&culprit.owner));
        let text = words![code(&who), " is no longer leaking"];
        all.push((time, EntryKind::Report(Derived::Eased), text));
    }
    all.extend(changes(scene).map(|(time, text)| (time, EntryKind::Report(Derived::Raised), text)));
    all.extend(brakes(scene).map(|(time, text)| (time, EntryKind::Report(Derived::Brake), text)));
    all.sort_by_key(|entry| entry.0);
    let start = all.first().map_or(scene.from, |entry| entry.0);
    all.into_iter()
        .map(|(time, what, text)| TimelineEntry {
            time,
            after_s: ((seconds(time) - seconds(start)) * 1000.0).round() / 1000.0,
            what,
            text,
        })
        .collect()
}

/// When the limit was changed while it was watched.
fn changes(scene: &Scene<'_>) -> impl Iterator<Item = (Timestamp, Words)> {
    let key = scene.incident().limit_id();
    let track = scene.all.limits.get(&key);
    let values = track.map_or_else(Vec::new, |track| track.value.within(0.0, f64::MAX));
    let name = scene.incident().limit.clone();
    let changes: Vec<_> = values
        .windows(2)
        .filter(|pair| pair[0].1 != pair[1].1)
        .map(|pair| {
            let text = words![
                code(&name),
                format!(
                    " was set from {} to {}",
                    number(pair[0].1 as u64),
                    number(pair[1].1 as u64)
                )
            ];
            (moment(pair[1].0), text)
        })
        .collect();
    changes.into_iter()
}

/// What brakes on the culprits did while the incident was open.
fn brakes<'a>(scene: &'a Scene<'_>) -> impl Iterator<Item = (Timestamp, Words)> + 'a {
    let culprits = scene.incident().culprits.iter();
    let tracks = culprits.filter_map(|culprit| scene.track(&culprit.owner));
    let steps = tracks.flat_map(|track| &track.brakes);
    let (from, to) = (scene.incident().opened, scene.told.last);
    let during = steps.filter(move |(time, _)| (from..=to).contains(time));
    during.map(|(time, brake)| {
        let text = words![
            code(&name_of(&brake.owner)),
            ": ",
            code_free(&brake.why).to_string()
        ];
        (*time, text)
    })
}

/// A text that pidwatch wrote, with names from outside in it.
fn code_free(text: &str) -> Words {
    words![super::words::shortened(
        &crate::escape::for_terminal(text.as_bytes()),
        240
    )]
}
