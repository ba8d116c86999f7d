//! Culprits and victims of an incident.

use super::{
    Culprit, View,
    open::{MOST_OWNERS, Open, seen},
    timeline::{self, What},
};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{Grower, State},
};

/// Where nothing grows, who holds less than this share of a limit's usage is not its culprit.
const HOLDS_MOST: f64 = 0.5;
/// Who contributes less of the growth below a limit is no culprit beside one that leaks.
const LEAST_SHARE: f64 = 0.05;

/// Names who eats the headroom of an incident's limit.
pub(super) fn blame(open: &mut Open, time: BootTime, growers: &[Grower], view: &impl View) {
    let incident = &mut open.incident;
    let limit = &incident.limit;
    if let Some((value, usage)) = view.usage(limit) {
        seen(incident, value, usage);
    }
    let limit = &incident.limit;
    let below: Vec<_> = growers
        .iter()
        .filter(|grower| {
            let mut chain = grower.chain.iter();
            chain.any(|above| (above.name, above.owner) == (limit.name, limit.owner))
        })
        .collect();
    let all: f64 = below.iter().map(|grower| grower.per_s).sum();
    let leaks = |grower: &&&Grower| matches!(grower.state, State::Leaking | State::Saturated);
    let has_leak = below.iter().any(|grower| leaks(&grower));
    for grower in below.iter().filter(|grower| leaks(grower)) {
        let share = grower.per_s / all;
        let is_known = incident
            .culprits
            .iter()
            .any(|known| known.owner.id == grower.owner);
        if share < LEAST_SHARE && !is_known {
            continue;
        }
        accuse(
            &mut incident.culprits,
            view,
            grower.owner,
            Charge {
                share,
                growth_per_s: Some(grower.per_s),
                tasks: grower.tasks,
            },
        );
    }
    if !has_leak && incident.culprits.is_empty() && open.is_due {
        // It was full before anybody looked, or fills without a leak.
        let used = incident.usage.unwrap_or(0).max(1) as f64;
        if let Some(&(id, tasks)) = view.holders(limit).first()
            && tasks as f64 >= HOLDS_MOST * used
        {
            accuse(
                &mut incident.culprits,
                view,
                id,
                Charge {
                    share: (tasks as f64 / used).min(1.0),
                    growth_per_s: None,
                    tasks,
                },
            );
            let text = format!("{} holds {tasks} of {used}", view.owner(id).name());
            timeline::note(&mut incident.timeline, time, What::Flagged, text);
            open.has_news = true;
        }
    }
    incident
        .culprits
        .sort_by(|a, b| b.share.total_cmp(&a.share));
    incident.culprits.truncate(MOST_OWNERS);
}

/// What is held against a culprit.
struct Charge {
    share: f64,
    growth_per_s: Option<f64>,
    tasks: u64,
}

fn accuse(culprits: &mut Vec<Culprit>, view: &impl View, id: CgroupId, charge: Charge) {
    let Charge {
        share,
        growth_per_s,
        tasks,
    } = charge;
    match culprits.iter_mut().find(|culprit| culprit.owner.id == id) {
        Some(culprit) => {
            culprit.share = share;
            culprit.growth_per_s = growth_per_s.or(culprit.growth_per_s);
            culprit.tasks = culprit.tasks.max(tasks);
        }
        None => culprits.push(Culprit {
            owner: view.owner(id),
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
    let culprits = &incident.culprits;
    let is_culprit = |id: CgroupId| culprits.iter().any(|culprit| culprit.owner.id == id);
    let mut victims: Vec<_> = refused
        .values()
        .filter(|victim| !is_culprit(victim.owner.id))
        .cloned()
        .collect();
    victims.sort_by(|a, b| {
        b.failures
            .cmp(&a.failures)
            .then(a.owner.id.cmp(&b.owner.id))
    });
    for victim in &victims {
        let known = incident.victims.iter();
        if !known.clone().any(|known| known.owner.id == victim.owner.id) {
            let text = format!("{} is refused though it does not grow", victim.owner.name());
            timeline::note(&mut incident.timeline, time, What::Victim, text);
            open.has_news = true;
        }
    }
    incident.victims = victims;
}
