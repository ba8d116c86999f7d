//! What a report says of the node as a whole, incident or not.

use jiff::Timestamp;

use super::{
    case::{held, kinds_of, ratio},
    collect::{Collected, Tally, Track},
    curve::SampledCurve,
    model::{
        Case, CaseLimit, CaseSeverity, OwnerLine, OwnerRole, PointSeries, ReportFinding, Symptom,
    },
    scene::series,
    words::{Words, code, count, lasting, name_of, number, percent, seconds, strong, words},
};
use crate::{detect::State, stream::LimitId};

/// Owners in the table that have no part in an incident: who held the most, who created the most.
const LARGEST: usize = 8;
const BUSIEST: usize = 4;
/// Owners that are named because they may not create tasks.
const FORBIDDEN: usize = 5;
/// Lines of failures that belong to no incident.
const FAILURES: usize = 20;

/// The node's limits with the most that was used of them.
pub fn limits(all: &Collected) -> Vec<CaseLimit> {
    let is_nodes = |key: &LimitId| *key == LimitId::of_node(key.name.clone());
    let node = all.limits.iter().filter(|(key, _)| is_nodes(key));
    let mut limits: Vec<_> = node
        .map(|(key, track)| {
            let top = track.usage.peak(0.0, f64::MAX);
            let peak = top.map(|(_, most)| most as u64);
            let value = top.and_then(|(at, _)| track.value.at(at));
            let value = value.map(|value| value as u64);
            CaseLimit {
                name: key.name.to_string(),
                cgroup: None,
                uid: None,
                pid_namespace: None,
                value,
                peak,
                ratio: ratio(peak, value),
            }
        })
        .collect();
    limits.sort_by(|a, b| {
        let order = |limit: &CaseLimit| limit.ratio.unwrap_or(0.0);
        order(b)
            .total_cmp(&order(a))
            .then_with(|| a.name.cmp(&b.name))
    });
    limits
}

/// The node's tasks.
pub fn tasks(all: &Collected, (from, to): (Timestamp, Timestamp)) -> PointSeries {
    whole(&all.tasks, from, to)
}

fn whole(curve: &SampledCurve, from: Timestamp, to: Timestamp) -> PointSeries {
    series(
        &held(curve, seconds(to)),
        seconds(from),
        seconds(from),
        seconds(to),
    )
}

/// The worst state that an owner was in.
fn worst_state(track: &Track) -> Option<State> {
    const BAD: [State; 4] = [
        State::Leaking,
        State::Saturated,
        State::Growing,
        State::Storm,
    ];
    let was = |state: &State| track.changes.iter().any(|(_, change)| change.to == *state);
    BAD.into_iter().find(was)
}

/// The table of owners: culprits, victims, then who held the most.
pub fn owners(
    all: &Collected,
    incidents: &[Case],
    (from, to): (Timestamp, Timestamp),
) -> Vec<OwnerLine> {
    let is_culprit = |id: u64| {
        let mut culprits = incidents.iter().flat_map(|case| &case.culprits);
        culprits.any(|culprit| culprit.owner.cgroup.id == id)
    };
    let is_victim = |id: u64| {
        let mut victims = incidents.iter().flat_map(|case| &case.victims);
        victims.any(|victim| victim.owner.cgroup.id == id)
    };
    let mut tracks: Vec<&Track> = all.owners.values().collect();
    tracks.sort_by_key(|track| {
        (
            std::cmp::Reverse(track.created_in_all()),
            track.owner.cgroup.id,
        )
    });
    let busiest: Vec<u64> = ids(tracks.iter().take(BUSIEST));
    tracks.sort_by_key(|track| (std::cmp::Reverse(track.peak), track.owner.cgroup.id));
    let largest: Vec<u64> = ids(tracks.iter().take(LARGEST));
    let rank = |id: u64| match () {
        () if is_culprit(id) => 0,
        () if is_victim(id) => 1,
        () => 2,
    };
    tracks.retain(|track| {
        let id = track.owner.cgroup.id;
        rank(id) < 2 || track.flags > 0 || busiest.contains(&id) || largest.contains(&id)
    });
    tracks.sort_by_key(|track| rank(track.owner.cgroup.id));
    tracks
        .into_iter()
        .map(|track| {
            let id = track.owner.cgroup.id;
            let role = match rank(id) {
                0 => Some(OwnerRole::Culprit),
                1 => Some(OwnerRole::Victim),
                _ => worst_state(track).map(OwnerRole::Was),
            };
            let tallies = all.incidents.values().map(|told| &told.tally);
            let refused = tallies.filter_map(|tally| tally.owners.get(&id));
            let told = refused.map(|refused| refused.count);
            OwnerLine {
                name: name_of(&track.owner),
                role,
                tasks_peak: track.peak,
                tasks_last: track.tasks.last().map(|last| last as u64),
                created: track.created_in_all(),
                failures: track.refused.max(told.sum()),
                zombies: track.zombies,
                tasks: whole(&track.tasks, from, to),
                owner: track.owner.clone(),
            }
        })
        .collect()
}

