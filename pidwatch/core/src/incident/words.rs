//! An incident in words.

use std::time::Duration;

use super::{Incident, LimitKey};
use crate::{clock::BootTime, detect::about, limits::LimitOwner};

/// `kernel.pid_max, 2980 of 3000: shop/cart (+41 tasks/s, 92 % of the growth, 2700 tasks); 12
/// creations refused, of kube-system/calico-node too`
pub fn summary(incident: &Incident) -> String {
    let mut text = whose(&incident.limit);
    if let (Some(usage), Some(value)) = (incident.usage, incident.value) {
        text += &format!(", {usage} of {value}");
    }
    text += ": ";
    if incident.culprits.is_empty() {
        text += "nobody grows";
    }
    for (i, culprit) in incident.culprits.iter().take(3).enumerate() {
        if i > 0 {
            text += ", ";
        }
        let share = (culprit.share * 100.0).round();
        text += &match culprit.growth_per_s {
            Some(per_s) => format!(
                "{} (+{per_s:.1} tasks/s, {share} % of the growth, {} tasks)",
                culprit.name(),
                culprit.tasks
            ),
            None => format!(
                "{} holds {} tasks, {share} %",
                culprit.name(),
                culprit.tasks
            ),
        };
    }
    match incident.failures {
        0 => text += "; nothing refused yet",
        n => text += &format!("; {n} creations refused"),
    }
    let victims: Vec<_> = incident
        .victims
        .iter()
        .take(3)
        .map(|v| v.owner.name())
        .collect();
    if !victims.is_empty() {
        text += &format!("; victims: {}", victims.join(", "));
        let more = incident.victims.len() - victims.len();
        if more > 0 {
            text += &format!(" and {more} more");
        }
    }
    text
}

/// A limit with whose it is.
fn whose(limit: &LimitKey) -> String {
    match (limit.owner, &limit.path) {
        (LimitOwner::Cgroup(_), Some(path)) => {
            format!("{} of {}", limit.name, crate::escape::for_terminal(path))
        }
        (LimitOwner::Cgroup(id), None) => format!("{} of cgroup {}", limit.name, id.0),
        (LimitOwner::User(uid), _) => format!("{} of user {uid}", limit.name),
        (LimitOwner::PidNamespace(inum), _) => format!("{} of PID namespace {inum}", limit.name),
        (LimitOwner::Node, _) => limit.name.to_owned(),
    }
}

/// How long an incident lasts.
pub fn lasted(incident: &Incident, now: BootTime) -> String {
    about(now.since(incident.opened).max(Duration::from_secs(1)))
}
