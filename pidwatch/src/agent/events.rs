//! Who listens to the stream of events, and what waits for each.
//!
//! In: lines of the stream, all of one moment together. Out: server-sent events (HTML, 9.2), taken by
//! each reader at its own pace. A reader that is too slow loses whole moments, and is told how many
//! lines they had; what waits for it is bounded.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::Write,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use jiff::Timestamp;

use crate::stream::{Event, Line};

/// Most bytes that wait for a reader.
const MOST_WAITING: usize = 2 << 20;
/// Where a slow reader's lines are lost, in events and metrics.
pub const PLACE: &str = "event_stream";

/// Lines of one moment as server-sent events.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    lines: u64,
}

impl Batch {
    /// Adds a line (without its newline) of this type.
    pub fn push(&mut self, kind: &str, id: u64, line: &[u8]) {
        let _ = write!(self.text, "event: {kind}\nid: {id}\ndata: ");
        self.text.extend_from_slice(line);
        self.text.extend_from_slice(b"\n\n");
        self.lines += 1;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }
}

#[derive(Debug, Default)]
struct ReaderQueue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Lines that were lost and are not told yet.
    lost: u64,
    waker: Option<Waker>,
    is_over: bool,
}

/// All readers.
#[derive(Debug)]
pub struct Hub {
    node: Arc<str>,
    readers: Vec<Weak<RefCell<ReaderQueue>>>,
    next_id: u64,
}

impl Hub {
    /// For this node's stream.
    pub fn new(node: Arc<str>) -> Self {
        Self {
            node,
            readers: Vec::new(),
            next_id: 0,
        }
    }

    /// The next line's number.
    pub fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// How many listen.
    pub fn readers(&mut self) -> usize {
        self.readers.retain(|reader| reader.strong_count() > 0);
        self.readers.len()
    }

    /// A new reader, that begins with what is given.
    pub fn join(&mut self, beginning: Batch) -> EventReader {
        let text = Bytes::from(beginning.text);
        let queue = Rc::new(RefCell::new(ReaderQueue {
            bytes: text.len(),
            waiting: Some(text)
                .filter(|text| !text.is_empty())
                .into_iter()
                .collect(),
            ..ReaderQueue::default()
        }));
        self.readers.push(Rc::downgrade(&queue));
        EventReader(queue)
    }

    /// Tells everybody, and says how many lines were lost.
    pub fn publish(&mut self, batch: Batch, time: Timestamp) -> u64 {
        let Batch { text, lines } = batch;
        let text = Bytes::from(text);
        let (mut lost, mut next_id) = (0, self.next_id);
        for reader in &self.readers {
            let Some(queue) = reader.upgrade() else {
                continue;
            };
            let mut queue = queue.borrow_mut();
            // One moment may be as large as it is: only what comes on top of others is refused.
            if queue.bytes > 0 && queue.bytes + text.len() > MOST_WAITING {
                queue.lost += lines;
                lost += lines;
                continue;
            }
            if queue.lost > 0 {
                next_id += 1;
                let told = self.lost(queue.lost, time, next_id);
                queue.push(told);
                queue.lost = 0;
            }
            queue.push(text.clone());
        }
        self.next_id = next_id;
        lost
    }

    fn lost(&self, count: u64, time: Timestamp, id: u64) -> Bytes {
        let line = Line {
            time,
            node: self.node.clone(),
            event: Event::Lost {
                place: PLACE.into(),
                count,
            },
        };
        let mut batch = Batch::default();
        batch.push(
            line.event.kind(),
            id,
            &serde_json::to_vec(&line).unwrap_or_default(),
        );
        batch.text.into()
    }

    /// Ends every reader's stream after what waits for it.
    pub fn close(&mut self) {
        for queue in self.readers.drain(..).filter_map(|reader| reader.upgrade()) {
            let mut queue = queue.borrow_mut();
            queue.is_over = true;
            queue.wake();
        }
    }
}

impl ReaderQueue {
    fn push(&mut self, text: Bytes) {
        self.bytes += text.len();
        self.waiting.push_back(text);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One reader; it leaves by being dropped.
#[derive(Debug)]
pub struct EventReader(Rc<RefCell<ReaderQueue>>);

impl EventReader {
    /// What comes next; `None` at the end.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.0.borrow_mut();
        match queue.waiting.pop_front() {
            Some(text) => {
                queue.bytes -= text.len();
                Poll::Ready(Some(text))
            }
            None if queue.is_over => Poll::Ready(None),
            None => {
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(line: &[u8], lines: u64) -> Batch {
        let mut batch = Batch::default();
        for id in 0..lines {
            batch.push("rate", id, line);
        }
        batch
    }

    fn next(reader: &EventReader) -> Option<String> {
        let mut context = Context::from_waker(Waker::noop());
        match reader.poll_next(&mut context) {
            Poll::Ready(text) => text.map(|text| String::from_utf8(text.to_vec()).unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_reader_begins_with_the_state_and_goes_on_with_what_happens() {
        let mut hub = Hub::new("n".into());
        let reader = hub.join(batch(b"{}", 1));
        assert_eq!(
            hub.publish(batch(b"{\"a\":1}", 1), Timestamp::UNIX_EPOCH),
            0
        );
        assert_eq!(next(&reader).unwrap(), "event: rate\nid: 0\ndata: {}\n\n");
        assert!(next(&reader).unwrap().ends_with("data: {\"a\":1}\n\n"));
        assert_eq!(next(&reader), None);
        drop(reader);
        assert_eq!(hub.readers(), 0);
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost_and_others_lose_nothing() {
        let mut hub = Hub::new("n".into());
        let slow = hub.join(Batch::default());
        let quick = hub.join(Batch::default());
        let large = vec![b'x'; 1 << 20];
        let mut lost = 0;
        for _ in 0..10 {
            lost += hub.publish(batch(&large, 1), Timestamp::UNIX_EPOCH);
            while next(&quick).is_some() {}
        }
        assert!(lost > 0);
        assert!(slow.0.borrow().bytes <= MOST_WAITING);
        assert_eq!(quick.0.borrow().lost, 0);
        let mut told = String::new();
        while let Some(text) = next(&slow) {
            told += &text;
        }
        assert!(!told.contains("event: lost"), "before there is room again");
        hub.publish(batch(b"{}", 1), Timestamp::UNIX_EPOCH);
        let told = next(&slow).unwrap();
        let expected = format!("\"type\":\"lost\",\"where\":\"event_stream\",\"count\":{lost}}}");
        assert!(
            told.starts_with("event: lost\n") && told.contains(&expected),
            "{told}"
        );
        assert!(next(&slow).unwrap().starts_with("event: rate\n"));
    }

    #[test]
    fn at_the_end_every_reader_is_done() {
        let mut hub = Hub::new("n".into());
        let reader = hub.join(batch(b"{}", 1));
        hub.close();
        assert!(next(&reader).is_some());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(reader.poll_next(&mut context), Poll::Ready(None));
    }
}
