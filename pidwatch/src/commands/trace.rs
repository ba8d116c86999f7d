//! `pidwatch trace`: the node's task life as a stream of lines.

use std::io;

use crate::{
    cli::args::{OutputFormat, TraceArgs},
    clock::WallClock,
    event::Update,
    filter::Filter,
    node::watch::{self, Sink, WatchError},
    output::{Lines, json::Json, text::Text},
    runtime::Stdout,
    stream::Started,
};

/// Traces until the time is over, a signal comes or the reader leaves.
///
/// # Errors
/// When the node cannot be watched or standard output fails.
pub fn run(mut args: TraceArgs) -> Result<(), WatchError> {
    args.node.shows_all = args.all;
    let printer = || Printer::new(args.output, WallClock::now(), args.filter.clone());
    watch::run(&args.node, args.duration, printer).map(|_| ())
}

/// Lines on standard output, of the cgroups asked for.
pub struct Printer {
    lines: Box<dyn Lines>,
    filter: Filter,
    out: Stdout,
}

impl Printer {
    /// Takes standard output.
    ///
    /// # Errors
    /// When it is closed.
    pub fn new(format: OutputFormat, clock: WallClock, filter: Filter) -> io::Result<Self> {
        Ok(Self {
            lines: match format {
                OutputFormat::Json => Box::new(Json::new(clock)),
                OutputFormat::Text => Box::new(Text::for_stdout(clock)),
            },
            filter,
            out: Stdout::new()?,
        })
    }

    /// What waits to be written.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out.buffer()
    }

    fn show(&mut self, update: &mut Update) -> io::Result<()> {
        let filter = &self.filter;
        let shown = match update {
            Update::Failed(failed) => {
                filter.matches(&failed.owner) || filter.matches(failed.sufferer())
            }
            Update::Added(owner, _) | Update::Removed(owner, _) | Update::Named(owner, _) => {
                filter.matches(owner)
            }
            Update::Window(snapshot) => {
                snapshot.rows.retain(|row| filter.matches(&row.owner));
                let incidents = &mut snapshot.incidents;
                incidents.retain(|incident| filter.matches_incident(incident));
                true
            }
            Update::State(change) => filter.matches(&change.owner),
            Update::Incident(incident, _) => filter.matches_incident(incident),
            Update::Lost { .. } => true,
        };
        if shown {
            self.lines.update(self.out.buffer(), update)?;
        }
        Ok(())
    }
}

impl Sink for Printer {
    fn started(&mut self, started: &Started) -> io::Result<()> {
        self.lines.started(self.out.buffer(), started)
    }

    fn take(&mut self, updates: &mut Vec<Update>) -> io::Result<()> {
        for mut update in updates.drain(..) {
            self.show(&mut update)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.out.flush().await
    }
}
