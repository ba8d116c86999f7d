//! What container runtimes said of containers and pods, and what they are still to be asked. Pure:
//! time comes in as an argument.
//!
//! In: cgroups with what their paths say, answers. Out: names of a cgroup's owner, and for each
//! runtime what to ask it now.
//!
//! Invariant: bounded. There are at most [`MAX_CGROUPS`] cgroups, a name is at most
//! [`MAX_NAME`](super::MAX_NAME) bytes long, and nothing is kept that no cgroup stands for.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};

use super::{path::Identity, workload::Workload};
use crate::cgroup::CgroupId;

/// Cgroups whose names are kept at a time; the owners of more are known by their paths only.
pub const MAX_CGROUPS: usize = 8 * 1024;

/// A runtime that does not know an id is asked again after these times: a container is known to it
/// before its cgroup is made, a pod's sandbox only once it runs.
const AGAIN: [Duration; 9] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
    Duration::from_millis(640),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(20),
];
/// And from then on so often: the container may be another runtime's.
const SELDOM: Duration = Duration::from_mins(1);

/// What a runtime calls the owner of a cgroup. Text from outside, escaped by nobody; cut to
/// 256 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The runtime's name for itself.
    pub runtime: Option<Box<str>>,
    /// The pod's namespace.
    pub namespace: Option<Box<str>>,
    /// The pod.
    pub pod: Option<Box<str>>,
    /// The pod's UID.
    pub pod_uid: Option<Box<str>>,
    /// What made the pod.
    pub workload: Option<Workload>,
    /// The container's name in its pod; none for the pod itself and for its sandbox.
    pub container: Option<Box<str>>,
    /// The container's image.
    pub image: Option<Box<str>>,
}

/// What a runtime can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKey {
    /// A container or a pod's sandbox, by its id.
    Container(Arc<str>),
    /// A pod, by its UID.
    Pod(Arc<str>),
}

impl RuntimeKey {
    /// What to ask for; `None` when no runtime with a CRI socket can know.
    fn of(identity: &Identity) -> Option<Self> {
        match &identity.container {
            Some(container) => match container.runtime {
                None | Some("containerd" | "cri-o" | "docker") => {
                    Some(Self::Container(container.id.as_str().into()))
                }
                Some(_) => None,
            },
            None => identity.pod_uid.as_deref().map(|uid| Self::Pod(uid.into())),
        }
    }

    fn is_of(&self, identity: &Identity) -> bool {
        match (self, &identity.container) {
            (Self::Container(id), Some(container)) => **id == *container.id,
            (Self::Pod(uid), None) => identity.pod_uid.as_deref() == Some(uid),
            _ => false,
        }
    }
}

/// Something that a runtime is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By what.
    pub key: RuntimeKey,
    /// The pod that the path names, if the container itself is not known.
    pub pod_uid: Option<Arc<str>>,
}

/// What a runtime said of something wanted.
#[derive(Debug)]
pub struct Found {
    /// Of what.
    pub key: RuntimeKey,
    /// The names.
    pub names: Names,
    /// When the runtime made the container or pod, nanoseconds of the wall clock: of two owners the
    /// newer is the one.
    pub made: i64,
    /// Whether this is all that there is to know; otherwise the runtime is asked again.
    pub is_whole: bool,
}

/// How look-ups went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Look-ups answered with names from the cache.
    pub known: u64,
    /// Look-ups of owners whose names are not known, or not yet.
    pub unknown: u64,
    /// Times that a runtime was asked; each answers for everything wanted.
    pub asked: u64,
    /// Cgroups for which there was no room.
    pub refused: u64,
}

/// A cgroup that names are kept for.
#[derive(Debug)]
struct NamedCgroup {
    key: RuntimeKey,
    /// It came after the start, so whoever follows the events is told of its names.
    is_new: bool,
    is_gone: bool,
}

