//! The corpus: every kind of benign owner and of leak, with fixed seeds, and recorded programs.
//!
//! Every third case of a kind is *unseen*: nothing in the detector was set by looking at it. The
//! tables tell the two apart.

use super::benign;
use super::case::Case;
use super::leaks;
use super::random::Random;
use super::recorded;
use super::recorded_tasks;

/// Which cases.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub seed: u64,
    /// Only classes with this in their name.
    pub only: Option<String>,
    /// A small part: of each kind one case.
    pub is_quick: bool,
    /// Only what the detector may be tuned by.
    pub is_seen_only: bool,
    /// One in three of each kind, of those.
    pub is_every_third: bool,
}

impl Selection {
    fn has(&self, class: &str, number: u64) -> bool {
        let named = self
            .only
            .as_ref()
            .is_none_or(|only| class.contains(only.as_str()));
        let quick = !self.is_quick || number == 0;
        let seen = !self.is_seen_only || number % 3 != 2;
        let third = !self.is_every_third || number.is_multiple_of(3);
        named && quick && seen && third
    }

    /// Makes each case in turn, so that one at a time is in memory.
    pub fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        let benign = benign::KINDS.iter().flat_map(move |kind| {
            (0..kind.cases)
                .filter(|&number| self.has(kind.name, number))
                .map(|number| benign::case(kind, number, &mut self.random(kind.name, number)))
        });
        let leaks = leaks::KINDS.iter().flat_map(move |kind| {
            (0..kind.cases)
                .filter(|&number| self.has(kind.name, number))
                .map(|number| leaks::case(kind, number, &mut self.random(kind.name, number)))
        });
        let recorded = recorded::cases(&mut self.random("recorded", 0))
            .into_iter()
            .filter(|case| self.has(case.class, case.number) && !self.is_seen_only);
        let by_task = recorded_tasks::cases(&mut self.random("recorded tasks", 0));
        let by_task = by_task
            .into_iter()
            .filter(|case| self.has(case.class, case.number));
        benign.chain(leaks).chain(recorded).chain(by_task)
    }

    fn random(&self, class: &str, number: u64) -> Random {
        Random::new(class, self.seed * 1000 + number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_as_large_as_it_is_said_to_be() {
        let all = Selection::default();
        let (mut benign_days, mut leaks, mut unseen, mut count) = (0.0, 0, 0, 0);
        for case in all.cases() {
            let leaks_here = case
                .owners
                .iter()
                .filter(|owner| owner.label.is_some())
                .count();
            if leaks_here == 0 {
                let seconds = (case.duration - case.warm_up) * case.owners.len() as u64;
                benign_days += seconds as f64 / 86_400.0;
            }
            leaks += leaks_here;
            count += 1;
            unseen += u64::from(case.is_unseen);
        }
        assert!(benign_days >= 300.0, "{benign_days}");
        assert!(leaks >= 100, "{leaks}");
        assert!((0.25..0.4).contains(&(unseen as f64 / f64::from(count))));
    }

    #[test]
    fn a_case_is_the_same_each_time_that_it_is_made() {
        let only = Selection {
            only: Some("JVM".into()),
            ..Selection::default()
        };
        let tasks = || {
            let case = &mut only.cases().nth(1).unwrap();
            let owner = &mut case.owners[0];
            for at in owner.born..owner.born + 1000 {
                owner.step(at, u64::MAX / 4);
            }
            owner.now().created
        };
        assert_eq!(tasks(), tasks());
    }
}
