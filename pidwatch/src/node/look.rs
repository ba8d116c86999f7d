//! A look at all that may have changed: states and incidents, every second.

use tokio::time::Instant;

use super::{
    Live, Node,
    census::Census,
    flags::Flagged,
    owners::{anchor_at, with_names},
    parts::Parts,
    under_way::Looking,
    unseen,
};
use crate::{
    cgroup::{CgroupId, Summing},
    clock::BootTime,
    detect::{self, Detector, Sample},
    escape,
    identity::{Owner, Resolver},
    incident::{self, LimitKey},
    model::Model,
    probe::Hook,
    slice::Slice,
    stream::{self, Change, Event, Line, StateNow},
};

impl Node {
    /// Begins the detector's and the incidents' turn.
    pub(super) fn begin_look(&mut self, now: Instant, lines: &mut Vec<Line>) {
        let time = BootTime::now();
        self.errands.clear();
        for id in std::mem::take(&mut self.vanished) {
            self.vanish(id, time, now, lines);
            let owner = self.owner(id, now);
            let line = self.changed(owner, Change::Removed, time);
            lines.push(line);
        }
        self.count_zombies(now);
        if let Some(tasks) = self.files.proc().node_tasks() {
            self.detector.observe_node(time, tasks);
        }
        // Of those that are watched closely, also what nobody announces: tasks that moved away.
        self.touched
            .extend(self.detector.verdicts().map(|(id, _)| id));
        if let Some(half_way) = self.looking.take() {
            self.touched.extend(half_way.rest);
        }
        self.ask_namespaces(now);
        let compares = now >= self.unseen_due && self.probe.is_attached(Hook::KernelClone);
        if compares {
            self.unseen_due = now + unseen::EVERY;
            self.touched.extend(self.unseen.watched());
        }
        let touched = self.touched.iter();
        let owners: Vec<_> = touched.filter_map(|&id| self.parts.owner(id)).collect();
        self.touched.extend(owners);
        // Parts before owners, which have what their parts have.
        let (parts, mut rest): (Vec<_>, Vec<_>) = self
            .touched
            .drain()
            .partition(|&id| self.parts.owner(id).is_some());
        rest.extend(parts);
        self.looking = Some(Looking { rest, compares });
    }

    /// Asks for the PID namespaces of what grows: of who creates there. The answers are there at the next look.
    fn ask_namespaces(&mut self, now: Instant) {
        if !self.probe.has_namespace_limits() {
            return;
        }
        let growers = self.detector.growers().iter();
        let mut growing = Vec::new();
        for grower in growers {
            let Some(creator) = self.model.creators(grower.owner, 1).pop() else {
                continue;
            };
            growing.push((grower.owner, creator.who.pid));
            if grower.blamed() != grower.owner {
                growing.push((grower.blamed(), creator.who.pid));
            }
        }
        let pids = self.namespaces.ask(growing.into_iter(), now);
        self.probe.ask_namespaces(&pids, now, &mut self.events);
        self.waiting.extend(self.events.drain(..));
    }

    /// Goes on with a look, if one is under way.
    pub(super) fn go_on_looking(&mut self, now: Instant, slice: &Slice, lines: &mut Vec<Line>) {
        let Some(mut looking) = self.looking.take() else {
            return;
        };
        let time = BootTime::now();
        while let Some(&id) = looking.rest.last() {
            // An owner is read with all of its parts.
            if self.parts.of(id).is_none() && !self.has_own_charge(id, slice) {
                self.looking = Some(looking);
                return;
            }
            looking.rest.pop();
            if let Some(sample) = self.sample(id) {
                self.detector.observe(id, time, sample);
            }
            if looking.compares || !self.unseen.knows(id) {
                self.compare_refusals(id, now);
            }
            if slice.is_over() {
                self.looking = Some(looking);
                return;
            }
        }
        self.judge(time, now, lines);
    }

    /// Adds up the own charge of a cgroup with many children, as far as there is time; whether it may be read.
    pub fn has_own_charge(&mut self, id: CgroupId, slice: &Slice) -> bool {
        let Some(node) = self.tree.get(id).filter(|node| self.files.takes_long(node)) else {
            return true;
        };
        let begun = self.summing.take().filter(|begun| begun.cgroup() == id);
        let mut summing = begun.unwrap_or_else(|| Summing::begin(&self.files, id, node));
        if summing.go_on(&self.files, &self.tree, slice) {
            return true;
        }
        self.summing = Some(summing);
        false
    }

    /// Cgroups whose limits may have refused something since they were compared last.
    pub(super) fn possibly_refused(&self) -> Vec<CgroupId> {
        if !self.probe.is_attached(Hook::KernelClone) {
            return Vec::new();
        }
        let watched = self.unseen.watched();
        watched.chain(self.touched.iter().copied()).collect()
    }

    /// Counts what a cgroup's limit has refused and no hook has seen, if its refusals were read a while ago, and reads
    /// them anew.
    fn compare_refusals(&mut self, id: CgroupId, now: Instant) {
        if self.unseen.is_due(id, now) {
            self.count_unseen(id);
            self.read_refusals(id, now);
        }
    }

    /// Counts the refusals of the last reading that are in no count. Not the model's, which is behind the hooks' while
    /// records wait in the ring.
    pub(super) fn count_unseen(&mut self, id: CgroupId) {
        let Some(failures) = self.probe.failures(id) else {
            return;
        };
        let counted = self.model.counted_failures(id, failures);
        let uncounted = self.unseen.uncounted(id, counted);
        if uncounted > 0 {
            self.model.refused_unseen(id, uncounted);
            self.incidents.failed_unrecorded(id, uncounted);
        }
    }

