//! A running agent as the source: its server-sent events over HTTP/1.1, without TLS.
//!
//! In: the agent's address. Out: its lines; when the connection is lost, why, and it is
//! tried again, ever more slowly.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{SourceEvent, sse};
use crate::{
    connect::{Address, CONNECT},
    report::Reporter,
    stream::{self, Line},
};

/// Where its events are.
const EVENTS: &str = "/api/v1/events";
/// An agent gives a sign of life at least every ten seconds: after this time it is gone.
const SILENCE: Duration = Duration::from_secs(20);
/// Between two tries, at first and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Lines on their way.
const LINES: usize = 1024;

/// What the connection has to say.
enum AgentMessage {
    /// A connection is there: everything is told anew.
    Connected,
    Line(Box<Line>),
    Lost(String),
}

/// An agent.
pub struct AgentSource {
    told: mpsc::Receiver<AgentMessage>,
    reporter: Reporter,
}

impl AgentSource {
    /// Begins to connect; must be called within the runtime.
    pub fn start(address: Address) -> Self {
        let (tell, told) = mpsc::channel(LINES);
        tokio::spawn(stay_connected(address, tell));
        Self {
            told,
            reporter: Reporter::default(),
        }
    }

    /// What is known for a report.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Waits for news.
    pub async fn next(&mut self, news: &mut Vec<SourceEvent>) {
        let Some(mut told) = self.told.recv().await else {
            // The task never ends by itself.
            return std::future::pending().await;
        };
        loop {
            match told {
                AgentMessage::Connected => {
                    self.reporter = Reporter::default();
                    news.extend([SourceEvent::Anew, SourceEvent::Trouble(None)]);
                }
                AgentMessage::Lost(why) => news.push(SourceEvent::Trouble(Some(why))),
                AgentMessage::Line(line) => {
                    self.reporter.push(&line);
                    news.push(SourceEvent::Line(line));
                }
            }
            // What is already here, but keys and signals have their turn.
            if news.len() >= LINES {
                return;
            }
            match self.told.try_recv() {
                Ok(next) => told = next,
                Err(_) => return,
            }
        }
    }
}

async fn stay_connected(address: Address, tell: mpsc::Sender<AgentMessage>) {
    let mut wait = WAIT.0;
    loop {
        let mut was_there = false;
        let Err(why) = stream_of(&address, &tell, &mut was_there).await else {
            // Nobody listens any more.
            return;
        };
        if was_there {
            wait = WAIT.0;
        }
        if tell.send(AgentMessage::Lost(why)).await.is_err() {
            return;
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT.1);
    }
}

/// Connects and passes lines on; `Ok` when nobody wants them any more, else why it ended.
async fn stream_of(
    address: &Address,
    tell: &mpsc::Sender<AgentMessage>,
    was_there: &mut bool,
) -> Result<(), String> {
    let request = address.request(EVENTS, "text/event-stream")?;
    let stream = address.connect().await?;
    let told = |error: hyper::Error| format!("lost: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let talk = async {
        let answer = timeout(CONNECT, sender.send_request(request))
            .await
            .map_err(|_| "no answer".to_owned())?
            .map_err(told)?;
        if !answer.status().is_success() {
            return Err(format!(
                "it answers {}; is it pidwatch's agent?",
                answer.status()
            ));
        }
        *was_there = true;
        if tell.send(AgentMessage::Connected).await.is_err() {
            return Ok(());
        }
        let mut body = answer.into_body();
        let mut parser = sse::SseParser::default();
        let mut lines = Vec::new();
        loop {
            let frame = match timeout(SILENCE, body.frame()).await {
                Ok(Some(frame)) => frame.map_err(told)?,
                Ok(None) => return Err("the agent has ended the stream".into()),
                Err(_) => return Err("nothing was heard for a while".into()),
            };
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            // A type that a later agent has added is left out, as in a recording.
            let each = |data: &[u8]| lines.extend(stream::parse(data).ok());
            parser
                .push(&bytes, each)
                .map_err(|_| "it sends no events of pidwatch".to_owned())?;
            for line in lines.drain(..) {
                if tell.send(AgentMessage::Line(Box::new(line))).await.is_err() {
                    return Ok(());
                }
            }
        }
    };
    tokio::pin!(talk);
    tokio::select! {
        biased;
        ended = &mut talk => return ended,
        // What came before its end is still to be read; the end, and its cause, comes after that.
        _ = connection => {}
    }
    talk.await
}

#[cfg(test)]
mod tests;
