//! Who creates in a cgroup: the top few, from samples. Pure.
//!
//! In: at most one sample a window and cgroup, the creator of the moment, standing for all creations
//! since the last. Out: the largest shares of late. Counters are elsewhere and exact.
//!
//! The algorithm is Space-Saving (Metwally, Agrawal, El Abbadi, 2005): a newcomer takes the place and
//! the weight of the least, so that whoever creates more than an eighth is never missed.

use std::time::Duration;

use crate::{clock::BootTime, probe::Who};

/// Creators remembered of each cgroup.
const PLACES: usize = 8;
/// After this time a creation counts half: who creates now matters.
const HALF: Duration = Duration::from_secs(10);

/// Who creates.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatorShare {
    /// The process, and its name at its latest sample.
    pub who: Who,
    /// Its part of the cgroup's creations of late, 0 to 1.
    pub share: f64,
}

/// The top few of one cgroup.
#[derive(Clone, Debug, Default)]
pub struct Creators {
    places: Vec<(Who, f64)>,
    total: f64,
    since: Option<BootTime>,
    /// Whose sample was the last.
    last: Option<Who>,
}

impl Creators {
    /// So many creations since the last sample, the latest of them by `who` if that is known. The
    /// others were the last one's: a sample is taken as a burst begins.
    pub fn sample(&mut self, who: Option<&Who>, creations: u64, now: BootTime) {
        if creations == 0 {
            return;
        }
        let last = self.last.take();
        match (who, last.as_ref()) {
            (Some(who), Some(last)) => {
                self.add(last, creations - 1, now);
                self.add(who, 1, now);
            }
            (Some(who), None) | (None, Some(who)) => self.add(who, creations, now),
            (None, None) => {}
        }
        self.last = who.cloned().or(last);
    }

    fn add(&mut self, who: &Who, creations: u64, now: BootTime) {
        let age = self.since.map_or(Duration::ZERO, |since| now.since(since));
        self.since = Some(now);
        let kept = 0.5f64.powf(age.as_secs_f64() / HALF.as_secs_f64());
        for (_, weight) in &mut self.places {
            *weight *= kept;
        }
        let weight = creations as f64;
        self.total = self.total * kept + weight;
        let known = self
            .places
            .iter_mut()
            .find(|(known, _)| known.pid == who.pid);
        if let Some((known, sum)) = known {
            known.comm.clone_from(&who.comm);
            *sum += weight;
        } else if self.places.len() < PLACES {
            self.places.push((who.clone(), weight));
        } else if let Some(least) = self
            .places
            .iter_mut()
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
        {
            *least = (who.clone(), least.1 + weight);
        }
    }

    /// The largest, the first of all first.
    pub fn top(&self, most: usize) -> Vec<CreatorShare> {
        let mut top: Vec<_> = self
            .places
            .iter()
            .map(|(who, weight)| CreatorShare {
                who: who.clone(),
                share: (weight / self.total).clamp(0.0, 1.0),
            })
            .filter(|creator| creator.share > 0.0)
            .collect();
        top.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.who.pid.cmp(&b.who.pid)));
        top.truncate(most);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(pid: u32) -> Who {
        Who {
            pid,
            comm: format!("p{pid}").into_bytes(),
        }
    }

    fn at(tenths: u64) -> BootTime {
        BootTime::from_nanos(tenths * 100_000_000)
    }

    #[test]
    fn the_busiest_are_told_with_their_shares() {
        let mut creators = Creators::default();
        for _ in 0..10 {
            creators.sample(Some(&who(1)), 1, at(0));
            creators.sample(None, 59, at(0));
            creators.sample(Some(&who(2)), 1, at(0));
            creators.sample(None, 39, at(0));
        }
        let top = creators.top(3);
        assert_eq!(top.len(), 2);
        assert_eq!((top[0].who.pid, top[1].who.pid), (1, 2));
        assert!((top[0].share - 0.6).abs() < 1e-9, "{top:?}");
    }

    #[test]
    fn a_crowd_of_small_ones_does_not_hide_the_leak() {
        let mut creators = Creators::default();
        for n in 0..1000 {
            creators.sample(Some(&who(1000 + n)), 3, at(n.into()));
            creators.sample(Some(&who(1)), 7, at(n.into()));
        }
        assert!(creators.places.len() <= PLACES);
        assert_eq!(creators.top(8).iter().filter(|c| c.who.pid == 1).count(), 1);
    }

    #[test]
    fn who_creates_now_counts_more_than_who_did() {
        let mut creators = Creators::default();
        creators.sample(Some(&who(1)), 1000, at(0));
        creators.sample(Some(&who(2)), 1, at(1000));
        creators.sample(None, 99, at(1000));
        assert_eq!(creators.top(1)[0].who, who(2));
        assert_eq!(Creators::default().top(3), []);
    }
}
