//! Where the agent's updates go: the board first, then whoever is told.

use std::{io, rc::Rc};

use super::{
    board::Board, event_log, event_log::EventLog, events, events::Batch, flight, flight::Flight,
    kubernetes, kubernetes::Kubernetes, readings::Readings, shared::Shared, state_dir::StateDir,
    supervisor::Supervisor,
};
use crate::{
    cli::args::AgentArgs,
    clock::BootTime,
    event::Update,
    node::{Node, watch::Sink},
    output::Lines,
    stream::Started,
};

/// The agent's part of the watch.
pub struct Agent {
    shared: Rc<Shared>,
    state: Option<StateDir>,
    /// Room of the flight recorder; 0 for none.
    flight_room: u64,
    max_series: usize,
    log: EventLog,
    readings: Readings,
    supervisor: Supervisor,
    kubernetes: Option<Kubernetes>,
    lines: Vec<u8>,
}

impl Agent {
    /// Takes standard output.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn new(
        shared: Rc<Shared>,
        state: Option<StateDir>,
        kubernetes: Option<Kubernetes>,
        args: &AgentArgs,
    ) -> io::Result<Self> {
        Ok(Self {
            shared,
            state,
            flight_room: args.flight_recorder,
            max_series: args.max_series,
            log: EventLog::new(),
            readings: Readings::new(args.node.window),
            supervisor: Supervisor::find(),
            kubernetes,
            lines: Vec::new(),
        })
    }

    /// The watch is over.
    pub fn end(self) {
        self.supervisor.ending();
        self.shared.hub.borrow_mut().close();
        if let Some(flight) = self.shared.flight.borrow_mut().as_mut() {
            flight.write();
        }
    }

    /// Tells an update to whoever is there.
    fn tell(&mut self, update: &Update, batch: &mut Option<Batch>) -> io::Result<()> {
        let Shared {
            json, hub, flight, ..
        } = &*self.shared;
        let is_logged = matches!(
            update,
            Update::State(_) | Update::Incident(..) | Update::Lost { .. }
        );
        let mut flight = flight.borrow_mut();
        if !is_logged && flight.is_none() && batch.is_none() {
            return Ok(());
        }
        let lines = &mut self.lines;
        lines.clear();
        json.borrow_mut().update(lines, update)?;
        let mut lost = 0;
        if is_logged {
            lost = self.log.push(lines);
        }
        let unkept = flight.as_mut().map_or(0, |flight| flight.push(lines));
        if let Some(batch) = batch {
            let mut hub = hub.borrow_mut();
            let mut rest = lines
                .trim_ascii_end()
                .split(|&byte| byte == b'\n')
                .peekable();
            while let Some(line) = rest.next() {
                let kind = match update {
                    Update::Failed(_) => "clone_failed",
                    Update::Added(..) | Update::Removed(..) | Update::Named(..) => "cgroup",
                    Update::State(_) => "state",
                    Update::Incident(..) => "incident",
                    Update::Window(_) if rest.peek().is_some() => "rate",
                    Update::Window(_) => "node",
                    Update::Lost { .. } => "lost",
                };
                batch.push(kind, hub.next_id(), line);
            }
        }
        if let Some(board) = self.shared.board.borrow_mut().as_mut() {
            for (place, count) in [(event_log::PLACE, lost), (flight::PLACE, unkept)] {
                if count > 0 {
                    board.lose(place, count);
                }
            }
        }
        Ok(())
    }
}

impl Sink for Agent {
    fn started(&mut self, started: &Started) -> io::Result<()> {
        let Shared {
            board,
            json,
            flight,
            looked,
            ..
        } = &*self.shared;
        let mut line = Vec::new();
        json.borrow_mut().started(&mut line, started)?;
        self.log.push(&line);
        if let Some(state) = self.state.as_ref().filter(|_| self.flight_room > 0) {
            *flight.borrow_mut() = Some(Flight::new(state.path(), self.flight_room, line));
        }
        let now = BootTime::now();
        *board.borrow_mut() = Some(Board::new(started.clone(), now, self.max_series));
        looked.set(tokio::time::Instant::now());
        Ok(())
    }

    fn look(&mut self, node: &mut Node, updates: &mut [Update]) {
        if let Some(board) = self.shared.board.borrow_mut().as_mut() {
            self.readings.look(node, updates, board);
        }
    }

    fn take(&mut self, updates: &mut Vec<Update>) -> io::Result<()> {
        let shared = self.shared.clone();
        shared.looked.set(tokio::time::Instant::now());
        let mut batch = (shared.hub.borrow_mut().readers() > 0).then(Batch::default);
        let mut clock = shared.clock.get();
        clock.follow_steps();
        shared.clock.set(clock);
        for update in updates.drain(..) {
            if let Some(board) = shared.board.borrow_mut().as_mut() {
                board.take(&update, |time| clock.at(time));
            }
            self.tell(&update, &mut batch)?;
            if let Some(kubernetes) = &mut self.kubernetes {
                kubernetes.take(&update);
            }
            if let Update::Window(snapshot) = &update {
                self.supervisor.alive(snapshot);
            }
        }
        if let Some(board) = shared.board.borrow_mut().as_mut() {
            self.readings.settle(board);
            let unwritten = self.kubernetes.as_mut().map_or(0, Kubernetes::take_lost);
            if unwritten > 0 {
                board.lose(kubernetes::PLACE, unwritten);
            }
            if let Some(batch) = batch.filter(|batch| !batch.is_empty()) {
                let time = clock.at(BootTime::now());
                let lost = shared.hub.borrow_mut().publish(batch, time);
                if lost > 0 {
                    board.lose(events::PLACE, lost);
                }
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.log.write();
        Ok(())
    }
}
