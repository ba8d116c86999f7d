//! What the watch and those who ask have in common.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    board::Board,
    events::{Batch, EventReader, Hub},
    flight::Flight,
    room::{ReportPauses, Room},
};
use crate::{
    escape,
    node::node_name,
    stream::{Event, Line},
};

/// The watch looks at least at every window; after so many without, and so long, it hangs.
const STUCK: Duration = Duration::from_secs(10);

/// Large answers that are under way at once.
const MOST_LARGE: usize = 8;
/// Readers of events at once.
const MOST_READERS: usize = 16;

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
    pub(super) name: Arc<str>,
    pub(super) hub: RefCell<Hub>,
    pub(super) flight: RefCell<Option<Flight>>,
    /// Large answers under way: each holds its whole text until it is read.
    pub(super) large: Rc<Room>,
    /// Readers of events.
    pub(super) readers: Rc<Room>,
    pub(super) report_pauses: RefCell<ReportPauses>,
    /// Reports that are being made.
    pub(super) reports: Rc<Cell<usize>>,
    pub(super) looked: Cell<Instant>,
    patience: Duration,
}

impl Shared {
    pub(super) fn new(window: Duration) -> Self {
        let name: Arc<str> = node_name().into();
        Self {
            board: RefCell::new(None),
            hub: RefCell::new(Hub::new(name.clone())),
            name,
            flight: RefCell::new(None),
            large: Room::new(MOST_LARGE),
            readers: Room::new(MOST_READERS),
            report_pauses: RefCell::default(),
            reports: Rc::default(),
            looked: Cell::new(Instant::now()),
            patience: STUCK.max(window * 3),
        }
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

    /// A reader of events, who is told first how things are.
    pub(super) fn join(&self) -> EventReader {
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
        let mut push = |time, event| -> io::Result<()> {
            let line = Line {
                time,
                node: self.name.clone(),
                event,
            };
            let text = escape::shown_json(serde_json::to_vec(&line)?);
            batch.push(line.event.kind(), hub.next_id(), &text);
            Ok(())
        };
        let time = board.time();
        push(time, Event::Started(board.started().clone()))?;
        for rate in board.rates() {
            push(time, Event::Rate(Box::new(rate)))?;
        }
        for (time, state) in board.states() {
            push(*time, Event::State(Box::new(state.clone())))?;
        }
        for incident in board.open() {
            push(time, Event::Incident(Box::new(incident.clone())))?;
        }
        push(time, Event::Node(board.node().clone()))?;
        Ok(batch)
    }
}

/// Counts something as long as it lives.
pub struct CountGuard(Rc<Cell<usize>>);

impl CountGuard {
    pub(super) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
