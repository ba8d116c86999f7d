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
/// than a task takes from the refusal to the hook.
pub const EVERY: Duration = Duration::from_secs(1);

/// Looks at a cgroup in which something was refused, or that is new, though nothing happens there any more: in
/// the first one what was found before is counted.
const LOOKS: u8 = 3;

/// What is known of one cgroup.
#[derive(Debug)]
struct Seen {
    /// Refusals and failures when it was first looked at: what came before is none of ours.
    base: (u64, u64),
    /// Refusals at the last look, and its time; by the next one the hooks have counted them.
    refusals: u64,
    read: Instant,
    /// So many more looks it gets without anything that happens there; `None` before the first.
    looks: Option<u8>,
    /// There is, or was, a cgroup below it. From 6.11 its limit's refusals of those below count here, and
    /// their failures with them, which are gone once they are.
    has_below: bool,
}

impl Seen {
    fn since(refusals: u64, failures: u64, read: Instant) -> Self {
        Self {
            base: (refusals, failures),
            refusals,
            read,
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
    pub fn found(&mut self, cgroup: CgroupId, refusals: u64, now: Instant) {
        self.seen.insert(cgroup, Seen::since(refusals, 0, now));
    }

    /// A cgroup came, in which nothing was refused yet.
    pub fn added(&mut self, cgroup: CgroupId, now: Instant) {
        self.seen.insert(cgroup, Seen::since(0, 0, now));
    }

    /// A cgroup came below it: its counts are not comparable any more.
    pub fn added_below(&mut self, cgroup: CgroupId, now: Instant) {
        let seen = self.seen.entry(cgroup);
        seen.or_insert_with(|| Seen::since(0, 0, now)).has_below = true;
    }

    /// Whether its refusals are to be read: they were not yet, so that only later ones count, or a while ago.
    pub fn is_due(&self, cgroup: CgroupId, now: Instant) -> bool {
        let seen = self.seen.get(&cgroup);
        seen.is_none_or(|seen| now.duration_since(seen.read) >= EVERY)
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

    /// Refusals of the last reading that are in no count, for the caller to count: the `failures` are those of now,
    /// of all reasons, since one that was counted under a wrong reason is counted.
    pub fn uncounted(&self, cgroup: CgroupId, failures: u64) -> u64 {
        let seen = self.seen.get(&cgroup).filter(|seen| !seen.has_below);
        seen.map_or(0, |seen| {
            let refused = seen.refusals.saturating_sub(seen.base.0);
            refused.saturating_sub(failures.saturating_sub(seen.base.1))
        })
    }

    /// Takes in a reading of a cgroup's refusals.
    pub fn read(&mut self, cgroup: CgroupId, refusals: u64, failures: u64, now: Instant) {
        let seen = self.seen.entry(cgroup);
        let seen = seen.or_insert_with(|| Seen::since(refusals, failures, now));
        if seen.has_below {
            return;
        }
        seen.looks = match seen.looks {
            Some(looks) if refusals == seen.refusals => Some(looks.saturating_sub(1)),
            _ => Some(LOOKS),
        };
        (seen.refusals, seen.read) = (refusals, now);
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

    /// What is found at a look: the refusals of the one before against the counts of now.
    fn look(unseen: &mut Unseen, refusals: u64, failures: u64) -> u64 {
        let found = unseen.uncounted(ID, failures);
        unseen.read(ID, refusals, failures, Instant::now());
        found
    }

    #[test]
    fn refusals_in_no_count_are_found_once_and_a_look_later() {
        let mut unseen = Unseen::default();
        unseen.added(ID, Instant::now());
        assert_eq!(look(&mut unseen, 20, 0), 0, "counts may be late");
        assert_eq!(look(&mut unseen, 20, 3), 17);
        assert_eq!(look(&mut unseen, 20, 20), 0, "they are counted now");
        assert_eq!(look(&mut unseen, 25, 20), 0);
        assert_eq!(look(&mut unseen, 25, 25), 0, "all were seen");
    }

    #[test]
    fn a_reading_is_compared_after_a_while_only() {
        let mut unseen = Unseen::default();
        let start = Instant::now();
        assert!(unseen.is_due(ID, start), "not read yet");
        unseen.read(ID, 20, 0, start);
        assert!(!unseen.is_due(ID, start + EVERY / 2));
        assert!(unseen.is_due(ID, start + EVERY));
    }

    #[test]
    fn what_is_refused_in_the_first_second_after_the_start_is_counted() {
        let mut unseen = Unseen::default();
        unseen.found(ID, 100, Instant::now());
        assert_eq!(unseen.watched().count(), 0, "nothing happened there");
        assert_eq!(look(&mut unseen, 121, 0), 0, "counts may be late");
        assert_eq!(unseen.watched().count(), 1);
        assert_eq!(look(&mut unseen, 121, 0), 21);
    }

    #[test]
    fn what_was_refused_before_the_start_is_none() {
        let mut unseen = Unseen::default();
        for (refusals, failures, uncounted) in [
            (100, 5, 0),
            (100, 5, 0),
            (103, 7, 0),
            (103, 7, 1),
            (103, 8, 0),
        ] {
            assert_eq!(look(&mut unseen, refusals, failures), uncounted);
        }
    }

    #[test]
    fn failures_of_other_reasons_never_make_a_refusal() {
        let mut unseen = Unseen::default();
        unseen.added(ID, Instant::now());
        for number in 0..9 {
            assert_eq!(look(&mut unseen, number, 10 * number), 0);
        }
    }

    #[test]
    fn one_with_others_below_it_is_not_compared() {
        let mut unseen = Unseen::default();
        unseen.added(ID, Instant::now());
        unseen.added_below(ID, Instant::now());
        for _ in 0..3 {
            assert_eq!(look(&mut unseen, 20, 0), 0);
        }
        assert_eq!(unseen.watched().count(), 0);
    }

    #[test]
    fn one_that_is_quiet_is_read_no_more() {
        let mut unseen = Unseen::default();
        unseen.added(ID, Instant::now());
        assert!(unseen.knows(ID) && !unseen.knows(CgroupId(8)));
        assert_eq!(unseen.watched().count(), 0, "nothing happened there");
        look(&mut unseen, 0, 0);
        for _ in 0..LOOKS {
            // However late the next look is.
            assert_eq!(unseen.watched().count(), 1);
            look(&mut unseen, 0, 0);
        }
        assert_eq!(unseen.watched().count(), 0);
        look(&mut unseen, 1, 0);
        assert_eq!(unseen.watched().count(), 1, "refused again");
    }
}
