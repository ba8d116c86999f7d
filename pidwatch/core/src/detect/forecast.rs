//! When a limit is hit: by the growth of everybody below it, each as far as its own nearest limit lets
//! it. A limit that what grows cannot fill is never forecast.

use hashbrown::{HashMap, HashSet};

use super::{curve::Curve, grower::Grower, trend::Growth};
use crate::{
    cgroup::CgroupId,
    limits::{Limit, LimitOwner},
};

/// A limit that will be hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exhaustion {
    /// Which, as it is now.
    pub limit: Limit,
    /// Seconds until then.
    pub in_s: f64,
    /// The earliest: at the upper quartile of the growth.
    pub low_s: f64,
    /// The latest: at its lower quartile.
    pub high_s: f64,
}

/// A growth with its uncertainty, in tasks a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    pub per_s: f64,
    pub low_per_s: f64,
    pub high_per_s: f64,
}

impl From<Growth> for Speed {
    fn from(growth: Growth) -> Self {
        let Growth {
            per_s,
            low_per_s,
            high_per_s,
            ..
        } = growth;
        Self {
            per_s,
            low_per_s,
            high_per_s,
        }
    }
}

/// How a limit is known from others.
type Key = (&'static str, LimitOwner);

/// What grows below each limit, each as far as the limits in between let it.
#[derive(Debug, Default)]
pub struct Forecast {
    below: HashMap<Key, Below>,
}

/// What grows below one limit.
#[derive(Debug)]
struct Below {
    limit: Limit,
    /// Limits from here to the outermost one: they are worked off from the inside out.
    height: usize,
    /// The next limit on the way out that the growth counts against.
    above: Option<Key>,
    /// What has this limit as its nearest, and what nearer ones let through.
    growth: Curve,
    /// Seconds until it is full; `None` if what grows cannot fill it.
    full_in_s: Option<f64>,
}

impl Below {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            height: 0,
            above: None,
            growth: Curve::default(),
            full_in_s: None,
        }
    }
}

impl Forecast {
    /// Sums the growth below every limit.
    pub fn of(growers: &[Grower]) -> Self {
        let owners: HashSet<CgroupId> = growers
            .iter()
            .filter(|grower| grower.part_of.is_none())
            .map(|grower| grower.owner)
            .collect();
        // Of an owner's growth, what its parts bring by way of limits inside of it.
        let mut by_parts: HashMap<CgroupId, f64> = HashMap::new();
        for grower in growers {
            if grower.part_of.is_some() && !grower.counts_against().is_empty() {
                *by_parts.entry(grower.blamed()).or_default() += grower.per_s;
            }
        }
        let mut below: HashMap<Key, Below> = HashMap::new();
        for grower in growers {
            let counted = grower.counts_against();
            let leads_out = owners.contains(&grower.blamed());
            for (at, limit) in counted.iter().enumerate() {
                let above = grower
                    .chain
                    .get(at + 1)
                    .filter(|_| leads_out || at + 1 < counted.len());
                let entry = below
                    .entry(key(limit))
                    .or_insert_with(|| Below::new(*limit));
                entry.height = grower.chain.len() - at;
                entry.above = above.map(key);
            }
            let parts = match grower.part_of {
                Some(_) => 0.0,
                None => by_parts.get(&grower.owner).copied().unwrap_or(0.0),
            };
            if let Some(nearest) = counted.first()
                && let Some(entry) = below.get_mut(&key(nearest))
            {
                entry
                    .growth
                    .add(&Curve::steady((grower.per_s - parts).max(0.0)));
            }
        }
        let mut inside_out: Vec<(usize, Key)> = below
            .iter()
            .map(|(key, entry)| (entry.height, *key))
            .collect();
        inside_out.sort_by_key(|&(height, _)| std::cmp::Reverse(height));
        for (_, key) in inside_out {
            let Some(entry) = below.get_mut(&key) else {
                continue;
            };
            let room = entry.limit.room() as f64;
            entry.full_in_s = entry.growth.reaches(room);
            let through = entry.growth.clone().until(room);
            if let Some(above) = entry.above.and_then(|above| below.get_mut(&above)) {
                above.growth.add(&through);
            }
        }
        Self { below }
    }

