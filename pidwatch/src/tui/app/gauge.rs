//! The limits that matter now, with what of each is used.

use std::sync::Arc;

use super::world::NodeStore;
use crate::{
    escape,
    stream::{IncidentEvent, LimitForecast, LimitHolder, LimitId, LimitUse},
};

/// A limit whose usage is worth a gauge.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// As people set it, with whose it is; safe to show.
    pub name: String,
    /// Which limit.
    pub limit: Arc<LimitId>,
    /// What of it is used, as far as is known.
    pub usage: u64,
    /// The limit.
    pub value: u64,
    /// Seconds until it is hit, if it goes on as it does.
    pub in_s: Option<f64>,
    /// Creations that it refused.
    pub failures: u64,
}

impl Gauge {
    /// How much of it is used, 0 to 1 and above.
    pub fn ratio(&self) -> f64 {
        self.usage as f64 / self.value.max(1) as f64
    }
}

impl NodeStore {
    /// Seconds until an incident's limit is hit.
    pub(super) fn full_in(&self, open: &IncidentEvent) -> Option<f64> {
        let of_owners = self.owners.values();
        let of_owners = of_owners.filter_map(|known| known.verdict.as_ref()?.exhaustion.as_ref());
        let all = self.exhaustion.iter().chain(of_owners);
        let this = all.filter(|ahead| ahead.limit == open.limit && ahead.cgroup == open.cgroup);
        this.map(|ahead| ahead.in_s).min_by(f64::total_cmp)
    }

    /// The limits that matter now, of all incidents.
    pub fn gauges(&self) -> Vec<Gauge> {
        self.gauges_of(&self.open_incidents().collect::<Vec<_>>())
    }

    /// The limits that matter now: the node's that is hit first, then those of some open incidents.
    pub fn gauges_of(&self, incidents: &[&IncidentEvent]) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        if let Some(limit) = self.binding() {
            let is_ahead = |ahead: &&LimitForecast| ahead.limit == limit.name;
            let forecast = self.exhaustion.as_ref().filter(is_ahead);
            let id = limit.limit_id();
            let of_it = self.open_incidents().filter(|open| open.limit_id() == id);
            gauges.push(Gauge {
                name: escape::for_terminal(limit.name.as_bytes()),
                usage: limit.usage,
                value: limit.value,
                in_s: forecast.map(|ahead| ahead.in_s),
                failures: of_it.map(|open| open.failures).sum(),
                limit: Arc::new(id),
            });
        }
        for open in incidents {
            let id = open.limit_id();
            let (Some(value), LimitHolder::Cgroup(path)) = (open.value, id.holder()) else {
                continue;
            };
            let name = format!("{} {}", open.limit, path.unwrap_or_default());
            gauges.push(Gauge {
                name: escape::for_terminal(name.as_bytes()),
                usage: open.usage.unwrap_or(0),
                value,
                in_s: self.full_in(open),
                failures: open.failures,
                limit: Arc::new(id),
            });
        }
        gauges
    }

    /// The node's limit that is hit first: by the forecast, or else by what is used.
    fn binding(&self) -> Option<&LimitUse> {
        let ratio = |limit: &&LimitUse| limit.usage as f64 / limit.value.max(1) as f64;
        let by_forecast = self.exhaustion.as_ref().and_then(|ahead| {
            let mut all = self.limits.iter();
            all.find(|limit| limit.name == ahead.limit)
        });
        let by_usage = || {
            let all = self.limits.iter();
            all.max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
        };
        by_forecast.or_else(by_usage)
    }
}
