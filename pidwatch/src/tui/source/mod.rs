//! Where the screen's lines come from: this node, a recording, or an agent.
//!
//! Out: [`SourceEvent`], the same for all three.

pub mod agent;
mod news;
mod playback;
pub mod sse;

use std::path::Path;

use jiff::Timestamp;
use tokio::time::Instant;

pub use self::{agent::AgentSource, news::SourceEvent, playback::Playback};
use crate::{
    brake::{ControlRequest, ControlResponse},
    cgroup::CgroupId,
    node::{Node, NodeError},
    recording::ReadError,
    report::Reporter,
    stream::{LimitUse, Line},
};

/// The source failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// This node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A recording.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A source of lines.
pub enum Source {
    /// This node.
    Live(Box<LiveSource>),
    /// A recording.
    Recording(Box<Playback>),
    /// An agent.
    Agent(Box<AgentSource>),
}

/// This node, and what a report will need of it.
pub struct LiveSource {
    node: Node,
    reporter: Reporter,
    lines: Vec<Line>,
}

impl LiveSource {
    /// Of a node that was started just now.
    pub fn new(node: Node) -> Self {
        Self {
            lines: vec![node.started()],
            node,
            reporter: Reporter::default(),
        }
    }

    /// Has the node carry out a request of this process.
    pub fn handle(&mut self, request: &ControlRequest, now: Instant) -> ControlResponse {
        self.node
            .handle(request, std::process::id(), now, &mut self.lines)
    }

    /// The node.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    async fn next(&mut self, news: &mut Vec<SourceEvent>) -> Result<(), NodeError> {
        self.node.next(&mut self.lines).await?;
        for line in self.lines.drain(..) {
            self.reporter.push(&line);
            news.push(SourceEvent::Line(Box::new(line)));
        }
        Ok(())
    }
}

impl Source {
    /// Waits for news. May be dropped and called again.
    ///
    /// # Errors
    /// When the node cannot be watched or the recording cannot be read any more.
    pub async fn next(&mut self, news: &mut Vec<SourceEvent>) -> Result<(), SourceError> {
        match self {
            Self::Live(live) => Ok(live.next(news).await?),
            Self::Recording(playback) => Ok(playback.next(news).await?),
            Self::Agent(agent) => {
                agent.next(news).await;
                Ok(())
            }
        }
    }

    /// The limits above an owner as they are now; `None` where that cannot be asked.
    pub fn limits_above(&mut self, id: CgroupId) -> Option<Vec<LimitUse>> {
        match self {
            Self::Live(live) => live.node.limits_above(id),
            Self::Recording(_) | Self::Agent(_) => None,
        }
    }

    /// What is known for a report.
    ///
    /// # Errors
    /// When the recording cannot be read.
    pub fn reporter(&self) -> Result<Reporter, ReadError> {
        match self {
            Self::Live(live) => Ok(live.reporter.clone()),
            Self::Recording(playback) => playback.reporter(),
            Self::Agent(agent) => Ok(agent.reporter().clone()),
        }
    }

    /// A recording, if this is one.
    pub fn playback(&mut self) -> Option<&mut Playback> {
        match self {
            Self::Recording(playback) => Some(playback),
            Self::Live(_) | Self::Agent(_) => None,
        }
    }
}

/// Opens a recording.
///
/// # Errors
/// When it cannot be read or holds nothing.
pub fn open(
    file: &Path,
    speed: crate::recording::ReplaySpeed,
) -> Result<(Source, (Timestamp, Timestamp)), ReadError> {
    let playback = Playback::open(file, speed)?;
    let span = playback.span();
    Ok((Source::Recording(Box::new(playback)), span))
}
