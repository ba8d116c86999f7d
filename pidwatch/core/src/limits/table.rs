//! The limits in force as rows: what there is, how much of it is used, and which one binds.
//!
//! Pure. The limit that binds is that with the least headroom; a limit above several cgroups is
//! shared, so its usage is everybody's below.

use hashbrown::HashMap;

use super::survey::{Bound, CgroupLimits, Survey};

/// Whose a limit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The node's.
    Node,
    /// A cgroup's, by its path.
    Cgroup(Box<[u8]>),
    /// A user's.
    User(u32),
    /// A PID namespace's, by its inode number.
    PidNamespace(u32),
    /// Each pod's.
    Pods,
}

/// One limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name as people set it.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// The limit; `None`: there is none, or it is not known.
    pub value: Option<u64>,
    /// What of it is used, if known.
    pub usage: Option<u64>,
    /// It is the one that its scope hits first.
    pub binding: bool,
}

impl Row {
    /// How much of it is used, 0 to 1 and above.
    pub fn ratio(&self) -> Option<f64> {
        match (self.usage, self.value) {
            (Some(usage), Some(value)) if value > 0 => Some(usage as f64 / value as f64),
            _ => None,
        }
    }

    /// How many more there may be.
    pub fn headroom(&self) -> Option<u64> {
        Some(self.value?.saturating_sub(self.usage?))
    }
}

/// The node's limits first, then the kubelet's, cgroups' by path, users', PID namespaces'.
pub fn table(survey: &Survey) -> Vec<Row> {
    let node = &survey.node;
    let mut rows: Vec<Row> = [
        ("kernel.pid_max", node.pid_max, node.unusable_ids),
        ("kernel.threads-max", node.threads_max, 0),
    ]
    .map(|(name, value, unusable)| Row {
        name,
        scope: Scope::Node,
        value,
        usage: node.tasks.map(|tasks| tasks + unusable),
        binding: false,
    })
    .into();
    mark_binding(&mut rows);
    let of_node = rows
        .iter()
        .filter_map(Row::headroom)
        .min()
        .unwrap_or(u64::MAX);
    if let Some(kubelet) = &survey.kubelet {
        if let Some(most) = survey.node_capacity()
            && let Some(threshold) = kubelet.eviction_threshold(most)
        {
            rows.push(Row {
                name: "pid.available",
                scope: Scope::Node,
                value: Some(most.saturating_sub(threshold)),
                usage: node.tasks,
                binding: false,
            });
        }
        if let Some(limit) = kubelet.pod_pids_limit {
            rows.push(Row {
                name: "podPidsLimit",
                scope: Scope::Pods,
                value: u64::try_from(limit).ok(),
                usage: None,
                binding: false,
            });
        }
    }
    let chains = Chains::of(survey);
    for cgroup in &survey.cgroups {
        let Bound::At(value) = cgroup.max else {
            continue;
        };
        let own = cgroup.usage.map(|usage| value.saturating_sub(usage));
        rows.push(Row {
            name: "pids.max",
            scope: Scope::Cgroup(cgroup.path.clone()),
            value: Some(value),
            usage: cgroup.usage,
            binding: own.is_some_and(|own| own <= chains.headroom_above(cgroup).min(of_node)),
        });
    }
    for user in &survey.users {
        if user.nproc == Bound::Unknown {
            continue;
        }
        let value = user.nproc.value();
        rows.push(Row {
            name: "RLIMIT_NPROC",
            scope: Scope::User(user.uid),
            value,
            // Who is missing may be all that is left.
            usage: Some(user.tasks).filter(|_| user.is_whole),
            binding: user.is_whole
                && value.is_some_and(|value| value.saturating_sub(user.tasks) <= of_node),
        });
    }
    for space in &survey.pid_namespaces {
        let value = space.pid_max;
        rows.push(Row {
            name: "kernel.pid_max",
            scope: Scope::PidNamespace(space.inum),
            value,
            usage: Some(space.tasks),
            binding: space.is_full
                || value.is_some_and(|value| value.saturating_sub(space.tasks) <= of_node),
        });
    }
    rows
}

/// With one of them unknown, none is known to bind.
fn mark_binding(rows: &mut [Row]) {
    if rows.iter().any(|row| row.headroom().is_none()) {
        return;
    }
    let binding = rows
        .iter()
        .enumerate()
        .filter_map(|(i, row)| Some((row.headroom()?, i)))
        .min();
    if let Some((_, i)) = binding {
        rows[i].binding = true;
    }
}

/// The limit that a cgroup will hit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name as people set it.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// How many more tasks it leaves; shared with everybody else below it.
    pub headroom: u64,
}

/// Limits from a cgroup up.
pub struct Chains<'a>(HashMap<&'a [u8], &'a CgroupLimits>);

