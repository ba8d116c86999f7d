//! Events in Kubernetes: the owner of a pod sees in `kubectl describe` that it leaks, or who keeps it from
//! creating tasks.
//!
//! In: the node's updates. Out: events (events.k8s.io/v1) by kube's recorder, only if that is switched
//! on. The watch does not wait for the API server: what cannot be written waits in a bounded queue, and
//! what is lost is counted.

mod notes;
mod queue;

use std::{
    cell::{Cell, RefCell},
    error::Error,
    fmt::Write,
    net::{IpAddr, ToSocketAddrs},
    rc::Rc,
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Config,
    config::InClusterError,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{
    sync::Notify,
    task::spawn_local,
    time::{sleep, timeout},
};

use self::{
    notes::{Note, Notes, Subject},
    queue::Queue,
};
use crate::{clock::BootTime, escape, node::Update};

/// Where notes are lost, in metrics.
pub const PLACE: &str = "kubernetes_events";
/// How long the API server has for an event.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the first failure; then twice as long each time, ...
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The API server keeps events for an hour (`--event-ttl`): what is older is of no use to anybody.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Of what was found longer ago, an event says so: its own time is that of its writing.
const LATE: Duration = Duration::from_secs(10);
/// Most bytes of an event's note (ValidateEventCreate of Kubernetes' API).
const MOST_TEXT: usize = 1024;

/// There is no API server to write to.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Kubernetes events are written: {0}; --kubernetes-events is for a pod with a service account \
     (the chart's kubernetesEvents.enabled)"
)]
pub struct NoApi(String);

/// The API server, as a pod is told of it.
pub struct Api(Config);

impl Api {
    /// Reads the environment and the service account's files, and looks a name up: later that would take a
    /// thread, and a node in need has none to give.
    ///
    /// # Errors
    /// When this is no pod, or one without a service account's token.
    pub fn find() -> Result<Self, NoApi> {
        let mut config = Config::incluster_env().map_err(|error| NoApi(not_a_pod(&error)))?;
        let uri = &config.cluster_url;
        let wrong = || NoApi(format!("KUBERNETES_SERVICE_HOST is no host: {uri}"));
        let host = uri.host().ok_or_else(wrong)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_err() {
            let port = uri.port_u16().unwrap_or(443);
            let address = (bare, port)
                .to_socket_addrs()
                .map_err(|error| NoApi(format!("cannot look up `{bare}`: {error}")))?
                .next()
                .ok_or_else(wrong)?;
            let url = format!("https://{address}");
            config.tls_server_name = Some(bare.to_owned());
            config.cluster_url = url.parse().map_err(|_| wrong())?;
        }
        config.connect_timeout = Some(PATIENCE);
        // This module tries again by itself.
        config.default_retry = false;
        Ok(Self(config))
    }
}

/// What the agent and the writer have in common.
#[derive(Default)]
struct Desk {
    queue: RefCell<Queue>,
    news: Notify,
    lost: Cell<u64>,
}

impl Desk {
    fn lose(&self, count: u64) {
        self.lost.set(self.lost.get() + count);
    }
}

/// The agent's part of it.
pub struct Kubernetes {
    notes: Notes,
    desk: Rc<Desk>,
}

impl Kubernetes {
    /// Begins to write, within the runtime.
    ///
    /// # Errors
    /// When the service account's files are no certificate or no token.
    pub fn begin(api: Api, node: &str) -> Result<Self, NoApi> {
        let Api(config) = api;
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| NoApi(causes(&error)))?;
        let reporter = Reporter {
            controller: "pidwatch".into(),
            instance: Some(node.to_owned()),
        };
        let writer = Writer {
            recorder: Recorder::new(client, reporter),
            node: node.to_owned(),
            url,
            complaint: None,
        };
        let desk = Rc::<Desk>::default();
        spawn_local(writer.run(desk.clone()));
        Ok(Self {
            notes: Notes::new(BootTime::now()),
            desk,
        })
    }

    /// Takes an update in.
    pub fn take(&mut self, update: &Update) {
        let desk = &self.desk;
        self.notes.take(update, &mut |note| {
            if desk.queue.borrow_mut().push(note) {
                desk.lose(1);
            }
            desk.news.notify_one();
        });
    }

    /// How many notes were lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        self.notes.take_lost() + self.desk.lost.take()
    }
}

