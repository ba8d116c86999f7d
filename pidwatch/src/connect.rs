//! Asks a running agent, once: HTTP without TLS, by whoever has time to wait.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::watch;

/// The agent's own port.
const PORT: u16 = 9757;
/// A report of a full flight recorder takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most bytes of an answer: a report has some hundred thousand.
const MOST_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not an address of an agent.
    #[error("--connect {url}: {cause}; it is like http://127.0.0.1:{PORT}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong.
        cause: String,
    },
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

/// The text at a path of an agent (`http://node:9757`, `node:9757`, `node`), in the form asked for.
///
/// # Errors
/// When the address is none, nobody answers there, or the answer is no.
pub fn get(url: &str, path: &str, accept: &'static str) -> Result<String, ConnectError> {
    let (authority, addresses) = look_up(url).map_err(|cause| ConnectError::Address {
        url: url.to_owned(),
        cause,
    })?;
    let unreachable = |cause: String| ConnectError::Unreachable {
        url: url.to_owned(),
        cause,
    };
    let runtime = watch::runtime().map_err(|error| unreachable(error.to_string()))?;
    // Within the runtime: a time-out made outside finds no clock.
    let asked = runtime.block_on(async {
        let asked = ask(&addresses, &authority, path, accept);
        timeout(PATIENCE, asked).await
    });
    let (status, text) = asked
        .map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))?
        .map_err(unreachable)?;
    if status.is_success() {
        return Ok(text);
    }
    Err(ConnectError::Refused {
        url: url.to_owned(),
        status,
        text: crate::escape::for_terminal(text.trim_end().as_bytes()),
    })
}

/// What is called where, and its addresses. Names are looked up here: nothing is watched.
fn look_up(url: &str) -> Result<(String, Vec<SocketAddr>), String> {
    let full = match url.split_once("://") {
        Some(("http", _)) => url.to_owned(),
        Some((scheme, _)) => return Err(format!("`{scheme}` is not spoken here")),
        None => format!("http://{url}"),
    };
    let uri: Uri = full
        .parse()
        .map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = uri.host().ok_or("no host")?;
    let port = uri.port_u16().unwrap_or(PORT);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (bare, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up `{host}`: {error}"))?;
    Ok((format!("{host}:{port}"), addresses.collect()))
}

async fn ask(
    addresses: &[SocketAddr],
    authority: &str,
    path: &str,
    accept: &'static str,
) -> Result<(StatusCode, String), String> {
    let mut connected = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in addresses {
        connected = TcpStream::connect(address).await;
        if connected.is_ok() {
            break;
        }
    }
    let stream = connected.map_err(|error| error.to_string())?;
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, accept)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
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
    fn an_address_needs_neither_scheme_nor_port() {
        let one = |url| look_up(url).unwrap();
        assert_eq!(one("127.0.0.1").0, "127.0.0.1:9757");
        assert_eq!(one("http://127.0.0.1:80/").1, [([127, 0, 0, 1], 80).into()]);
        assert_eq!(one("[::1]:5").0, "[::1]:5");
        for wrong in ["https://127.0.0.1", "", "http://", "a b"] {
            assert!(look_up(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_the_way_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = get(&address, "/", "*/*").unwrap_err().to_string();
        assert!(
            error.contains(&address) && error.contains("pidwatch agent"),
            "{error}"
        );
    }
}
