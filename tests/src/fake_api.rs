//! A Kubernetes API server as far as events go: over TLS, for who has the token, and as strict as the
//! real one (ValidateEventCreate and ValidateEventUpdate of Kubernetes 1.33, for events.k8s.io/v1).

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// What the service account has.
const TOKEN: &str = "the-token-of-a-service-account";
/// Patience with a client.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where events of a namespace are.
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/";
/// What is wrong with a name.
const EXISTS: &str = "it exists";
const MISSING: &str = "no such event";

/// How it treats those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Rightly.
    Right,
    /// Whoever asks may not.
    Forbids,
    /// It is overloaded.
    Overloaded,
    /// Takes the request and says nothing.
    Silent,
    /// Says something that is no HTTP.
    Garbage,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    events: Vec<Value>,
    wrong: Vec<String>,
    forbidden: Vec<String>,
    asked: usize,
}

/// An API server at a port of its own, until it is dropped.
#[derive(Debug)]
pub struct FakeApi {
    /// Where it listens, on loopback.
    pub port: u16,
    authority: String,
    tls: Arc<ServerConfig>,
    state: Arc<Mutex<State>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeApi {
    /// Listens.
    pub fn start() -> Result<Self> {
        let (authority, tls) = identity()?;
        let mut api = Self {
            port: 0,
            authority,
            tls: Arc::new(tls),
            state: Arc::new(Mutex::new(State {
                manner: Manner::Right,
                events: Vec::new(),
                wrong: Vec::new(),
                forbidden: Vec::new(),
                asked: 0,
            })),
            ends: Arc::default(),
            thread: None,
        };
        api.appear()?;
        Ok(api)
    }

    /// Writes what a pod has of its service account.
    pub fn write_account(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("ca.crt"), &self.authority)?;
        std::fs::write(folder.join("token"), TOKEN)?;
        std::fs::write(folder.join("namespace"), "pidwatch")?;
        Ok(())
    }

    /// From now on.
    pub fn set(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Stops listening; connections are cut.
    pub fn vanish(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It waits for a connection.
            let _ = TcpStream::connect(("127.0.0.1", self.port));
            let _ = thread.join();
        }
    }

    /// Listens again, at the same port.
    pub fn appear(&mut self) -> Result<()> {
        self.vanish();
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        self.port = listener.local_addr()?.port();
        self.ends = Arc::default();
        let (ends, tls, state) = (self.ends.clone(), self.tls.clone(), self.state.clone());
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let (ends, tls, state) = (ends.clone(), tls.clone(), state.clone());
                std::thread::spawn(move || serve(stream, tls, &state, &ends));
            }
        }));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events as they are now.
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// What of the requests was wrong.
    pub fn wrong(&self) -> Vec<String> {
        self.state().wrong.clone()
    }

    /// What was sent to it while it forbade, whoever it is about.
    pub fn forbidden(&self) -> Vec<String> {
        self.state().forbidden.clone()
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.state().asked
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.vanish();
    }
}

/// A certificate authority and, signed by it, what this server shows.
fn identity() -> Result<(String, ServerConfig)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let names = ["127.0.0.1", "localhost"].map(str::to_owned).to_vec();
    let own = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&own, &issuer)?;
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(own.serialize_der().into()),
        )?;
    Ok((authority, tls))
}

fn serve(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    state: &Mutex<State>,
    ends: &AtomicBool,
) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(tls)?, stream));
    while let Some(request) = Request::read(&mut stream)? {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let (code, body) = match state.manner {
            Manner::Right => match state.take(&request) {
                Ok(event) => (if request.method == "POST" { 201 } else { 200 }, event),
                Err(error) => {
                    state.wrong.push(format!("{error:#}: {request:?}"));
                    let code = match error.to_string().as_str() {
                        EXISTS => 409,
                        MISSING => 404,
                        _ => 422,
                    };
                    (code, status(code, &error.to_string()))
                }
            },
            Manner::Forbids => {
                let refused = String::from_utf8_lossy(&request.body).into_owned();
                state.forbidden.push(refused);
                let cause = "events.events.k8s.io is forbidden: cannot create resource";
                (403, status(403, cause))
            }
            Manner::Overloaded => (503, status(503, "the server is currently unable")),
            Manner::Silent => {
                drop(state);
                std::thread::sleep(PATIENCE * 3);
                break;
            }
            Manner::Garbage => {
                stream.get_mut().write_all(&[0xff; 64])?;
                break;
            }
        };
        drop(state);
        let body = body.to_string();
        write!(
            stream.get_mut(),
            "HTTP/1.1 {code} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
    Ok(())
}

fn status(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
    })
}

