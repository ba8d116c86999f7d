//! Where the agent's lines go: whoever listens, the recorder, Kubernetes, and the board.

use std::{io, rc::Rc};

use super::{
    board::Board, event_log, event_log::EventLog, events, events::Batch, flight, flight::Flight,
    kubernetes, kubernetes::Kubernetes, shared::Shared, supervisor::Supervisor,
};
use crate::{
    cli::args::AgentArgs,
    clock::BootTime,
    node::watch::Sink,
    output::json::Json,
    runtime::private::PrivateFolder,
    stream::{Event, Line},
};

/// The agent's part of the watch.
pub struct Agent {
    shared: Rc<Shared>,
    state: Rc<PrivateFolder>,
    /// Room of the flight recorder; 0 for none.
    flight_room: u64,
    max_series: usize,
    log: EventLog,
    supervisor: Supervisor,
    kubernetes: Option<Kubernetes>,
    /// Room for lines as text.
    text: Vec<u8>,
}

impl Agent {
    /// Takes standard output.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn new(
        shared: Rc<Shared>,
        state: Rc<PrivateFolder>,
        kubernetes: Option<Kubernetes>,
        args: &AgentArgs,
    ) -> io::Result<Self> {
        Ok(Self {
            shared,
            state,
            flight_room: args.flight_recorder,
            max_series: args.max_series,
            log: EventLog::new(),
            supervisor: Supervisor::find(),
            kubernetes,
            text: Vec::new(),
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

    /// Passes lines on as text to whoever is there, each with all lines of the moment.
    fn publish(&mut self, lines: &[Line]) -> io::Result<()> {
        let Shared {
            hub, flight, board, ..
        } = &*self.shared;
        let (mut flight, mut hub) = (flight.borrow_mut(), hub.borrow_mut());
        let mut batch = (hub.readers() > 0).then(Batch::default);
        let mut lost = 0;
        self.text.clear();
        for line in lines {
            let is_logged = matches!(
                line.event,
                Event::State(_) | Event::Incident(_) | Event::Brake(_) | Event::Lost { .. }
            );
            if !is_logged && flight.is_none() && batch.is_none() {
                continue;
            }
            if flight.is_none() {
                self.text.clear();
            }
            let begin = self.text.len();
            Json::write(&mut self.text, line)?;
            let text = &self.text[begin..];
            if is_logged {
                lost += self.log.push(text);
            }
            if let Some(batch) = &mut batch {
                batch.push(line.event.kind(), hub.next_id(), text.trim_ascii_end());
            }
        }
        let unkept = flight.as_mut().map_or(0, |flight| flight.push(&self.text));
        let unread = match (batch.filter(|batch| !batch.is_empty()), lines.last()) {
            (Some(batch), Some(last)) => hub.publish(batch, last.time),
            _ => 0,
        };
        if let Some(board) = board.borrow_mut().as_mut() {
            board.lose(event_log::PLACE, lost);
            board.lose(flight::PLACE, unkept);
            board.lose(events::PLACE, unread);
        }
        Ok(())
    }
}

impl Sink for Agent {
    fn started(&mut self, line: Line) -> io::Result<()> {
        let Shared {
            board,
            flight,
            looked,
            ..
        } = &*self.shared;
        let mut text = Vec::new();
        Json::write(&mut text, &line)?;
        self.log.push(&text);
        if self.flight_room > 0 {
            let state = self.state.clone();
            *flight.borrow_mut() = Some(Flight::new(state, self.flight_room, text));
        }
        if let Event::Started(started) = line.event {
            *board.borrow_mut() = Some(Board::new(started, self.max_series));
        }
        looked.set(tokio::time::Instant::now());
        Ok(())
    }

    fn take(&mut self, lines: &mut Vec<Line>) -> io::Result<()> {
        self.shared.looked.set(tokio::time::Instant::now());
        self.publish(lines)?;
        let now = BootTime::now();
        let shared = self.shared.clone();
        let mut board = shared.board.borrow_mut();
        let Some(board) = board.as_mut() else {
            return Ok(());
        };
        for line in lines.drain(..) {
            if let Some(kubernetes) = &mut self.kubernetes {
                kubernetes.take(&line, now);
            }
            if let Event::Node(node) = &line.event {
                self.supervisor.alive(node);
            }
            board.take(line, now);
        }
        let unwritten = self.kubernetes.as_mut().map_or(0, Kubernetes::take_lost);
        board.lose(kubernetes::PLACE, unwritten);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.log.write();
        Ok(())
    }
}
