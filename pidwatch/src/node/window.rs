//! The end of a window: who did what, and what is known of each.

use std::time::Duration;

use hashbrown::HashSet;
use tokio::time::Instant;

use super::{Live, Node, places::keep_owners, under_way::Closing};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::Verdict,
    limits::{Limit, LimitOwner},
    model::{Activity, Counts},
    probe::Hook,
    slice::Slice,
    stream::{Change, Event, LimitForecast, Line, NodeWindow, RateEvent, TaskCounts},
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

/// Where it is told that a cgroup's events were counted in one above.
const FOLDED: &str = "cgroup_folded";
/// Owners are given places no more often than this.
const KEEP_EVERY: Duration = Duration::from_mins(1);

impl Node {
    /// A walk may have found owners that nobody announced.
    fn keep_owners_again(&mut self, now: Instant) {
        if now < self.keep_due {
            return;
        }
        self.keep_due = now + KEEP_EVERY;
        keep_owners(&self.probe, &self.tree);
    }

    /// Ends the window; its rows are then to be read.
    pub(super) fn begin_closing(&mut self, now: Instant, lines: &mut Vec<Line>) {
        let time = BootTime::now();
        self.clock.follow_steps();
        let losses = self.probe.take_losses();
        if losses
            .iter()
            .any(|(place, _)| TELL_OF_CGROUPS.contains(place))
        {
            self.walk(now);
        }
        if losses.iter().any(|(place, _)| *place == FOLDED) {
            self.keep_owners_again(now);
        }
        self.look_for_unknown(now);
        for (place, count) in losses {
            let place = place.into();
            lines.push(self.line(time, Event::Lost { place, count }));
        }
        self.count_zombies(now);
        let mut active = self.model.close_window();
        self.add_flagged_owners(&mut active);
        if self.show_all {
            let mut quiet: Vec<_> = self.tree.iter().map(|(id, _)| id).collect();
            let shown: HashSet<_> = active.iter().map(|(id, _)| *id).collect();
            quiet.retain(|id| !shown.contains(id));
            quiet.sort();
            for id in quiet {
                let activity = self.model.close(id);
                active.push((id, activity));
            }
        }
        let polled = self.idle_turn(&active, time, now, lines);
        self.node_limits = Live::new(&self.files, &self.tree, &self.namespaces).of_node();
        self.closing = Some(Closing {
            time,
            window: time.since(self.window_began),
            rates: Vec::with_capacity(active.len()),
            rest: active.into_iter(),
            polled: polled.into_iter(),
            budget: WALK_BUDGET,
        });
        self.window_began = time;
    }

    /// Goes on reading the rows of a window that is over, if there is one.
    pub(super) fn go_on_closing(&mut self, now: Instant, slice: &Slice, lines: &mut Vec<Line>) {
        let Some(mut closing) = self.closing.take() else {
            return;
        };
        while let Some(&(id, activity)) = closing.rest.as_slice().first() {
            if !self.has_own_charge(id, slice) {
                self.closing = Some(closing);
                return;
            }
            closing.rest.next();
            let window = closing.window;
            let rate = self.rate(id, activity, window, now, &mut closing.budget);
            self.note_row(&rate);
            closing.rates.push(rate);
            if slice.is_over() {
                self.closing = Some(closing);
                return;
            }
        }
        while let Some(&id) = closing.polled.as_slice().first() {
            if !self.has_own_charge(id, slice) {
                self.closing = Some(closing);
                return;
            }
            closing.polled.next();
            if self.tree.get(id).is_some() {
                // Tasks that move away are announced by nobody; what was counted is of the windows so far.
                let activity = self.model.told(id);
                let rate = self.rate(id, activity, closing.window, now, &mut { FEW_TASKS });
                if self.note_row(&rate) {
                    closing.rates.push(rate);
                }
            }
            if slice.is_over() {
                self.closing = Some(closing);
                return;
            }
        }
        let time = closing.time;
        for rate in closing.rates {
            lines.push(self.line(time, Event::Rate(Box::new(rate))));
        }
        let live = Live::new(&self.files, &self.tree, &self.namespaces);
        let limits = live.of_node();
        let exhaustion = self.detector.node_exhaustion(time, &limits);
        let node = NodeWindow {
            window_s: closing.window.as_secs_f64(),
            tasks: live.node_tasks(),
            knows_frees: self.probe.is_attached(Hook::SchedProcessFree),
            knows_failures: self.probe.is_attached(Hook::KernelClone),
            limits: limits.iter().map(|limit| self.limit_use(limit)).collect(),
            incidents: self.incidents.open().map(Into::into).collect(),
            exhaustion: exhaustion.map(|ahead| LimitForecast::of(&ahead, None)),
        };
        lines.push(self.line(time, Event::Node(node)));
        for id in self.model.forget_gone(time) {
            self.probe.forget(id);
            self.reasons.forget(id);
            self.unseen.forget(id);
            self.names.forget(id);
            self.owners.forget(id);
            self.execs.forget(id);
            self.parts.forget(id);
            self.parts.forget_owner(id);
        }
    }

