//! HTTP: what the agent knows, for whoever may reach its port. Nothing can be changed by it.
//!
//! One request a connection, by GET or HEAD, in bounded room and time: so many connections at once, shared fairly among
//! peers, a request that must come soon and be small, and readers that must go on reading. All of it is on the
//! agent's one thread, and no name is looked up.

mod accept;
mod patient;
mod routes;

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::{Instant, sleep},
};

pub use self::patient::Patient;
use super::{
    room::{Peer, Room, Seat},
    shared::Shared,
};

/// Connections at once; others are told to come again.
const MOST_CONNECTIONS: usize = 64;
/// A request's head must have come after this.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// ... and have no more bytes than this (the least that hyper can do is 8 KiB).
const HEAD_BYTES: usize = 16 * 1024;
/// ... nor headers.
const HEADERS: usize = 64;
/// Pause where no connection can be taken: the process may be out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// That is told this often.
const TELL_EVERY: Duration = Duration::from_mins(1);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 39\r\n\r\n\
    too many connections; come again later\n";

/// Begins to listen. Nobody is answered before [`serve`].
///
/// # Errors
/// When the address is taken, or not of this machine.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers, for as long as it is polled.
pub async fn serve(listener: TcpListener, shared: Rc<Shared>) {
    let room = Room::new(MOST_CONNECTIONS);
    let mut told: Option<Instant> = None;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, address)) => (stream, Peer::at(address.ip())),
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    tracing::warn!("cannot take a connection: {error}; watching on");
                    told = Some(Instant::now());
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        match room.admit(peer) {
            Some(seat) => drop(spawn_local(one(stream, shared.clone(), peer, seat))),
            None => refuse(&stream),
        }
    }
}

/// Says that there is no room, if that can be said at once.
fn refuse(stream: &TcpStream) {
    // What has come is taken first: closed with it unread, the connection is reset, and the answer may be
    // lost with it.
    let mut request = [0; 4096];
    let _ = stream.try_read(&mut request);
    let _ = stream.try_write(BUSY);
}

async fn one(stream: TcpStream, shared: Rc<Shared>, peer: Peer, seat: Seat) {
    let is_local = stream
        .local_addr()
        .is_ok_and(|address| Peer::at(address.ip()).is_local());
    let client = routes::Requester { peer, is_local };
    let service = service_fn(|request| routes::answer(request, &shared, client));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    let served = tokio::select! {
        served = served => served,
        () = seat.evicted() => return,
    };
    // A client that goes away, or sends no HTTP, is nobody's concern but its own.
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{text}"
        );
    }
}