    /// The limit of a chain that is hit first, by an owner of this growth and all others below the
    /// same limit.
    pub(super) fn of_chain(&self, chain: &[Limit], own: Speed) -> Option<Exhaustion> {
        let hit = |limit: &Limit| {
            let in_s = self.below.get(&key(limit))?.full_in_s?;
            let room = limit.room() as f64;
            // All that grows, over the time until then, with the owner at its slowest and fastest.
            let all_per_s = room / in_s.max(f64::MIN_POSITIVE);
            let after = |per_s: f64| {
                let per_s = all_per_s + per_s - own.per_s;
                room / per_s.max(f64::MIN_POSITIVE)
            };
            Some(Exhaustion {
                limit: *limit,
                in_s,
                low_s: after(own.high_per_s.max(own.per_s)).min(in_s),
                high_s: after(own.low_per_s.min(own.per_s)).max(in_s),
            })
        };
        let all = chain.iter().filter_map(hit);
        all.min_by(|a, b| a.in_s.total_cmp(&b.in_s))
    }

    /// Which of the node's limits is hit first, where all of its tasks grow like this.
    pub(super) fn of_node(&self, limits: &[Limit], node: Speed) -> Option<Exhaustion> {
        if node.per_s <= 0.0 {
            return None;
        }
        let hit = |limit: &Limit| {
            let known = self.below.get(&key(limit));
            let mut growth = known.map(|below| below.growth.clone()).unwrap_or_default();
            // Nothing stops what nobody is known to grow by, if it is surely there.
            if known.is_none() || node.low_per_s > growth.per_s() {
                growth.add(&Curve::steady(node.per_s - growth.per_s()));
            }
            let slower = (growth.per_s() / node.per_s).max(1.0);
            let in_s = growth.reaches(limit.room() as f64)? * slower;
            Some(Exhaustion {
                limit: *limit,
                in_s,
                low_s: in_s * (node.per_s / node.high_per_s.max(node.per_s)),
                high_s: in_s * (node.per_s / node.low_per_s.min(node.per_s).max(f64::MIN_POSITIVE)),
            })
        };
        let all = limits.iter().filter_map(hit);
        all.min_by(|a, b| a.in_s.total_cmp(&b.in_s))
    }
}