fn ids<'a>(tracks: impl Iterator<Item = &'a &'a Track>) -> Vec<u64> {
    tracks.map(|track| track.owner.cgroup.id).collect()
}

/// Creations refused that belong to no incident.
pub fn other_failures(all: &Collected) -> Vec<Symptom> {
    let tallies = all.stray_tallies();
    let mut failures: Vec<_> = tallies
        .flat_map(|tally| tally.owners.values())
        .flat_map(|refused| kinds_of(refused, false))
        .collect();
    failures.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.who.cmp(&b.who)));
    failures.truncate(FAILURES);
    failures
}

/// Who may not create tasks at all: the error looks like a lack of something, and no limit is near.
pub fn forbidden(all: &Collected) -> Vec<ReportFinding> {
    let tracks = all.owners.values().filter(|track| track.forbidden > 0);
    let mut tracks: Vec<&Track> = tracks.collect();
    tracks.sort_by_key(|track| (std::cmp::Reverse(track.forbidden), track.owner.cgroup.id));
    let finding = |track: &Track| ReportFinding {
        id: "creations-forbidden",
        text: words![
            strong(count(track.forbidden, "creation")),
            " of ",
            code(&name_of(&track.owner)),
            if track.forbidden == 1 {
                " was"
            } else {
                " were"
            },
            " rejected with EPERM or EACCES: a seccomp filter or a security module forbids ",
            code("clone"),
            " or ",
            code("clone3"),
            ". That is no limit, and no higher one helps. A runtime older than the image's C library does \
             it (libseccomp before 2.5.0, Docker before 20.10.10 answer clone3 with EPERM, not ENOSYS): \
             update it, or allow the call in the profile."
        ],
    };
    tracks.into_iter().take(FORBIDDEN).map(finding).collect()
}

/// All of it in one paragraph.
pub fn summary(
    all: &Collected,
    incidents: &[Case],
    limits: &[CaseLimit],
    owners: &[OwnerLine],
    (from, to): (Timestamp, Timestamp),
) -> Words {
    match incidents {
        [] => {}
        [one] => return one.summary.clone(),
        several => {
            let of =
                |severity: CaseSeverity| several.iter().filter(|c| c.severity == severity).count();
            let kinds = [
                (of(CaseSeverity::Outage), "outage", "outages"),
                (of(CaseSeverity::Contained), "contained", "contained"),
                (of(CaseSeverity::NearMiss), "near miss", "near misses"),
            ];
            let kinds = kinds.into_iter().filter(|(n, ..)| *n > 0);
            let kinds = kinds
                .map(|(n, one, more)| format!("{n} {}", if n == 1 { one } else { more }).into());
            let mut words = words![
                strong(format!("{} incidents", several.len())),
                " on ",
                code(&all.node),
                ": "
            ];
            words.append(Words::list(kinds));
            words.push(". The worst first. ");
            words.append(several[0].summary.clone());
            return words;
        }
    }
    let mut words = words![
        "In the ",
        lasting(seconds(to) - seconds(from)),
        " of this recording there was no incident on ",
        code(&all.node),
    ];
    let leaks = owners
        .iter()
        .filter(|o| o.role == Some(OwnerRole::Was(State::Leaking)));
    let leaks: Vec<Words> = leaks.map(|owner| code(&owner.name).into()).collect();
    let refused: u64 = all.stray_tallies().map(Tally::count).sum();
    match (leaks.len(), refused) {
        (0, 0) => words.push(": nothing leaked, and no limit refused anybody."),
        (0, n) => words.push(format!(
            ", but {} refused (below).",
            if n == 1 {
                "1 creation was".to_owned()
            } else {
                format!("{} creations were", number(n))
            }
        )),
        (_, n) => {
            words.push(", but ");
            words.append(Words::list(leaks));
            words.push(" leaked, with no limit near");
            words.push(match n {
                0 => ".".to_owned(),
                n => format!("; {} refused (below).", count(n, "creation")),
            });
        }
    }
    let forbidden: u64 = all.owners.values().map(|track| track.forbidden).sum();
    if forbidden > 0 {
        words.push(format!(
            " {} forbidden (below), by no limit.",
            if forbidden == 1 {
                "1 creation was".to_owned()
            } else {
                format!("{} creations were", number(forbidden))
            }
        ));
    }
    if let Some(limit) = limits.first()
        && let (Some(ratio), Some(value), Some(peak)) = (limit.ratio, limit.value, limit.peak)
    {
        words.append(words![
            " Nearest to its end was ",
            code(&limit.name),
            ", with ",
            strong(percent(ratio)),
            format!(
                " used at most ({} of {}): there was room for {} more.",
                number(peak),
                number(value),
                number(value.saturating_sub(peak))
            )
        ]);
    }
    if let Some(owner) = owners.iter().max_by_key(|owner| owner.created) {
        words.append(words![
            " The busiest was ",
            code(&owner.name),
            format!(
                ", with {} created and at most {} at a time.",
                count(owner.created, "task"),
                number(owner.tasks_peak)
            )
        ]);
    }
    words
}
