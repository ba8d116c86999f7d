//! Writes notes as events, by `kube`; counts one that goes on instead of writing it again.
//!
//! What the API server takes: ValidateEventCreate and ValidateEventUpdate of Kubernetes 1.33
//! (pkg/apis/core/validation/events.go), for events.k8s.io/v1.

use std::{
    error::Error,
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    mem::discriminant,
    time::Duration,
};

use hashbrown::HashMap;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Client,
    api::{Api, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::timeout;

use super::notes::{Note, NoteKey, Subject};
use crate::{
    clock::{BootTime, WallClock},
    escape,
};

/// How long the API server has for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the first failure; then twice as long each time, ...
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The API server keeps events for an hour (`--event-ttl`): what is older is of no use to anybody.
const STALE: Duration = Duration::from_hours(1);
/// What was not seen for so long is another event when it comes again: client-go's
/// (tools/events, finishTime).
const SERIES_ENDS: Duration = Duration::from_mins(6);
/// Most bytes of an event's note.
const MOST_TEXT: usize = 1024;
/// Most bytes of its name (RFC 1123), ...
const MOST_NAME: usize = 253;
/// ... of which a dot and a hash are so many.
const SUFFIX: usize = 17;
/// Most bytes of who reports.
const MOST_INSTANCE: usize = 128;
/// What is said of rights, where they are wanting.
const FORBIDDEN: u16 = 403;
/// A name that is there already, or is not there (any more).
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// What became of a note.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is an event.
    Written,
    /// It never will be one.
    Lost,
    /// It is to be tried again after this time.
    Later(Duration),
}

/// An event that is there.
#[derive(Debug)]
struct Written {
    name: String,
    namespace: String,
    count: i32,
    last: BootTime,
}

/// What was complained of: the same is not said again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Complaint {
    /// An answer, by its status.
    Status(u16),
    /// None within [`PATIENCE`].
    Silence,
    /// Something else, by its kind.
    Error(std::mem::Discriminant<kube::Error>),
}

/// Writes.
pub struct EventWriter {
    client: Client,
    url: String,
    node: String,
    clock: WallClock,
    written: HashMap<NoteKey, Written>,
    complaint: Option<Complaint>,
    /// Whether the last attempt is to be repeated.
    is_failing: bool,
    pause: Duration,
}

/// What an error means.
enum Fate {
    /// Something else may help.
    Later,
    /// It will never be taken.
    Refused,
}

impl EventWriter {
    /// Writes of this node to the API server at `url`.
    pub fn new(client: Client, url: String, node: &str, clock: WallClock) -> Self {
        Self {
            client,
            url,
            node: node.to_owned(),
            clock,
            written: HashMap::new(),
            complaint: None,
            is_failing: false,
            pause: FIRST_PAUSE,
        }
    }

