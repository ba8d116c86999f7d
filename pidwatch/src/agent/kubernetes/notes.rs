//! What of the stream is worth an event in Kubernetes, and of whom.
//!
//! In: lines of the stream. Out: notes for the owner of a pod, and for who looks after the node: who
//! leaks, and who is refused by which limit. The same is said again only after a while, and all of it no
//! faster than the API server of a large cluster can bear. Pure: time comes in as an argument.

use std::{borrow::Cow, time::Duration};

use hashbrown::HashMap;

use crate::{
    clock::BootTime,
    detect::State,
    escape,
    identity::identify,
    output::text::{called, why},
    stream::{
        self, BrakeEvent, CloneFailure, Event, IncidentEvent, LimitHolder, LimitId, Line, OwnerRef,
        RateEvent, Word, name_of_path,
    },
    values::count,
};

/// The same is not said again within this time. Shorter than the writer remembers an event, so that what
/// goes on is one event with a count.
const AGAIN: Duration = Duration::from_mins(5);
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
    pub fn pod(owner: &OwnerRef) -> Option<Self> {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let k8s = owner.k8s.as_ref()?;
        Some(Self::Pod {
            namespace: text(&k8s.namespace)?,
            name: text(&k8s.pod_name)?,
            uid: text(&k8s.pod_uid),
            container: text(&k8s.container_name),
        })
    }

    fn of(owner: &OwnerRef) -> Self {
        Self::pod(owner).unwrap_or_else(|| Self::Other(owner.name().into()))
    }
}

/// Kind of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoteReason {
    /// A container leaks tasks.
    PidLeakDetected,
    /// A creation of a task was refused.
    CloneFailed,
    /// A leak is stopped, would be, or is no longer.
    PidBrake,
}

impl NoteReason {
    /// As in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::PidLeakDetected => "PidLeakDetected",
            Self::CloneFailed => "CloneFailed",
            Self::PidBrake => "PidBrake",
        }
    }
}

/// What makes a note another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoteKey {
    /// About whom.
    pub about: Subject,
    /// Who else has to do with it.
    pub related: Option<Subject>,
    /// Its kind.
    pub reason: NoteReason,
    /// Which state, limit or reason: as in metrics.
    pub what: Cow<'static, str>,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// About whom, and of which kind.
    pub key: NoteKey,
    /// In words, safe to show.
    pub text: String,
    /// When it was found.
    pub time: BootTime,
}

/// Makes notes.
#[derive(Debug)]
pub struct Notes {
    said: HashMap<NoteKey, BootTime>,
    tokens: f64,
    filled: BootTime,
    /// Who grows below the limits of open incidents, the first one and all of them in words.
    blamed: Vec<(LimitId, Subject, String)>,
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

    /// Takes a line in, and hands over what is to be said of it.
    pub fn take(&mut self, line: &Line, now: BootTime, say: &mut impl FnMut(Note)) {
        match &line.event {
            Event::State(state) => self.state(state, now, say),
            Event::Rate(rate) => self.rate(rate, now, say),
            Event::CloneFailed(failed) => self.failed(failed, now, say),
            Event::Incident(incident) => self.incident(incident, now, say),
            Event::Brake(brake) => self.brake(brake, now, say),
            Event::Started(_) | Event::Cgroup(_) | Event::Node(_) | Event::Lost { .. } => {}
        }
    }

    fn state(&mut self, state: &stream::StateEvent, now: BootTime, say: &mut impl FnMut(Note)) {
        if state.to == State::Leaking {
            let mut why = state.why.clone();
            if let Some(names) = &state.task_names {
                why = format!("{why}; {}", called(names));
            }
            self.leak(&state.owner, &why, now, say);
        }
    }

    /// A leak that goes on changes no state, and the names of its pod may have come since.
    fn rate(&mut self, rate: &RateEvent, now: BootTime, say: &mut impl FnMut(Note)) {
        let verdict = rate.verdict.as_deref();
        if let Some(verdict) = verdict.filter(|verdict| verdict.state == State::Leaking) {
            let lost = self.lost;
            self.leak(&rate.owner, &verdict.why, now, say);
            // What there is no room for now is said at a later window.
            self.lost = lost;
        }
    }

    /// Tells the pod, if it is known by name, and the node.
    fn leak(&mut self, owner: &OwnerRef, why: &str, time: BootTime, say: &mut impl FnMut(Note)) {
        let of_node = (Subject::Node, Some(Subject::of(owner)));
        let of_pod = Subject::pod(owner).map(|pod| (pod, None));
        for (about, related) in [Some(of_node), of_pod].into_iter().flatten() {
            let key = NoteKey {
                about,
                related,
                reason: NoteReason::PidLeakDetected,
                what: State::Leaking.name().into(),
            };
            let text = || format!("{} leaks tasks: {why}", owner.name());
            self.say(key, text, time, say);
        }
    }

