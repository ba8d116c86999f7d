//! `pidwatch agent`: the node under watch for as long as it is up, told over HTTP.
//!
//! In: the node's updates. Out: metrics, the node as it is and what happens by `http`, an event log on
//! standard output, and the stream of events in the flight recorder. All of it is on one thread. The
//! watch waits for nobody: what a reader does not take, a disk has no room for or a log nobody reads is
//! lost there, counted, and nowhere else. Only a disk that hangs, and does not fail, is waited for.

mod board;
mod event_log;
mod events;
mod flight;
mod http;
mod kubernetes;
mod night;
mod overview;
mod readings;
mod sink;
mod state_dir;
mod supervisor;

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;

use self::{
    board::Board,
    events::{Batch, Hub, Reader},
    flight::Flight,
    kubernetes::{Api, Kubernetes},
    sink::Agent,
    state_dir::StateDir,
};
use crate::{
    clock::{BootTime, WallClock},
    event::Update,
    node::watch::{self, WatchError},
    output::{
        Lines,
        json::{Json, node_name},
    },
    runtime::diagnostics,
    settings::AgentSettings,
    stream::{Event, Line},
};

/// The watch looks at least at every window; after so many without, and so long, it hangs.
const STUCK: Duration = Duration::from_secs(10);

/// The agent could not begin, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nothing can be served there.
    #[error("cannot listen on {address}: {error}{}", advice(.error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// The node cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another agent or program has that port: end it, or choose another one with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: choose another one with --listen"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Watches and serves until SIGINT or SIGTERM.
///
/// # Errors
/// When the address cannot be listened on or the node cannot be watched.
pub fn run(mut settings: AgentSettings) -> Result<(), AgentError> {
    // It runs for long: also what is good to know.
    diagnostics::init(settings.node.kernel_log, LevelFilter::INFO);
    let address = settings.listen;
    let fail = |error| AgentError::Listen { address, error };
    // Before anything that takes time: who asks meanwhile waits, and is answered.
    let listener = http::bind(address).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let state = StateDir::open(&settings.state_dir);
    if let (Some(state), None) = (&state, &settings.node.state_file) {
        settings.node.state_file = Some(state.incidents(&settings.node.proc_root));
    }
    let api = settings.kubernetes_events.then(Api::find);
    tracing::info!("listening on http://{address}");
    let make = || {
        let shared = Rc::new(Shared::new(settings.node.window));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::task::spawn_local(http::serve(listener, shared.clone()));
        tokio::task::spawn_local(supervisor::feed(shared.clone()));
        let kubernetes = api.map(|api| Kubernetes::begin(api?, &shared.name));
        let kubernetes = kubernetes.transpose().unwrap_or_else(|error| {
            tracing::error!("{error}; watching on");
            None
        });
        Agent::new(shared, state, kubernetes, &settings)
    };
    let agent = watch::run(&settings.node, None, make)?;
    agent.end();
    Ok(())
}

/// How the watch does.
#[derive(Clone, Copy, Debug)]
pub enum Health {
    /// It goes on.
    Good,
    /// It has not looked at the node for so long.
    Stuck(Duration),
}

/// What the watch and those who ask have in common.
pub struct Shared {
    board: RefCell<Option<Board>>,
    /// The node's name.
    name: String,
    clock: Cell<WallClock>,
    json: RefCell<Json>,
    hub: RefCell<Hub>,
    flight: RefCell<Option<Flight>>,
    /// Large answers under way.
    large: Rc<Cell<usize>>,
    /// Reports that are being made.
    reports: Rc<Cell<usize>>,
    looked: Cell<Instant>,
    patience: Duration,
}

impl Shared {
    fn new(window: Duration) -> Self {
        let (name, clock) = (node_name(), WallClock::now());
        Self {
            board: RefCell::new(None),
            hub: RefCell::new(Hub::new(name.clone())),
            json: RefCell::new(Json::new(clock)),
            name,
            clock: Cell::new(clock),
            flight: RefCell::new(None),
            large: Rc::default(),
            reports: Rc::default(),
            looked: Cell::new(Instant::now()),
            patience: STUCK.max(window * 3),
        }
    }

    /// Wall time of a moment.
    fn at(&self, time: BootTime) -> Timestamp {
        self.clock.get().at(time)
    }

    fn is_ready(&self) -> bool {
        self.board.borrow().as_ref().is_some_and(Board::is_ready)
    }

    fn health(&self) -> Health {
        let since = self.looked.get().elapsed();
        if since > self.patience {
            Health::Stuck(since)
        } else {
            Health::Good
        }
    }

    fn readers(&self) -> usize {
        self.hub.borrow_mut().readers()
    }

    /// A reader of events, who is told first how things are.
    fn join(&self) -> Reader {
        let mut hub = self.hub.borrow_mut();
        let beginning = self.state_as_of_now(&mut hub).unwrap_or_default();
        hub.join(beginning)
    }

    /// `started`, a `rate` for every owner, the states that are not `ok`, the open incidents, and last
    /// the `node` line, which makes a window of it all.
    fn state_as_of_now(&self, hub: &mut Hub) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let board = self.board.borrow();
        let Some(board) = board.as_ref() else {
            return Ok(batch);
        };
        let mut json = self.json.borrow_mut();
        let snapshot = board.snapshot();
        let time = snapshot.time;
        let incidents = snapshot.incidents.clone();
        let mut line = Vec::new();
        let mut push = |kind: &str, line: &mut Vec<u8>| {
            batch.push(kind, hub.next_id(), line.trim_ascii_end());
            line.clear();
        };
        let write = |line: &mut Vec<u8>, time, event| {
            let told = Line {
                time: self.at(time),
                node: self.name.clone(),
                event,
            };
            serde_json::to_writer(line, &told)
        };
        let started = Event::Started(board.started().clone());
        write(&mut line, time, started)?;
        push("started", &mut line);
        let mut window = Vec::new();
        json.update(&mut window, &Update::Window(snapshot))?;
        let mut lines: Vec<&[u8]> = window.trim_ascii_end().split(|&b| b == b'\n').collect();
        let node = lines.pop().unwrap_or_default();
        for rate in lines {
            line.extend_from_slice(rate);
            push("rate", &mut line);
        }
        for (time, state) in board.states() {
            write(&mut line, time, Event::State(Box::new(state.clone())))?;
            push("state", &mut line);
        }
        for incident in incidents {
            json.update(&mut line, &Update::Incident(Box::new(incident), time))?;
            push("incident", &mut line);
        }
        line.extend_from_slice(node);
        push("node", &mut line);
        Ok(batch)
    }
}

/// Counts something as long as it lives.
pub struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests;
