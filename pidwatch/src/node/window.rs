//! The end of a window: who did what, and what is known of each.

use std::time::Duration;

use hashbrown::HashSet;
use tokio::time::Instant;

use super::{Live, Node, under_way::Closing};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::Verdict,
    event::Update,
    limits::{Limit, LimitOwner},
    model::Activity,
    probe::Hook,
    slice::Slice,
    snapshot::{NodeState, Row, Snapshot},
};

/// A cgroup of at most this many tasks has its processes counted at every window: the kernel walks
/// so many in some tens of microseconds.
const FEW_TASKS: u64 = 512;
/// Tasks that the kernel may be made to walk in one window, over all cgroups.
const WALK_BUDGET: u64 = 16 * 1024;
/// A larger cgroup has its processes counted this often.
const SLOW_PACE: Duration = Duration::from_secs(10);
/// Losses after which the tree may have other cgroups than are known.
const TELL_OF_CGROUPS: [&str; 4] = [
    "ring_cgroup",
    "cgroup_mkdir",
    "cgroup_rmdir",
    "cgroup_rename",
];
/// Least time between two counts of the zombies, for windows that are shorter.
const ZOMBIES_PACE: Duration = Duration::from_millis(200);
/// A count of the zombies takes at most one part in so many of the time: after a long one the next waits.
const ZOMBIES_SHARE: u32 = 100;
/// Creators that a row names.
const CREATORS: usize = 3;

impl Node {
    /// Ends the window; its rows are then to be read.
    pub(super) fn begin_closing(&mut self, now: Instant, updates: &mut Vec<Update>) {
        let time = BootTime::now();
        let losses = self.probe.take_losses();
        if losses
            .iter()
            .any(|(place, _)| TELL_OF_CGROUPS.contains(place))
        {
            self.walk(now);
        }
        self.look_for_unknown(now);
        for (place, count) in losses {
            let place = place.into();
            updates.push(Update::Lost { place, count, time });
        }
        self.count_zombies(now);
        let mut active = self.model.close_window();
        self.add_flagged_owners(&mut active);
        if std::mem::take(&mut self.tells_all) || self.show_all {
            let mut quiet: Vec<_> = self.tree.iter().map(|(id, _)| id).collect();
            let shown: HashSet<_> = active.iter().map(|(id, _)| *id).collect();
            quiet.retain(|id| !shown.contains(id));
            quiet.sort();
            for id in quiet {
                let activity = self.model.close(id);
                active.push((id, activity));
            }
        }
        self.node_limits = Live::new(&self.files, &self.tree, &self.namespaces).of_node();
        self.closing = Some(Closing {
            time,
            window: time.since(self.window_began),
            rows: Vec::with_capacity(active.len()),
            rest: active.into_iter(),
            budget: WALK_BUDGET,
        });
        self.window_began = time;
    }

    /// Goes on reading the rows of a window that is over, if there is one.
    pub(super) fn go_on_closing(&mut self, now: Instant, slice: &Slice, updates: &mut Vec<Update>) {
        let Some(mut closing) = self.closing.take() else {
            return;
        };
        while let Some((id, activity)) = closing.rest.next() {
            let row = self.row(id, activity, now, &mut closing.budget);
            closing.rows.push(row);
            if slice.is_over() {
                self.closing = Some(closing);
                return;
            }
        }
        let time = closing.time;
        let live = Live::new(&self.files, &self.tree, &self.namespaces);
        let limits = live.of_node();
        let node = NodeState {
            tasks: live.node_tasks(),
            exhaustion: self.detector.node_exhaustion(time, &limits),
            limits,
        };
        updates.push(Update::Window(Snapshot {
            time,
            window: closing.window,
            rows: closing.rows,
            knows_frees: self.probe.is_attached(Hook::SchedProcessFree),
            knows_failures: self.probe.is_attached(Hook::KernelClone),
            node,
            incidents: self.incidents.open().cloned().collect(),
        }));
        for id in self.model.forget_gone(time) {
            self.probe.forget(id);
            self.reasons.forget(id);
            self.unseen.forget(id);
            self.names.forget(id);
            self.execs.forget(id);
            self.parts.forget(id);
            self.parts.forget_owner(id);
        }
    }