    /// A step of a brake, of the pod or else of the node.
    fn brake(&mut self, brake: &BrakeEvent, time: BootTime, say: &mut impl FnMut(Note)) {
        let pod = Subject::pod(&brake.owner);
        let related = pod.is_none().then(|| Subject::of(&brake.owner));
        let key = NoteKey {
            about: pod.unwrap_or(Subject::Node),
            related,
            reason: NoteReason::PidBrake,
            what: match &brake.phase {
                Word::Known(step) => step.name().into(),
                Word::Later(name) => name.to_string().into(),
            },
        };
        let text = || format!("{}: {}", brake.owner.name(), brake.why);
        self.say(key, text, time, say);
    }

    /// Tells the pod whose creation was refused, or of one whose name is not known the node. Of others
    /// the incident tells the node.
    fn failed(&mut self, failed: &CloneFailure, now: BootTime, say: &mut impl FnMut(Note)) {
        let sufferer = failed.sufferer();
        let limit = failed.refused_by();
        let mut blamed = self.blamed.iter();
        let blamed = blamed.find(|(of, ..)| Some(of) == limit.as_ref());
        let (about, related) = match Subject::pod(sufferer) {
            Some(pod) => (pod, blamed.map(|(_, culprit, _)| culprit.clone())),
            None if sufferer.pod_uid().is_some() => (Subject::Node, Some(Subject::of(sufferer))),
            None => return,
        };
        let comm = escape::for_terminal(failed.proc.comm.as_bytes());
        let who = match (&failed.on_behalf_of, failed.proc.exec_probe) {
            (Some(_), _) => format!("{comm} (the container runtime, for this container)"),
            (None, true) => format!("{comm} (an exec probe)"),
            (None, false) => comm,
        };
        let syscall = failed.syscall.as_deref().unwrap_or("clone");
        let mut text = format!("{syscall} of {who} refused: {}", why(failed));
        if about == Subject::Node {
            text = format!("{}: {text}", sufferer.name());
        }
        if let Some((_, _, culprits)) = blamed {
            text = format!("{text}; {culprits}");
        }
        let key = NoteKey {
            about,
            related,
            reason: NoteReason::CloneFailed,
            what: match &failed.reason {
                Word::Known(reason) => reason.name().into(),
                Word::Later(name) => name.to_string().into(),
            },
        };
        self.say(key, || text, now, say);
    }

    fn incident(&mut self, incident: &IncidentEvent, now: BootTime, say: &mut impl FnMut(Note)) {
        let limit = incident.limit_id();
        self.blamed.retain(|(of, ..)| *of != limit);
        if !incident.is_open() {
            return;
        }
        let culprits: Vec<_> = incident.culprits.iter().take(3).collect();
        let culprit = culprits.first().map(|culprit| Subject::of(&culprit.owner));
        if let Some(culprit) = &culprit {
            let culprits = culprits.iter().map(|culprit| match culprit.growth_per_s {
                Some(per_s) => format!("{} grows by {per_s:.1} tasks/s", culprit.owner.name()),
                None => format!(
                    "{} holds {}",
                    culprit.owner.name(),
                    count(culprit.tasks, "task")
                ),
            });
            let culprits = culprits.collect::<Vec<_>>().join(", ");
            self.blamed.push((limit.clone(), culprit.clone(), culprits));
        }
        if incident.failures == 0 {
            return;
        }
        let whose = match limit.holder() {
            LimitHolder::Node => None,
            // Its pod is told.
            LimitHolder::Cgroup(Some(path)) if identify(path.as_bytes()).pod_uid.is_some() => {
                return;
            }
            LimitHolder::Cgroup(Some(path)) => Some(name_of_path(path)),
            LimitHolder::Cgroup(None) => Some("a removed cgroup".to_owned()),
            LimitHolder::User(uid) => Some(format!("uid {uid}")),
            LimitHolder::PidNamespace(inum) => Some(format!("PID namespace {inum}")),
        };
        let whose = whose.map(|name| Subject::Other(name.into()));
        let key = NoteKey {
            about: Subject::Node,
            // Another culprit is another event.
            related: culprit.or(whose),
            reason: NoteReason::CloneFailed,
            what: incident.limit.clone(),
        };
        self.say(key, || incident.summary.clone(), now, say);
    }

    fn say(
        &mut self,
        key: NoteKey,
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
