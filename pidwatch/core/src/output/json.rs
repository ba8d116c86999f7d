//! The stream of events as JSON, one object a line.

use std::io::{self, Write};

use super::Lines;
use crate::{escape, stream::Line};

/// Writer of JSON lines.
#[derive(Debug, Default)]
pub struct Json;

impl Json {
    /// Writes one line.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(out: &mut dyn Write, line: &Line) -> io::Result<()> {
        out.write_all(&escape::shown_json(serde_json::to_vec(line)?))?;
        out.write_all(b"\n")
    }
}

impl Lines for Json {
    fn line(&mut self, out: &mut dyn Write, line: Line) -> io::Result<()> {
        Self::write(out, &line)
    }
}
