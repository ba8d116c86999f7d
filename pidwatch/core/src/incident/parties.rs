//! Culprits and victims of an incident.

use super::{
    Culprit, LimitKey, NodeView,
    open::{MOST_OWNERS, Open, seen},
    timeline::{self, What},
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{Grower, State},
    identity::Owner,
    limits::{Limit, LimitOwner},
};

/// Where nothing grows, who holds less than this share of a limit's usage is not its culprit.
const HOLDS_MOST: f64 = 0.5;
/// Who contributes less of the growth below a limit is no culprit beside one that leaks.
const LEAST_SHARE: f64 = 0.05;
/// A part that brings this share of what its owner grows by is named beside it.
const MOST_INSIDE: f64 = 0.5;

/// Growth is weighed over at least this time, in seconds: at a limit that is full, over the last moments
/// of its filling.
const WEIGHED_OVER: f64 = 60.0;

/// What an owner adds below a limit.
struct Share<'a> {
    owner: CgroupId,
    per_s: f64,
    tasks: u64,
    /// What of it comes before the limit is full: no more than nearer limits have room for.
    weight: f64,
    is_leak: bool,
    /// The part that most of it comes from.
    inside: Option<&'a Grower>,
}

/// Who grows below a limit, by owner.
fn shares<'a>(growers: &'a [Grower], limit: &LimitKey, room: Option<u64>) -> Vec<Share<'a>> {
    let is_limit = |above: &Limit| (above.name, above.owner) == (limit.name, limit.owner);
    let counts = |grower: &&Grower| grower.counts_against().iter().any(is_limit);
    let leaks = |grower: &Grower| matches!(grower.state, State::Leaking | State::Saturated);
    let all: f64 = growers
        .iter()
        .filter(counts)
        .map(|grower| grower.per_s)
        .sum();
    let full_in_s = room.map_or(0.0, |room| room as f64 / all.max(f64::MIN_POSITIVE));
    let until = full_in_s.max(WEIGHED_OVER);
    let mut shares: Vec<Share<'_>> = Vec::new();
    for grower in growers.iter().filter(counts) {
        let owner = grower.blamed();
        let nearer = grower.room_below((limit.name, limit.owner));
        let weight = (grower.per_s * until).min(nearer.map_or(f64::INFINITY, |room| room as f64));
        match shares.iter_mut().find(|share| share.owner == owner) {
            Some(share) => {
                share.per_s += grower.per_s;
                share.tasks += grower.tasks;
                share.weight += weight;
                share.is_leak |= leaks(grower);
            }
            None => shares.push(Share {
                owner,
                per_s: grower.per_s,
                tasks: grower.tasks,
                weight,
                is_leak: leaks(grower),
                inside: None,
            }),
        }
    }
    for part in growers.iter().filter(|grower| grower.part_of.is_some()) {
        let owner = part.blamed();
        if let Some(share) = shares.iter_mut().find(|share| share.owner == owner) {
            share.is_leak |= leaks(part);
            let is_most = part.per_s >= MOST_INSIDE * share.per_s;
            if is_most && share.inside.is_none_or(|other| other.per_s < part.per_s) {
                share.inside = Some(part);
            }
        }
    }
    shares
}

