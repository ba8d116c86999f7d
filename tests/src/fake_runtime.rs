//! A container runtime that answers as a test wants it: rightly, hostilely, late or never.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use prost::Message;
use tokio::io::AsyncWriteExt;

use crate::cri::{
    Container, Containers, PodMetadata, PodSandbox, PodSandboxes, VersionResponse, framed,
};
use crate::cri_container::{ContainerMetadata, ImageSpec};

/// How it treats those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers.
    Right,
    /// Answers after so long.
    Late(Duration),
    /// Takes connections and says nothing.
    Silent,
    /// Speaks something else than HTTP.
    Noise,
    /// Its messages are no messages.
    Garbage,
    /// Its messages say that they are four gigabytes long.
    Endless,
    /// Does not know the calls.
    Unimplemented,
}

/// What it says, and how.
#[derive(Debug)]
struct State {
    manner: Manner,
    containers: Vec<Container>,
    sandboxes: Vec<PodSandbox>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    lists: AtomicU64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A runtime at a socket of its own, until it is dropped.
#[derive(Debug)]
pub struct FakeRuntime {
    /// Where it listens.
    pub socket: PathBuf,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeRuntime {
    /// Listens, of a name that no other of this test has.
    pub fn start(name: &str, manner: Manner) -> Result<Self> {
        let socket =
            std::env::temp_dir().join(format!("pidwatch-{name}-{}.sock", std::process::id()));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                manner,
                containers: Vec::new(),
                sandboxes: Vec::new(),
            }),
            lists: AtomicU64::new(0),
        });
        let mut runtime = Self {
            socket,
            shared,
            stop: None,
            thread: None,
        };
        runtime.appear()?;
        Ok(runtime)
    }

    /// Stops listening: the socket is gone, connections are cut.
    pub fn vanish(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Listens again.
    pub fn appear(&mut self) -> Result<()> {
        self.vanish();
        let listener = UnixListener::bind(&self.socket)
            .with_context(|| format!("cannot listen at {}", self.socket.display()))?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = self.shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        self.stop = Some(stop);
        self.thread = Some(std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    _ = listen(listener, shared) => {}
                }
            });
        }));
        Ok(())
    }

    /// From now on.
    pub fn set(&self, manner: Manner) {
        self.shared.state().manner = manner;
    }

    /// It made a pod with one container, whose ids are given.
    pub fn add(&self, sandbox: &str, container: &str, pod: PodMetadata, name: &str, made: i64) {
        let mut state = self.shared.state();
        state.sandboxes.push(PodSandbox {
            id: sandbox.to_owned(),
            metadata: Some(pod),
            created_at: made,
            labels: HashMap::new(),
        });
        state.containers.push(Container {
            id: container.to_owned(),
            pod_sandbox_id: sandbox.to_owned(),
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
            }),
            image: Some(ImageSpec {
                image: "example/image:1".to_owned(),
            }),
            created_at: made,
            labels: HashMap::new(),
        });
    }

    /// A label of every container that it has.
    pub fn label(&self, key: &str, value: &str) {
        for container in &mut self.shared.state().containers {
            container.labels.insert(key.to_owned(), value.to_owned());
        }
    }

    /// A label of every pod that it has.
    pub fn label_pods(&self, key: &str, value: &str) {
        for sandbox in &mut self.shared.state().sandboxes {
            sandbox.labels.insert(key.to_owned(), value.to_owned());
        }
    }

    /// It removed a container with its pod.
    pub fn remove(&self, container: &str) {
        let mut state = self.shared.state();
        let mut sandboxes = Vec::new();
        state.containers.retain(|known| {
            let is_it = known.id == container;
            if is_it {
                sandboxes.push(known.pod_sandbox_id.clone());
            }
            !is_it
        });
        state
            .sandboxes
            .retain(|known| !sandboxes.contains(&known.id));
    }

    /// How often it was asked for its containers.
    pub fn asked(&self) -> u64 {
        self.shared.lists.load(Ordering::Relaxed)
    }
}

impl Drop for FakeRuntime {
    fn drop(&mut self) {
        self.vanish();
    }
}

async fn listen(listener: UnixListener, shared: Arc<Shared>) -> Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, shared.clone()));
    }
}

async fn serve(mut stream: tokio::net::UnixStream, shared: Arc<Shared>) -> Result<()> {
    let manner = shared.state().manner;
    match manner {
        Manner::Silent => {
            let () = std::future::pending().await;
        }
        Manner::Noise => {
            stream.write_all(&[0xff; 4096]).await?;
            let () = std::future::pending().await;
        }
        _ => {}
    }
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(answer(
            request.uri().path().to_owned(),
            respond,
            shared.clone(),
        ));
    }
    Ok(())
}

async fn answer(
    path: String,
    mut respond: h2::server::SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Result<()> {
    let manner = shared.state().manner;
    let mut status = "0";
    let message = match manner {
        Manner::Late(time) => {
            tokio::time::sleep(time).await;
            message(&path, &shared)
        }
        Manner::Right => message(&path, &shared),
        Manner::Garbage => framed(&[0xff; 100]),
        Manner::Endless => Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
        Manner::Unimplemented => {
            status = "12";
            Bytes::new()
        }
        Manner::Silent | Manner::Noise => std::future::pending().await,
    };
    let head = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())?;
    let mut body = respond.send_response(head, false)?;
    body.send_data(message, false)?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static(status));
    body.send_trailers(trailers)?;
    Ok(())
}

fn message(path: &str, shared: &Shared) -> Bytes {
    let state = shared.state();
    let message = match path.rsplit('/').next() {
        Some("Version") => VersionResponse {
            runtime_name: "containerd".to_owned(),
        }
        .encode_to_vec(),
        Some("ListContainers") => {
            shared.lists.fetch_add(1, Ordering::Relaxed);
            Containers {
                containers: state.containers.clone(),
            }
            .encode_to_vec()
        }
        Some("ListPodSandbox") => PodSandboxes {
            items: state.sandboxes.clone(),
        }
        .encode_to_vec(),
        _ => Vec::new(),
    };
    framed(&message)
}

/// A container's id, as runtimes make them.
pub fn id(number: u64) -> String {
    format!("{number:064x}")
}

/// A pod's UID.
pub fn uid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// A pod by its name, in namespace `shop`.
pub fn pod(name: &str, uid: &str) -> PodMetadata {
    PodMetadata {
        name: name.to_owned(),
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
    }
}
