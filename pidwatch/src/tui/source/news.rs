//! What a source of lines tells the screen.

use crate::stream::Line;

/// Something that the screen should know.
#[derive(Debug)]
pub enum SourceEvent {
    /// The next line.
    Line(Box<Line>),
    /// Everything is told anew from here on.
    Anew,
    /// Nothing comes, and why; `None`: it comes again.
    Trouble(Option<String>),
    /// A recording has come to its end, or goes on.
    Playing(bool),
}
