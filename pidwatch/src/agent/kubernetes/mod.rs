//! Events in Kubernetes: the owner of a pod sees in `kubectl describe` that it leaks, or who keeps it from
//! creating tasks.
//!
//! In: lines of the stream. Out: events (events.k8s.io/v1) by `kube`, only if that is switched on. The
//! watch does not wait for the API server: what cannot be written waits in a bounded queue, and what is
//! lost is counted.

mod notes;
mod queue;
mod writer;

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, ToSocketAddrs},
    rc::Rc,
};

use kube::{Client, Config, config::InClusterError};
use tokio::{sync::Notify, task::spawn_local};

use self::{
    notes::Notes,
    queue::Queue,
    writer::{EventWriter, PATIENCE, causes},
};
use crate::{
    clock::{BootTime, WallClock},
    stream::Line,
};

/// Where notes are lost, in metrics.
pub const PLACE: &str = "kubernetes_events";
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
        // The writer tries again by itself.
        config.default_retry = false;
        Ok(Self(config))
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
        let desk = Rc::<Desk>::default();
        let writer = EventWriter::new(client, url, node, WallClock::now());
        spawn_local(write(writer, desk.clone(), BootTime::now));
        Ok(Self {
            notes: Notes::new(BootTime::now()),
            desk,
        })
    }

    /// Takes a line in.
    pub fn take(&mut self, line: &Line, now: BootTime) {
        let desk = &self.desk;
        self.notes.take(line, now, &mut |note| {
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

/// Writes what waits, for as long as it is polled.
async fn write(mut writer: EventWriter, desk: Rc<Desk>, now: impl Fn() -> BootTime) {
    loop {
        let next = desk.queue.borrow_mut().pop();
        let Some(note) = next else {
            desk.news.notified().await;
            continue;
        };
        match writer.write(&note, now()).await {
            writer::Outcome::Written => {}
            writer::Outcome::Lost => desk.lose(1),
            writer::Outcome::Later(pause) => {
                if desk.queue.borrow_mut().put_back(note) {
                    desk.lose(1);
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