    /// Reads what a cgroup's limit has refused.
    pub(super) fn read_refusals(&mut self, id: CgroupId, now: Instant) {
        let node = self.tree.get(id).filter(|node| node.children.is_empty());
        let refusals = node.and_then(|node| self.files.pids_refused(&node.path));
        if let (Some(refusals), Some(failures)) = (refusals, self.probe.failures(id)) {
            let counted = self.model.counted_failures(id, failures);
            self.unseen.read(id, refusals, counted, now);
        }
    }

    /// Takes what the detector and the incidents make of what was read.
    fn judge(&mut self, time: BootTime, now: Instant, lines: &mut Vec<Line>) {
        let live = Live::new(&self.files, &self.tree, &self.namespaces).with_names(&self.names);
        let changes = self.detector.look(time, &live);
        let parts = &self.parts;
        let owner_of = |id| parts.owner(id).unwrap_or(id);
        for change in changes {
            self.flags.note(owner_of(change.owner), change);
        }
        for Flagged { change, inside } in self.flags.update(self.detector.verdicts(), owner_of) {
            let line = self.state_change(change, inside, time, now);
            lines.push(line);
        }
        let live = Live::new(&self.files, &self.tree, &self.namespaces);
        let view = LiveView {
            live: &live,
            model: &self.model,
            names: &self.names,
            parts: &self.parts,
            census: &self.census,
            detector: &self.detector,
        };
        let growers = self.detector.growers();
        let told = self.incidents.look(time, growers, &view);
        if let Some(file) = self.state_file.as_mut().filter(|_| !told.is_empty()) {
            file.save(self.incidents.open());
        }
        for incident in told {
            let incident = stream::IncidentEvent::of(&incident, |time| self.clock.at(time));
            lines.push(self.line(time, Event::Incident(Box::new(incident))));
        }
        self.brake(time, now, lines);
    }

    /// A cgroup as it is now; an owner with everything below it.
    fn sample(&mut self, id: CgroupId) -> Option<Sample> {
        self.count_part(id);
        let node = self.tree.get(id)?;
        let own = self.counted(id);
        let parts = self.parts.of(id);
        let tasks = match parts {
            Some(_) => self.files.subtree_charge(&node.path)?,
            None => self.files.own_charge(&self.tree, node)?,
        };
        let parts = parts.unwrap_or_default();
        Some(Sample {
            tasks,
            created: own.created + parts.created,
            ended: own.ended + parts.ended,
            zombies: own.zombies + parts.zombies,
        })
    }

    /// That an owner is in another state.
    pub(super) fn state_change(
        &mut self,
        change: detect::StateChange,
        inside: Option<CgroupId>,
        time: BootTime,
        now: Instant,
    ) -> Line {
        let detect::StateChange {
            owner: id,
            from,
            verdict,
        } = change;
        let source = inside.unwrap_or(id);
        let is_flagged = matches!(
            verdict.state,
            detect::State::Leaking | detect::State::Saturated
        );
        let node = self.tree.get(source).filter(|_| is_flagged);
        let task_names = node.and_then(|node| self.files.task_names(&node.path));
        let inside = inside.and_then(|part| self.owner(part, now).path);
        let owner = self.shared_owner(id, now);
        let state = stream::StateEvent {
            inside: inside.as_deref().map(escape::for_json),
            limits: self.limits_above(source),
            task_names: task_names.as_ref().map(Into::into),
            ..stream::StateEvent::of(owner, from, verdict.tasks, self.state_now(&verdict))
        };
        self.line(time, Event::State(Box::new(state)))
    }

    /// What the detector says, as lines have it.
    pub(super) fn state_now(&self, verdict: &detect::Verdict) -> StateNow {
        let ahead = verdict.exhaustion.as_ref();
        let path = ahead.and_then(|ahead| self.limit_path(&ahead.limit));
        StateNow::of(verdict, path, self.clock.at(verdict.since))
    }
}

/// What incidents ask of the node.
struct LiveView<'a> {
    live: &'a Live<'a>,
    model: &'a Model,
    names: &'a Resolver,
    parts: &'a Parts,
    census: &'a Census,
    detector: &'a Detector,
}

impl incident::NodeView for LiveView<'_> {
    fn owner(&self, id: CgroupId) -> Owner {
        let path = self.live.path(id).or_else(|| self.model.gone_path(id));
        with_names(self.names, Owner::new(id, path.map(Into::into)))
    }

    fn blamed(&self, id: CgroupId) -> Owner {
        let owner = self.owner(id);
        match owner.anchor() {
            Some(path) => {
                let anchor = anchor_at(self.live.tree(), self.parts, id, path);
                with_names(self.names, anchor)
            }
            None => owner,
        }
    }

    fn verdict(&self, id: CgroupId) -> Option<&detect::Verdict> {
        self.detector.verdict(id)
    }

    fn holders(&self, limit: &LimitKey) -> Vec<(CgroupId, u64)> {
        self.census.holders(limit.owner)
    }

    fn usage(&self, limit: &LimitKey) -> Option<(u64, u64)> {
        let limit = self.live.limit(limit.name, limit.owner)?;
        Some((limit.value, limit.usage))
    }
}
