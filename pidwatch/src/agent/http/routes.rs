//! What is answered at which path.

use std::{
    convert::Infallible,
    fmt::Display,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER, VARY},
    uri::Authority,
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, Sleep, sleep};

use super::accept::{Offer, choose};
use crate::{
    agent::{
        events::EventReader,
        night, overview,
        room::{Peer, Seat},
        shared::{Health, Shared},
    },
    escape,
    output::prometheus::{self, Format},
    report::{html::html, markdown::markdown, text::text},
};

/// Bytes of an answer that are handed over at once.
const PIECE: usize = 64 * 1024;
/// A reader of events is told something, if only that there is nothing, so often.
const SILENCE: Duration = Duration::from_secs(10);

/// Columns of a report as plain text.
const WIDTH: usize = 100;

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const FOREIGN_NAME: &str =
    "on a loopback address the agent answers to localhost and to addresses only";
const NOT_YET: &str = "not ready: the node is not known yet";

const METRICS: [Offer; 3] = [
    Offer {
        media: "text/plain",
        version: Some("0.0.4"),
    },
    Offer {
        media: "application/openmetrics-text",
        version: Some("1.0.0"),
    },
    Offer {
        media: "application/openmetrics-text",
        version: Some("0.0.1"),
    },
];

const REPORT: [Offer; 4] = [
    Offer {
        media: "text/markdown",
        version: None,
    },
    Offer {
        media: "text/html",
        version: None,
    },
    Offer {
        media: "application/json",
        version: None,
    },
    Offer {
        media: "text/plain",
        version: None,
    },
];

const INDEX: &str = "pidwatch agent\n\n\
    /metrics                        metrics, for Prometheus\n\
    /healthz                        200 while the node is watched\n\
    /readyz                         200 once the node is known\n\
    /api/v1/snapshot                the node as it is now, JSON\n\
    /api/v1/incidents               incidents, open and closed, JSON\n\
    /api/v1/incidents/{id}/report   what happened: Markdown, HTML, text or JSON\n\
    /api/v1/report                  the same of all that was recorded\n\
    /api/v1/events                  what happens, server-sent events\n";

/// The text of an answer.
pub enum Answer {
    /// All of it, and what it counts as.
    Text(Option<Bytes>, Option<Seat>),
    /// Events without end, and the time of the next sign of life.
    Events {
        reader: EventReader,
        silence: Pin<Box<Sleep>>,
        _seat: Seat,
    },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            // In pieces: whole, it would count as sent while it waits for its reader.
            Self::Text(Some(text), _) if text.len() > PIECE => {
                Poll::Ready(Some(text.split_to(PIECE)))
            }
            Self::Text(text, _) => Poll::Ready(text.take()),
            Self::Events {
                reader, silence, ..
            } => {
                let next = reader.poll_next(context);
                if next.is_ready() {
                    silence.as_mut().reset(Instant::now() + SILENCE);
                    next
                } else if silence.as_mut().poll(context).is_ready() {
                    silence.as_mut().reset(Instant::now() + SILENCE);
                    Poll::Ready(Some(Bytes::from_static(b":\n\n")))
                } else {
                    Poll::Pending
                }
            }
        };
        next.map(|text| text.map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None, _))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text, _) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

fn answered(status: StatusCode, media: &'static str, text: impl Into<Bytes>) -> Response<Answer> {
    let text = Some(text.into()).filter(|text| !text.is_empty());
    let mut response = Response::new(Answer::Text(text, None));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(media));
    // Nothing of it is true a moment later, and nothing in it is a script.
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        ),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    response
}

fn said(status: StatusCode, text: impl Display) -> Response<Answer> {
    answered(status, PLAIN, format!("{text}\n"))
}

fn busy(what: &str) -> Response<Answer> {
    let mut response = said(StatusCode::SERVICE_UNAVAILABLE, what);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
    response
}

fn too_many(wait: Duration) -> Response<Answer> {
    let text = "reports take much of the agent's time; come again later";
    let mut response = said(StatusCode::TOO_MANY_REQUESTS, text);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, (wait.as_secs() + 1).into());
    response
}

/// Whether a request is for this machine by its own name or by an address. A web page whose name was made to mean
/// 127.0.0.1 (DNS rebinding) is asked for by that name, and would read the answer. Without the header it is no browser.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Authority>().ok())
    else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn json(value: &impl serde::Serialize) -> Response<Answer> {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut text = escape::shown_json(text);
            text.push(b'\n');
            answered(StatusCode::OK, JSON, text)
        }
        Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// What is not there before the first window.
fn model(value: Option<impl serde::Serialize>) -> Response<Answer> {
    match value {
        Some(value) => json(&value),
        None => busy(NOT_YET),
    }
}