    /// Cgroups in which nothing happened and whose turn it is to be read.
    fn idle_turn(
        &mut self,
        active: &[(CgroupId, Activity)],
        time: BootTime,
        now: Instant,
        lines: &mut Vec<Line>,
    ) -> Vec<CgroupId> {
        let Some(idle) = &self.idle else {
            return Vec::new();
        };
        if idle.is_round_over() {
            let ids = self.ids();
            let lost = self.idle.as_mut().map(|idle| idle.begin_round(ids));
            for id in lost.unwrap_or_default() {
                let owner = self.owner(id, now);
                let line = self.changed(owner, Change::Removed, time);
                lines.push(line);
            }
        }
        let active = active.iter().map(|(id, _)| *id).collect();
        let idle = self.idle.as_mut();
        idle.map(|idle| idle.turn(&active)).unwrap_or_default()
    }

    /// Remembers what a row says of a cgroup that was not told to be gone; whether that is new.
    fn note_row(&mut self, rate: &RateEvent) -> bool {
        let id = rate.owner.id();
        let is_told_gone = self.tree.get(id).is_none() && self.model.is_gone(id);
        match &mut self.idle {
            Some(idle) if !is_told_gone => idle.note(rate),
            _ => true,
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

    fn rate(
        &mut self,
        id: CgroupId,
        activity: Activity,
        window: Duration,
        now: Instant,
        budget: &mut u64,
    ) -> RateEvent {
        let owner = self.shared_owner(id, now);
        let (tasks, subtree_tasks) = self
            .tree
            .get(id)
            .map_or((None, None), |node| self.files.charges(&self.tree, node));
        let processes = self.processes(id, tasks, now, budget);
        let source = self.flags.source(id);
        let verdict = source.and_then(|source| self.detector.verdict(source));
        let forecast = verdict.or(self.detector.verdict(id));
        let live = Live::new(&self.files, &self.tree, &self.namespaces);
        let chain = live.chain_with(id, &self.node_limits);
        let limit = self.limit_ahead(&live, chain.as_deref(), forecast);
        let frees = self.probe.is_attached(Hook::SchedProcessFree);
        let failures = self.probe.is_attached(Hook::KernelClone);
        let counts = |counts: &Counts| TaskCounts::of(counts, frees, failures);
        let created = activity.window.created;
        let creators = if created.processes + created.threads > 0 {
            self.model.creators(id, CREATORS)
        } else {
            Vec::new()
        };
        RateEvent {
            owner,
            window_s: window.as_secs_f64(),
            tasks,
            subtree_tasks,
            processes,
            zombies: activity.zombies,
            counts: counts(&activity.window),
            total: counts(&activity.total),
            tasks_limit: chain.as_deref().and_then(smallest),
            limit: limit.map(|limit| self.limit_use(&limit)),
            verdict: verdict.map(|verdict| Box::new(self.state_now(verdict))),
            creators: creators.iter().map(Into::into).collect(),
        }
    }

    /// The limit that a cgroup reaches first: that of its forecast or, where it does not grow, the one with the
    /// least headroom, of equal ones the nearest; `None` when one of them cannot be read.
    fn limit_ahead(
        &self,
        live: &Live<'_>,
        chain: Option<&[Limit]>,
        verdict: Option<&Verdict>,
    ) -> Option<Limit> {
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
            None => chain?.iter().min_by_key(|limit| limit.room()).copied(),
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

/// The smallest `pids.max` of a chain of limits.
fn smallest(chain: &[Limit]) -> Option<u64> {
    let of_cgroups = chain
        .iter()
        .filter(|limit| matches!(limit.owner, LimitOwner::Cgroup(_)));
    of_cgroups.map(|limit| limit.value).min()
}
