//! Refusals that no hook saw: creations that no system call makes (io_uring's workers) come to no
//! `kernel_clone`, but the pids controller counts what it refused.
//!
//! In: how often a cgroup's limit has refused, and how many failures were counted there. Out: how many of
//! the refusals are in no count. Pure.

use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::cgroup::CgroupId;

/// How often the counts of refusals are read: a file for each cgroup in which something happened. Longer
/// than a hook's count takes on its way to the model (a tick and a sweep, some 220 ms).
pub const EVERY: Duration = Duration::from_secs(1);

/// What is known of one cgroup.
#[derive(Debug)]
struct Seen {
    /// Refusals and failures when it was first looked at: what came before is none of ours.
    base: (u64, u64),
    /// Refusals at the last look; by the next one every failure of theirs is counted.
    refusals: u64,
    /// When it was first looked at, or refused last.
    active: Option<Instant>,
    /// There is, or was, a cgroup below it. From 6.11 its limit's refusals of those below count here, and
    /// their failures with them, which are gone once they are.
    has_below: bool,
}

impl Seen {
    fn since(refusals: u64, failures: u64) -> Self {
        Self {
            base: (refusals, failures),
            refusals,
            active: None,
            has_below: false,
        }
    }
}

/// Cgroups of which counts are compared.
#[derive(Debug, Default)]
pub struct Unseen {
    seen: HashMap<CgroupId, Seen>,
}

impl Unseen {
    /// A cgroup was there at the start, with what had been refused in it by then.
    pub fn found(&mut self, cgroup: CgroupId, refusals: u64) {
        self.seen.insert(cgroup, Seen::since(refusals, 0));
    }

    /// A cgroup came, in which nothing was refused yet.
    pub fn added(&mut self, cgroup: CgroupId) {
        self.seen.insert(cgroup, Seen::since(0, 0));
    }

    /// A cgroup came below it: its counts are not comparable any more.
    pub fn added_below(&mut self, cgroup: CgroupId) {
        let seen = self.seen.entry(cgroup);
        seen.or_insert_with(|| Seen::since(0, 0)).has_below = true;
    }

    /// Whether a cgroup was looked at, or came: one that did not is looked at as soon as something happens
    /// there, since only what is refused after that is ours.
    pub fn knows(&self, cgroup: CgroupId) -> bool {
        self.seen.contains_key(&cgroup)
    }

    /// Those that are to be read besides the ones in which something happened: who is refused creates
    /// nothing, and is announced by nobody.
    pub fn watched(&self, now: Instant) -> impl Iterator<Item = CgroupId> {
        let is_recent = move |at: Instant| now.duration_since(at) <= 2 * EVERY;
        let recent = self.seen.iter();
        let recent = recent.filter(move |(_, seen)| seen.active.is_some_and(is_recent));
        recent.map(|(id, _)| *id)
    }

    /// Refusals that are in no count, for the caller to count. `failures` of all reasons: what was counted
    /// under a wrong one is counted.
    pub fn compare(&mut self, cgroup: CgroupId, refusals: u64, failures: u64, now: Instant) -> u64 {
        let seen = self.seen.entry(cgroup);
        let seen = seen.or_insert_with(|| Seen::since(refusals, failures));
        if seen.has_below {
            return 0;
        }
        if refusals != seen.refusals || seen.active.is_none() {
            seen.active = Some(now);
        }
        let before = std::mem::replace(&mut seen.refusals, refusals);
        let refused = before.saturating_sub(seen.base.0);
        refused.saturating_sub(failures.saturating_sub(seen.base.1))
    }

    /// Forgets a cgroup.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.seen.remove(&cgroup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: CgroupId = CgroupId(7);

    #[test]
    fn refusals_in_no_count_are_told_once_and_a_look_later() {
        let now = Instant::now();
        let mut unseen = Unseen::default();
        unseen.added(ID);
        assert_eq!(unseen.compare(ID, 20, 0, now), 0, "counts may be late");
        assert_eq!(unseen.compare(ID, 20, 3, now), 17);
        assert_eq!(unseen.compare(ID, 20, 20, now), 0, "they are counted now");
        assert_eq!(unseen.compare(ID, 25, 20, now), 0);
        assert_eq!(unseen.compare(ID, 25, 25, now), 0, "all were seen");
    }

    #[test]
    fn what_is_refused_in_the_first_second_after_the_start_is_counted() {
        let now = Instant::now();
        let mut unseen = Unseen::default();
        unseen.found(ID, 100);
        assert_eq!(unseen.watched(now).count(), 0, "nothing happened there");
        assert_eq!(unseen.compare(ID, 121, 0, now), 0, "counts may be late");
        assert_eq!(unseen.watched(now).count(), 1);
        assert_eq!(unseen.compare(ID, 121, 0, now), 21);
    }

    #[test]
    fn what_was_refused_before_the_start_is_none() {
        let now = Instant::now();
        let mut unseen = Unseen::default();
        for (refusals, failures, untold) in [
            (100, 5, 0),
            (100, 5, 0),
            (103, 7, 0),
            (103, 7, 1),
            (103, 8, 0),
        ] {
            assert_eq!(unseen.compare(ID, refusals, failures, now), untold);
        }
    }

    #[test]
    fn failures_of_other_reasons_never_make_a_refusal() {
        let now = Instant::now();
        let mut unseen = Unseen::default();
        unseen.added(ID);
        for look in 0..9 {
            assert_eq!(unseen.compare(ID, look, 10 * look, now), 0);
        }
    }

    #[test]
    fn one_with_others_below_it_is_not_compared() {
        let now = Instant::now();
        let mut unseen = Unseen::default();
        unseen.added(ID);
        unseen.added_below(ID);
        for _ in 0..3 {
            assert_eq!(unseen.compare(ID, 20, 0, now), 0);
        }
        assert_eq!(unseen.watched(now).count(), 0);
    }

    #[test]
    fn one_that_is_quiet_is_read_no_more() {
        let now = Instant::now();
        let mut unseen = Unseen::default();
        unseen.added(ID);
        assert!(unseen.knows(ID) && !unseen.knows(CgroupId(8)));
        assert_eq!(unseen.watched(now).count(), 0, "nothing happened there");
        unseen.compare(ID, 0, 0, now);
        assert_eq!(unseen.watched(now).count(), 1);
        assert_eq!(unseen.watched(now + 3 * EVERY).count(), 0);
    }
}
