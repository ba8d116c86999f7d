//! What of the node's updates is worth an event in Kubernetes, and of whom.
//!
//! In: the node's updates. Out: notes for the owner of a pod, and for who looks after the node: who
//! leaks, and who is refused by which limit. The same is said again only after a while, and all of it no
//! faster than the API server of a large cluster can bear. Pure: time comes in as an argument.

use std::time::Duration;

use hashbrown::HashMap;

use crate::{
    clock::BootTime,
    detect::State,
    escape,
    event::{StateChange, Update},
    identity::Owner,
    incident::{self, Incident, LimitKey, Phase},
    limits::{FailedClone, LimitOwner},
    output::text::{called, why},
    snapshot::Snapshot,
};

/// The same is not said again within this time. Shorter than the writer remembers an event, so that what
/// goes on is one event with a count.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// So many notes may come at once, ...
const BURST: f64 = 25.0;
/// ... and so many a second after that. client-go's limits for one object are 25 and one in five minutes.
const PER_SECOND: f64 = 1.0 / 12.0;
/// Most notes that are remembered, so as not to say them again.
const MOST_SAID: usize = 256;

/// Whom a note is about, or who has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The node.
    Node,
    /// A pod, or a container in it.
    Pod {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
        /// Its UID, as the kubelet has it.
        uid: Option<Box<str>>,
        /// The container.
        container: Option<Box<str>>,
    },
    /// What is no object of Kubernetes, by its name.
    Other(Box<str>),
}

impl Subject {
    /// The pod of an owner, if it has one that is known by name.
    pub fn pod(owner: &Owner) -> Option<Self> {
        let names = owner.names.as_deref()?;
        Some(Self::Pod {
            namespace: names.namespace.clone()?,
            name: names.pod.clone()?,
            uid: match &owner.identity.pod_uid {
                Some(uid) => Some(uid.as_str().into()),
                None => names.pod_uid.clone(),
            },
            container: names.container.clone(),
        })
    }

    fn of(owner: &Owner) -> Self {
        Self::pod(owner).unwrap_or_else(|| Self::Other(owner.name().into()))
    }
}

/// Kind of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A container leaks tasks.
    PidLeakDetected,
    /// A creation of a task was refused.
    CloneFailed,
}

impl Reason {
    /// As in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::PidLeakDetected => "PidLeakDetected",
            Self::CloneFailed => "CloneFailed",
        }
    }
}

/// What makes a note another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// About whom.
    pub about: Subject,
    /// Who else has to do with it.
    pub related: Option<Subject>,
    /// Its kind.
    pub reason: Reason,
    /// Which state, limit or reason: as in metrics.
    pub what: &'static str,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// About whom, and of which kind.
    pub key: Key,
    /// In words, safe to show.
    pub text: String,
    /// When it was found.
    pub time: BootTime,
}

/// Makes notes.
#[derive(Debug)]
pub struct Notes {
    said: HashMap<Key, BootTime>,
    tokens: f64,
    filled: BootTime,
    /// Who grows below the limits of open incidents, the first one and all of them in words.
    blamed: Vec<(LimitKey, Subject, String)>,
    lost: u64,
}

impl Notes {
    /// Nothing was said yet.
    pub fn new(now: BootTime) -> Self {
        Self {
            said: HashMap::new(),
            tokens: BURST,
            filled: now,
            blamed: Vec::new(),
            lost: 0,
        }
    }

    /// Notes that there were too many of, since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Takes an update in, and hands over what is to be said of it.
    pub fn take(&mut self, update: &Update, say: &mut impl FnMut(Note)) {
        match update {
            Update::State(change) => self.state(change, say),
            Update::Window(snapshot) => self.window(snapshot, say),
            Update::Failed(failed) => self.failed(failed, say),
            Update::Incident(incident, time) => self.incident(incident, *time, say),
            Update::Added(..) | Update::Removed(..) | Update::Named(..) | Update::Lost { .. } => {}
        }
    }

    fn state(&mut self, told: &StateChange, say: &mut impl FnMut(Note)) {
        let verdict = &told.change.verdict;
        if verdict.state == State::Leaking {
            let mut why = verdict.why.clone();
            if let Some(names) = &told.task_names {
                why = format!("{why}; {}", called(names));
            }
            self.leak(&told.owner, &why, told.time, say);
        }
    }

    /// A leak that goes on changes no state, and the names of its pod may have come since.
    fn window(&mut self, snapshot: &Snapshot, say: &mut impl FnMut(Note)) {
        let lost = self.lost;
        for row in &snapshot.rows {
            let verdict = row.verdict.as_ref();
            if let Some(verdict) = verdict.filter(|verdict| verdict.state == State::Leaking) {
                self.leak(&row.owner, &verdict.why, snapshot.time, say);
            }
        }
        // What there is no room for now is said at a later window.
        self.lost = lost;
    }