fn key(limit: &Limit) -> Key {
    (limit.name, limit.owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{PartOf, State};

    fn limit(owner: LimitOwner, value: u64, usage: u64) -> Limit {
        Limit {
            name: "pids.max",
            value,
            usage,
            owner,
        }
    }

    fn pod(id: u64, value: u64, usage: u64) -> Limit {
        limit(LimitOwner::Cgroup(CgroupId(id)), value, usage)
    }

    fn node(value: u64, usage: u64) -> Limit {
        Limit {
            name: "kernel.pid_max",
            ..limit(LimitOwner::Node, value, usage)
        }
    }

    fn grower(owner: u64, per_s: f64, chain: &[Limit]) -> Grower {
        Grower {
            owner: CgroupId(owner),
            state: State::Leaking,
            per_s,
            tasks: 200,
            chain: chain.to_vec(),
            part_of: None,
        }
    }

    fn speed(per_s: f64) -> Speed {
        Speed {
            per_s,
            low_per_s: per_s,
            high_per_s: per_s,
        }
    }

    #[test]
    fn two_that_grow_below_one_limit_hit_it_twice_as_soon() {
        let (shared, node) = (pod(1, 1000, 400), node(100_000, 1000));
        let grower = |owner| grower(owner, 10.0, &[shared, node]);
        let forecast = Forecast::of(&[grower(2), grower(3)]);
        let own = Speed {
            per_s: 10.0,
            low_per_s: 5.0,
            high_per_s: 20.0,
        };
        let exhaustion = forecast.of_chain(&[shared, node], own).unwrap();
        assert_eq!(exhaustion.limit, shared);
        assert_eq!(
            (exhaustion.in_s, exhaustion.low_s, exhaustion.high_s),
            (30.0, 20.0, 40.0)
        );
    }

    #[test]
    fn who_is_stopped_by_limits_of_their_own_do_not_fill_the_nodes() {
        let node = node(32_768, 3_000);
        let growers: Vec<_> = (1..=10)
            .map(|id| grower(id, 5.0, &[pod(id, 1000, 100 * id), node]))
            .collect();
        let forecast = Forecast::of(&growers);
        for grower in &growers {
            let hit = forecast.of_chain(&grower.chain, speed(5.0)).unwrap();
            assert_eq!(hit.limit, grower.chain[0]);
        }
        assert_eq!(forecast.of_node(&[node], speed(50.0)), None);
        // All of them together have room for 4,500.
        let near = Limit {
            value: 7_000,
            ..node
        };
        let growers: Vec<_> = (1..=10)
            .map(|id| grower(id, 5.0, &[pod(id, 1000, 100 * id), near]))
            .collect();
        let hit = Forecast::of(&growers)
            .of_node(&[near], speed(50.0))
            .unwrap();
        assert!(hit.in_s > 4_000.0 / 50.0, "{hit:?}");
    }

    #[test]
    fn growth_of_the_node_that_nobody_is_known_for_is_counted() {
        let node = node(32_768, 2_768);
        let known = grower(1, 5.0, &[pod(1, 100, 50), node]);
        let forecast = Forecast::of(&[known]);
        let hit = forecast.of_node(&[node], speed(15.0)).unwrap();
        // 50 in ten seconds, and then ten a second.
        assert!((hit.in_s - (30_000.0 - 50.0) / 10.0).abs() < 1.0, "{hit:?}");
        let quiet = Forecast::of(&[]);
        assert_eq!(quiet.of_node(&[node], speed(10.0)).unwrap().in_s, 3_000.0);
    }

    #[test]
    fn a_part_counts_inside_of_its_owner_and_the_owner_outside() {
        let (inner, outer, node) = (pod(1, 100, 50), pod(2, 1000, 400), node(100_000, 1000));
        let owner = grower(2, 6.0, &[outer, node]);
        let part = |id, chain: &[Limit], limits_inside| Grower {
            part_of: Some(PartOf {
                owner: CgroupId(2),
                limits_inside,
            }),
            ..grower(id, 2.0, chain)
        };
        let limited = part(3, &[inner, outer, node], 1);
        let free = part(4, &[outer, node], 0);
        let forecast = Forecast::of(&[owner.clone(), limited.clone(), free.clone()]);
        let hit = |chain: &[Limit], per_s| forecast.of_chain(chain, speed(per_s)).unwrap();
        assert_eq!(hit(&limited.chain, 2.0).limit, inner);
        assert_eq!(hit(&limited.chain, 2.0).in_s, 25.0);
        // 6 a second for 25 s, then 4: not 10, though three grow.
        assert_eq!(hit(&owner.chain, 6.0).in_s, 25.0 + 450.0 / 4.0);
        assert_eq!(hit(&free.chain, 2.0), hit(&owner.chain, 2.0));
        // An owner that does not grow fills nothing, whatever moves about in it.
        let forecast = Forecast::of(&[limited, free]);
        assert_eq!(forecast.of_chain(&owner.chain, speed(2.0)), None);
    }

    #[test]
    fn a_full_limit_is_hit_now_and_what_shrinks_hits_none() {
        let full = node(100, 120);
        let forecast = Forecast::of(&[]);
        assert_eq!(forecast.of_node(&[full], speed(1.0)).unwrap().in_s, 0.0);
        assert_eq!(forecast.of_node(&[full], speed(-1.0)), None);
        assert_eq!(forecast.of_node(&[], speed(1.0)), None);
    }
}
