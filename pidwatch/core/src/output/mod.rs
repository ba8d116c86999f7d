//! Forms of output. Each reads the same updates and snapshots.

pub mod check;
pub mod json;
pub mod prometheus;
pub mod text;

use std::io::{self, Write};

use crate::{event::Update, stream::Started};

/// A stream of lines.
pub trait Lines {
    /// The stream begins.
    ///
    /// # Errors
    /// Those of the writer.
    fn started(&mut self, out: &mut dyn Write, started: &Started) -> io::Result<()>;

    /// Something to show.
    ///
    /// # Errors
    /// Those of the writer.
    fn update(&mut self, out: &mut dyn Write, update: &Update) -> io::Result<()>;
}
