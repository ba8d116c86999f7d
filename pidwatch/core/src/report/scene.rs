//! What belongs to one incident: the incident, its limit, its owners.

use jiff::Timestamp;

use super::{
    collect::{Collected, CollectedIncident, Track},
    curve::SampledCurve,
    model::PointSeries,
    words::{Clock, seconds},
};
use crate::stream::{IncidentEvent, OwnerRef};

/// What belongs to one incident.
pub struct Scene<'a> {
    /// All that is known.
    pub all: &'a Collected,
    /// The incident as it was told last.
    pub told: &'a CollectedIncident,
    /// The first moment of the stream.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// How moments are written.
    pub clock: Clock,
}

impl<'a> Scene<'a> {
    /// The incident.
    pub fn incident(&self) -> &'a IncidentEvent {
        &self.told.incident
    }

    /// What is kept of an owner.
    pub fn track(&self, owner: &OwnerRef) -> Option<&'a Track> {
        self.all.owners.get(&owner.cgroup.id)
    }

    /// The limit's usage over time.
    pub fn usage(&self) -> Option<&'a SampledCurve> {
        let key = self.incident().limit_id();
        self.all.limits.get(&key).map(|track| &track.usage)
    }

    /// Points of a curve from the report's beginning on, between two moments.
    pub fn series(&self, curve: &SampledCurve, from: f64, to: f64) -> PointSeries {
        series(curve, seconds(self.from), from, to)
    }
}

/// Points of a curve between two moments, as seconds from `zero`.
pub fn series(curve: &SampledCurve, zero: f64, from: f64, to: f64) -> PointSeries {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let points = curve.within(from, to).into_iter();
    PointSeries(
        points
            .map(|(at, value)| (rounded(at - zero), rounded(value)))
            .collect(),
    )
}
