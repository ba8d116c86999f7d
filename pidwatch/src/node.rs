//! Wires the probe to the snapshot, once; every command only consumes the [`Update`]s.
//!
//! In: the probe's events, the cgroup file system. Out: failures as they happen, cgroups that come
//! and go, losses, states and incidents every second, and a [`Snapshot`] at the end of every window.
//!
//! Invariant: after [`Node::start`] no task is created and nothing is waited for but the ring and
//! the clock.

use std::{borrow::Cow, io, time::Duration};

use hashbrown::{HashMap, HashSet};
use pidwatch_common::record::PATH_MAX;
use tokio::time::Instant;

use crate::{
    alarm::Alarm,
    cgroup::{CgroupId, Files, Layout, LayoutError, TaskNames, Tree},
    clock::BootTime,
    detect::{self, Change, Detector, Sample},
    footprint,
    identity::{Errands, Execs, Resolver, identify},
    incident::{self, Incident, LimitKey, Tracker},
    limits::{Limit, LimitOwner, Live, Readings, Reasons, Verdict},
    model::{Activity, Model},
    probe::{self, Cause, Event, Failure, Hook, Probe, ProbeError, ProbeSettings},
    settings::NodeSettings,
    snapshot::{NodeState, Owner, Row, Snapshot},
    state_file::StateFile,
};

/// A cgroup of at most this many tasks has its processes counted at every window: the kernel walks
/// so many in some tens of microseconds.
const FEW_TASKS: u64 = 512;
/// Tasks that the kernel may be made to walk in one window, over all cgroups.
const WALK_BUDGET: u64 = 16 * 1024;
/// A larger cgroup has its processes counted this often.
const SLOW_PACE: Duration = Duration::from_secs(10);
/// How often the detector looks: the shortest of its horizons has a bucket a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Losses after which the tree may have other cgroups than are known.
const TELL_OF_CGROUPS: [&str; 4] = [
    "ring_cgroup",
    "cgroup_mkdir",
    "cgroup_rmdir",
    "cgroup_rename",
];
/// Creators that a row names.
const CREATORS: usize = 3;
/// Least time between two walks of the cgroup tree for an id that nobody announced.
const WALK_PACE: Duration = Duration::from_secs(1);

/// The node could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No cgroups to watch.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The tree cannot be read.
    #[error("cannot read the cgroup tree at {path}: {error}; say where it is with --cgroup-root")]
    Tree {
        /// The mount.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// There is a state file, and it cannot be used.
    #[error(
        "cannot use the state file {path}: {error}; remove it, or name another one with --state-file"
    )]
    State {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// The kernel side could not start.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Neither the ring nor the clock can be waited for.
    #[error(
        "cannot wait for the kernel's ring buffer: {0}; the process may be out of file descriptors \
         (`ulimit -n`)"
    )]
    Ring(#[from] io::Error),
}

/// Something to show.
#[derive(Debug)]
pub enum Update {
    /// A creation failed.
    Failed(Box<FailedClone>),
    /// A cgroup came.
    Added(Owner, BootTime),
    /// A cgroup went.
    Removed(Owner, BootTime),
    /// A container runtime told the names of a cgroup's owner, after the cgroup was told of.
    Named(Owner, BootTime),
    /// An owner is in another state.
    State(Box<StateChange>),
    /// An incident opened, went on, or closed.
    Incident(Box<Incident>, BootTime),
    /// A window closed.
    Window(Snapshot),
    /// Something was lost.
    Lost {
        /// Where.
        place: Cow<'static, str>,
        /// How often since the last time.
        count: u64,
        /// When it was noticed.
        time: BootTime,
    },
}