#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    token: String,
    media: String,
    body: Vec<u8>,
}

impl Request {
    /// The next one of a connection; `None` at its end.
    fn read(stream: &mut impl BufRead) -> Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let mut word = || words.next().map(str::to_owned).context("no HTTP");
        let mut request = Self {
            method: word()?,
            path: word()?,
            token: String::new(),
            media: String::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => request.body = vec![0; value.parse::<usize>()?.min(1 << 20)],
                "authorization" => value.clone_into(&mut request.token),
                "content-type" => value.clone_into(&mut request.media),
                _ => {}
            }
        }
        stream.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

impl State {
    fn take(&mut self, request: &Request) -> Result<Value> {
        ensure!(request.token == format!("Bearer {TOKEN}"), "not the token");
        let path = request.path.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix(EVENTS).context("another path")?;
        let event: Value = serde_json::from_slice(&request.body)?;
        if let Some(namespace) = rest.strip_suffix("/events") {
            ensure!(request.method == "POST", "not POST");
            ensure!(request.media == "application/json", "not JSON");
            let event = created(event, namespace)?;
            let is_known = |known: &Value| known["metadata"]["name"] == event["metadata"]["name"];
            ensure!(!self.events.iter().any(is_known), EXISTS);
            self.events.push(event.clone());
            return Ok(event);
        }
        let (namespace, name) = rest.split_once("/events/").context("another path")?;
        ensure!(request.method == "PATCH", "not PATCH");
        ensure!(
            request.media == "application/merge-patch+json",
            "not a merge patch"
        );
        let known = self.events.iter_mut().find(|known| {
            known["metadata"]["name"] == name && known["metadata"]["namespace"] == namespace
        });
        let known = known.context(MISSING)?;
        for (field, value) in event.as_object().context("no object")? {
            let is_same = match field.as_str() {
                "series" | "metadata" | "kind" | "apiVersion" => true,
                _ => known[field] == *value,
            };
            ensure!(is_same, "{field} may not be changed");
        }
        let count = event["series"]["count"].as_u64();
        ensure!(count >= Some(2), "a series of {count:?}");
        ensure!(event["series"]["lastObservedTime"].is_string(), "no time");
        known["series"] = event["series"].clone();
        Ok(known.clone())
    }
}

fn created(mut event: Value, namespace: &str) -> Result<Value> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let within = |pointer: &str, most: usize| {
        let text = text(pointer).with_context(|| format!("no {pointer}"))?;
        ensure!(
            !text.is_empty() && text.len() <= most,
            "{pointer} has {} bytes",
            text.len()
        );
        anyhow::Ok(text)
    };
    within("/eventTime", 64)?;
    for field in [
        "/reportingController",
        "/reportingInstance",
        "/action",
        "/reason",
    ] {
        within(field, 128)?;
    }
    within("/note", 1024)?;
    let name = within("/metadata/name", 253)?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    ensure!(name.chars().all(is_name), "`{name}` is no DNS name");
    ensure!(
        matches!(text("/type"), Some("Normal" | "Warning")),
        "no type"
    );
    match text("/regarding/namespace") {
        Some(of) => ensure!(of == namespace, "another namespace"),
        None => ensure!(namespace == "default", "not in the default namespace"),
    }
    let ends = |c: char| matches!(c, '.' | '-');
    ensure!(!name.starts_with(ends) && !name.ends_with(ends), "`{name}`");
    for field in [
        "deprecatedCount",
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedSource",
    ] {
        if event.get(field).is_some_and(|value| !value.is_null()) {
            bail!("{field} is set");
        }
    }
    event["metadata"]["namespace"] = namespace.into();
    Ok(event)
}
