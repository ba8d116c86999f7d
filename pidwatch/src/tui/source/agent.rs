//! A running agent as the source: its server-sent events over HTTP/1.1, without TLS.
//!
//! In: the agent's address. Out: the updates of its lines; when the connection is lost, why, and it is
//! tried again, ever more slowly. Names are looked up once, before anything is watched: a look-up later
//! would start a thread.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{News, sse};
use crate::{
    recording::Restorer,
    report::Reporter,
    stream::{self, Event, Line},
};

/// The agent's own port.
const PORT: u16 = 9757;
/// Where its events are.
const EVENTS: &str = "/api/v1/events";
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// An agent tells something every second: after this time it is gone.
const SILENCE: Duration = Duration::from_secs(20);
/// Between two tries, at first and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Lines on their way.
const LINES: usize = 1024;

/// What the connection has to say.
enum Told {
    /// A connection is there: everything is told anew.
    Connected,
    Line(Box<Line>),
    Lost(String),
}

/// An agent.
pub struct Agent {
    told: mpsc::Receiver<Told>,
    restorer: Restorer,
    reporter: Reporter,
}

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is shown.
    pub url: String,
    host: String,
    path: String,
    addresses: Vec<SocketAddr>,
}

impl Address {
    /// Reads an address (`http://node:9757`, `node:9757`, `node`) and looks its name up.
    ///
    /// # Errors
    /// When it is no such address or the name is not known.
    pub fn look_up(text: &str) -> Result<Self, String> {
        let full = match text.split_once("://") {
            Some(("http", _)) => text.to_owned(),
            Some((scheme, _)) => {
                return Err(format!(
                    "--connect {text}: `{scheme}` is not spoken here; use http:// (for TLS, forward \
                     the port: `ssh -L` or `kubectl port-forward`)"
                ));
            }
            None => format!("http://{text}"),
        };
        let wrong = |cause: String| {
            format!("--connect {text}: {cause}; it is like http://127.0.0.1:{PORT}")
        };
        let uri: Uri = full.parse().map_err(|error| wrong(format!("{error}")))?;
        let host = uri.host().ok_or_else(|| wrong("no host".into()))?;
        let port = uri.port_u16().unwrap_or(PORT);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = (bare, port)
            .to_socket_addrs()
            .map_err(|error| wrong(format!("cannot look up `{host}`: {error}")))?
            .collect();
        let path = uri.path().trim_end_matches('/');
        let path = if path.ends_with(EVENTS) {
            path.to_owned()
        } else {
            format!("{path}{EVENTS}")
        };
        Ok(Self {
            url: format!("http://{host}:{port}"),
            host: format!("{host}:{port}"),
            path,
            addresses,
        })
    }
}

impl Agent {
    /// Begins to connect; must be called within the runtime.
    pub fn start(address: Address) -> Self {
        let (tell, told) = mpsc::channel(LINES);
        tokio::spawn(stay_connected(address, tell));
        Self {
            told,
            restorer: Restorer::default(),
            reporter: Reporter::default(),
        }
    }

    /// What is known for a report.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Waits for news.
    pub async fn next(&mut self, news: &mut Vec<News>) {
        let Some(mut told) = self.told.recv().await else {
            // The task never ends by itself.
            return std::future::pending().await;
        };
        loop {
            match told {
                Told::Connected => {
                    self.restorer = Restorer::default();
                    self.reporter = Reporter::default();
                    news.extend([News::Anew, News::Trouble(None)]);
                }
                Told::Lost(why) => news.push(News::Trouble(Some(why))),
                Told::Line(line) => {
                    if let Event::Started(_) = &line.event {
                        news.push(News::NodeName(line.node.clone()));
                    }
                    self.reporter.push(&line);
                    news.extend(self.restorer.restore(*line).map(News::Update));
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

async fn stay_connected(address: Address, tell: mpsc::Sender<Told>) {
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
        if tell.send(Told::Lost(why)).await.is_err() {
            return;
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT.1);
    }
}

/// Connects and passes lines on; `Ok` when nobody wants them any more, else why it ended.
async fn stream_of(
    address: &Address,
    tell: &mpsc::Sender<Told>,
    was_there: &mut bool,
) -> Result<(), String> {
    let mut last = "it has no address".to_owned();
    let mut connected = None;
    for candidate in &address.addresses {
        match timeout(CONNECT, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                connected = Some(stream);
                break;
            }
            Ok(Err(error)) => last = format!("cannot connect: {error}"),
            Err(_) => last = "cannot connect: no answer".to_owned(),
        }
    }
    let stream = connected.ok_or(last)?;
    let told = |error: hyper::Error| format!("lost: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let request = Request::get(&address.path)
        .header(header::HOST, &address.host)
        .header(header::ACCEPT, "text/event-stream")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
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
        if tell.send(Told::Connected).await.is_err() {
            return Ok(());
        }
        let mut body = answer.into_body();
        let mut parser = sse::Parser::default();
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
                if tell.send(Told::Line(Box::new(line))).await.is_err() {
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
