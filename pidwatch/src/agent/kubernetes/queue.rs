//! Notes that wait for the API server: bounded, the same one once.

use std::collections::VecDeque;

use super::notes::Note;

/// Most notes that wait: with what [`super::notes`] lets through, those of several minutes.
pub const MOST: usize = 64;

/// Notes in the order in which they came.
#[derive(Debug, Default)]
pub struct Queue(VecDeque<Note>);

impl Queue {
    /// Takes a note in, in the place of an older one of the same key; says whether one was lost for it.
    pub fn push(&mut self, note: Note) -> bool {
        if let Some(older) = self.0.iter_mut().find(|older| older.key == note.key) {
            *older = note;
            return false;
        }
        self.0.push_back(note);
        // Who reads events wants to know how things are.
        self.0.len() > MOST && self.0.pop_front().is_some()
    }

    /// Takes one back that could not be written, behind the others: what keeps it from being written may
    /// be its own. Says whether it is lost, for want of room.
    pub fn put_back(&mut self, note: Note) -> bool {
        if self.0.iter().any(|newer| newer.key == note.key) {
            return false;
        }
        if self.0.len() >= MOST {
            return true;
        }
        self.0.push_back(note);
        false
    }

    /// The one that waits longest.
    pub fn pop(&mut self) -> Option<Note> {
        self.0.pop_front()
    }
}
