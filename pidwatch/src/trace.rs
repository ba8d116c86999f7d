//! `pidwatch trace`: the node's task life as a stream of lines.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    cli::OutputFormat,
    diagnostics,
    node::{Node, NodeError, Update},
    output::{Lines, json::Json, stdout::Stdout, text::Text},
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

/// How long the reader has at the end to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

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
        // While the reader takes nothing, nothing more is made for it: the kernel side counts on,
        // and what does not fit into its ring is read from its totals later.
        let next = async {
            output.out.flush().await.map_err(TraceError::Output)?;
            node.next(&mut updates).await.map_err(TraceError::Node)
        };
        tokio::select! {
            biased;
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = over => break,
            result = next => result?,
        }
        output.show(settings, &mut updates)?;
    }
    node.finish(&mut updates);
    output.show(settings, &mut updates)?;
    match timeout(LAST_LINES, output.out.flush()).await {
        Ok(written) => written.map_err(TraceError::Output),
        Err(_) => Ok(()),
    }
}

/// The lines on standard output.
struct Output {
    lines: Box<dyn Lines>,
    out: Stdout,
}

impl Output {
    fn new(settings: &Settings, node: &Node) -> Result<Self, TraceError> {
        let mut lines: Box<dyn Lines> = match settings.output {
            OutputFormat::Json => Box::new(Json::new()),
            OutputFormat::Text => Box::new(Text::for_stdout()),
        };
        let mut out = Stdout::new().map_err(TraceError::Output)?;
        lines
            .started(out.buffer(), node)
            .map_err(TraceError::Output)?;
        Ok(Self { lines, out })
    }

    fn show(&mut self, settings: &Settings, updates: &mut Vec<Update>) -> Result<(), TraceError> {
        for mut update in updates.drain(..) {
            let shown = match &mut update {
                Update::Failed(failed) => settings.filter.matches(&failed.owner),
                Update::Added(owner, _) | Update::Removed(owner, _) => {
                    settings.filter.matches(owner)
                }
                Update::Window(snapshot) => {
                    snapshot
                        .rows
                        .retain(|row| settings.filter.matches(&row.owner));
                    true
                }
                Update::State(change) => settings.filter.matches(&change.owner),
                // An incident is everybody's.
                Update::Incident(..) | Update::Lost { .. } => true,
            };
            if shown {
                self.lines
                    .update(self.out.buffer(), &update)
                    .map_err(TraceError::Output)?;
            }
        }
        Ok(())
    }
}