/// A creation that failed, and why.
#[derive(Debug)]
pub struct FailedClone {
    /// Its cgroup.
    pub owner: Owner,
    /// The failure.
    pub failure: Failure,
    /// Why.
    pub verdict: Verdict,
    /// Whose limit it was, if a cgroup's.
    pub limit_owner: Option<Owner>,
    /// Failures of the cgroup that were not shown since the last one.
    pub suppressed: u64,
    /// The caller came into the container from outside (or what it started did), at a probe's pace.
    pub exec_probe: bool,
    /// The caller is a container runtime's, at work for this container or pod.
    pub on_behalf_of: Option<Owner>,
}

impl FailedClone {
    /// Who suffers from it.
    pub fn sufferer(&self) -> &Owner {
        self.on_behalf_of.as_ref().unwrap_or(&self.owner)
    }
}

/// An owner that is in another state.
#[derive(Debug)]
pub struct StateChange {
    /// Whose.
    pub owner: Owner,
    /// When it was found.
    pub time: BootTime,
    /// What.
    pub change: Change,
    /// Whose the limit is that it will hit, if a cgroup's.
    pub limit_owner: Option<Owner>,
    /// The limits above it, nearest first, with whose each is if a cgroup's; `None` when one could
    /// not be read.
    pub limits: Option<Vec<(Limit, Option<Owner>)>>,
    /// What its tasks are called, where it was flagged.
    pub task_names: Option<TaskNames>,
}

/// The node under watch.
pub struct Node {
    probe: Probe,
    layout: Layout,
    files: Files,
    tree: Tree,
    model: Model,
    names: Resolver,
    execs: Execs,
    errands: Errands,
    reasons: Reasons,
    window: Duration,
    state_file: Option<StateFile>,
    show_all: bool,
    /// In the next window also cgroups with nothing to say.
    tells_all: bool,
    tick: Instant,
    window_end: Instant,
    window_began: BootTime,
    walked: Option<Instant>,
    /// Cgroups in which something was counted and that nobody announced.
    unknown: HashSet<CgroupId>,
    processes: HashMap<CgroupId, (u64, Instant)>,
    detector: Detector,
    incidents: Tracker,
    /// Cgroups that a walk has not found again, and whose end is not told yet.
    vanished: HashSet<CgroupId>,
    /// Cgroups whose charge may have changed since the detector last looked.
    touched: HashSet<CgroupId>,
    look: Instant,
    alarm: Alarm,
    events: Vec<Event>,
}

impl Node {
    /// Starts the kernel side and learns the cgroup tree.
    ///
    /// # Errors
    /// When there are no cgroups, or the kernel side cannot start.
    pub fn start(settings: &NodeSettings) -> Result<Self, NodeError> {
        let layout = Layout::detect(&settings.cgroup_root, &settings.proc_root)?;
        let probe_settings = ProbeSettings {
            ring_size: settings.ring_size,
            choices: settings.probes.clone(),
            kernel_log: settings.kernel_log,
            proc_root: settings.proc_root.clone(),
        };
        let mut probe = Probe::start(&probe_settings, &layout)?;
        // After the hooks are there: a cgroup that comes now is announced as well as found.
        let tree = Tree::walk(&layout.mount).map_err(|error| NodeError::Tree {
            path: layout.mount.display().to_string(),
            error,
        })?;
        let now = Instant::now();
        let mut events = Vec::new();
        probe.sweep_all(now, &mut events);
        let state_file = settings.state_file.as_deref();
        let state_file = state_file.map(|path| StateFile::new(path, &settings.proc_root));
        let mut incidents = Tracker::new(settings.thresholds.incident.clone());
        if let Some(file) = &state_file {
            let loaded = file.load(&tree).map_err(|error| NodeError::State {
                path: file.path().display().to_string(),
                error,
            })?;
            for incident in loaded {
                incidents.restore(incident, BootTime::now());
            }
        }
        let names = Resolver::start(&settings.cri_sockets);
        for (id, node) in tree.iter() {
            names.look_up(id, &identify(&node.path));
        }
        footprint::release_code();
        Ok(Self {
            probe,
            names,
            execs: Execs::default(),
            errands: Errands::default(),
            files: Files::new(&layout, &settings.proc_root),
            layout,
            tree,
            model: Model::default(),
            reasons: Reasons::default(),
            window: settings.window,
            state_file,
            show_all: settings.all,
            tells_all: false,
            tick: now + probe::WINDOW,
            window_end: now + settings.window,
            window_began: BootTime::now(),
            walked: None,
            unknown: HashSet::new(),
            processes: HashMap::new(),
            detector: Detector::new(settings.thresholds.detect.clone()),
            incidents,
            vanished: HashSet::new(),
            touched: HashSet::new(),
            look: now + LOOK_EVERY,
            alarm: Alarm::new()?,
            events,
        })
    }

