//! A running agent, asked over HTTP without TLS: where it is, and one question to it.
//!
//! Names are looked up when the address is read, before anything is watched: a look-up later would
//! start a thread.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::runtime;

/// The agent's own port.
const PORT: u16 = 9757;
/// What is behind the agent's own part of an address.
const API: &str = "/api/v1/";
/// How long a connection to one address may take.
pub const CONNECT: Duration = Duration::from_secs(5);
/// A report of a full flight recorder takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);
/// Most bytes of an answer: a report has some hundred thousand.
const MOST_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody is there, or what is there speaks no HTTP.
    #[error("cannot ask the agent at {url}: {cause}; is `pidwatch agent` running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// The cause.
        cause: String,
    },
    /// It says no.
    #[error("the agent at {url} answers {status}: {text}")]
    Refused {
        /// Where.
        url: String,
        /// By which status.
        status: StatusCode,
        /// In its words.
        text: String,
    },
}

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is shown.
    pub url: String,
    authority: String,
    /// What stands before the agent's own paths, where something forwards to it.
    prefix: String,
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
                    "`{scheme}` is not spoken here; use http:// (for TLS, forward \
                     the port: `ssh -L` or `kubectl port-forward`)"
                ));
            }
            None => format!("http://{text}"),
        };
        let wrong = |cause: String| format!("{cause}; an address is like http://127.0.0.1:{PORT}");
        let uri: Uri = full.parse().map_err(|error| wrong(format!("{error}")))?;
        let host = uri.host().ok_or_else(|| wrong("no host".into()))?;
        let port = uri.port_u16().unwrap_or(PORT);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (bare, port)
            .to_socket_addrs()
            .map_err(|error| wrong(format!("cannot look up `{host}`: {error}")))?;
        let path = uri.path();
        let prefix = path.find(API).map_or(path, |own| &path[..own]);
        Ok(Self {
            url: format!("http://{host}:{port}"),
            authority: format!("{host}:{port}"),
            prefix: prefix.trim_end_matches('/').to_owned(),
            addresses: addresses.collect(),
        })
    }

    /// Connects to the first of its addresses that answers.
    ///
    /// # Errors
    /// Why the last of them did not.
    pub async fn connect(&self) -> Result<TcpStream, String> {
        let mut last = "it has no address".to_owned();
        for address in &self.addresses {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = format!("cannot connect: {error}"),
                Err(_) => last = "cannot connect: no answer".to_owned(),
            }
        }
        Err(last)
    }

    /// A question for what is at a path of the agent, in the form asked for.
    ///
    /// # Errors
    /// When the path is none.
    pub fn request(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<Request<Empty<Bytes>>, String> {
        Request::get(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, accept)
            .body(Empty::new())
            .map_err(|error| error.to_string())
    }
}

/// The text at a path of an agent, in the form asked for.
///
/// # Errors
/// When nobody answers there, or the answer is no.
pub fn get(address: &Address, path: &str, accept: &'static str) -> Result<String, ConnectError> {
    let url = address.url.clone();
    let unreachable = |cause: String| ConnectError::Unreachable {
        url: address.url.clone(),
        cause,
    };
    let runtime = runtime::single_threaded().map_err(|error| unreachable(error.to_string()))?;
    // Within the runtime: a time-out made outside finds no clock.
    let asked = runtime.block_on(async { timeout(PATIENCE, ask(address, path, accept)).await });
    let (status, text) = asked
        .map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))?
        .map_err(unreachable)?;
    if status.is_success() {
        return Ok(text);
    }
    Err(ConnectError::Refused {
        url,
        status,
        text: crate::escape::for_terminal(text.trim_end().as_bytes()),
    })
}

async fn ask(
    address: &Address,
    path: &str,
    accept: &'static str,
) -> Result<(StatusCode, String), String> {
    let request = address.request(path, accept)?;
    let stream = address.connect().await?;
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(told)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES);
    let bytes = body.collect().await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes.to_bytes()).into_owned();
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, authority, path) in [
            ("127.0.0.1", "127.0.0.1:9757", "/api/v1/report"),
            ("127.0.0.1:80", "127.0.0.1:80", "/api/v1/report"),
            ("http://127.0.0.1:80/", "127.0.0.1:80", "/api/v1/report"),
            ("http://[::1]:80", "[::1]:80", "/api/v1/report"),
            // Where something forwards to the agent.
            ("127.0.0.1/node", "127.0.0.1:9757", "/node/api/v1/report"),
            (
                "http://127.0.0.1/node/api/v1/events",
                "127.0.0.1:9757",
                "/node/api/v1/report",
            ),
        ] {
            let address = Address::look_up(text).unwrap();
            assert_eq!(address.authority, authority, "{text}");
            let request = address.request("/api/v1/report", "*/*").unwrap();
            assert_eq!(request.uri(), path, "{text}");
        }
        let port = Address::look_up("http://127.0.0.1:80/").unwrap().addresses;
        assert_eq!(port, [([127, 0, 0, 1], 80).into()]);
        for (wrong, word) in [
            ("https://127.0.0.1", "https"),
            ("", "http://127.0.0.1:9757"),
            ("http://", "http://127.0.0.1:9757"),
            ("a b", "http://127.0.0.1:9757"),
        ] {
            let error = Address::look_up(wrong).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_the_way_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().to_string();
        drop(listener);
        let address = Address::look_up(&port).unwrap();
        let error = get(&address, "/", "*/*").unwrap_err().to_string();
        assert!(
            error.contains(&port) && error.contains("pidwatch agent"),
            "{error}"
        );
    }
}
