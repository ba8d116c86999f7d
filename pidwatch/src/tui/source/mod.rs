//! Where the screen's updates come from: this node, a recording, or an agent.
//!
//! Out: [`News`], the same for all three.

pub mod agent;
mod news;
mod playback;
pub mod sse;

use std::path::Path;

pub use self::{agent::Agent, news::News, playback::Playback};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    event::Update,
    identity::Owner,
    limits::Limit,
    node::{Node, NodeError},
    recording::ReadError,
    report::Reporter,
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

/// A source of updates.
pub enum Source {
    /// This node.
    Live(Box<Live>),
    /// A recording.
    Recording(Box<Playback>),
    /// An agent.
    Agent(Box<Agent>),
}

/// This node, and what a report will need of it.
pub struct Live {
    node: Node,
    teller: crate::output::json::Json,
    reporter: Reporter,
    updates: Vec<Update>,
    all_due: tokio::time::Instant,
}

/// Silent owners are read again so often: tasks that were moved in are in nobody's counts.
const ALL_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

impl Live {
    /// Of a node that was started just now.
    pub fn new(node: Node) -> Self {
        let teller = crate::output::json::Json::new(crate::clock::WallClock::now());
        let mut reporter = Reporter::default();
        let started = node.started();
        reporter.push(&teller.started_line(&started));
        Self {
            node,
            teller,
            reporter,
            updates: Vec::new(),
            all_due: tokio::time::Instant::now(),
        }
    }
}

impl Source {
    /// Waits for news. May be dropped and called again.
    ///
    /// # Errors
    /// When the node cannot be watched or the recording cannot be read any more.
    pub async fn next(&mut self, news: &mut Vec<News>) -> Result<(), SourceError> {
        match self {
            Self::Live(live) => {
                let now = tokio::time::Instant::now();
                if now >= live.all_due {
                    live.node.tell_all();
                    live.all_due = now + ALL_EVERY;
                }
                live.node.next(&mut live.updates).await?;
                for update in live.updates.drain(..) {
                    live.teller
                        .each_line(&update, &mut |line| live.reporter.push(&line));
                    news.push(News::Update(update));
                }
                Ok(())
            }
            Self::Recording(playback) => Ok(playback.next(news).await?),
            Self::Agent(agent) => {
                agent.next(news).await;
                Ok(())
            }
        }
    }

    /// The limits above an owner as they are now; `None` where that cannot be asked.
    pub fn limits_above(&mut self, id: CgroupId) -> Option<Vec<(Limit, Option<Owner>)>> {
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
    speed: crate::recording::Speed,
) -> Result<(Source, (BootTime, BootTime)), ReadError> {
    let playback = Playback::open(file, speed)?;
    let span = playback.span();
    Ok((Source::Recording(Box::new(playback)), span))
}
