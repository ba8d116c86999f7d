//! Asks container runtimes, by their CRI sockets, for the names of containers and pods. The only
//! place that knows gRPC.
//!
//! In: cgroups that events are about. Out: their owners' names, once a runtime has told them.
//!
//! Invariant: a look-up answers at once from what is known. Each runtime is asked by an
//! asynchronous task of its own on the one thread there is, so that a runtime that hangs, dies or
//! lies holds up neither events nor another runtime.

mod client;
mod messages;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use prost::Message;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, sleep_until},
};

use self::{
    client::{CallError, Client},
    messages::{CriContainer, Image, Items, PodSandbox, wanted_labels},
};
use pidwatch_core::{
    cgroup::CgroupId,
    escape,
    identity::{
        Counters, Identity, Names, WORKLOAD_LABELS, Workload, bounded,
        names::{Book, Found, RuntimeKey, Wanted},
    },
};

/// Where runtimes listen: containerd, CRI-O, docker's adapter, k3s and RKE2, k0s, MicroK8s.
const USUAL: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
];
/// Several containers often come together: one answer serves all that come within this time.
const GATHER: Duration = Duration::from_millis(3);
/// Least time between two questions to a runtime, and between them and what they took: at most
/// a tenth of its time is ours.
const PACE: Duration = Duration::from_millis(20);
const SHARE: u32 = 10;
/// After a failure it is asked again after this time, then after twice as long and so on.
const SOONEST: Duration = Duration::from_millis(200);
const LATEST: Duration = Duration::from_secs(30);
/// A socket that is not there is soon looked for again: that costs one system call.
const LATEST_MISSING: Duration = Duration::from_secs(2);

/// Which sockets to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// Whatever is at the usual places.
    Usual,
    /// These; none: nobody is asked.
    These(Vec<PathBuf>),
}

/// Names from container runtimes.
pub struct Resolver {
    shared: Arc<RuntimeShared>,
    tasks: Vec<JoinHandle<()>>,
}

struct RuntimeShared {
    book: Mutex<Book>,
    /// By runtime: there is something new to ask.
    wake: Vec<Notify>,
}

