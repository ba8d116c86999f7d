//! Owners that tell nothing are read all the same, a few at every window: tasks that move away are
//! announced by nobody, and limits are set without a word.

use std::{collections::VecDeque, time::Duration};

use hashbrown::{HashMap, HashSet};

use super::board::Board;
use crate::{cgroup::CgroupId, clock::BootTime, event::Update, node::Node};

/// Every owner is read once in this time.
const ROUND: Duration = Duration::from_secs(60);

/// The round.
#[derive(Debug)]
pub struct Readings {
    window: Duration,
    rest: VecDeque<CgroupId>,
    /// How many of them are new, and read at once.
    new: usize,
    /// How many there are in a round.
    all: usize,
    /// What each cgroup sets itself: `None` where it cannot be read, `Some(None)` for no limit.
    own: HashMap<CgroupId, Option<Option<u64>>>,
    /// Found, and not told to the board yet.
    limits: Vec<(CgroupId, Option<u64>)>,
    gone: Vec<(CgroupId, BootTime)>,
}

impl Readings {
    /// For windows of this length.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            rest: VecDeque::new(),
            new: 0,
            all: 0,
            own: HashMap::new(),
            limits: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Reads those whose turn it is, all of them at the first window, and adds what is new of them to the
    /// window.
    pub fn look(&mut self, node: &mut Node, updates: &mut [Update], board: &Board) {
        let added = updates.iter().filter_map(|update| match update {
            Update::Added(owner, _) => Some(owner.id),
            _ => None,
        });
        for id in added {
            self.rest.push_front(id);
            self.all += 1;
            self.new += 1;
        }
        let windows = updates.iter_mut().filter_map(|update| match update {
            Update::Window(snapshot) => Some(snapshot),
            _ => None,
        });
        let Some(snapshot) = windows.last() else {
            if !board.is_ready() {
                node.hurry();
            }
            return;
        };
        let share = self.window.as_secs_f64() / ROUND.as_secs_f64();
        let mut turns = (self.all as f64 * share).ceil() as usize + std::mem::take(&mut self.new);
        // At first all of them, whatever was added meanwhile.
        if self.rest.is_empty() || !board.is_ready() {
            let ids = node.ids();
            if !board.is_ready() {
                turns = ids.len();
            }
            self.all = ids.len();
            let there: HashSet<_> = ids.iter().copied().collect();
            self.own.retain(|id, _| there.contains(id));
            let known = board.ids().filter(|id| !there.contains(id));
            self.gone.extend(known.map(|id| (id, snapshot.time)));
            self.rest = ids.into();
        }
        let told: HashSet<_> = snapshot.rows.iter().map(|row| row.owner.id).collect();
        for _ in 0..turns {
            let Some(id) = self.rest.pop_front() else {
                break;
            };
            if !told.contains(&id) {
                match node.read(id) {
                    Some(row) if board.is_news(&row) => snapshot.rows.push(row),
                    Some(_) => {}
                    None => {
                        self.gone.push((id, snapshot.time));
                        continue;
                    }
                }
            }
            let own = node.own_limit(id).ok();
            self.own.insert(id, own);
            let limit = self.least(node, id);
            self.limits.push((id, limit));
        }
        snapshot.rows.sort_by_key(|row| row.owner.id);
    }

    /// The smallest limit up to the root; `None` also where one of them cannot be read.
    fn least(&mut self, node: &Node, id: CgroupId) -> Option<u64> {
        let mut least = None;
        for id in node.upwards(id) {
            let own = self
                .own
                .entry(id)
                .or_insert_with(|| node.own_limit(id).ok());
            if let Some(own) = (*own)? {
                least = Some(least.map_or(own, |least: u64| least.min(own)));
            }
        }
        least
    }

    /// Tells the board, once it has the window.
    pub fn settle(&mut self, board: &mut Board) {
        for (id, limit) in self.limits.drain(..) {
            board.set_limit(id, limit);
        }
        for (id, time) in self.gone.drain(..) {
            board.set_gone(id, time);
        }
    }
}
