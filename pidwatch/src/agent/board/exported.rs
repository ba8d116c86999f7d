//! What of the board is exported as metrics.

use std::collections::BTreeMap;

use super::{Board, SeriesPlace};
use crate::{
    detect::State,
    limits::Limit,
    output::prometheus::{MetricsView, OwnerSample, Workloads},
};

impl Board {
    /// What is exported.
    pub fn view(&self) -> MetricsView<'_> {
        let mut owners = Vec::with_capacity(self.owners.len() + 1);
        let mut sum = OwnerSample {
            labels: &self.other_labels,
            total: self.other,
            tasks: Some(0),
            processes: Some(0),
            zombies: Some(0),
            ..OwnerSample::default()
        };
        let mut workloads = Workloads::default();
        let mut folded = 0;
        for (id, entry) in &self.owners {
            let rate = &entry.rate;
            if entry.gone.is_none() {
                let k8s = rate.owner.k8s.as_ref();
                workloads.add(k8s, rate.tasks, rate.verdict.as_deref());
            }
            let brakes = u64::from(self.brakes.is_active(id.0));
            match &entry.place {
                Some(SeriesPlace::Own(before)) => owners.push(OwnerSample {
                    labels: &entry.labels,
                    tasks: rate.tasks,
                    processes: rate.processes,
                    zombies: rate.zombies.filter(|_| entry.gone.is_none()),
                    limit: rate.tasks_limit,
                    total: match before {
                        Some(before) => entry.total().minus(before),
                        None => entry.total(),
                    },
                    verdict: rate.verdict.as_deref().filter(|_| entry.gone.is_none()),
                    state: Some(match (&entry.gone, &rate.verdict) {
                        (Some(_), _) => State::Gone,
                        (None, Some(verdict)) => verdict.state.known().unwrap_or_default(),
                        (None, None) => State::Ok,
                    }),
                    brakes,
                }),
                Some(SeriesPlace::Other) => {
                    folded += 1;
                    sum.brakes += brakes;
                    let add = |sum: &mut Option<u64>, n: Option<u64>| {
                        *sum = sum.zip(n.or(Some(0))).map(|(sum, n)| sum + n);
                    };
                    add(&mut sum.tasks, rate.tasks);
                    add(&mut sum.processes, rate.processes);
                    // One that is not known, and the sum is not.
                    sum.zombies = sum.zombies.zip(rate.zombies).map(|(sum, n)| sum + n);
                }
                None => {}
            }
        }
        // Once there was one, its counters stay: they would begin anew otherwise.
        if folded > 0 || !self.other.is_zero() {
            owners.push(sum);
        }
        MetricsView {
            owners,
            folded,
            workloads,
            knows_failures: self.last.knows_failures,
            failures: self.failures,
            node: &self.last,
            incidents: self.incidents(),
            brakes: &self.brakes,
            lost: self.lost.iter().map(|(place, n)| (&**place, *n)).collect(),
            started: &self.started,
        }
    }

    /// Every limit's name with how many incidents opened and how many are open.
    fn incidents(&self) -> Vec<(&str, u64, u64)> {
        let mut all: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for name in Limit::NAMES {
            all.insert(name, (0, 0));
        }
        for (name, opened) in &self.opened {
            all.entry(name).or_default().0 = *opened;
        }
        for incident in &self.open {
            all.entry(&incident.limit).or_default().1 += 1;
        }
        let all = all.into_iter();
        all.map(|(name, (opened, open))| (name, opened, open))
            .collect()
    }
}
