//! Forms of output. Each reads the same stream of events.

pub mod check;
pub mod json;
pub mod prometheus;
pub mod text;

use std::io::{self, Write};

use crate::stream::Line;

/// A writer of the stream of events.
pub trait Lines {
    /// Takes the next line of the stream.
    ///
    /// # Errors
    /// Those of the writer.
    fn line(&mut self, out: &mut dyn Write, line: Line) -> io::Result<()>;
}
