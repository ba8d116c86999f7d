//! Sums over the pods of a workload: what it has on this node, however many replicas.

use std::collections::BTreeMap;

use crate::{
    detect::State,
    stream::{K8s, StateNow},
};

/// A workload as it is exported. `None` is unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadSample {
    /// Tasks of all its cgroups.
    pub tasks: Option<u64>,
    /// Tasks a second that come to stay, of those of its cgroups that grow.
    pub growth_per_s: Option<f64>,
    /// The worst state of its cgroups.
    pub state: State,
}

/// The workloads of a node by namespace, kind and name.
#[derive(Clone, Debug, Default)]
pub struct Workloads<'a>(BTreeMap<(&'a str, &'a str, &'a str), WorkloadSample>);

impl<'a> Workloads<'a> {
    /// Adds a living cgroup, if it is a workload's.
    pub fn add(&mut self, k8s: Option<&'a K8s>, tasks: Option<u64>, verdict: Option<&StateNow>) {
        let Some((namespace, workload)) =
            k8s.and_then(|k8s| Some((k8s.namespace.as_deref()?, k8s.workload.as_ref()?)))
        else {
            return;
        };
        let key = (namespace, workload.kind.as_str(), workload.name.as_str());
        let sample = self.0.entry(key).or_insert(WorkloadSample {
            tasks: Some(0),
            ..WorkloadSample::default()
        });
        // One that is not known, and the sum is not.
        sample.tasks = sample.tasks.zip(tasks).map(|(sum, tasks)| sum + tasks);
        let Some(verdict) = verdict else {
            return;
        };
        if let Some(growth) = verdict.growth_per_s {
            sample.growth_per_s = Some(sample.growth_per_s.unwrap_or(0.0) + growth);
        }
        sample.state = sample.state.max(verdict.state.known().unwrap_or_default());
    }

    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (&(&'a str, &'a str, &'a str), &WorkloadSample)> {
        self.0.iter()
    }
}
