//! The values that commands rest on: what was normal, and the limits of a culprit.

use crate::{
    limits::survey::PID_MAX_LIMIT,
    report::{
        model::{Case, CaseCulprit},
        scene::Scene,
    },
    stream::LimitUse,
};

/// Rounded up to two digits that matter: 1,496 to 1,500.
pub fn rounded_up(n: u64) -> u64 {
    let step = 10u64.pow(n.max(1).ilog10().saturating_sub(1));
    n.div_ceil(step) * step
}

/// What it had before it grew, where that was seen: of a leak that was under way when the recording began it
/// is not what is normal.
pub fn normal(scene: &Scene<'_>, culprit: &CaseCulprit) -> Option<u64> {
    // At its first sign, or as far back as it was seen.
    let track = scene.track(&culprit.owner);
    let first = || Some(track?.tasks.within(0.0, f64::MAX).first()?.1 as u64);
    let before = culprit.tasks_before.or_else(first)?;
    let has_grown = 2 * culprit.tasks_peak >= 3 * before;
    (culprit.growth_per_s.is_some() && has_grown).then_some(before)
}

/// The limit of a culprit's own cgroup: `None` for not known, `Some(None)` for none.
pub fn own_of(culprit: &CaseCulprit) -> Option<Option<&LimitUse>> {
    let path = culprit.owner.cgroup.path.as_deref()?;
    let limits = culprit.limits.as_ref()?;
    let is_own = |limit: &&LimitUse| limit.cgroup.as_deref() == Some(path);
    Some(pids_max(limits).find(is_own))
}

fn pids_max(limits: &[LimitUse]) -> impl Iterator<Item = &LimitUse> {
    limits.iter().filter(|limit| limit.name == "pids.max")
}

/// The lowest bound that a culprit shares with others: those above its own, the incident's among them.
pub fn shared_bound(case: &Case, culprit: &CaseCulprit) -> u64 {
    let path = culprit.owner.cgroup.path.as_deref();
    let above = culprit.limits.iter().flatten();
    let above = above.filter(|limit| limit.cgroup.as_deref() != path);
    let above = above.map(|limit| limit.value);
    let this = case
        .limit
        .value
        .filter(|_| case.limit.cgroup.as_deref() != path);
    above.chain(this).min().unwrap_or(PID_MAX_LIMIT)
}
