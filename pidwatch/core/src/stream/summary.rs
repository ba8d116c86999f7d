//! An incident in words, and with later numbers.

use super::{IncidentEvent, IncidentNow, LimitHolder, LimitId};
use crate::{escape, values::count};

impl IncidentEvent {
    /// Takes in the numbers of a later window.
    pub fn update(&mut self, now: &IncidentNow) {
        self.value = now.value.or(self.value);
        self.usage = now.usage.or(self.usage);
        self.peak = self.peak.max(now.peak).max(self.usage);
        self.failures = now.failures;
        for culprit in &mut self.culprits {
            let id = culprit.owner.cgroup.id;
            if let Some(now) = now.culprits.iter().find(|now| now.cgroup == id) {
                culprit.share = now.share;
                culprit.growth_per_s = now.growth_per_s;
                culprit.tasks = now.tasks;
            }
        }
        for victim in &mut self.victims {
            let id = victim.owner.cgroup.id;
            if let Some(now) = now.victims.iter().find(|now| now.cgroup == id) {
                victim.failures = now.failures;
            }
        }
        self.summarize();
    }

    /// Makes the summary anew.
    pub(super) fn summarize(&mut self) {
        self.summary = summary(self);
    }
}

/// `kernel.pid_max, 2980 of 3000: shop/cart (+41 tasks/s, 92 % of the growth, 2700 tasks); 12
/// creations refused, of kube-system/calico-node too`
fn summary(incident: &IncidentEvent) -> String {
    let mut text = whose(&incident.limit_id());
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
                "{} (+{per_s:.1} tasks/s, {share} % of the growth, {})",
                culprit.name(),
                count(culprit.tasks, "task")
            ),
            None => format!(
                "{} holds {}, {share} %",
                culprit.name(),
                count(culprit.tasks, "task")
            ),
        };
    }
    match incident.failures {
        0 => text += "; nothing refused yet",
        n => text += &format!("; {} refused", count(n, "creation")),
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
fn whose(limit: &LimitId) -> String {
    let name = escape::for_terminal(limit.name.as_bytes());
    match limit.holder() {
        LimitHolder::Cgroup(Some(path)) => {
            format!("{name} of {}", escape::for_terminal(path.as_bytes()))
        }
        LimitHolder::Cgroup(None) => format!("{name} of a removed cgroup"),
        LimitHolder::User(uid) => format!("{name} of user {uid}"),
        LimitHolder::PidNamespace(inum) => format!("{name} of PID namespace {inum}"),
        LimitHolder::Node => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_the_limit_the_culprits_and_the_victims_with_the_numbers_of_now() {
        let mut incident: IncidentEvent = serde_json::from_str(
            r#"{"id":"1","phase":"opened","limit":"pids.max","cgroup":"/demo","value":100,"usage":99,
                "opened":"2026-11-22T00:00:00Z","failures":0,"timeline":[],"summary":"",
                "culprits":[{"cgroup":{"id":7,"path":"/demo/a"},"share":0.92,"growth_per_s":41.0,"tasks":90}],
                "victims":[{"cgroup":{"id":8,"path":"/demo/b"},"failures":0,"comms":{}}]}"#,
        )
        .unwrap();
        let now = |culprits: &str| -> IncidentNow {
            let text = format!(r#"{{"id":"1","usage":100,"failures":3,{culprits}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        incident.update(&now(r#""value":100"#));
        let grows = "/demo/a (+41.0 tasks/s, 92 % of the growth, 90 tasks)";
        assert!(incident.summary.contains(grows), "{}", incident.summary);
        incident.update(&now(
            r#""culprits":[{"cgroup":7,"share":0.5,"tasks":95}],"victims":[{"cgroup":8,"failures":2}]"#,
        ));
        assert_eq!(
            incident.summary,
            "pids.max of /demo, 100 of 100: /demo/a holds 95 tasks, 50 %; 3 creations refused; \
             victims: /demo/b"
        );
        incident.failures = 1;
        incident.summarize();
        assert!(incident.summary.contains("; 1 creation refused"));
        assert_eq!(
            (incident.peak, incident.victims[0].failures),
            (Some(100), 2)
        );
        // A version that had fewer numbers: what it does not say stays.
        incident.update(&now(r#""value":120"#));
        assert_eq!(incident.culprits[0].tasks, 95);
        assert!(
            incident
                .summary
                .starts_with("pids.max of /demo, 100 of 120: ")
        );
    }
}
