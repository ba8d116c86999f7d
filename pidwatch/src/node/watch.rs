//! Watching the node until it is enough: the loop of every command that does.
//!
//! In: the node's lines. Out: a [`Sink`]. Ends when the time is over, on SIGINT or SIGTERM, or when
//! the sink fails.

use std::{io, time::Duration};

use tokio::{
    task::LocalSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::level_filters::LevelFilter;

use super::{Node, NodeError, NodeSettings};
use crate::{
    runtime::{self, Signals, diagnostics},
    stream::Line,
};

/// Watching stopped early.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
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

/// Where lines go.
pub trait Sink {
    /// Takes the line that the stream begins with.
    ///
    /// # Errors
    /// Those of writing.
    fn started(&mut self, line: Line) -> io::Result<()>;

    /// Takes lines, all of them.
    ///
    /// # Errors
    /// Those of writing.
    fn take(&mut self, lines: &mut Vec<Line>) -> io::Result<()>;

    /// Hands over what waits. May be dropped half-way and called again.
    ///
    /// # Errors
    /// Those of writing.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// How long the reader has at the end to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Watches the node until the time is over, a signal comes or the reader leaves. The sink is made
/// inside the runtime, and given back.
///
/// # Errors
/// When the node cannot be watched or the sink fails.
pub fn run<S: Sink>(
    settings: &NodeSettings,
    duration: Option<Duration>,
    make_sink: impl FnOnce() -> io::Result<S>,
) -> Result<S, WatchError> {
    diagnostics::init(settings.kernel_log, LevelFilter::WARN);
    let runtime = runtime::single_threaded().map_err(WatchError::Runtime)?;
    // What a sink does beside the watch is on the same thread.
    LocalSet::new().block_on(&runtime, async {
        let mut sink = make_sink().map_err(WatchError::Output)?;
        match watch(settings, duration, &mut sink).await {
            // `| head -1`: the reader has seen enough.
            Err(WatchError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(sink),
            Ok(()) => Ok(sink),
            Err(error) => Err(error),
        }
    })
}

async fn watch(
    settings: &NodeSettings,
    duration: Option<Duration>,
    sink: &mut impl Sink,
) -> Result<(), WatchError> {
    let mut signals = Signals::new().map_err(WatchError::Runtime)?;
    let mut node = Node::start(settings)?;
    sink.started(node.started()).map_err(WatchError::Output)?;
    let end = duration.map(|duration| Instant::now() + duration);
    let mut lines = Vec::new();
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
            sink.flush().await.map_err(WatchError::Output)?;
            node.next(&mut lines).await.map_err(WatchError::Node)
        };
        tokio::select! {
            biased;
            () = signals.recv() => break,
            () = over => break,
            result = next => result?,
        }
        sink.take(&mut lines).map_err(WatchError::Output)?;
    }
    node.finish(&mut lines);
    sink.take(&mut lines).map_err(WatchError::Output)?;
    match timeout(LAST_LINES, sink.flush()).await {
        Ok(written) => written.map_err(WatchError::Output),
        Err(_) => Ok(()),
    }
}