    /// An owner that is not `ok` has a row also where all of it happens in its parts, and one more when it
    /// is `ok` again.
    fn add_flagged_owners(&mut self, active: &mut Vec<(CgroupId, Activity)>) {
        let shown: HashSet<_> = active.iter().map(|(id, _)| *id).collect();
        let parts = active.iter().filter_map(|&(id, _)| self.parts.owner(id));
        let flagged: HashSet<_> = parts
            .filter(|&owner| self.flags.source(owner).is_some())
            .collect();
        let before = std::mem::replace(&mut self.flagged_owners, flagged);
        let mut owners: Vec<_> = self.flagged_owners.union(&before).copied().collect();
        owners.retain(|owner| !shown.contains(owner) && self.tree.get(*owner).is_some());
        owners.sort_unstable();
        for owner in owners {
            let activity = self.model.close(owner);
            active.push((owner, activity));
        }
    }

    /// Counts the zombies anew, unless that was just done.
    pub(super) fn count_zombies(&mut self, now: Instant) {
        if now < self.zombies_due {
            return;
        }
        let began = Instant::now();
        let zombies = self.probe.zombies();
        let took = began.elapsed();
        self.model.set_zombies(zombies);
        self.zombies_due = now + ZOMBIES_PACE.max(took * ZOMBIES_SHARE);
    }

    /// A cgroup as it is now, with what the windows so far have told of it; `None` for one that is gone.
    /// For those of which no window tells: tasks that move away are announced by nobody.
    pub fn read(&mut self, id: CgroupId) -> Option<Row> {
        self.tree.get(id)?;
        let activity = self.model.told(id);
        Some(self.row(id, activity, Instant::now(), &mut { FEW_TASKS }))
    }

    fn row(&mut self, id: CgroupId, activity: Activity, now: Instant, budget: &mut u64) -> Row {
        let owner = self.owner(id, now);
        let (tasks, subtree_tasks) = self
            .tree
            .get(id)
            .map_or((None, None), |node| self.files.charges(&self.tree, node));
        let processes = self.processes(id, tasks, now, budget);
        let source = self.flags.source(id);
        let verdict = source.and_then(|source| self.detector.verdict(source).cloned());
        let forecast = verdict.as_ref().or(self.detector.verdict(id));
        let limit = self.limit_ahead(id, forecast);
        let limit = limit.map(|limit| (limit, self.limit_owner(&limit, now)));
        Row {
            owner,
            tasks,
            subtree_tasks,
            processes,
            zombies: activity.zombies,
            counts: activity.window,
            total: activity.total,
            verdict,
            limit,
            creators: self.model.creators(id, CREATORS),
        }
    }

    /// The limit that a cgroup reaches first: that of its forecast or, where it does not grow, the one with the
    /// least headroom; `None` when one of them cannot be read.
    fn limit_ahead(&self, id: CgroupId, verdict: Option<&Verdict>) -> Option<Limit> {
        let live = Live::new(&self.files, &self.tree, &self.namespaces);
        let forecast = verdict.and_then(|verdict| verdict.exhaustion);
        match forecast.map(|exhaustion| exhaustion.limit) {
            Some(limit) if limit.owner == LimitOwner::Node => {
                let mut of_node = self.node_limits.iter();
                of_node
                    .find(|known| known.name == limit.name)
                    .copied()
                    .or(Some(limit))
            }
            Some(limit) => live.limit(limit.name, limit.owner),
            None => live.least_headroom(id, &self.node_limits),
        }
    }

    /// Processes of a cgroup: counted now if it is small, at a slow pace if it is large.
    fn processes(
        &mut self,
        id: CgroupId,
        tasks: Option<u64>,
        now: Instant,
        budget: &mut u64,
    ) -> Option<u64> {
        let path = &self.tree.get(id)?.path;
        let tasks = tasks?;
        let known = self.processes.get(&id).copied();
        let is_due = known.is_none_or(|(_, read)| now.duration_since(read) >= SLOW_PACE);
        if (tasks <= FEW_TASKS && tasks <= *budget) || (is_due && *budget > 0) {
            *budget = budget.saturating_sub(tasks);
            let count = self.files.processes(path)?;
            self.processes.insert(id, (count, now));
            return Some(count);
        }
        known.map(|(count, _)| count)
    }
}