/// Names who eats the headroom of an incident's limit.
pub(super) fn blame(open: &mut Open, time: BootTime, growers: &[Grower], view: &impl NodeView) {
    let incident = &mut open.incident;
    let usage = view.usage(&incident.limit);
    if let Some((value, usage)) = usage {
        seen(incident, value, usage);
    }
    let limit = &incident.limit;
    let room = usage.map(|(value, usage)| value.saturating_sub(usage));
    let shares = shares(growers, limit, room);
    let all: f64 = shares.iter().map(|share| share.weight).sum();
    let mut has_leak = false;
    for share in shares
        .iter()
        .filter(|share| share.is_leak && share.weight > 0.0)
    {
        has_leak = true;
        let part = share.weight / all;
        let owner = view.blamed(share.owner);
        let key = owner.key();
        let mut culprits = incident.culprits.iter();
        let is_known = culprits.any(|known| known.owner.key() == key);
        if part < LEAST_SHARE && !is_known {
            continue;
        }
        let figures = CulpritFigures {
            share: part,
            growth_per_s: Some(share.per_s),
            tasks: share.tasks,
            inside: share.inside.map(|part| view.owner(part.owner)),
        };
        accuse(&mut incident.culprits, owner, figures);
    }
    if !has_leak && incident.culprits.is_empty() && incident.failures > 0 {
        // It was full before anybody looked, or fills without a leak. Who has the tasks is known some time
        // after it was asked for.
        let used = incident.usage.unwrap_or(0).max(1) as f64;
        if let Some(&(id, tasks)) = view.holders(limit).first()
            && tasks as f64 >= HOLDS_MOST * used
            && let owner = view.blamed(id)
            && !is_own(limit, &owner, view)
        {
            let text = format!("{} holds {tasks} of {used}", owner.name());
            let figures = CulpritFigures {
                share: (tasks as f64 / used).min(1.0),
                growth_per_s: None,
                tasks,
                inside: None,
            };
            accuse(&mut incident.culprits, owner, figures);
            timeline::note(&mut incident.timeline, time, What::Flagged, text);
            open.has_news = true;
        }
    }
    incident
        .culprits
        .sort_by(|a, b| b.share.total_cmp(&a.share));
    incident.culprits.truncate(MOST_OWNERS);
}

/// Whether a limit is an owner's own, or lies inside of it: who fills that without growing takes it from
/// nobody.
fn is_own(limit: &LimitKey, owner: &Owner, view: &impl NodeView) -> bool {
    match limit.owner {
        LimitOwner::Cgroup(of) => of == owner.id || view.blamed(of).key() == owner.key(),
        LimitOwner::Node | LimitOwner::User(_) | LimitOwner::PidNamespace(_) => false,
    }
}

/// What one reading says of a culprit.
struct CulpritFigures {
    share: f64,
    growth_per_s: Option<f64>,
    tasks: u64,
    inside: Option<Owner>,
}

fn accuse(culprits: &mut Vec<Culprit>, owner: Owner, figures: CulpritFigures) {
    let CulpritFigures {
        share,
        growth_per_s,
        tasks,
        inside,
    } = figures;
    let key = owner.key();
    match culprits.iter_mut().find(|known| known.owner.key() == key) {
        Some(culprit) => {
            culprit.owner = owner;
            culprit.share = share;
            culprit.growth_per_s = growth_per_s.or(culprit.growth_per_s);
            culprit.tasks = culprit.tasks.max(tasks);
            culprit.inside = inside.or(culprit.inside.take());
        }
        None => culprits.push(Culprit {
            owner,
            inside,
            share,
            growth_per_s,
            tasks,
        }),
    }
}

/// Names who is refused and is no culprit.
pub(super) fn suffer(open: &mut Open, time: BootTime) {
    let Open {
        incident, refused, ..
    } = open;
    let culprits: Vec<_> = incident.culprits.iter().map(|of| of.owner.key()).collect();
    let mut victims: Vec<_> = refused
        .iter()
        .filter(|(key, _)| !culprits.contains(key))
        .map(|(_, victim)| victim.clone())
        .collect();
    victims.sort_by(|a, b| {
        b.failures
            .cmp(&a.failures)
            .then(a.owner.id.cmp(&b.owner.id))
    });
    for victim in &victims {
        let key = victim.owner.key();
        let mut known = incident.victims.iter();
        if !known.any(|known| known.owner.key() == key) {
            let text = format!("{} is refused though it does not grow", victim.owner.name());
            timeline::note(&mut incident.timeline, time, What::Victim, text);
            open.has_news = true;
        }
    }
    incident.victims = victims;
}
