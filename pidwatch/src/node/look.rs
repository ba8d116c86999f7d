//! A look at all that may have changed: states and incidents, every second.

use tokio::time::Instant;

use super::{Live, Node, owners::with_names};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::{self, Change, Detector, Sample},
    event::{StateChange, Update},
    identity::{Owner, Resolver},
    incident::{self, LimitKey},
    model::Model,
    slice::Slice,
};

/// A look that is under way.
pub(super) struct Looking {
    /// Owners that are still to be read.
    rest: Vec<CgroupId>,
}

impl Node {
    /// Begins the detector's and the incidents' turn.
    pub(super) fn begin_look(&mut self, now: Instant, updates: &mut Vec<Update>) {
        let time = BootTime::now();
        self.errands.clear();
        for id in std::mem::take(&mut self.vanished) {
            self.vanish(id, time, now, updates);
            let owner = self.owner(id, now);
            updates.push(Update::Removed(owner, time));
        }
        if let Some(tasks) = self.files.proc().node_tasks() {
            self.detector.observe_node(time, tasks);
        }
        // Of those that are watched closely, also what nobody announces: tasks that moved away.
        self.touched
            .extend(self.detector.verdicts().map(|(id, _)| id));
        if let Some(half_way) = self.looking.take() {
            self.touched.extend(half_way.rest);
        }
        let rest = self.touched.drain().collect();
        self.looking = Some(Looking { rest });
    }

    /// Goes on with a look, if one is under way.
    pub(super) fn go_on_looking(&mut self, now: Instant, slice: &Slice, updates: &mut Vec<Update>) {
        let Some(looking) = &mut self.looking else {
            return;
        };
        let time = BootTime::now();
        while let Some(id) = looking.rest.pop() {
            if let Some(node) = self.tree.get(id)
                && let Some(tasks) = self.files.own_charge(&self.tree, node)
            {
                let (total, unfreed) = self.model.total(id);
                let sample = Sample {
                    tasks,
                    created: total.created.processes + total.created.threads,
                    ended: total.exited.processes + total.exited.threads,
                    // What is reaped is in no charge.
                    zombies: unfreed.min(tasks),
                };
                self.detector.observe(id, time, sample);
            }
            if slice.is_over() {
                return;
            }
        }
        self.looking = None;
        self.judge(time, now, updates);
    }

    /// Takes what the detector and the incidents make of what was read.
    fn judge(&mut self, time: BootTime, now: Instant, updates: &mut Vec<Update>) {
        let live = Live::new(&self.files, &self.tree);
        for change in self.detector.look(time, &live) {
            let told = self.state_change(change, time, now);
            updates.push(Update::State(Box::new(told)));
        }
        let live = Live::new(&self.files, &self.tree);
        let view = View {
            live: &live,
            model: &self.model,
            names: &self.names,
            detector: &self.detector,
        };
        let growers = self.detector.growers();
        let told = self.incidents.look(time, growers, &view);
        if let Some(file) = self.state_file.as_mut().filter(|_| !told.is_empty()) {
            file.save(self.incidents.open());
        }
        for incident in told {
            updates.push(Update::Incident(Box::new(incident), time));
        }
    }

    pub(super) fn state_change(
        &mut self,
        change: Change,
        time: BootTime,
        now: Instant,
    ) -> StateChange {
        let limit = change.verdict.exhaustion.map(|exhaustion| exhaustion.limit);
        let limit_owner = limit.and_then(|limit| self.limit_owner(&limit, now));
        let limits = self.limits_above(change.owner);
        let is_flagged = matches!(
            change.verdict.state,
            detect::State::Leaking | detect::State::Saturated
        );
        let node = self.tree.get(change.owner).filter(|_| is_flagged);
        let task_names = node.and_then(|node| self.files.task_names(&node.path));
        StateChange {
            owner: self.owner(change.owner, now),
            time,
            change,
            limit_owner,
            limits,
            task_names,
        }
    }
}

/// What incidents ask of the node.
struct View<'a> {
    live: &'a Live<'a>,
    model: &'a Model,
    names: &'a Resolver,
    detector: &'a Detector,
}

impl incident::View for View<'_> {
    fn owner(&self, id: CgroupId) -> Owner {
        let path = self.live.path(id).or_else(|| self.model.gone_path(id));
        with_names(self.names, Owner::new(id, path.map(Into::into)))
    }

    fn verdict(&self, id: CgroupId) -> Option<&detect::Verdict> {
        self.detector.verdict(id)
    }

    fn holders(&self, limit: &LimitKey) -> Vec<(CgroupId, u64)> {
        self.live.holders(limit.owner)
    }

    fn usage(&self, limit: &LimitKey) -> Option<(u64, u64)> {
        let limit = self.live.limit(limit.name, limit.owner)?;
        Some((limit.value, limit.usage))
    }
}
