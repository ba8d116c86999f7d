//! Refusals that no hook saw: creations that no system call makes (io_uring's workers) come to no
//! `kernel_clone`, but the pids controller counts what it refused.
//!
//! In: how often a cgroup's limit has refused, and how many failures were counted there. Out: how many of
//! the refusals are in no count. Pure.

use std::time::Duration;

use hashbrown::HashMap;

use crate::cgroup::CgroupId;

/// How often the counts of refusals are read: a file for each cgroup in which something happened. Longer
/// than a hook's count takes on its way to the model (a tick and a sweep, some 220 ms).
pub const EVERY: Duration = Duration::from_secs(1);

/// Looks at a cgroup in which something was refused, or that is new, though nothing happens there any more: in
/// the first one what was found before is counted.
const LOOKS: u8 = 3;

/// What is known of one cgroup.
#[derive(Debug)]
struct Seen {
    /// Refusals and failures when it was first looked at: what came before is none of ours.
    base: (u64, u64),
    /// Refusals at the last look; by the next one every failure of theirs is counted.
    refusals: u64,
    /// So many more looks it gets without anything that happens there; `None` before the first.
    looks: Option<u8>,
    /// There is, or was, a cgroup below it. From 6.11 its limit's refusals of those below count here, and
    /// their failures with them, which are gone once they are.
    has_below: bool,
}

impl Seen {
    fn since(refusals: u64, failures: u64) -> Self {
        Self {
            base: (refusals, failures),
            refusals,
            looks: None,
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
    pub fn watched(&self) -> impl Iterator<Item = CgroupId> {
        let all = self.seen.iter();
        let watched = all.filter(|(_, seen)| seen.looks.is_some_and(|looks| looks > 0));
        watched.map(|(id, _)| *id)
    }

    /// Refusals that are in no count, for the caller to count. `failures` of all reasons: what was counted
    /// under a wrong one is counted.
    pub fn compare(&mut self, cgroup: CgroupId, refusals: u64, failures: u64) -> u64 {
        let seen = self.seen.entry(cgroup);
        let seen = seen.or_insert_with(|| Seen::since(refusals, failures));
        if seen.has_below {
            return 0;
        }
        seen.looks = match seen.looks {
            Some(looks) if refusals == seen.refusals => Some(looks.saturating_sub(1)),
            _ => Some(LOOKS),
        };
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
        let mut unseen = Unseen::default();
        unseen.added(ID);
        assert_eq!(unseen.compare(ID, 20, 0), 0, "counts may be late");
        assert_eq!(unseen.compare(ID, 20, 3), 17);
        assert_eq!(unseen.compare(ID, 20, 20), 0, "they are counted now");
        assert_eq!(unseen.compare(ID, 25, 20), 0);
        assert_eq!(unseen.compare(ID, 25, 25), 0, "all were seen");
    }

    #[test]
    fn what_is_refused_in_the_first_second_after_the_start_is_counted() {
        let mut unseen = Unseen::default();
        unseen.found(ID, 100);
        assert_eq!(unseen.watched().count(), 0, "nothing happened there");
        assert_eq!(unseen.compare(ID, 121, 0), 0, "counts may be late");
        assert_eq!(unseen.watched().count(), 1);
        assert_eq!(unseen.compare(ID, 121, 0), 21);
    }

    #[test]
    fn what_was_refused_before_the_start_is_none() {
        let mut unseen = Unseen::default();
        for (refusals, failures, untold) in [
            (100, 5, 0),
            (100, 5, 0),
            (103, 7, 0),
            (103, 7, 1),
            (103, 8, 0),
        ] {
            assert_eq!(unseen.compare(ID, refusals, failures), untold);
        }
    }

    #[test]
    fn failures_of_other_reasons_never_make_a_refusal() {
        let mut unseen = Unseen::default();
        unseen.added(ID);
        for look in 0..9 {
            assert_eq!(unseen.compare(ID, look, 10 * look), 0);
        }
    }

    #[test]
    fn one_with_others_below_it_is_not_compared() {
        let mut unseen = Unseen::default();
        unseen.added(ID);
        unseen.added_below(ID);
        for _ in 0..3 {
            assert_eq!(unseen.compare(ID, 20, 0), 0);
        }
        assert_eq!(unseen.watched().count(), 0);
    }

    #[test]
    fn one_that_is_quiet_is_read_no_more() {
        let mut unseen = Unseen::default();
        unseen.added(ID);
        assert!(unseen.knows(ID) && !unseen.knows(CgroupId(8)));
        assert_eq!(unseen.watched().count(), 0, "nothing happened there");
        unseen.compare(ID, 0, 0);
        for _ in 0..LOOKS {
            // However late the next look is.
            assert_eq!(unseen.watched().count(), 1);
            unseen.compare(ID, 0, 0);
        }
        assert_eq!(unseen.watched().count(), 0);
        unseen.compare(ID, 1, 0);
        assert_eq!(unseen.watched().count(), 1, "refused again");
    }
}
