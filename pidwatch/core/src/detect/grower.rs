//! Who grows now, and against which limits its growth counts.

use super::State;
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
    /// What it is a part of; `None` for an owner.
    pub part_of: Option<PartOf>,
}

impl Grower {
    /// The container or unit that it belongs to, which is blamed: itself, where it is that.
    pub fn blamed(&self) -> CgroupId {
        self.part_of.map_or(self.owner, |part| part.owner)
    }

    /// The limits that its growth is counted against. What a part adds is in the growth of its owner, so
    /// that a part counts against the limits inside of that alone.
    pub fn counts_against(&self) -> &[Limit] {
        match self.part_of {
            Some(part) => &self.chain[..part.limits_inside.min(self.chain.len())],
            None => &self.chain,
        }
    }

    /// How many tasks can come below a limit before one that lies nearer stops it; `None` where none
    /// does, or the growth does not count against the limit at all.
    pub fn room_below(&self, limit: (&'static str, LimitOwner)) -> Option<u64> {
        let nearer = self.counts_against().iter();
        nearer
            .take_while(|nearer| (nearer.name, nearer.owner) != limit)
            .map(Limit::room)
            .min()
    }
}

/// What a cgroup inside of a container or a unit is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOf {
    /// The container or unit.
    pub owner: CgroupId,
    /// How many of the limits above the part lie inside of it: the nearest ones.
    pub limits_inside: usize,
}
