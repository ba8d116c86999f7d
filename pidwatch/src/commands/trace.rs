//! `pidwatch trace`: the node's task life as a stream of lines.

use std::{collections::HashSet, io};

use crate::{
    cli::args::{OutputFormat, TraceArgs},
    filter::Filter,
    node::watch::{self, Sink, WatchError},
    output::{Lines, json::Json, text::Text},
    runtime::Stdout,
    stream::{Event, Line},
};

/// Traces until the time is over, a signal comes or the reader leaves.
///
/// # Errors
/// When the node cannot be watched or standard output fails.
pub fn run(mut args: TraceArgs) -> Result<(), WatchError> {
    args.node.shows_all = args.all;
    let printer = || Printer::new(args.output, args.filter.clone());
    watch::run(&args.node, args.duration, printer).map(|_| ())
}

/// Lines on standard output, of the cgroups asked for.
pub struct Printer {
    lines: Box<dyn Lines>,
    filter: Filter,
    /// Open incidents that are not shown.
    hidden: HashSet<String>,
    out: Stdout,
}

impl Printer {
    /// Takes standard output.
    ///
    /// # Errors
    /// When it is closed.
    pub fn new(format: OutputFormat, filter: Filter) -> io::Result<Self> {
        Ok(Self {
            lines: match format {
                OutputFormat::Json => Box::new(Json),
                OutputFormat::Text => Box::new(Text::for_stdout()),
            },
            filter,
            hidden: HashSet::new(),
            out: Stdout::new()?,
        })
    }

    /// What waits to be written.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out.buffer()
    }

    /// Takes the next line of the stream.
    ///
    /// # Errors
    /// Those of writing.
    pub fn show(&mut self, mut line: Line) -> io::Result<()> {
        let is_shown = self.filter.matches_line(&line);
        match &mut line.event {
            Event::Incident(incident) if !is_shown => {
                self.hidden.insert(incident.id.clone());
            }
            // Its victims may have become known since.
            Event::Incident(incident) => {
                self.hidden.remove(&incident.id);
            }
            Event::Node(node) => {
                let open = &mut node.incidents;
                self.hidden
                    .retain(|id| open.iter().any(|now| now.id == *id));
                open.retain(|now| !self.hidden.contains(&now.id));
            }
            _ => {}
        }
        if is_shown {
            self.lines.line(self.out.buffer(), line)?;
        }
        Ok(())
    }
}

impl Sink for Printer {
    fn started(&mut self, line: Line) -> io::Result<()> {
        self.show(line)
    }

    fn take(&mut self, lines: &mut Vec<Line>) -> io::Result<()> {
        lines.drain(..).try_for_each(|line| self.show(line))
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.out.flush().await
    }
}