/// What is known of one key.
#[derive(Debug, Default)]
struct Entry {
    names: Option<Arc<Names>>,
    made: i64,
    pod_uid: Option<Arc<str>>,
    /// Cgroups that stand for it, and those of them that are not removed.
    cgroups: u32,
    living: u32,
}

/// How often one runtime was asked for a key, and when it is next.
#[derive(Clone, Copy, Debug)]
struct Question {
    asked: usize,
    due: Instant,
    /// Answers made before this are old news.
    after: Option<i64>,
}

/// The cache.
#[derive(Debug)]
pub struct Book {
    cgroups: HashMap<CgroupId, NamedCgroup>,
    entries: HashMap<RuntimeKey, Entry>,
    /// By runtime: what it is still to be asked for.
    questions: Vec<HashMap<RuntimeKey, Question>>,
    news: BTreeSet<CgroupId>,
    counters: Counters,
}

impl Book {
    /// For so many runtimes.
    pub fn new(runtimes: usize) -> Self {
        Self {
            cgroups: HashMap::new(),
            entries: HashMap::new(),
            questions: vec![HashMap::new(); runtimes],
            news: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// The names of a cgroup's owner as far as they are known now. What is not known is asked for:
    /// the second value says whether this look-up brought a new question.
    pub fn look_up(
        &mut self,
        id: CgroupId,
        identity: &Identity,
        now: Instant,
    ) -> (Option<Arc<Names>>, bool) {
        let mut is_question = false;
        match self.cgroups.get(&id) {
            Some(cgroup) if cgroup.key.is_of(identity) => {}
            // Another path: it was renamed, or the id has a new cgroup.
            Some(_) => {
                self.forget(id);
                is_question = self.add(id, identity, now);
            }
            None => is_question = self.add(id, identity, now),
        }
        let known = self
            .cgroups
            .get(&id)
            .and_then(|cgroup| self.entries.get(&cgroup.key)?.names.clone());
        match known {
            Some(_) => self.counters.known += 1,
            None if self.cgroups.contains_key(&id) => self.counters.unknown += 1,
            None => {}
        }
        (known, is_question)
    }

    /// Whoever follows the events has been told of this cgroup: its names are news once they are
    /// known.
    pub fn announced(&mut self, id: CgroupId) {
        if let Some(cgroup) = self.cgroups.get_mut(&id) {
            cgroup.is_new = true;
        }
    }

    fn add(&mut self, id: CgroupId, identity: &Identity, now: Instant) -> bool {
        let Some(key) = RuntimeKey::of(identity).filter(|_| !self.questions.is_empty()) else {
            return false;
        };
        if self.cgroups.len() >= MAX_CGROUPS {
            self.counters.refused += 1;
            return false;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.pod_uid = identity.pod_uid.as_deref().map(Into::into);
        // Nothing that this key stood for is there any more: it may be someone else's now.
        let is_question = entry.living == 0;
        entry.cgroups += 1;
        entry.living += 1;
        if is_question {
            let question = Question {
                asked: 0,
                due: now,
                after: entry.names.is_some().then_some(entry.made),
            };
            for questions in &mut self.questions {
                questions.insert(key.clone(), question);
            }
        }
        let cgroup = NamedCgroup {
            key,
            is_new: false,
            is_gone: false,
        };
        self.cgroups.insert(id, cgroup);
        is_question
    }

    /// The cgroup was removed; its last events may still come.
    pub fn removed(&mut self, id: CgroupId) {
        let Some(cgroup) = self.cgroups.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut cgroup.is_gone, true)
            && let Some(entry) = self.entries.get_mut(&cgroup.key)
        {
            entry.living -= 1;
        }
    }

    /// Nothing more will come of this cgroup.
    pub fn forget(&mut self, id: CgroupId) {
        self.removed(id);
        let Some(NamedCgroup { key, .. }) = self.cgroups.remove(&id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.cgroups -= 1;
        if entry.cgroups == 0 {
            self.entries.remove(&key);
            for questions in &mut self.questions {
                questions.remove(&key);
            }
        }
    }

    /// When a runtime is to be asked next; `None` when there is nothing to ask.
    pub fn next_question(&self, runtime: usize) -> Option<Instant> {
        self.questions[runtime]
            .values()
            .map(|question| question.due)
            .min()
    }

    /// What to ask a runtime now: everything that is due, and what has waited long, since one
    /// answer serves all.
    pub fn questions(&self, runtime: usize, now: Instant) -> Vec<Wanted> {
        self.questions[runtime]
            .iter()
            .filter(|(_, question)| question.due <= now || question.asked > AGAIN.len())
            .map(|(key, _)| Wanted {
                key: key.clone(),
                pod_uid: self
                    .entries
                    .get(key)
                    .and_then(|entry| entry.pod_uid.clone()),
            })
            .collect()
    }

    /// Takes a runtime's answer to what it was asked.
    pub fn answer(&mut self, runtime: usize, asked: &[Wanted], found: Vec<Found>, now: Instant) {
        self.counters.asked += 1;
        let mut settled: Vec<RuntimeKey> = Vec::new();
        let mut news: HashSet<RuntimeKey> = HashSet::new();
        for found in found {
            let Some(entry) = self.entries.get_mut(&found.key) else {
                // It went meanwhile.
                continue;
            };
            let questions = &mut self.questions[runtime];
            let after = questions
                .get(&found.key)
                .and_then(|question| question.after);
            if entry.names.is_some() && found.made < entry.made {
                settled.push(found.key);
                continue;
            }
            if found.is_whole && after.is_none_or(|after| found.made > after) {
                questions.remove(&found.key);
            }
            let is_news = entry.names.as_deref() != Some(&found.names);
            entry.made = found.made;
            if is_news {
                entry.names = Some(Arc::new(found.names));
                news.insert(found.key);
            }
        }
        if !news.is_empty() {
            let named = self.cgroups.iter().filter(|(_, cgroup)| cgroup.is_new);
            let named = named.filter(|(_, cgroup)| news.contains(&cgroup.key));
            self.news.extend(named.map(|(id, _)| *id));
        }
        for key in settled {
            self.questions[runtime].remove(&key);
        }
        for wanted in asked {
            let entries = &self.entries;
            let hashbrown::hash_map::Entry::Occupied(mut question) =
                self.questions[runtime].entry(wanted.key.clone())
            else {
                continue;
            };
            let pause = AGAIN.get(question.get().asked).copied();
            let is_known = entries
                .get(&wanted.key)
                .is_some_and(|entry| entry.names.is_some());
            if pause.is_none() && is_known {
                // Another runtime's, or as whole as it will be.
                question.remove();
                continue;
            }
            let question = question.get_mut();
            question.asked += 1;
            question.due = now + pause.unwrap_or(SELDOM);
        }
    }

    /// Announced cgroups whose names came to be known, or changed, since the last call.
    pub fn take_news(&mut self) -> BTreeSet<CgroupId> {
        std::mem::take(&mut self.news)
    }

    /// How look-ups went.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Cgroups that names are kept for.
    #[cfg(test)]
    fn len(&self) -> (usize, usize, usize) {
        let questions = self.questions.iter().map(HashMap::len).sum();
        (self.cgroups.len(), self.entries.len(), questions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{MAX_NAME, bounded, identify};

    const UID: &str = "3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";

    fn id(n: usize) -> String {
        format!("{n:064x}")
    }

    fn container(n: usize) -> Identity {
        identify(format!("/kubepods/burstable/pod{UID}/{}", id(n)).as_bytes())
    }

    fn key(n: usize) -> RuntimeKey {
        RuntimeKey::Container(id(n).into())
    }

    fn names(pod: &str) -> Names {
        Names {
            pod: bounded(pod),
            ..Names::default()
        }
    }

    fn found(key: RuntimeKey, pod: &str, made: i64) -> Found {
        Found {
            key,
            names: names(pod),
            made,
            is_whole: true,
        }
    }

    /// Everything that is due is asked and answered with `found`.
    fn ask(book: &mut Book, runtime: usize, now: Instant, found: Vec<Found>) -> usize {
        let wanted = book.questions(runtime, now);
        book.answer(runtime, &wanted, found, now);
        wanted.len()
    }

    fn pod_of(book: &mut Book, cgroup: u64, identity: &Identity, now: Instant) -> Option<Box<str>> {
        book.look_up(CgroupId(cgroup), identity, now).0?.pod.clone()
    }

    #[test]
    fn what_is_known_is_not_asked_again() {
        let (mut book, now) = (Book::new(1), Instant::now());
        assert_eq!(book.look_up(CgroupId(1), &container(1), now), (None, true));
        assert_eq!(ask(&mut book, 0, now, vec![found(key(1), "web", 5)]), 1);
        for _ in 0..1000 {
            assert_eq!(
                pod_of(&mut book, 1, &container(1), now).as_deref(),
                Some("web")
            );
        }
        // A cgroup within the container.
        assert_eq!(
            pod_of(&mut book, 2, &container(1), now).as_deref(),
            Some("web")
        );
        assert_eq!(book.next_question(0), None);
        let counters = book.counters();
        assert_eq!(
            (counters.known, counters.unknown, counters.asked),
            (1001, 1, 1)
        );
    }

    #[test]
    fn what_a_runtime_does_not_know_yet_is_asked_again_soon_and_then_seldom() {
        let (mut book, start) = (Book::new(1), Instant::now());
        book.look_up(CgroupId(1), &container(1), start);
        let mut asked = 0;
        while let Some(due) = book
            .next_question(0)
            .filter(|due| *due < start + Duration::from_hours(1))
        {
            assert_eq!(ask(&mut book, 0, due, Vec::new()), 1);
            asked += 1;
            if due <= start + Duration::from_secs(1) {
                assert!(asked <= 6, "{asked} within a second");
            }
        }
        assert!((60..90).contains(&asked), "{asked} in an hour");
    }

    #[test]
    fn of_two_runtimes_the_one_with_the_newer_owner_is_right() {
        for order in [[0, 1], [1, 0]] {
            let (mut book, now) = (Book::new(2), Instant::now());
            book.look_up(CgroupId(1), &container(1), now);
            for runtime in order {
                let answer = found(key(1), ["older", "newer"][runtime], runtime as i64);
                ask(&mut book, runtime, now, vec![answer]);
            }
            assert_eq!(
                pod_of(&mut book, 1, &container(1), now).as_deref(),
                Some("newer")
            );
            assert_eq!(book.len(), (1, 1, 0), "nothing is left to ask");
        }
    }

    #[test]
    fn a_pods_uid_used_again_is_asked_for_anew() {
        let pod = identify(format!("/kubepods/pod{UID}").as_bytes());
        let key = || RuntimeKey::Pod(UID.into());
        let (mut book, now) = (Book::new(1), Instant::now());
        book.look_up(CgroupId(1), &pod, now);
        ask(&mut book, 0, now, vec![found(key(), "old", 1)]);
        book.removed(CgroupId(1));
        assert_eq!(
            pod_of(&mut book, 1, &pod, now).as_deref(),
            Some("old"),
            "its last events"
        );
        book.look_up(CgroupId(2), &pod, now);
        // The runtime knows only the old one yet.
        ask(&mut book, 0, now, vec![found(key(), "old", 1)]);
        let again = book.next_question(0).unwrap();
        ask(&mut book, 0, again, vec![found(key(), "new", 2)]);
        assert_eq!(pod_of(&mut book, 2, &pod, now).as_deref(), Some("new"));
        assert_eq!(book.next_question(0), None);
    }

    #[test]
    fn an_id_used_by_another_cgroup_has_the_new_owner() {
        let (mut book, now) = (Book::new(1), Instant::now());
        book.look_up(CgroupId(1), &container(1), now);
        ask(&mut book, 0, now, vec![found(key(1), "old", 1)]);
        assert_eq!(book.look_up(CgroupId(1), &container(2), now), (None, true));
        assert_eq!(
            book.look_up(CgroupId(1), &Identity::default(), now),
            (None, false)
        );
        assert_eq!(book.len(), (0, 0, 0));
    }

    #[test]
    fn only_announced_cgroups_are_news_and_once() {
        let (mut book, now) = (Book::new(1), Instant::now());
        for cgroup in [1, 2] {
            book.look_up(CgroupId(cgroup), &container(cgroup as usize), now);
        }
        book.announced(CgroupId(2));
        ask(
            &mut book,
            0,
            now,
            vec![found(key(1), "a", 1), found(key(2), "b", 1)],
        );
        assert_eq!(book.take_news(), [CgroupId(2)].into());
        assert_eq!(book.take_news(), [].into());
    }

    #[test]
    fn a_pod_is_better_than_nothing_until_the_container_is_known() {
        let (mut book, now) = (Book::new(1), Instant::now());
        book.look_up(CgroupId(1), &container(1), now);
        let wanted = book.questions(0, now);
        assert_eq!(wanted[0].pod_uid.as_deref(), Some(UID));
        let part = Found {
            is_whole: false,
            ..found(key(1), "web", 1)
        };
        book.answer(0, &wanted, vec![part], now);
        assert_eq!(
            pod_of(&mut book, 1, &container(1), now).as_deref(),
            Some("web")
        );
        assert!(book.next_question(0).is_some(), "asked for the rest");
    }

    #[test]
    fn thousands_of_cgroups_come_and_go_and_nothing_stays() {
        let (mut book, now) = (Book::new(2), Instant::now());
        for n in 0..30_000 {
            book.look_up(CgroupId(n), &container(n as usize), now);
            if n % 2 == 0 {
                ask(&mut book, 0, now, vec![found(key(n as usize), "web", 1)]);
            }
            if n >= 100 {
                book.removed(CgroupId(n - 100));
                book.forget(CgroupId(n - 100));
            }
            let (cgroups, entries, questions) = book.len();
            assert!(cgroups <= 101 && entries <= 101 && questions <= 202);
        }
        for n in 0..=30_000 {
            book.forget(CgroupId(n));
        }
        assert_eq!(book.len(), (0, 0, 0));
    }

    #[test]
    fn more_cgroups_than_there_is_room_for_are_refused_and_counted() {
        let (mut book, now) = (Book::new(1), Instant::now());
        for n in 0..MAX_CGROUPS + 5 {
            book.look_up(CgroupId(n as u64), &container(n), now);
        }
        assert_eq!(book.counters().refused, 5);
        assert_eq!(book.len(), (MAX_CGROUPS, MAX_CGROUPS, MAX_CGROUPS));
    }

    #[test]
    fn names_are_cut_at_a_character() {
        let name = bounded(&"\u{fc}".repeat(1_000_000)).unwrap();
        assert_eq!(name.len(), MAX_NAME);
        assert_eq!(bounded(&format!("a{name}")).unwrap().len(), MAX_NAME - 1);
        assert_eq!(bounded(""), None);
    }

    #[test]
    fn what_no_cri_runtime_made_is_not_asked_for() {
        let (mut book, now) = (Book::new(1), Instant::now());
        for path in [
            "/",
            "/system.slice/ssh.service",
            "/lxc.payload.web",
            "/machine.slice/libpod-conmon-x.scope",
        ] {
            assert_eq!(
                book.look_up(CgroupId(1), &identify(path.as_bytes()), now),
                (None, false)
            );
        }
        assert_eq!(book.len(), (0, 0, 0));
        let (mut off, now) = (Book::new(0), Instant::now());
        assert_eq!(off.look_up(CgroupId(1), &container(1), now), (None, false));
    }
}