impl<'a> Chains<'a> {
    /// Of all cgroups.
    pub fn of(survey: &'a Survey) -> Self {
        let by_path = survey.cgroups.iter().map(|cgroup| (&*cgroup.path, cgroup));
        Self(by_path.collect())
    }

    /// The cgroups above one, nearest first, without the root.
    pub fn above(&self, path: &'a [u8]) -> impl Iterator<Item = &'a CgroupLimits> {
        let mut rest = path;
        std::iter::from_fn(move || {
            let end = rest.iter().rposition(|&byte| byte == b'/')?;
            rest = &rest[..end];
            (!rest.is_empty()).then_some(rest)
        })
        .filter_map(|path| self.0.get(path).copied())
    }

    /// The limit that a cgroup will hit first, of its own, those above it and the node's; `None` when
    /// one of them is not known.
    pub fn binding(&self, node: &[Row], cgroup: &'a CgroupLimits) -> Option<Binding> {
        let of_node = node
            .iter()
            .filter(|row| row.scope == Scope::Node && row.name.starts_with("kernel."))
            .map(|row| {
                Some(Binding {
                    name: row.name,
                    scope: Scope::Node,
                    headroom: row.headroom()?,
                })
            });
        let of_cgroups = [cgroup]
            .into_iter()
            .chain(self.above(&cgroup.path))
            .filter(|limits| limits.max != Bound::None)
            .map(|limits| {
                Some(Binding {
                    name: "pids.max",
                    scope: Scope::Cgroup(limits.path.clone()),
                    headroom: limits.max.value()?.saturating_sub(limits.usage?),
                })
            });
        let all: Option<Vec<Binding>> = of_cgroups.chain(of_node).collect();
        // Of equal ones the nearest.
        all?.into_iter().min_by_key(|binding| binding.headroom)
    }

    fn headroom_above(&self, cgroup: &'a CgroupLimits) -> u64 {
        self.above(&cgroup.path)
            .filter_map(|above| Some(above.max.value()?.saturating_sub(above.usage?)))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The lowest limit of a cgroup and those above it.
    pub fn lowest(&self, cgroup: &'a CgroupLimits) -> Option<u64> {
        self.above(&cgroup.path)
            .chain([cgroup])
            .filter_map(|limits| limits.max.value())
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::survey::tests::{cgroup, survey};

    #[test]
    fn the_limit_with_the_least_headroom_binds() {
        let mut seen = survey(46_000, 49_152, 1_545_000);
        seen.cgroups = vec![
            cgroup("/a", 100, Bound::At(200)),
            cgroup("/a/b", 90, Bound::At(5000)),
            cgroup("/c", 10, Bound::None),
        ];
        let rows = table(&seen);
        let binding: Vec<_> = rows
            .iter()
            .map(|row| (row.name, row.binding, row.headroom()))
            .collect();
        assert_eq!(
            binding,
            [
                ("kernel.pid_max", true, Some(3152)),
                ("kernel.threads-max", false, Some(1_499_000)),
                ("pids.max", true, Some(100)),
                // The limit above is nearer.
                ("pids.max", false, Some(4910)),
            ]
        );
        let chains = Chains::of(&seen);
        assert_eq!(chains.lowest(&seen.cgroups[1]), Some(200));
        let binding = |cgroup| {
            let binding = chains.binding(&rows, cgroup).unwrap();
            (binding.name, binding.scope, binding.headroom)
        };
        let above = Scope::Cgroup((*b"/a").into());
        assert_eq!(binding(&seen.cgroups[1]), ("pids.max", above, 100));
        assert_eq!(
            binding(&seen.cgroups[2]),
            ("kernel.pid_max", Scope::Node, 3152)
        );
        let unknown = cgroup("/u", 1, Bound::Unknown);
        assert_eq!(chains.binding(&rows, &unknown), None);
    }

    #[test]
    fn ids_that_are_not_given_out_again_are_used() {
        let mut seen = survey(1000, 2000, 1900);
        seen.node.unusable_ids = 250;
        let rows = table(&seen);
        assert_eq!((rows[0].usage, rows[0].headroom()), (Some(1250), Some(750)));
        assert!(rows[0].binding, "threads-max leaves 900");
        assert_eq!(seen.node_most(), Some(1750));
        assert_eq!(seen.node_usage(), Some((1250, 2000)));
    }

    #[test]
    fn what_is_unknown_neither_binds_nor_has_a_ratio() {
        let mut seen = survey(0, 0, 0);
        seen.node.pid_max = None;
        assert!(table(&seen).iter().all(|row| !row.binding));
        seen.node.tasks = None;
        let rows = table(&seen);
        assert!(rows.iter().all(|row| !row.binding && row.ratio().is_none()));
    }
}
