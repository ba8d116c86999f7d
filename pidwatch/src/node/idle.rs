//! Which cgroups are read although nothing happens in them: tasks that move away and limits that are set
//! are announced by nobody.
//!
//! In: the cgroups that are there, and every row that is told. Out: those whose turn it is at the end of a
//! window, a few at each, and whether a row says anything new. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};

use crate::{
    cgroup::CgroupId,
    stream::{OwnerRef, RateEvent},
};

/// Every cgroup is read once in this time.
const ROUND: Duration = Duration::from_mins(1);

/// What the last row of a cgroup said of it.
#[derive(Debug, PartialEq)]
struct LastRow {
    owner: Arc<OwnerRef>,
    tasks: Option<u64>,
    subtree_tasks: Option<u64>,
    processes: Option<u64>,
    zombies: Option<u64>,
    tasks_limit: Option<u64>,
}

impl From<&RateEvent> for LastRow {
    fn from(rate: &RateEvent) -> Self {
        Self {
            owner: rate.owner.clone(),
            tasks: rate.tasks,
            subtree_tasks: rate.subtree_tasks,
            processes: rate.processes,
            zombies: rate.zombies,
            tasks_limit: rate.tasks_limit,
        }
    }
}

/// The rounds.
#[derive(Debug)]
pub(super) struct IdlePoller {
    /// The part of a round that a window is.
    share: f64,
    rest: VecDeque<CgroupId>,
    /// How many of them are new, and read at once.
    new: usize,
    /// How many there are in a round.
    all: usize,
    /// The first round is read at once.
    is_first: bool,
    /// Boxed, since many slots of a table are empty.
    last: HashMap<CgroupId, Box<LastRow>>,
}

impl IdlePoller {
    /// For windows of this length.
    pub fn new(window: Duration) -> Self {
        Self {
            share: window.as_secs_f64() / ROUND.as_secs_f64(),
            rest: VecDeque::new(),
            new: 0,
            all: 0,
            is_first: true,
            last: HashMap::new(),
        }
    }

    /// A cgroup came: it is read at the end of this window.
    pub fn added(&mut self, id: CgroupId) {
        self.rest.push_front(id);
        self.all += 1;
        self.new += 1;
    }

    /// A cgroup went, and was told to be gone.
    pub fn removed(&mut self, id: CgroupId) {
        self.last.remove(&id);
    }

    /// Whether a new round begins at this window.
    pub fn is_round_over(&self) -> bool {
        self.is_first || self.rest.is_empty()
    }

    /// Begins a round over the cgroups that are there. Those of which a row was told, and that are neither
    /// there nor were told to be gone: their announcement was lost.
    pub fn begin_round(&mut self, there: Vec<CgroupId>) -> Vec<CgroupId> {
        let known: HashSet<_> = there.iter().copied().collect();
        let lost = self.last.extract_if(|id, _| !known.contains(id));
        let lost = lost.map(|(id, _)| id).collect();
        self.all = there.len();
        self.rest = there.into();
        lost
    }

    /// Those whose turn it is at the end of this window, without those that have a row anyway.
    pub fn turn(&mut self, active: &HashSet<CgroupId>) -> Vec<CgroupId> {
        let new = std::mem::take(&mut self.new);
        let turns = if std::mem::take(&mut self.is_first) {
            self.all
        } else {
            (self.all as f64 * self.share).ceil() as usize + new
        };
        let turns = turns.min(self.rest.len());
        let turn = self.rest.drain(..turns);
        turn.filter(|id| !active.contains(id)).collect()
    }

    /// Takes in a row, and says whether it differs from the last one.
    pub fn note(&mut self, rate: &RateEvent) -> bool {
        let row = LastRow::from(rate);
        match self.last.get_mut(&rate.owner.id()) {
            Some(last) if **last == row => false,
            Some(last) => {
                **last = row;
                true
            }
            None => {
                self.last.insert(rate.owner.id(), Box::new(row));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poller(window_s: u64) -> IdlePoller {
        IdlePoller::new(Duration::from_secs(window_s))
    }

    fn ids(ids: impl IntoIterator<Item = u64>) -> Vec<CgroupId> {
        ids.into_iter().map(CgroupId).collect()
    }

    #[test]
    fn all_are_read_at_first_and_then_each_once_a_minute() {
        let mut poller = poller(1);
        assert!(poller.is_round_over());
        assert_eq!(poller.begin_round(ids(0..120)), []);
        let active = [CgroupId(7)].into();
        assert_eq!(poller.turn(&active).len(), 119);
        let mut read = Vec::new();
        assert!(poller.is_round_over());
        poller.begin_round(ids(0..120));
        for _ in 0..60 {
            assert!(!poller.is_round_over());
            let turn = poller.turn(&HashSet::new());
            assert_eq!(turn.len(), 2);
            read.extend(turn);
        }
        assert_eq!(read, ids(0..120));
        assert!(poller.is_round_over());
    }

    #[test]
    fn one_that_came_is_read_at_once() {
        let mut poller = poller(1);
        poller.begin_round(ids(0..10));
        poller.turn(&HashSet::new());
        poller.begin_round(ids(0..10));
        poller.added(CgroupId(99));
        assert_eq!(poller.turn(&HashSet::new()), ids([99, 0]));
    }

    #[test]
    fn a_row_is_told_when_anything_of_it_changes() {
        let mut poller = poller(1);
        let mut rate = RateEvent::example(OwnerRef::example(1, Some("/a")), Some(3));
        assert!(poller.note(&rate));
        assert!(!poller.note(&rate));
        rate.total.created.threads = 7;
        assert!(!poller.note(&rate), "an active one has a row anyway");
        rate.tasks_limit = Some(100);
        assert!(poller.note(&rate));
        rate.owner = OwnerRef::example(1, Some("/b"));
        assert!(poller.note(&rate) && !poller.note(&rate));
    }

    #[test]
    fn one_whose_end_was_lost_is_found_once() {
        let mut poller = poller(1);
        for id in 1..4 {
            poller.note(&RateEvent::example(OwnerRef::example(id, None), None));
        }
        poller.removed(CgroupId(2));
        assert_eq!(poller.begin_round(ids([1])), ids([3]));
        assert_eq!(poller.begin_round(ids([1])), []);
    }
}
