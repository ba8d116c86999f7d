//! What a source of updates tells the screen.

use crate::event::Update;

/// Something that the screen should know.
#[derive(Debug)]
pub enum News {
    /// The node did something.
    Update(Update),
    /// Everything is told anew from here on.
    Anew,
    /// Whose updates these are.
    NodeName(String),
    /// Nothing comes, and why; `None`: it comes again.
    Trouble(Option<String>),
    /// A recording has come to its end, or goes on.
    Playing(bool),
}
