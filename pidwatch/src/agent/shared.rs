//! What the watch and those who ask have in common.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    board::Board,
    events::{Batch, Hub, Reader},
    flight::Flight,
};
use crate::{
    clock::{BootTime, WallClock},
    event::Update,
    output::{
        Lines,
        json::{Json, node_name},
    },
    stream::{Event, Line},
};

/// The watch looks at least at every window; after so many without, and so long, it hangs.
const STUCK: Duration = Duration::from_secs(10);

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
    pub(super) board: RefCell<Option<Board>>,
    /// The node's name.
    pub(super) name: String,
    pub(super) clock: Cell<WallClock>,
    pub(super) json: RefCell<Json>,
    pub(super) hub: RefCell<Hub>,
    pub(super) flight: RefCell<Option<Flight>>,
    /// Large answers under way.
    pub(super) large: Rc<Cell<usize>>,
    /// Reports that are being made.
    pub(super) reports: Rc<Cell<usize>>,
    pub(super) looked: Cell<Instant>,
    patience: Duration,
}

impl Shared {
    pub(super) fn new(window: Duration) -> Self {
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
    pub(super) fn at(&self, time: BootTime) -> Timestamp {
        self.clock.get().at(time)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.board.borrow().as_ref().is_some_and(Board::is_ready)
    }

    pub(super) fn health(&self) -> Health {
        let since = self.looked.get().elapsed();
        if since > self.patience {
            Health::Stuck(since)
        } else {
            Health::Good
        }
    }

    pub(super) fn readers(&self) -> usize {
        self.hub.borrow_mut().readers()
    }

    /// A reader of events, who is told first how things are.
    pub(super) fn join(&self) -> Reader {
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
    pub(super) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
