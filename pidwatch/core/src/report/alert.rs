//! Alert rules that would have caught an incident, and when they would have fired. Pure.

use super::{
    model::{Alert, Case},
    scene::Scene,
    story::is_node_wide,
    words::{Words, code, lasting, moment, seconds, strong, words},
};

/// How often Prometheus is taken to look, and to evaluate its rules: the common setting.
const SCRAPE_S: f64 = 15.0;
/// A shorter lead is none.
const LEAST_LEAD_S: f64 = 5.0;
/// How long a leak must be called one before somebody is called: choices, longest first.
const WAITS: [(u64, &str); 4] = [(300, "5m"), (120, "2m"), (60, "1m"), (30, "30s")];
/// The wait is at most this part of the time there was.
const WAIT_SHARE: f64 = 0.25;

/// No rule yet.
pub fn none() -> Alert {
    Alert {
        rule: String::new(),
        fires: None,
        text: Words::default(),
    }
}

/// Rules for an incident like this one.
pub fn alert(scene: &Scene<'_>, case: &Case) -> Alert {
    let warning = case.durations.warning_s;
    let room = match warning {
        Some(warning) => warning.max(0.0),
        // Nothing was refused: what it would have been.
        None => f64::INFINITY,
    };
    let fits = |wait: &&(u64, &str)| wait.0 as f64 <= room * WAIT_SHARE;
    let (wait_s, wait) = match WAITS.iter().skip(1).find(fits) {
        Some(&(seconds, text)) => (seconds as f64, text),
        None => (0.0, "0s"),
    };
    let fires = case
        .moments
        .flagged
        .map(|flagged| moment(seconds(flagged) + wait_s + SCRAPE_S));
    let text = match (fires, warning) {
        (Some(fires), Some(_)) => {
            let lead = case.moments.first_failure.map_or(0.0, seconds) - seconds(fires);
            let when = scene.clock.show(fires);
            let mut words = words![code("PidwatchLeak"), format!(" would have fired by {when}")];
            if lead >= LEAST_LEAD_S {
                words.push(", ");
                words.push(strong(format!(
                    "{} before the first refusal",
                    lasting(lead)
                )));
            } else {
                words.push(
                    ", too late to act before the first refusal: this leak was faster than any scraped alert, \
                     and only a limit set beforehand would have stopped it",
                );
            }
            words.push(
                ", with the culprit's name in it (scraped and evaluated every 15 s at the latest).",
            );
            words
        }
        (Some(fires), None) => words![
            code("PidwatchLeak"),
            format!(
                " would have fired by {}, with the culprit's name in it.",
                scene.clock.show(fires)
            )
        ],
        (None, _) => words![
            "Nobody leaked by the rules of pidwatch, so only ",
            code("PidwatchCreationsRefused"),
            " would have fired, at the first refusal."
        ],
    };
    Alert {
        rule: rule(case, wait),
        fires,
        text,
    }
}

/// `groups:` of a file of rules. General: what leaked once comes back under another name.
fn rule(case: &Case, wait: &str) -> String {
    let by = "namespace, pod, container, unit, id";
    let mut text = format!(
        r#"groups:
  - name: pidwatch
    rules:
      - alert: PidwatchLeak
        expr: max by (instance, {by}) (pidwatch_container_state{{state=~"leaking|saturated"}}) == 1
        for: {wait}
        labels:
          severity: critical
        annotations:
          summary: 'Tasks leak in {{{{ $labels.namespace }}}}/{{{{ $labels.pod }}}} {{{{ $labels.unit }}}} ({{{{ $labels.id }}}})'
      - alert: PidwatchCreationsRefused
        # A counter that begins with its first failure has no increase: what was not there five minutes
        # ago counts, where the agent was.
        expr: |-
          sum by (instance, {by}, reason) (
              increase(pidwatch_clone_failures_total[5m]) > 0
            or
              (pidwatch_clone_failures_total unless pidwatch_clone_failures_total offset 5m
                and on (instance) pidwatch_build_info offset 5m)
          ) > 0
        labels:
          severity: critical
        annotations:
          summary: 'Forks of {{{{ $labels.namespace }}}}/{{{{ $labels.pod }}}} {{{{ $labels.unit }}}} ({{{{ $labels.id }}}}) are refused by {{{{ $labels.reason }}}}'
"#
    );
    text += if is_node_wide(&case.limit) {
        r"      - alert: PidwatchNodeExhaustion
        expr: pidwatch_node_exhaustion_seconds < 1800
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: 'At this pace {{ $labels.instance }} is out of PIDs in {{ $value | humanizeDuration }}'
"
    } else {
        r"      - alert: PidwatchContainerExhaustion
        expr: pidwatch_container_exhaustion_seconds < 1800
        for: 1m
        labels:
          severity: warning
        annotations:
          summary: 'At this pace {{ $labels.id }} hits its limit in {{ $value | humanizeDuration }}'
"
    };
    text
}
