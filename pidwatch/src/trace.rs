//! `pidwatch trace`: the node's task life as a stream of lines.

use std::io::{self, Write};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{
    cli::OutputFormat,
    diagnostics,
    node::{Node, NodeError, Update},
    output::{Lines, json::Json, text::Text},
    settings::Settings,
};

/// Tracing stopped early.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The node cannot be watched.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Standard output is broken, other than by a reader that has seen enough.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// No runtime.
    #[error("cannot start: {0}; the process may be out of file descriptors (`ulimit -n`)")]
    Runtime(io::Error),
}

/// Traces until the time is over, a signal comes or the reader leaves.
///
/// # Errors
/// When the node cannot be watched or standard output fails.
pub fn run(settings: &Settings) -> Result<(), TraceError> {
    diagnostics::init(settings.node.kernel_log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TraceError::Runtime)?;
    match runtime.block_on(trace(settings)) {
        // `| head -1`: the reader has seen enough.
        Err(TraceError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn trace(settings: &Settings) -> Result<(), TraceError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(TraceError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(TraceError::Runtime)?;
    let mut node = Node::start(&settings.node)?;
    let mut output = Output::new(settings, &node)?;
    let end = settings.duration.map(|duration| Instant::now() + duration);
    let mut updates = Vec::new();
    loop {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = over => break,
            result = node.next(&mut updates) => result?,
        }
        output.show(settings, &mut updates)?;
    }
    node.finish(&mut updates);
    output.show(settings, &mut updates)
}

/// The lines on standard output.
struct Output {
    lines: Box<dyn Lines>,
    out: io::BufWriter<io::Stdout>,
}

impl Output {
    fn new(settings: &Settings, node: &Node) -> Result<Self, TraceError> {
        let mut lines: Box<dyn Lines> = match settings.output {
            OutputFormat::Json => Box::new(Json::new()),
            OutputFormat::Text => Box::new(Text::for_stdout()),
        };
        let mut out = io::BufWriter::new(io::stdout());
        lines
            .started(&mut out, node)
            .and_then(|()| out.flush())
            .map_err(TraceError::Output)?;
        Ok(Self { lines, out })
    }

    fn show(&mut self, settings: &Settings, updates: &mut Vec<Update>) -> Result<(), TraceError> {
        let mut write = || -> io::Result<()> {
            for mut update in updates.drain(..) {
                let shown = match &mut update {
                    Update::Failed { owner, .. }
                    | Update::Added(owner, _)
                    | Update::Removed(owner, _) => settings.filter.matches(owner),
                    Update::Window(snapshot) => {
                        snapshot
                            .rows
                            .retain(|row| settings.filter.matches(&row.owner));
                        true
                    }
                    Update::Lost { .. } => true,
                };
                if shown {
                    self.lines.update(&mut self.out, &update)?;
                }
            }
            self.out.flush()
        };
        write().map_err(TraceError::Output)
    }
}
