//! The thresholds of detection and of incidents by their names, as `--detect` takes them.

use std::time::Duration;

use crate::{detect::DetectSettings, incident::IncidentSettings, values::parse_duration};

/// Every threshold.
#[derive(Clone, Debug, Default)]
pub struct Thresholds {
    /// What counts as growth, a leak, a storm.
    pub detect: DetectSettings,
    /// When an incident opens and closes.
    pub incident: IncidentSettings,
}

/// One threshold with another value: `leak_gain=500`.
#[derive(Clone, Debug)]
pub struct Threshold {
    name: &'static str,
    value: Value,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Share(f64),
    Rate(f64),
    Time(Duration),
}

impl Thresholds {
    /// The defaults with these changed; of two for the same the later counts.
    pub fn with(changed: &[Threshold]) -> Self {
        let mut thresholds = Self::default();
        for threshold in changed {
            thresholds.set(threshold);
        }
        thresholds
    }

    fn set(&mut self, threshold: &Threshold) {
        let Self { detect, incident } = self;
        let evidence = &mut detect.evidence;
        match (threshold.name, threshold.value) {
            ("growing_gain", Value::Count(count)) => detect.growing_gain = count,
            ("soon", Value::Time(time)) => detect.soon = time,
            ("leak_gain", Value::Count(count)) => detect.leak_gain = count,
            ("leak_share", Value::Share(share)) => detect.leak_share = share,
            ("most_share", Value::Share(share)) => detect.most_share = share,
            ("long", Value::Time(time)) => detect.long = time,
            ("leak_time", Value::Time(time)) => detect.leak_time = time,
            ("urgent_share", Value::Share(share)) => detect.urgent_share = share,
            ("storm_per_s", Value::Rate(rate)) => detect.storm_per_s = rate,
            ("full", Value::Share(share)) => detect.full = share,
            ("evidence_gain", Value::Count(count)) => evidence.evidence_gain = count,
            ("evidence_share", Value::Share(share)) => evidence.evidence_share = share,
            ("evidence_time", Value::Time(time)) => evidence.evidence_time = time,
            ("stale_age", Value::Time(time)) => evidence.stale_age = time,
            ("stale_idle", Value::Time(time)) => evidence.stale_idle = time,
            ("stale_share", Value::Share(share)) => evidence.stale_share = share,
            ("stale_tasks", Value::Count(count)) => evidence.stale_tasks = count,
            ("connection_share", Value::Share(share)) => evidence.connection_share = share,
            ("few_pools", Value::Count(count)) => evidence.few_pools = count,
            ("many_pools", Value::Count(count)) => evidence.many_pools = count,
            ("zombie_age", Value::Time(time)) => evidence.zombie_age = time,
            ("zombie_time", Value::Time(time)) => evidence.zombie_time = time,
            ("zombie_share", Value::Share(share)) => evidence.zombie_share = share,
            ("joint_share", Value::Share(share)) => evidence.joint_share = share,
            ("busy_share", Value::Share(share)) => evidence.busy_share = share,
            ("busy_gain", Value::Count(count)) => evidence.busy_gain = count,
            ("busy_limit", Value::Share(share)) => evidence.busy_limit = share,
            ("horizon", Value::Time(time)) => incident.horizon = time,
            ("calm", Value::Time(time)) => incident.calm = time,
            ("update_every", Value::Time(time)) => incident.update_every = time,
            // `parse` lets no other through.
            _ => {}
        }
    }
}

type Parse = fn(&str) -> Result<Value, String>;

/// What kind of value each takes.
const NAMES: [(&str, Parse); 30] = [
    ("growing_gain", count),
    ("soon", time),
    ("leak_gain", count),
    ("leak_share", share),
    ("most_share", share),
    ("long", time),
    ("leak_time", time),
    ("urgent_share", share),
    ("storm_per_s", rate),
    ("full", share),
    ("evidence_gain", count),
    ("evidence_share", share),
    ("evidence_time", time),
    ("stale_age", time),
    ("stale_idle", time),
    ("stale_share", share),
    ("stale_tasks", count),
    ("connection_share", share),
    ("few_pools", count),
    ("many_pools", count),
    ("zombie_age", time),
    ("zombie_time", time),
    ("zombie_share", share),
    ("joint_share", share),
    ("busy_share", share),
    ("busy_gain", count),
    ("busy_limit", share),
    ("horizon", time),
    ("calm", time),
    ("update_every", time),
];

/// Reads `NAME=VALUE`.
///
/// # Errors
/// When there is no such threshold (the names there are are told), or its value is none.
pub fn parse(text: &str) -> Result<Threshold, String> {
    let all = || NAMES.map(|(name, _)| name).join(", ");
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no NAME=VALUE; there are {}", all()))?;
    let (name, parse) = NAMES
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("no threshold `{name}`; there are {}", all()))?;
    Ok(Threshold {
        name,
        value: parse(value).map_err(|error| format!("{name}: {error}"))?,
    })
}

fn count(text: &str) -> Result<Value, String> {
    let number = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of tasks"))?;
    Ok(Value::Count(number))
}

fn share(text: &str) -> Result<Value, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(Value::Share(share)),
        _ => Err(format!("`{text}` is no share from 0 to 1")),
    }
}

fn rate(text: &str) -> Result<Value, String> {
    match text.parse() {
        Ok(rate) if rate >= 0.0 && f64::is_finite(rate) => Ok(Value::Rate(rate)),
        _ => Err(format!("`{text}` is no number a second")),
    }
}

fn time(text: &str) -> Result<Value, String> {
    parse_duration(text).map(Value::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_sets_something() {
        let shown = |thresholds: &Thresholds| format!("{thresholds:?}");
        for (name, _) in NAMES {
            let mut values = ["3", "0.123", "7s"].into_iter();
            let set = values.find_map(|value| parse(&format!("{name}={value}")).ok());
            let thresholds = Thresholds::with(&[set.unwrap()]);
            assert_ne!(shown(&thresholds), shown(&Thresholds::default()), "{name}");
        }
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for (bad, word) in [
            ("leak_gain", "NAME=VALUE"),
            ("leek_gain=3", "leak_gain"),
            ("leak_gain=-1", "tasks"),
            ("leak_share=2", "0 to 1"),
            ("calm=soon", "calm"),
            ("storm_per_s=NaN", "a second"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