    /// Tries once.
    pub async fn write(&mut self, note: &Note, now: BootTime) -> Outcome {
        if now.since(note.time) > STALE {
            return Outcome::Lost;
        }
        self.written
            .retain(|_, event| now.since(event.last) < SERIES_ENDS);
        let failed = match timeout(PATIENCE, self.attempt(note)).await {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("Kubernetes events are written again");
                }
                self.complaint = None;
                self.pause = FIRST_PAUSE;
                return Outcome::Written;
            }
            Ok(Err(error)) => Some(error),
            Err(_elapsed) => None,
        };
        let (fate, complaint, cause) = judge(failed.as_ref());
        self.complain(&fate, complaint, &cause);
        match fate {
            Fate::Refused => Outcome::Lost,
            Fate::Later => {
                self.is_failing = true;
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                Outcome::Later(pause)
            }
        }
    }

    async fn attempt(&mut self, note: &Note) -> Result<(), kube::Error> {
        let api = |namespace: &str| Api::<Event>::namespaced(self.client.clone(), namespace);
        if let Some(known) = self.written.get_mut(&note.key) {
            let series = EventSeries {
                count: known.count + 1,
                last_observed_time: MicroTime(wall(&self.clock, note.time)),
            };
            let patch = Patch::Merge(json!({ "series": series }));
            let patched = api(&known.namespace)
                .patch(&known.name, &PatchParams::default(), &patch)
                .await;
            match patched {
                Ok(_) => {
                    known.count += 1;
                    known.last = note.time;
                    return Ok(());
                }
                // Somebody has removed it: another one.
                Err(kube::Error::Api(status)) if status.code == NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(note, &self.node, wall(&self.clock, note.time));
        let about = &note.key.about;
        let namespace = namespace(about).to_owned();
        match api(&namespace).create(&PostParams::default(), &event).await {
            Ok(_) => {}
            // It was taken before, and only the answer was lost.
            Err(kube::Error::Api(status)) if status.code == CONFLICT => {}
            Err(error) => return Err(error),
        }
        let written = Written {
            name: event.metadata.name.unwrap_or_default(),
            namespace,
            count: 1,
            last: note.time,
        };
        self.written.insert(note.key.clone(), written);
        Ok(())
    }

    /// Tells a failure once.
    fn complain(&mut self, fate: &Fate, complaint: Complaint, cause: &str) {
        if self.complaint.replace(complaint) == Some(complaint) {
            return;
        }
        let url = escape::for_terminal(self.url.as_bytes());
        let cause = escape::for_terminal(cause.as_bytes());
        match fate {
            Fate::Refused if complaint == Complaint::Status(FORBIDDEN) => tracing::warn!(
                "the API server at {url} refuses a Kubernetes event: {cause}; watching on (it takes the \
                 right to create and patch events of events.k8s.io, in docs/kubernetes.md)"
            ),
            Fate::Refused => tracing::warn!(
                "the API server at {url} refuses a Kubernetes event: {cause}; watching on"
            ),
            Fate::Later => tracing::warn!(
                "cannot write Kubernetes events to {url}: {cause}; trying on, and watching on"
            ),
        }
    }
}

fn wall(clock: &WallClock, time: BootTime) -> Timestamp {
    let mut clock = *clock;
    clock.follow_steps();
    clock.at(time)
}

/// What an error means, `None` being no answer. One that says no to this event says no to it forever.
fn judge(error: Option<&kube::Error>) -> (Fate, Complaint, String) {
    let Some(error) = error else {
        let cause = format!("no answer within {PATIENCE:?}");
        return (Fate::Later, Complaint::Silence, cause);
    };
    match error {
        kube::Error::Api(status) => {
            let fate = match status.code {
                // Not known as who it is (a token that is just being renewed), and too much at once.
                401 | 408 | 429 | 500.. => Fate::Later,
                _ => Fate::Refused,
            };
            let cause = format!("{} {}", status.code, status.message);
            (fate, Complaint::Status(status.code), cause)
        }
        other => {
            let fate = match other {
                // Made of names that make no request, or an answer that is none.
                kube::Error::BuildRequest(_)
                | kube::Error::HttpError(_)
                | kube::Error::SerdeError(_) => Fate::Refused,
                _ => Fate::Later,
            };
            (fate, Complaint::Error(discriminant(other)), causes(other))
        }
    }
}

/// Where events about something are: those about what is in no namespace are in `default`.
fn namespace(about: &Subject) -> &str {
    match about {
        Subject::Pod { namespace, .. } => namespace,
        Subject::Node | Subject::Other(_) => "default",
    }
}

/// As much of a text as there is room for.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The event that a note is. Its name is the note's own, so that one that is written twice is there once.
pub fn event(note: &Note, node: &str, time: Timestamp) -> Event {
    let regarding = reference(&note.key.about, node);
    let object = regarding.name.as_deref().unwrap_or_default();
    let object = cut(object, MOST_NAME - SUFFIX).trim_end_matches(['-', '.']);
    // Always the same of the same note (its keys are none of this process' own).
    let mut own = DefaultHasher::new();
    (&note.key, note.time.nanos()).hash(&mut own);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{object}.{:016x}", own.finish())),
            namespace: Some(namespace(&note.key.about).to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(time)),
        type_: Some("Warning".into()),
        reason: Some(note.key.reason.name().into()),
        action: Some(note.key.what.to_string()),
        note: Some(cut(&note.text, MOST_TEXT).to_owned()),
        reporting_controller: Some("pidwatch".into()),
        reporting_instance: Some(cut(node, MOST_INSTANCE).to_owned()),
        related: note.key.related.as_ref().map(|of| reference(of, node)),
        regarding: Some(regarding),
        ..Event::default()
    }
}

/// As the kubelet refers to them: a node's UID is its name, a container is a field of its pod.
pub fn reference(subject: &Subject, node: &str) -> ObjectReference {
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

/// An error with what is behind it, each once.
pub(super) fn causes(error: &dyn Error) -> String {
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