fn accepted(headers: &HeaderMap, offers: &[Offer]) -> Option<usize> {
    let values = headers.get_all(ACCEPT).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    choose(&values.join(","), offers)
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Requester {
    /// From where.
    pub peer: Peer,
    /// By an address that only this machine can reach.
    pub is_local: bool,
}

/// Answers a request.
pub async fn answer(
    request: Request<Incoming>,
    shared: &Rc<Shared>,
    client: Requester,
) -> Result<Response<Answer>, Infallible> {
    let method = request.method();
    if client.is_local && !is_own_name(request.headers()) {
        return Ok(said(StatusCode::MISDIRECTED_REQUEST, FOREIGN_NAME));
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = said(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD: nothing can be changed here",
        );
        let allowed = http::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    Ok(match parts[..] {
        [""] => answered(StatusCode::OK, PLAIN, INDEX),
        ["healthz"] => health(shared.health()),
        ["readyz"] => ready(shared),
        ["metrics"] => large(shared, client.peer, || metrics(request.headers(), shared)),
        ["api", "v1", "snapshot"] => {
            large(shared, client.peer, || model(overview::snapshot(shared)))
        }
        ["api", "v1", "incidents"] => {
            large(shared, client.peer, || model(overview::incidents(shared)))
        }
        ["api", "v1", "incidents", id, "report"] => {
            // RFC 3986, 2.1.
            let id = percent_decode_str(id).decode_utf8_lossy();
            report(request.headers(), shared, client.peer, Some(&id)).await
        }
        ["api", "v1", "report"] => report(request.headers(), shared, client.peer, None).await,
        ["api", "v1", "events"] => events(shared, client.peer, request.method()),
        _ => said(
            StatusCode::NOT_FOUND,
            format_args!("nothing is here; there is\n\n{INDEX}"),
        ),
    })
}

fn health(health: Health) -> Response<Answer> {
    match health {
        Health::Good => said(StatusCode::OK, "ok"),
        Health::Stuck(since) => said(
            StatusCode::SERVICE_UNAVAILABLE,
            format_args!("the node was last looked at {} s ago", since.as_secs()),
        ),
    }
}

fn ready(shared: &Shared) -> Response<Answer> {
    if shared.is_ready() {
        said(StatusCode::OK, "ok")
    } else {
        busy(NOT_YET)
    }
}

/// An answer that holds much, if there is room for one.
fn large(shared: &Shared, peer: Peer, make: impl FnOnce() -> Response<Answer>) -> Response<Answer> {
    let Some(seat) = shared.large.admit_share(peer) else {
        return busy("too many answers are under way; come again later");
    };
    let mut response = make();
    if let Answer::Text(_, holds) = response.body_mut() {
        *holds = Some(seat);
    }
    response
}

fn metrics(headers: &HeaderMap, shared: &Shared) -> Response<Answer> {
    // Who takes neither gets the classic text, as from every exporter.
    let (format, media) = match accepted(headers, &METRICS) {
        Some(1) => (
            Format::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        Some(2) => (
            Format::OpenMetrics,
            "application/openmetrics-text; version=0.0.1; charset=utf-8",
        ),
        _ => (Format::Classic, CLASSIC),
    };
    let board = shared.board.borrow();
    let Some(board) = board.as_ref().filter(|board| board.is_ready()) else {
        return busy(NOT_YET);
    };
    let text = prometheus::text(&board.view(), format);
    let mut response = answered(StatusCode::OK, media, text);
    let varies = http::HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, varies);
    response
}

fn events(shared: &Rc<Shared>, peer: Peer, method: &Method) -> Response<Answer> {
    if !shared.is_ready() {
        return busy(NOT_YET);
    }
    let Some(seat) = shared.readers.admit_share(peer) else {
        return busy("too many read events already; come again later");
    };
    let mut response = answered(StatusCode::OK, "text/event-stream", Bytes::new());
    response
        .headers_mut()
        .insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if method != Method::HEAD {
        *response.body_mut() = Answer::Events {
            reader: shared.join(),
            silence: Box::pin(sleep(SILENCE)),
            _seat: seat,
        };
    }
    response
}

async fn report(
    headers: &HeaderMap,
    shared: &Rc<Shared>,
    peer: Peer,
    id: Option<&str>,
) -> Response<Answer> {
    let Some(form) = accepted(headers, &REPORT) else {
        return said(
            StatusCode::NOT_ACCEPTABLE,
            "a report is text/markdown, text/html, application/json or text/plain",
        );
    };
    let began = Instant::now();
    let wait = shared.report_pauses.borrow().wait(peer, began);
    if let Some(wait) = wait {
        return too_many(wait);
    }
    let report = night::report(shared, id).await;
    let now = Instant::now();
    let mut pauses = shared.report_pauses.borrow_mut();
    pauses.took(peer, now - began, now);
    drop(pauses);
    let report = match report {
        Ok(report) => report,
        Err(night::NightError::Busy) => return busy("a report is being made; come again later"),
        Err(error) => return said(error.status(), error),
    };
    large(shared, peer, || match form {
        0 => answered(
            StatusCode::OK,
            "text/markdown; charset=utf-8",
            markdown(&report),
        ),
        1 => answered(StatusCode::OK, "text/html; charset=utf-8", html(&report)),
        3 => answered(StatusCode::OK, PLAIN, text(&report, WIDTH)),
        _ => json(&report),
    })
}
