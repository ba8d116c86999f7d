//! When a limit is hit: its headroom over the growth of everybody below it.

use hashbrown::HashMap;

use super::{State, trend::Growth};
use crate::{
    cgroup::CgroupId,
    limits::{Limit, LimitOwner},
};

/// An owner that grows now.
#[derive(Clone, Debug, PartialEq)]
pub struct Grower {
    /// Which.
    pub owner: CgroupId,
    /// Growing, leaking, or saturated by its growth.
    pub state: State,
    /// Tasks a second.
    pub per_s: f64,
    /// Tasks it has.
    pub tasks: u64,
    /// The limits above it, nearest first.
    pub chain: Vec<Limit>,
}

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

/// What eats each limit.
#[derive(Debug, Default)]
pub struct Forecast {
    eaten_per_s: HashMap<(&'static str, LimitOwner), f64>,
}

impl Forecast {
    /// Sums the growth below every limit.
    pub fn of(growers: &[Grower]) -> Self {
        let mut eaten_per_s = HashMap::new();
        for grower in growers {
            for limit in &grower.chain {
                *eaten_per_s.entry((limit.name, limit.owner)).or_default() += grower.per_s;
            }
        }
        Self { eaten_per_s }
    }

    /// The limit of a chain that is hit first, by an owner of this growth and all others below the
    /// same limit.
    pub(super) fn of_chain(&self, chain: &[Limit], own: Speed) -> Option<Exhaustion> {
        chain
            .iter()
            .filter_map(|limit| {
                let all = self.eaten_per_s.get(&(limit.name, limit.owner));
                let others = all.map_or(0.0, |all| (all - own.per_s).max(0.0));
                let Speed {
                    per_s,
                    low_per_s,
                    high_per_s,
                } = own;
                let speed = Speed {
                    per_s: per_s + others,
                    low_per_s: low_per_s + others,
                    high_per_s: high_per_s + others,
                };
                when(limit, speed)
            })
            .min_by(|a, b| a.in_s.total_cmp(&b.in_s))
    }
}

/// Which of these limits is hit first by this growth.
pub(super) fn earliest(limits: &[Limit], speed: Speed) -> Option<Exhaustion> {
    let all = limits.iter().filter_map(|limit| when(limit, speed));
    all.min_by(|a, b| a.in_s.total_cmp(&b.in_s))
}

fn when(limit: &Limit, speed: Speed) -> Option<Exhaustion> {
    let headroom = limit.value.saturating_sub(limit.usage) as f64;
    let after = |per_s: f64| headroom / per_s.max(f64::MIN_POSITIVE);
    (speed.per_s > 0.0).then(|| Exhaustion {
        limit: *limit,
        in_s: after(speed.per_s),
        low_s: after(speed.high_per_s.max(speed.per_s)),
        high_s: after(speed.low_per_s.min(speed.per_s)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(owner: LimitOwner, value: u64, usage: u64) -> Limit {
        Limit {
            name: "pids.max",
            value,
            usage,
            owner,
        }
    }

    #[test]
    fn two_that_grow_below_one_limit_hit_it_twice_as_soon() {
        let shared = limit(LimitOwner::Cgroup(CgroupId(1)), 1000, 400);
        let node = limit(LimitOwner::Node, 100_000, 1000);
        let grower = |owner| Grower {
            owner: CgroupId(owner),
            state: State::Leaking,
            per_s: 10.0,
            tasks: 200,
            chain: vec![shared, node],
        };
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
    fn a_full_limit_is_hit_now_and_what_shrinks_hits_none() {
        let full = limit(LimitOwner::Node, 100, 120);
        let speed = |per_s| Speed {
            per_s,
            low_per_s: per_s,
            high_per_s: per_s,
        };
        assert_eq!(earliest(&[full], speed(1.0)).unwrap().in_s, 0.0);
        assert_eq!(earliest(&[full], speed(-1.0)), None);
        assert_eq!(earliest(&[], speed(1.0)), None);
    }
}