    /// How the machine uses cgroups.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The kernel side.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Every cgroup, those nearest to the root first.
    pub fn ids(&self) -> Vec<CgroupId> {
        let depth = |path: &[u8]| path.iter().filter(|&&byte| byte == b'/').count();
        let mut ids: Vec<_> = self
            .tree
            .iter()
            .map(|(id, node)| (node.path.len() > 1, depth(&node.path), id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, _, id)| id).collect()
    }

    /// A cgroup as it is now, with what the windows so far have told of it; `None` for one that is gone.
    /// For those of which no window tells: tasks that move away are announced by nobody.
    pub fn read(&mut self, id: CgroupId) -> Option<Row> {
        self.tree.get(id)?;
        let activity = self.model.told(id);
        Some(self.row(id, activity, Instant::now(), &mut { FEW_TASKS }))
    }

    /// A cgroup and those above it, up to the root.
    pub fn upwards(&self, id: CgroupId) -> impl Iterator<Item = CgroupId> {
        self.tree.upwards(id).map(|(id, _)| id)
    }

    /// The limit that a cgroup itself sets; `None` for none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn own_limit(&self, id: CgroupId) -> io::Result<Option<u64>> {
        let node = self.tree.get(id).ok_or(io::ErrorKind::NotFound)?;
        match self.files.pids_max(&node.path) {
            // The root, and a cgroup that the controller is not switched on for, have no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read,
        }
    }

    /// Ends this window at the next tick: whoever knows nothing yet need not wait for it.
    pub fn hurry(&mut self) {
        self.window_end = self.tick;
        // Both at once, from then on: what the one reads the other need not.
        self.look = self.tick;
    }

    /// How many cgroups there are.
    pub fn cgroups(&self) -> usize {
        self.tree.len()
    }

    /// Has every cgroup in the next window, also those with nothing to say.
    pub fn tell_all(&mut self) {
        self.tells_all = true;
    }

    /// The limits above an owner as they are now, nearest first, with whose each is if a cgroup's; `None`
    /// when one cannot be read.
    pub fn limits_above(&mut self, id: CgroupId) -> Option<Vec<(Limit, Option<Owner>)>> {
        let now = Instant::now();
        let chain = Live::new(&self.files, &self.tree).whole_chain(id)?;
        let with_owner = |limit| (limit, self.limit_owner(&limit, now));
        Some(chain.into_iter().map(with_owner).collect())
    }

    /// Waits for something to show.
    ///
    /// # Errors
    /// When the ring cannot be watched.
    pub async fn next(&mut self, updates: &mut Vec<Update>) -> Result<(), NodeError> {
        while updates.is_empty() {
            let tick = self.tick.min(self.window_end).min(self.look);
            tokio::select! {
                ready = self.probe.ready() => ready?,
                passed = self.alarm.until(tick) => passed?,
            }
            let now = Instant::now();
            self.probe.drain(now, &mut self.events);
            if now >= self.tick {
                self.probe.sweep(now, &mut self.events);
                self.tick = now + probe::WINDOW;
                for id in self.names.take_news() {
                    let owner = self.owner(id, now);
                    updates.push(Update::Named(owner, BootTime::now()));
                }
            }
            self.apply(now, updates);
            if now < self.look.min(self.window_end) {
                continue;
            }
            // The detector, the rows and the incidents see the same charges.
            self.files.hold();
            if now >= self.look {
                self.look(now, updates);
                // Evenly, or now and then a second would have no reading.
                self.look += LOOK_EVERY;
                if self.look <= now {
                    self.look = now + LOOK_EVERY;
                }
            }
            if now >= self.window_end {
                self.close_window(now, updates);
                self.window_end += self.window;
                if self.window_end <= now {
                    // Fell behind (suspended, or stopped by a debugger): do not catch up.
                    self.window_end = now + self.window;
                }
            }
            self.files.release();
        }
        Ok(())
    }

    /// Takes what the kernel side still has and closes the last window.
    pub fn finish(&mut self, updates: &mut Vec<Update>) {
        let now = Instant::now();
        self.probe.finish(now, &mut self.events);
        self.apply(now, updates);
        self.look(now, updates);
        self.close_window(now, updates);
    }

    fn apply(&mut self, now: Instant, updates: &mut Vec<Update>) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.model.apply(&event);
            match event {
                Event::Totals {
                    cgroup,
                    time,
                    charge,
                    cause,
                    who,
                    ..
                } => {
                    self.touched.insert(cgroup);
                    if !self.is_known(cgroup) {
                        self.unknown.insert(cgroup);
                    }
                    let unrecorded = self.model.take_unrecorded(cgroup);
                    if unrecorded > 0 {
                        self.incidents.failed_unrecorded(cgroup, unrecorded);
                    }
                    if let (Cause::Entered, Some(moved)) = (cause, who)
                        && self.owner(cgroup, now).identity.container.is_some()
                    {
                        self.execs.entered(cgroup, moved.pid, time, charge);
                    }
                }
                Event::CloneFailed(failure) => {
                    let verdict = self.reasons.of(
                        &failure,
                        &Readings {
                            files: &self.files,
                            tree: &self.tree,
                        },
                    );
                    self.model.failed(failure.cgroup, verdict.reason);
                    let limit_owner = match verdict.limit.map(|limit| limit.owner) {
                        Some(LimitOwner::Cgroup(id)) => Some(self.owner(id, now)),
                        _ => None,
                    };
                    if limit_owner.is_some() {
                        self.detector.refused(failure.cgroup, failure.time);
                    }
                    let suppressed = self.model.take_suppressed(&failure);
                    let owner = self.owner(failure.cgroup, now);
                    let pids = [failure.pid, failure.origin.unwrap_or(failure.pid)];
                    let exec_probe = self.execs.is_probe(failure.cgroup, &pids);
                    let on_behalf_of = self.on_behalf_of(&failure, now);
                    let failed = FailedClone {
                        owner,
                        on_behalf_of,
                        failure,
                        verdict,
                        limit_owner,
                        suppressed,
                        exec_probe,
                    };
                    self.incidents.failed(&failed);
                    updates.push(Update::Failed(Box::new(failed)));
                }
                Event::CgroupAdded(id, time, path) => {
                    self.model.added(id);
                    if path.len() + 1 < PATH_MAX {
                        self.tree.insert(id, &path);
                    } else {
                        // It may be cut.
                        self.walk(now);
                    }
                    self.detector.born(id, time);
                    let owner = self.named(Owner::new(id, Some(path.into())));
                    self.names.announced(id);
                    updates.push(Update::Added(owner, time));
                }
                Event::CgroupRemoved(id, time, path) => {
                    // A walk may have found it gone before its record was read.
                    let is_untold = self.vanished.remove(&id);
                    let is_told = self.tree.remove(id).is_none()
                        && self.model.gone_path(id).is_some()
                        && !is_untold;
                    self.processes.remove(&id);
                    self.model.removed(id, path.as_slice().into(), time);
                    self.vanish(id, time, now, updates);
                    let owner = self.named(Owner::new(id, Some(path.into())));
                    self.names.removed(id);
                    if !is_told {
                        updates.push(Update::Removed(owner, time));
                    }
                }
                Event::CgroupRenamed(..) => {
                    // The paths of everything below changed as well.
                    self.walk(now);
                }
            }
        }
        self.events = events;
    }

    /// The detector's and the incidents' turn.
    fn look(&mut self, now: Instant, updates: &mut Vec<Update>) {
        let time = BootTime::now();
        self.errands.clear();
        for id in std::mem::take(&mut self.vanished) {
            self.vanish(id, time, now, updates);
            let owner = self.owner(id, now);
            updates.push(Update::Removed(owner, time));
        }
        if let Some(tasks) = self.files.node_tasks() {
            self.detector.observe_node(time, tasks);
        }
        // Of those that are watched closely, also what nobody announces: tasks that moved away.
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(self.detector.verdicts().map(|(id, _)| id));
        for id in touched.drain() {
            let Some(node) = self.tree.get(id) else {
                continue;
            };
            let Some(tasks) = self.files.own_charge(&self.tree, node) else {
                continue;
            };
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
        self.touched = touched;
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

    fn state_change(&mut self, change: Change, time: BootTime, now: Instant) -> StateChange {
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

    /// Whose a limit is, if a cgroup's.
    fn limit_owner(&mut self, limit: &Limit, now: Instant) -> Option<Owner> {
        match limit.owner {
            LimitOwner::Cgroup(id) => Some(self.owner(id, now)),
            _ => None,
        }
    }

    /// A cgroup is gone; says so if it was watched closely.
    fn vanish(&mut self, id: CgroupId, time: BootTime, now: Instant, updates: &mut Vec<Update>) {
        self.touched.remove(&id);
        if let Some(change) = self.detector.gone(id, time) {
            let told = self.state_change(change, time, now);
            updates.push(Update::State(Box::new(told)));
        }
    }

    fn close_window(&mut self, now: Instant, updates: &mut Vec<Update>) {
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
        self.settle_frees(time, updates);
        let mut active = self.model.close_window(time);
        if std::mem::take(&mut self.tells_all) || self.show_all {
            let mut quiet: Vec<_> = self.tree.iter().map(|(id, _)| id).collect();
            let shown: hashbrown::HashSet<_> = active.iter().map(|(id, _)| *id).collect();
            quiet.retain(|id| !shown.contains(id));
            quiet.sort();
            for id in quiet {
                let activity = self.model.close(id, time).unwrap_or(Activity::NONE);
                active.push((id, activity));
            }
        }
        let mut budget = WALK_BUDGET;
        let rows = active
            .into_iter()
            .map(|(id, activity)| self.row(id, activity, now, &mut budget))
            .collect();
        let window = time.since(self.window_began);
        self.window_began = time;
        let live = Live::new(&self.files, &self.tree);
        let limits = live.of_node();
        let node = NodeState {
            tasks: live.node_tasks(),
            exhaustion: self.detector.node_exhaustion(time, &limits),
            limits,
        };
        updates.push(Update::Window(Snapshot {
            time,
            window,
            rows,
            knows_frees: self.probe.is_attached(Hook::SchedProcessFree),
            knows_failures: self.probe.is_attached(Hook::KernelClone),
            node,
            incidents: self.incidents.open().cloned().collect(),
        }));
        for id in self.model.forget_gone(time) {
            self.probe.forget(id);
            self.reasons.forget(id);
            self.names.forget(id);
            self.execs.forget(id);
        }
    }

    fn settle_frees(&mut self, time: BootTime, updates: &mut Vec<Update>) {
        if !self.probe.is_attached(Hook::SchedProcessFree) {
            return;
        }
        let (tree, files) = (&self.tree, &self.files);
        let count = self
            .model
            .settle_frees(time, |id| files.subtree_charge(&tree.get(id)?.path));
        if count > 0 {
            let place = Hook::SchedProcessFree.name().into();
            updates.push(Update::Lost { place, count, time });
        }
    }

    fn row(&mut self, id: CgroupId, activity: Activity, now: Instant, budget: &mut u64) -> Row {
        let owner = self.owner(id, now);
        let (tasks, subtree_tasks) = self
            .tree
            .get(id)
            .map_or((None, None), |node| self.files.charges(&self.tree, node));
        let processes = self.processes(id, tasks, now, budget);
        Row {
            owner,
            tasks,
            subtree_tasks,
            processes,
            // A zombie is in the charge.
            zombies: tasks.map_or(activity.zombies, |tasks| activity.zombies.min(tasks)),
            counts: activity.window,
            total: activity.total,
            verdict: self.detector.verdict(id).cloned(),
            creators: self.model.creators(id, CREATORS),
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

    fn owner(&mut self, id: CgroupId, now: Instant) -> Owner {
        if !self.is_known(id) {
            self.unknown.insert(id);
            self.look_for_unknown(now);
        }
        let path = self
            .tree
            .get(id)
            .map(|node| &*node.path)
            .or_else(|| self.model.gone_path(id));
        self.named(Owner::new(id, path.map(Into::into)))
    }

    fn is_known(&self, id: CgroupId) -> bool {
        self.tree.get(id).is_some() || self.model.is_gone(id)
    }

    /// Their announcement was lost, and perhaps their end as well: who is not found is forgotten in time, or
    /// the kernel side's room for cgroups would be used up.
    fn look_for_unknown(&mut self, now: Instant) {
        let walked = self.walked;
        let is_time = walked.is_none_or(|at| now.duration_since(at) >= WALK_PACE);
        if !self.unknown.is_empty() && is_time {
            self.walk(now);
        }
    }

    /// The container or pod that a failing task of a container runtime works for.
    fn on_behalf_of(&mut self, failure: &Failure, now: Instant) -> Option<Owner> {
        let read = |pid| self.files.command_line(pid);
        let container = self.errands.of(failure, &self.tree, read)?;
        if self.upwards(failure.cgroup).any(|id| id == container) {
            return None;
        }
        let container = self.owner(container, now);
        // A sandbox is its pod, to people.
        let is_sandbox = container
            .names
            .as_ref()
            .is_some_and(|names| names.pod.is_some() && names.container.is_none());
        let above = self.tree.upwards(container.id).nth(1).map(|(id, _)| id);
        let pod = above.filter(|_| is_sandbox).map(|id| self.owner(id, now));
        let pod = pod.filter(|pod| pod.identity.pod_uid.is_some());
        Some(pod.unwrap_or(container))
    }

    /// With the names that a container runtime has for the owner, if they are known by now.
    fn named(&self, owner: Owner) -> Owner {
        with_names(&self.names, owner)
    }

    /// Learns the tree anew: something of it was lost, or a cgroup was renamed.
    fn walk(&mut self, now: Instant) {
        self.walked = Some(now);
        self.files.renamed();
        match Tree::walk(&self.layout.mount) {
            Ok(tree) => {
                let time = BootTime::now();
                for (id, node) in self.tree.iter() {
                    if tree.get(id).is_none() {
                        // Its end was not told.
                        self.processes.remove(&id);
                        self.model.removed(id, node.path.clone(), time);
                        self.names.removed(id);
                        self.vanished.insert(id);
                    }
                }
                self.tree = tree;
                for id in self.unknown.drain() {
                    if self.tree.get(id).is_none() {
                        self.model.lost(id, time);
                    }
                }
                self.model.find(|id| self.tree.get(id).is_some());
            }
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", self.layout.mount.display());
            }
        }
    }
}

fn with_names(names: &Resolver, owner: Owner) -> Owner {
    Owner {
        names: names.look_up(owner.id, &owner.identity),
        ..owner
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
