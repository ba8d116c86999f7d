//! The rules: what follows from what was seen of an owner's tasks.

use super::{
    Class, Evidence, EvidenceSettings, TaskSummary, findings::share, names::is_unnamed_pool,
};

/// What evidence does to the threshold of a leak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// It is a leak: few tasks are enough.
    Leak,
    /// Nothing, or nothing sure: the growth alone decides.
    #[default]
    Undecided,
    /// It works: more than usual is asked for.
    Busy,
}

/// What the tasks of an owner show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// What it does to the threshold.
    pub weight: Weight,
    /// What it rests on, or the reasons for doubt.
    pub evidence: Vec<Evidence>,
}

/// How many tasks a finding must be about.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// To make a leak.
    pub proof: u64,
    /// Zombies that make a leak however young they are; `None` without a limit.
    pub zombies: Option<u64>,
}

impl Need {
    /// Below limits with so much headroom when the growth began: the least, and its own.
    pub fn of(headroom: Option<(u64, u64)>, settings: &EvidenceSettings) -> Self {
        let proof = settings.evidence_gain;
        let Some((least, own)) = headroom else {
            return Self {
                proof,
                zombies: None,
            };
        };
        let of_all = (settings.evidence_share * least as f64) as u64;
        Self {
            // Below a small limit half of the headroom is a leak in any case.
            proof: proof.max(of_all).min(own / 2).max(1),
            zombies: Some(((settings.zombie_share * own as f64) as u64).max(1)),
        }
    }
}

/// Threads of a class that a name alone is believed of need to have been idle for most of them.
const QUIET_SHARE: f64 = 0.5;
/// Share of an even pace at which tasks must still come.
const GOES_ON: f64 = 0.3;
/// Tasks older than a minute that there must be to say what they do.
const SETTLED: u64 = 20;

/// Judges what was seen. `reaped_old`: a zombie that was old was reaped of late.
pub fn judge(
    seen: &TaskSummary,
    reaped_old: bool,
    need: Need,
    settings: &EvidenceSettings,
) -> Judgement {
    let mut evidence = Vec::new();
    if !reaped_old && are_left(seen, need, settings) {
        evidence.push(Evidence::of_zombies(&seen.zombies));
    }
    let classes = seen
        .classes
        .iter()
        .filter(|class| class.tasks >= need.proof);
    for class in classes {
        evidence.extend(of_class(class, settings));
    }
    if evidence.iter().any(|evidence| evidence.kind.is_proof()) {
        evidence.retain(|evidence| evidence.kind.is_proof());
        return Judgement {
            weight: Weight::Leak,
            evidence,
        };
    }
    let is_busy = seen.settled >= settings.stale_tasks
        && share(seen.active, seen.settled) >= settings.busy_share;
    if is_busy {
        evidence.push(Evidence::of_busy(seen));
    }
    Judgement {
        weight: if is_busy {
            Weight::Busy
        } else {
            Weight::Undecided
        },
        evidence,
    }
}

/// Zombies that only accumulate. A batch looks the same until it reaps, so that it takes the time that no
/// batch takes, or the share of the headroom that none should.
fn are_left(seen: &TaskSummary, need: Need, settings: &EvidenceSettings) -> bool {
    let zombies = &seen.zombies;
    // Where most are young, somebody reaps, if late.
    let are_old = zombies.old >= zombies.tasks / 2 && zombies.old > 0;
    let have_lasted = zombies.pace.oldest >= settings.zombie_time && zombies.tasks >= need.proof;
    let fill = need.zombies.is_some_and(|most| zombies.tasks >= most);
    are_old && zombies.pace.went_on(zombies.tasks, GOES_ON, settings) && (have_lasted || fill)
}

/// What the tasks of one kind show.
fn of_class(class: &Class, settings: &EvidenceSettings) -> Option<Evidence> {
    let are_stale = class.aged >= settings.stale_tasks
        && share(class.stale, class.aged) >= settings.stale_share;
    if let Some(pools) = class.pools
        && are_many_pools(class, pools, settings)
    {
        return Some(if are_stale {
            Evidence::of_stale(class, settings)
        } else {
            Evidence::of_names(class, pools)
        });
    }
    if !are_stale {
        return None;
    }
    if share(class.stale_in_connections, class.stale) >= settings.connection_share {
        return Some(Evidence::of_connections(class));
    }
    match class.pools {
        // A fixed pool of a JVM makes a thread for each job until it is full, though others are idle.
        Some(pools) if pools <= settings.few_pools => Some(Evidence::of_pool(class, pools)),
        // A pool that has filled and idles is no leak, however stale it is: others must have come since
        // the old ones stopped, must have stopped as well, and must still come. Where idle workers are
        // used again, none comes while all are idle.
        _ => {
            let Class { tasks, pace, .. } = class;
            let goes_on = pace.went_on(*tasks, GOES_ON, settings) && pace.goes_on(*tasks, GOES_ON);
            goes_on.then(|| Evidence::of_stale(class, settings))
        }
    }
}

/// A program has some pools; what makes one after the other leaks them. Whoever chose a name may have
/// numbered something else, so that such a one is believed of idle tasks only, and only if its numbers were
/// handed out in turn.
fn are_many_pools(class: &Class, pools: u64, settings: &EvidenceSettings) -> bool {
    let idle = class.settled - class.active;
    let are_idle = class.settled >= SETTLED && share(idle, class.settled) >= QUIET_SHARE;
    pools >= settings.many_pools
        && class.are_in_turn
        && !class.are_processes
        && class.pace.goes_on(class.tasks, GOES_ON)
        && (is_unnamed_pool(&class.pattern) || are_idle)
}