impl RuntimeShared {
    /// Held for moments only, and there is one thread.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to ask.
    async fn question(&self, runtime: usize) {
        loop {
            let next = self.book().next_question(runtime);
            let due = async {
                match next {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            if next.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            tokio::select! {
                () = due => return,
                () = self.wake[runtime].notified() => {}
            }
        }
    }
}

impl Resolver {
    /// Begins to ask. Needs to run within the runtime.
    pub fn start(sockets: &Sockets) -> Self {
        let (sockets, is_asked_for) = match sockets {
            Sockets::Usual => (USUAL.map(PathBuf::from).to_vec(), false),
            Sockets::These(sockets) => (sockets.clone(), true),
        };
        let shared = Arc::new(RuntimeShared {
            book: Mutex::new(Book::new(sockets.len())),
            wake: sockets.iter().map(|_| Notify::new()).collect(),
        });
        let tasks = sockets
            .into_iter()
            .enumerate()
            .map(|(index, socket)| {
                let runtime = RuntimeClient {
                    shared: shared.clone(),
                    index,
                    socket,
                    client: None,
                    standing: if is_asked_for {
                        Standing::Expected
                    } else {
                        Standing::Unseen
                    },
                };
                tokio::spawn(runtime.serve())
            })
            .collect();
        Self { shared, tasks }
    }

    /// The names of a cgroup's owner as far as they are known now; what is not known is asked for.
    pub fn look_up(&self, id: CgroupId, identity: &Identity) -> Option<Arc<Names>> {
        let (names, is_question) = self.shared.book().look_up(id, identity, Instant::now());
        if is_question {
            for wake in &self.shared.wake {
                wake.notify_one();
            }
        }
        names
    }

    /// Whoever follows the events has been told of this cgroup: its names are news once they are
    /// known.
    pub fn announced(&self, id: CgroupId) {
        self.shared.book().announced(id);
    }

    /// The cgroup was removed; its last events may still come.
    pub fn removed(&self, id: CgroupId) {
        self.shared.book().removed(id);
    }

    /// Nothing more will come of this cgroup.
    pub fn forget(&self, id: CgroupId) {
        self.shared.book().forget(id);
    }

    /// Announced cgroups whose names came to be known, or changed, since the last call.
    pub fn take_news(&self) -> impl Iterator<Item = CgroupId> + use<> {
        self.shared.book().take_news().into_iter()
    }

    /// How look-ups went.
    pub fn counters(&self) -> Counters {
        self.shared.book().counters()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// How a runtime stood when it was last asked, so that only changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It need not be there.
    Unseen,
    /// It should be there.
    Expected,
    Answers,
    Fails,
}

/// One runtime, and the task that asks it.
struct RuntimeClient {
    shared: Arc<RuntimeShared>,
    index: usize,
    socket: PathBuf,
    client: Option<Client>,
    standing: Standing,
}

impl RuntimeClient {
    async fn serve(mut self) {
        let mut pause = SOONEST;
        loop {
            self.shared.question(self.index).await;
            sleep(GATHER).await;
            let began = Instant::now();
            let wanted = self.shared.book().questions(self.index, began);
            // One that was restarted meanwhile is tried anew at once.
            let was_connected = self.client.is_some();
            match self.ask(&wanted).await {
                Ok(found) => {
                    let now = Instant::now();
                    self.shared.book().answer(self.index, &wanted, found, now);
                    self.answered();
                    pause = SOONEST;
                    sleep(PACE.max((now - began) * SHARE)).await;
                }
                Err(error) => {
                    self.client = None;
                    if was_connected {
                        continue;
                    }
                    let latest = match error {
                        CallError::NotThere(_) => LATEST_MISSING,
                        _ => LATEST,
                    };
                    self.failed(&error);
                    sleep(pause.min(latest)).await;
                    pause = (pause * 2).min(latest);
                }
            }
        }
    }

    async fn ask(&mut self, wanted: &[Wanted]) -> Result<Vec<Found>, CallError> {
        if self.client.is_none() {
            self.client = Some(Client::connect(&self.socket).await?);
        }
        match &mut self.client {
            Some(client) => find(client, wanted).await,
            None => Ok(Vec::new()),
        }
    }

    fn answered(&mut self) {
        if self.standing == Standing::Fails {
            tracing::info!("{} answers again", shown(&self.socket));
        }
        self.standing = Standing::Answers;
    }

    fn failed(&mut self, error: &CallError) {
        let is_missing = matches!(error, CallError::NotThere(_));
        let is_news = match self.standing {
            Standing::Fails => false,
            Standing::Unseen => !is_missing,
            Standing::Expected | Standing::Answers => true,
        };
        if is_news {
            tracing::warn!(
                "the container runtime at {} does not answer: {}; names of its pods and containers \
                 are missing until it does",
                shown(&self.socket),
                escape::for_terminal(error.to_string().as_bytes()),
            );
            self.standing = Standing::Fails;
        }
    }
}

fn shown(socket: &Path) -> String {
    escape::for_terminal(socket.as_os_str().as_encoded_bytes())
}

/// What is wanted, by id.
struct WantedIds<'a> {
    containers: HashMap<&'a str, &'a Wanted>,
    pods: HashSet<&'a str>,
}

impl<'a> WantedIds<'a> {
    fn of(wanted: &'a [Wanted]) -> Self {
        let mut ids = Self {
            containers: HashMap::new(),
            pods: HashSet::new(),
        };
        for wanted in wanted {
            match &wanted.key {
                RuntimeKey::Container(id) => {
                    ids.containers.insert(id, wanted);
                }
                RuntimeKey::Pod(uid) => {
                    ids.pods.insert(uid);
                }
            }
            ids.pods.extend(wanted.pod_uid.as_deref());
        }
        ids
    }
}

/// Asks for the lists and takes what is wanted from them. What is kept is bounded by what is wanted.
async fn find(client: &mut Client, wanted: &[Wanted]) -> Result<Vec<Found>, CallError> {
    let ids = WantedIds::of(wanted);
    let containers = if ids.containers.is_empty() {
        HashMap::new()
    } else {
        wanted_containers(client.containers().await?, &ids)?
    };
    let pods = Pods::of(client.sandboxes().await?, &ids, &containers)?;
    let images = wanted_images(client, &containers).await?;
    let runtime = bounded(&client.runtime);
    let found = wanted.iter().filter_map(|wanted| {
        let by_uid = || {
            let uid = match &wanted.key {
                RuntimeKey::Pod(uid) => Some(uid),
                RuntimeKey::Container(_) => wanted.pod_uid.as_ref(),
            };
            pods.by_uid.get(&**uid?)
        };
        let (container, pod, is_whole) = match &wanted.key {
            RuntimeKey::Pod(_) => (None, Some(by_uid()?), true),
            RuntimeKey::Container(id) => match containers.get(&**id) {
                Some(container) => {
                    let pod = pods.by_id.get(&*container.pod_sandbox_id);
                    (Some(container), pod, pod.is_some())
                }
                None => match pods.by_id.get(&**id) {
                    Some(sandbox) => (None, Some(sandbox), true),
                    // Its pod at least.
                    None => (None, Some(by_uid()?), false),
                },
            },
        };
        let metadata = pod.and_then(|pod| pod.sandbox.metadata.as_ref());
        // The path's pod is whose cgroup it is: an id that a runtime knows in another pod is not this one.
        let is_its_pod = wanted
            .pod_uid
            .as_deref()
            .is_none_or(|uid| metadata.is_some_and(|metadata| metadata.uid == uid));
        if !is_its_pod {
            return None;
        }
        let image = container.and_then(|container| container.image.as_ref());
        Some(Found {
            key: wanted.key.clone(),
            names: Names {
                runtime: runtime.clone(),
                namespace: metadata.and_then(|metadata| bounded(&metadata.namespace)),
                pod: metadata.and_then(|metadata| bounded(&metadata.name)),
                pod_uid: metadata.and_then(|metadata| bounded(&metadata.uid)),
                workload: pod.and_then(|pod| pod.workload.clone()),
                container: container
                    .and_then(|container| bounded(&container.metadata.as_ref()?.name)),
                image: image.and_then(|image| {
                    let named = [&image.user_specified_image]
                        .into_iter()
                        .find(|name| !name.is_empty())
                        .or_else(|| images.get(&image.image));
                    bounded(named.unwrap_or(&image.image))
                }),
            },
            made: container
                .map(|container| container.created_at)
                .or_else(|| Some(pod?.sandbox.created_at))
                .unwrap_or(0),
            is_whole,
        })
    });
    Ok(found.collect())
}

fn wanted_containers(
    list: Items,
    ids: &WantedIds<'_>,
) -> Result<HashMap<String, CriContainer>, CallError> {
    let mut containers: HashMap<String, CriContainer> = HashMap::new();
    for item in list {
        let container = CriContainer::decode(item?)?;
        let is_wanted = ids.containers.contains_key(&*container.id);
        let is_newer = containers
            .get(&container.id)
            .is_none_or(|other| other.created_at <= container.created_at);
        if is_wanted && is_newer {
            containers.insert(container.id.clone(), container);
        }
    }
    Ok(containers)
}

/// Sandboxes by their own id, and the newest by their pod's.
#[derive(Default)]
struct Pods {
    by_id: HashMap<String, Arc<Pod>>,
    by_uid: HashMap<String, Arc<Pod>>,
}

/// A sandbox, and what made its pod.
struct Pod {
    sandbox: PodSandbox,
    workload: Option<Workload>,
}

impl Pod {
    fn decode(item: Bytes) -> Result<Self, CallError> {
        let sandbox = PodSandbox::decode(item.clone())?;
        let labels = wanted_labels(item, &WORKLOAD_LABELS)?;
        let name = sandbox.metadata.as_ref().map(|metadata| &*metadata.name);
        let label = |key: &str| labels.get(key).map(String::as_str);
        let workload = name.and_then(|name| Workload::of(name, label));
        Ok(Self { sandbox, workload })
    }
}

impl Pods {
    fn of(
        list: Items,
        ids: &WantedIds<'_>,
        containers: &HashMap<String, CriContainer>,
    ) -> Result<Self, CallError> {
        let of_containers: HashSet<&str> = containers
            .values()
            .map(|container| &*container.pod_sandbox_id)
            .collect();
        let mut pods = Self::default();
        for item in list {
            let pod = Arc::new(Pod::decode(item?)?);
            let sandbox = &pod.sandbox;
            let add = |to: &mut HashMap<String, Arc<Pod>>, key: &str| {
                let is_newer = to
                    .get(key)
                    .is_none_or(|other| other.sandbox.created_at <= sandbox.created_at);
                if is_newer {
                    to.insert(key.to_owned(), pod.clone());
                }
            };
            let id = &*sandbox.id;
            if ids.containers.contains_key(id) || of_containers.contains(id) {
                add(&mut pods.by_id, id);
            }
            let uid = sandbox.metadata.as_ref().map(|metadata| &*metadata.uid);
            if let Some(uid) = uid.filter(|uid| ids.pods.contains(uid)) {
                add(&mut pods.by_uid, uid);
            }
        }
        Ok(pods)
    }
}

/// Names of images that containers know by an id only: the kubelet makes them so.
async fn wanted_images(
    client: &mut Client,
    containers: &HashMap<String, CriContainer>,
) -> Result<HashMap<String, String>, CallError> {
    let nameless: HashSet<&str> = containers
        .values()
        .filter_map(|container| container.image.as_ref())
        .filter(|image| image.user_specified_image.is_empty())
        .map(|image| &*image.image)
        .filter(|image| is_image_id(image))
        .collect();
    let mut names = HashMap::new();
    if nameless.is_empty() {
        return Ok(names);
    }
    for item in client.images().await? {
        let image = Image::decode(item?)?;
        let name = [image.repo_tag, image.repo_digest]
            .into_iter()
            .find(|name| !name.is_empty());
        if nameless.contains(&*image.id)
            && let Some(name) = name
        {
            names.insert(image.id, name);
        }
    }
    Ok(names)
}

/// An id instead of a name: `sha256:` and 64 digits, or (CRI-O) the digits alone.
fn is_image_id(image: &str) -> bool {
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
