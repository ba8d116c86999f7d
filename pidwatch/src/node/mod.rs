//! Wires the probe to the stream of events, once; every command only consumes its [`Line`]s.
//!
//! In: the probe's events, the cgroup file system. Out: failures as they happen, cgroups that come
//! and go, losses, states and incidents every second, and what each owner did at the end of every window.
//!
//! Invariant: after [`Node::start`] no task is created and nothing is waited for but the ring and
//! the clock. Work that grows with the number of cgroups is done in slices ([`Slice`]), one a turn.

mod apply;
mod brake;
mod brakes;
mod braking;
mod census;
mod control;
mod control_queue;
mod examinations;
mod examine;
mod flags;
mod idle;
mod lines;
mod live;
mod look;
mod name;
mod namespaces;
mod owners;
mod parts;
mod places;
mod readings;
mod saved_incident;
mod settings;
mod shared_owners;
mod state_file;
mod under_way;
mod unseen;
mod walks;
pub mod watch;
mod window;

use std::{collections::VecDeque, io, rc::Rc, sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use self::{
    brakes::Brakes,
    braking::Braking,
    census::Census,
    examinations::Examinations,
    flags::Flags,
    idle::IdlePoller,
    namespaces::Namespaces,
    parts::Parts,
    places::keep_owners,
    shared_owners::SharedOwners,
    under_way::{Closing, Looking, Walks},
    unseen::Unseen,
};
pub use self::{
    control_queue::ControlQueue,
    live::Live,
    name::node_name,
    readings::Readings,
    settings::{NodeSettings, Roots, parse_socket, sockets},
    state_file::StateFile,
};
use crate::{
    cgroup::{self, CgroupId, Files, Layout, LayoutError, Summing, Tree},
    clock::{BootTime, WallClock},
    detect::Detector,
    identity::{Errands, Execs, Resolver, identify},
    incident::Tracker,
    limits::{Limit, Reasons},
    model::Model,
    probe::{self, Probe, ProbeError, ProbeSettings},
    runtime::{Timer, memory},
    slice::Slice,
    stream::{Change, Event, LimitUse, Line, Started},
};

/// How often the detector looks: the shortest of its horizons has a bucket a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Events that wait for their turn, at most about so many: some 20 MiB.
const MOST_WAITING: usize = 64 * 1024;

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

/// The node under watch.
pub struct Node {
    probe: Probe,
    layout: Layout,
    files: Files,
    tree: Tree,
    model: Model,
    names: Resolver,
    owners: SharedOwners,
    /// The node's name.
    name: Arc<str>,
    clock: WallClock,
    execs: Execs,
    errands: Errands,
    parts: Parts,
    census: Census,
    namespaces: Namespaces,
    flags: Flags,
    brakes: Brakes,
    braking: Option<Braking>,
    requests: Option<Rc<ControlQueue>>,
    roots: Roots,
    /// Owners that had a row in the last window for what happens in their parts.
    flagged_owners: HashSet<CgroupId>,
    unseen: Unseen,
    /// When owners may be given places again.
    keep_due: Instant,
    /// When refusals are to be compared again.
    unseen_due: Instant,
    reasons: Reasons,
    window: Duration,
    state_file: Option<StateFile>,
    show_all: bool,
    /// Reads cgroups in which nothing happens, if that is asked for.
    idle: Option<IdlePoller>,
    tick: Instant,
    window_end: Instant,
    window_began: BootTime,
    walks: Walks,
    /// When the zombies are to be counted again.
    zombies_due: Instant,
    /// What is under way.
    looking: Option<Looking>,
    closing: Option<Closing>,
    /// The own charge of a cgroup with many children.
    summing: Option<Summing>,
    /// Cgroups in which something was counted and that nobody announced.
    unknown: HashSet<CgroupId>,
    processes: HashMap<CgroupId, (u64, Instant)>,
    /// The node's limits, as they were when the last window ended.
    node_limits: Vec<Limit>,
    detector: Detector,
    examinations: Examinations,
    incidents: Tracker,
    /// Cgroups that a walk has not found again, and whose end is not told yet.
    vanished: HashSet<CgroupId>,
    /// Cgroups whose charge may have changed since the detector last looked.
    touched: HashSet<CgroupId>,
    look: Instant,
    timer: Timer,
    /// As they come from the probe.
    events: Vec<probe::KernelEvent>,
    /// Those whose turn it is not yet.
    waiting: VecDeque<probe::KernelEvent>,
}

impl Node {
    /// Starts the kernel side and learns the cgroup tree.
    ///
    /// # Errors
    /// When there are no cgroups, or the kernel side cannot start.
    pub fn start(settings: &NodeSettings) -> Result<Self, NodeError> {
        let layout = cgroup::detect(&settings.roots.cgroup_root, &settings.roots.proc_root)?;
        let probe_settings = ProbeSettings {
            ring_size: settings.ring_size,
            choices: settings.probes.clone(),
            kernel_log: settings.kernel_log,
            proc_root: settings.roots.proc_root.clone(),
        };
        let mut probe = Probe::start(&probe_settings, &layout)?;
        // After the hooks are there: a cgroup that comes now is announced as well as found.
        let tree = cgroup::walk(&layout.mount).map_err(|error| NodeError::Tree {
            path: layout.mount.display().to_string(),
            error,
        })?;
        let now = Instant::now();
        let mut events = Vec::new();
        probe.sweep_all(now, &mut events);
        let state_file = settings.state_file.as_deref();
        let state_file = state_file.map(|path| {
            StateFile::new(path, &settings.roots.proc_root).in_folder(settings.state_folder.clone())
        });
        let thresholds = settings.thresholds();
        let mut incidents = Tracker::new(thresholds.incident);
        if let Some(file) = &state_file {
            let loaded = file.load(&tree).map_err(|error| NodeError::State {
                path: file.path().display().to_string(),
                error,
            })?;
            for incident in loaded {
                incidents.restore(incident, BootTime::now());
            }
        }
        let names = Resolver::start(&settings.sockets());
        for (id, node) in tree.iter() {
            names.look_up(id, &identify(&node.path));
        }
        keep_owners(&probe, &tree);
        let mut parts = Parts::default();
        for (id, _) in tree.iter() {
            parts.learn_by_path(&tree, id);
        }
        let files = Files::new(&layout, &settings.roots.proc_root);
        let mut unseen = Unseen::default();
        for (id, node) in tree.iter().filter(|(_, node)| node.children.is_empty()) {
            if let Some(refusals) = files.pids_refused(&node.path) {
                unseen.found(id, refusals, now);
            }
        }
        // Whoever wants to know of all cgroups need not wait for a window. Both at once, from then on: what
        // the one reads the other need not.
        let (first_window, first_look) = if settings.polls_idle {
            (probe::WINDOW, probe::WINDOW)
        } else {
            (settings.window, LOOK_EVERY)
        };
        let mut model = Model::default();
        if !probe.sees_old_tasks() {
            model.may_have_other_zombies(tree.iter().map(|(id, _)| id));
        }
        memory::release_code();
        Ok(Self {
            probe,
            names,
            owners: SharedOwners::default(),
            name: node_name().into(),
            clock: WallClock::now(),
            execs: Execs::default(),
            errands: Errands::default(),
            parts,
            census: Census::default(),
            namespaces: Namespaces::default(),
            flags: Flags::default(),
            brakes: Brakes::new(&settings.roots),
            braking: Braking::new(settings, &layout, now),
            requests: settings.requests.clone(),
            roots: settings.roots.clone(),
            flagged_owners: HashSet::new(),
            unseen,
            keep_due: now,
            unseen_due: now + unseen::EVERY,
            files,
            layout,
            tree,
            model,
            reasons: Reasons::default(),
            window: settings.window,
            state_file,
            show_all: settings.shows_all,
            idle: settings
                .polls_idle
                .then(|| IdlePoller::new(settings.window)),
            tick: now + probe::WINDOW,
            window_end: now + first_window,
            window_began: BootTime::now(),
            walks: Walks::default(),
            zombies_due: now,
            looking: None,
            closing: None,
            summing: None,
            unknown: HashSet::new(),
            processes: HashMap::new(),
            node_limits: Vec::new(),
            detector: Detector::new(thresholds.detect),
            examinations: Examinations::default(),
            incidents,
            vanished: HashSet::new(),
            touched: HashSet::new(),
            look: now + first_look,
            timer: Timer::new()?,
            events,
            waiting: VecDeque::new(),
        })
    }

    /// How the stream of its events begins.
    pub fn started(&self) -> Line {
        let started = Started {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: self.probe.kernel().into(),
            cgroup_layout: self.layout.kind.into(),
            cgroups: self.tree.len() as u64,
            probes: self.probe.status().iter().map(Into::into).collect(),
        };
        self.line(BootTime::now(), Event::Started(started))
    }

    /// Every cgroup, those nearest to the root first.
    fn ids(&self) -> Vec<CgroupId> {
        let depth = |path: &[u8]| path.iter().filter(|&&byte| byte == b'/').count();
        let mut ids: Vec<_> = self
            .tree
            .iter()
            .map(|(id, node)| (node.path.len() > 1, depth(&node.path), id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, _, id)| id).collect()
    }

    /// A cgroup and those above it, up to the root.
    fn upwards(&self, id: CgroupId) -> impl Iterator<Item = CgroupId> {
        self.tree.upwards(id).map(|(id, _)| id)
    }

    /// The limits above an owner as they are now, nearest first; `None` when one cannot be read.
    pub fn limits_above(&self, id: CgroupId) -> Option<Vec<LimitUse>> {
        let live = Live::new(&self.files, &self.tree, &self.namespaces);
        let limits = live.whole_chain(id)?.into_iter();
        Some(limits.map(|limit| self.limit_use(&limit)).collect())
    }

    /// A limit, with the path of the cgroup whose it is.
    fn limit_use(&self, limit: &Limit) -> LimitUse {
        LimitUse::of(limit, self.limit_path(limit))
    }

    /// Waits for something to show. May be dropped half-way and called again.
    ///
    /// # Errors
    /// When the ring cannot be watched.
    pub async fn next(&mut self, lines: &mut Vec<Line>) -> Result<(), NodeError> {
        while lines.is_empty() {
            if self.is_busy() {
                // The others' turn.
                tokio::task::yield_now().await;
            } else {
                let tick = self.tick.min(self.window_end).min(self.look);
                tokio::select! {
                    ready = self.probe.ready() => ready?,
                    passed = self.timer.until(tick) => passed?,
                    () = ControlQueue::wait(self.requests.as_deref()) => {}
                }
            }
            self.turn(lines);
        }
        Ok(())
    }

    /// One turn: what has come, and a slice of what is to be done.
    fn turn(&mut self, lines: &mut Vec<Line>) {
        let now = Instant::now();
        let slice = Slice::begin();
        // What does not fit here stays in the ring, and what does not fit there is reported as lost.
        if self.waiting.len() < MOST_WAITING {
            self.probe.drain(now, &mut self.events);
            if now >= self.tick {
                self.probe.sweep(now, &mut self.events);
                self.tick = now + probe::WINDOW;
                for id in self.names.take_news() {
                    let owner = self.owner(id, now);
                    let line = self.changed(owner, Change::Named, BootTime::now());
                    lines.push(line);
                }
            }
            self.probe.go_on(now, &mut self.events);
            self.waiting.extend(self.events.drain(..));
        }
        self.apply(now, &slice, lines);
        self.handle_requests(now, lines);
        self.go_on_walking(now, &slice);
        self.go_on_counting(&slice);
        self.go_on_examining(now, &slice);
        let is_time = now >= self.look.min(self.window_end);
        if !is_time && self.looking.is_none() && self.closing.is_none() {
            return;
        }
        if self.looking.is_none() && now >= self.look {
            // The detector, the rows and the incidents see the same charges.
            self.files.hold();
            self.begin_look(now, lines);
            // Evenly, or now and then a second would have no reading.
            self.look += LOOK_EVERY;
            if self.look <= now {
                self.look = now + LOOK_EVERY;
            }
        }
        self.go_on_looking(now, &slice, lines);
        // A look that is under way goes first.
        if self.looking.is_some() {
            return;
        }
        if self.closing.is_none() && now >= self.window_end {
            self.files.hold();
            self.begin_closing(now, lines);
            self.window_end += self.window;
            if self.window_end <= now {
                // Fell behind (suspended, or stopped by a debugger): do not catch up.
                self.window_end = now + self.window;
            }
        }
        self.go_on_closing(now, &slice, lines);
        if self.closing.is_none() {
            self.files.release();
        }
    }

    /// Whether something is left for the next turn.
    fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
            || self.probe.is_busy()
            || self.walks.is_under_way()
            || self.census.is_under_way()
            || self.examinations.is_under_way()
            || self.looking.is_some()
            || self.closing.is_some()
    }

    /// Takes what the kernel side still has and closes the last window.
    pub fn finish(&mut self, lines: &mut Vec<Line>) {
        let now = Instant::now();
        self.files.release();
        let half_way = self.closing.take();
        self.apply(now, &Slice::ENDLESS, lines);
        // Read before the last counts, which then have every failure among these refusals.
        let refused = self.possibly_refused();
        for &id in &refused {
            self.read_refusals(id, now);
        }
        self.probe.finish(now, &mut self.events);
        self.waiting.extend(self.events.drain(..));
        self.apply(now, &Slice::ENDLESS, lines);
        for id in refused {
            self.count_unseen(id);
        }
        self.begin_look(now, lines);
        self.go_on_looking(now, &Slice::ENDLESS, lines);
        if let Some(half_way) = half_way {
            self.closing = Some(half_way);
            self.go_on_closing(now, &Slice::ENDLESS, lines);
            // It has everybody; whoever waits for the end need not wait for that twice.
            self.show_all = false;
        }
        self.end_brakes(BootTime::now(), now, lines);
        self.begin_closing(now, lines);
        self.go_on_closing(now, &Slice::ENDLESS, lines);
    }

    fn apply(&mut self, now: Instant, slice: &Slice, lines: &mut Vec<Line>) {
        while let Some(event) = self.waiting.pop_front() {
            self.apply_one(event, now, lines);
            if slice.is_over() {
                break;
            }
        }
    }
}