    /// Tells the pod, if it is known by name, and the node.
    fn leak(&mut self, owner: &Owner, why: &str, time: BootTime, say: &mut impl FnMut(Note)) {
        let of_node = (Subject::Node, Some(Subject::of(owner)));
        let of_pod = Subject::pod(owner).map(|pod| (pod, None));
        for (about, related) in [Some(of_node), of_pod].into_iter().flatten() {
            let key = Key {
                about,
                related,
                reason: Reason::PidLeakDetected,
                what: State::Leaking.name(),
            };
            let text = || format!("{} leaks tasks: {why}", owner.name());
            self.say(key, text, time, say);
        }
    }

    /// Tells the pod whose creation was refused, or of one whose name is not known the node. Of others
    /// the incident tells the node.
    fn failed(&mut self, failed: &FailedClone, say: &mut impl FnMut(Note)) {
        let sufferer = failed.sufferer();
        let limit = incident::key_of(failed);
        let blamed = self
            .blamed
            .iter()
            .find(|(of, ..)| limit.as_ref().is_some_and(|limit| of.is_same(limit)));
        let (about, related) = match Subject::pod(sufferer) {
            Some(pod) => (pod, blamed.map(|(_, culprit, _)| culprit.clone())),
            None if sufferer.identity.pod_uid.is_some() => {
                (Subject::Node, Some(Subject::of(sufferer)))
            }
            None => return,
        };
        let failure = &failed.failure;
        let comm = escape::for_terminal(&failure.comm);
        let who = match (&failed.on_behalf_of, failed.exec_probe) {
            (Some(_), _) => format!("{comm} (the container runtime, for this container)"),
            (None, true) => format!("{comm} (an exec probe)"),
            (None, false) => comm,
        };
        let syscall = failure.syscall.map_or("clone", |syscall| syscall.name());
        let mut text = format!("{syscall} of {who} refused: {}", why(failed));
        if about == Subject::Node {
            text = format!("{}: {text}", sufferer.name());
        }
        if let Some((_, _, culprits)) = blamed {
            text = format!("{text}; {culprits}");
        }
        let key = Key {
            about,
            related,
            reason: Reason::CloneFailed,
            what: failed.verdict.reason.name(),
        };
        self.say(key, || text, failure.time, say);
    }

    fn incident(&mut self, incident: &Incident, time: BootTime, say: &mut impl FnMut(Note)) {
        let limit = &incident.limit;
        self.blamed.retain(|(of, ..)| !of.is_same(limit));
        if incident.phase == Phase::Closed {
            return;
        }
        let culprits: Vec<_> = incident.culprits.iter().take(3).collect();
        let culprit = culprits.first().map(|culprit| Subject::of(&culprit.owner));
        if let Some(culprit) = &culprit {
            let culprits = culprits.iter().map(|culprit| match culprit.growth_per_s {
                Some(per_s) => format!("{} grows by {per_s:.1} tasks/s", culprit.owner.name()),
                None => format!("{} holds {} tasks", culprit.owner.name(), culprit.tasks),
            });
            let culprits = culprits.collect::<Vec<_>>().join(", ");
            self.blamed.push((limit.clone(), culprit.clone(), culprits));
        }
        if incident.failures == 0 {
            return;
        }
        let whose = match (limit.owner, &limit.path) {
            (LimitOwner::Node, _) => None,
            (LimitOwner::Cgroup(id), path) => {
                let owner = Owner::new(id, path.clone());
                // Its pod is told.
                if owner.identity.pod_uid.is_some() {
                    return;
                }
                Some(Subject::Other(owner.name().into()))
            }
            (LimitOwner::User(uid), _) => Some(Subject::Other(format!("uid {uid}").into())),
            (LimitOwner::PidNamespace(inum), _) => {
                Some(Subject::Other(format!("PID namespace {inum}").into()))
            }
        };
        let key = Key {
            about: Subject::Node,
            // Another culprit is another event.
            related: culprit.or(whose),
            reason: Reason::CloneFailed,
            what: limit.name,
        };
        self.say(key, || incident.summary.clone(), time, say);
    }

    fn say(
        &mut self,
        key: Key,
        text: impl FnOnce() -> String,
        time: BootTime,
        say: &mut impl FnMut(Note),
    ) {
        if self
            .said
            .get(&key)
            .is_some_and(|said| time.since(*said) < AGAIN)
        {
            return;
        }
        let passed = time.since(self.filled).as_secs_f64();
        self.filled = self.filled.max(time);
        self.tokens = (self.tokens + passed * PER_SECOND).min(BURST);
        if self.said.len() >= MOST_SAID {
            self.said.retain(|_, said| time.since(*said) < AGAIN);
        }
        if self.tokens < 1.0 || self.said.len() >= MOST_SAID {
            self.lost += 1;
            return;
        }
        self.tokens -= 1.0;
        self.said.insert(key.clone(), time);
        let text = text();
        say(Note { key, text, time });
    }
}