/// What of a pod's surroundings is missing.
fn not_a_pod(error: &InClusterError) -> String {
    let what = match error {
        InClusterError::ReadEnvironmentVariable(_)
        | InClusterError::ParseClusterPort(_)
        | InClusterError::ParseClusterUrl(_) => {
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"
        }
        _ => "/var/run/secrets/kubernetes.io/serviceaccount",
    };
    format!("{what}: {}", causes(error))
}

/// What is to be done about an event that could not be written.
enum Fate {
    /// Try again.
    Later,
    /// It will never be taken.
    Refused,
}

struct Writer {
    recorder: Recorder,
    node: String,
    url: String,
    /// The failure that was told last.
    complaint: Option<String>,
}

impl Writer {
    async fn run(mut self, desk: Rc<Desk>) {
        loop {
            let next = desk.queue.borrow_mut().pop();
            match next {
                Some(note) => {
                    if !self.write(note).await {
                        desk.lose(1);
                    }
                }
                None => desk.news.notified().await,
            }
        }
    }

    /// Tries until it is written, refused or stale; whether it was written.
    async fn write(&mut self, note: Note) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let age = BootTime::now().since(note.time);
            if age > STALE {
                return false;
            }
            let about = reference(&note.key.about, &self.node);
            let event = event(&note, age);
            let written = self.recorder.publish(&event, &about);
            let (fate, cause) = match timeout(PATIENCE, written).await {
                Ok(Ok(())) => {
                    if self.complaint.take().is_some() {
                        tracing::info!("Kubernetes events are written again");
                    }
                    return true;
                }
                Ok(Err(error)) => judge(&error),
                Err(_) => (Fate::Later, format!("no answer within {PATIENCE:?}")),
            };
            self.complain(&fate, cause);
            match fate {
                Fate::Refused => return false,
                Fate::Later => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Tells a failure once.
    fn complain(&mut self, fate: &Fate, cause: String) {
        if self.complaint.as_ref() == Some(&cause) {
            return;
        }
        let url = escape::for_terminal(self.url.as_bytes());
        let shown = escape::for_terminal(cause.as_bytes());
        match fate {
            Fate::Refused => tracing::warn!(
                "the API server at {url} refuses a Kubernetes event: {shown}; watching on (it takes the \
                 right to create and patch events of events.k8s.io, in docs/kubernetes.md)"
            ),
            Fate::Later => tracing::warn!(
                "cannot write Kubernetes events to {url}: {shown}; trying on, and watching on"
            ),
        }
        self.complaint = Some(cause);
    }
}

/// What an error means. An answer that says no to this event says no to it forever.
fn judge(error: &kube::Error) -> (Fate, String) {
    match error {
        kube::Error::Api(status) => {
            let text = format!("{} {}", status.code, status.message);
            match status.code {
                // Not known as who it is (a token that is just being renewed), and too much at once.
                401 | 408 | 429 | 500.. => (Fate::Later, text),
                _ => (Fate::Refused, text),
            }
        }
        other => (Fate::Later, causes(other)),
    }
}

/// An error with what is behind it, each once.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        next = cause.source();
    }
    text
}

fn event(note: &Note, age: Duration) -> Event {
    let late = if age > LATE {
        format!(" ({} s before this was written)", age.as_secs())
    } else {
        String::new()
    };
    let end = note.text.floor_char_boundary(MOST_TEXT - late.len());
    Event {
        type_: EventType::Warning,
        reason: note.key.reason.name().to_owned(),
        note: Some(format!("{}{late}", &note.text[..end])),
        action: note.key.what.to_owned(),
        secondary: note.key.related.as_ref().map(|of| reference(of, "")),
    }
}

/// As the kubelet refers to them: a node's UID is its name, a container is a field of its pod.
fn reference(subject: &Subject, node: &str) -> ObjectReference {
    match subject {
        Subject::Node => ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.to_owned()),
            uid: Some(node.to_owned()),
            ..ObjectReference::default()
        },
        Subject::Pod {
            namespace,
            name,
            uid,
            container,
        } => ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(namespace.to_string()),
            name: Some(name.to_string()),
            uid: uid.as_deref().map(Into::into),
            field_path: container
                .as_deref()
                .map(|name| format!("spec.containers{{{name}}}")),
            ..ObjectReference::default()
        },
        Subject::Other(name) => ObjectReference {
            name: Some(name.to_string()),
            ..ObjectReference::default()
        },
    }
}

#[cfg(test)]
mod tests;
