use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};

use super::{
    notes::{Note, NoteReason, Subject},
    queue::MOST,
    writer::{Outcome, event, reference},
    *,
};
use crate::{
    detect::State,
    identity::{self, Names},
    incident::Phase,
    limits,
    stream::{
        self, CloneFailure, Event, IncidentEvent, LimitId, LimitUse, OwnerRef, RateEvent, StateNow,
    },
};

const PID_MAX: &str = "kernel.pid_max";

fn at(second: u64) -> BootTime {
    BootTime::from_seconds(second)
}

/// A container of the pod `shop/web-N`.
fn container(n: u64) -> Arc<OwnerRef> {
    let names = Names {
        namespace: Some("shop".into()),
        pod: Some(format!("web-{n}").into()),
        container: Some("app".into()),
        ..Names::default()
    };
    let owner = identity::Owner {
        names: Some(Arc::new(names)),
        ..identity::Owner::from(&*nameless(n))
    };
    Arc::new((&owner).into())
}

fn nameless(n: u64) -> Arc<OwnerRef> {
    let path = format!("/kubepods/burstable/pod00000000-0000-0000-0000-{n:012}/{n:064x}");
    OwnerRef::example(n, Some(&path))
}

fn unit(name: &str) -> Arc<OwnerRef> {
    OwnerRef::example(1, Some(&format!("/system.slice/{name}")))
}

/// A line, and when it comes.
type Timed = (Line, BootTime);

fn line(second: u64, event: Event) -> Timed {
    (Line::example(second, event), at(second))
}

fn state(owner: &Arc<OwnerRef>, state: State, second: u64) -> Timed {
    let state = stream::StateEvent::example(owner.clone(), state);
    line(second, Event::State(Box::new(state)))
}

fn failed(owner: &Arc<OwnerRef>, limit: Option<&'static str>, second: u64) -> Timed {
    let reason = limit.map_or(limits::Reason::Memory, |_| limits::Reason::PidMax);
    let limit = limit.map(|name| LimitUse {
        name: name.into(),
        value: 49152,
        usage: 49152,
        cgroup: None,
        uid: None,
        pid_namespace: None,
    });
    let failed = CloneFailure {
        limit,
        ..CloneFailure::example(owner.clone(), reason)
    };
    line(second, Event::CloneFailed(Box::new(failed)))
}

fn incident(limit: LimitId, failures: u64, phase: Phase, second: u64) -> Timed {
    let incident = IncidentEvent {
        value: Some(49152),
        usage: Some(49152),
        culprits: vec![stream::CulpritEntry {
            owner: (*container(7)).clone(),
            inside: None,
            share: 1.0,
            growth_per_s: Some(85.0),
            tasks: 46_012,
        }],
        failures,
        summary: format!("{} is full", limit.name),
        ..IncidentEvent::example("1", limit, phase)
    };
    line(second, Event::Incident(Box::new(incident)))
}

fn of_node() -> LimitId {
    LimitId::of_node(PID_MAX)
}

/// What is said of some lines.
fn said(notes: &mut Notes, lines: &[Timed]) -> Vec<Note> {
    let mut said = Vec::new();
    for (line, time) in lines {
        notes.take(line, *time, &mut |note| said.push(note));
    }
    said
}

fn pod_of(note: &Note) -> Option<&str> {
    match &note.key.about {
        Subject::Pod { name, .. } => Some(name),
        _ => None,
    }
}

#[test]
fn a_leak_is_told_to_the_node_and_to_its_pod_and_not_again_too_soon() {
    let mut notes = Notes::new(at(0));
    let leaks = |second| state(&container(7), State::Leaking, second);
    let told = said(&mut notes, &[leaks(10), leaks(11), leaks(300)]);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[0].key.about, Subject::Node);
    assert_eq!(pod_of(&told[1]), Some("web-7"));
    for note in &told {
        assert_eq!(note.key.reason, NoteReason::PidLeakDetected);
        assert!(note.text.contains("shop/web-7/app leaks tasks: +41.0"));
    }
    assert_eq!(said(&mut notes, &[leaks(310)]).len(), 2);
    let calm = state(&container(7), State::Ok, 900);
    assert_eq!(said(&mut notes, &[calm]), []);
}

#[test]
fn two_that_leak_are_two_on_the_node() {
    let mut notes = Notes::new(at(0));
    let leaks = ["a.service", "b.service"].map(|name| state(&unit(name), State::Leaking, 5));
    let told = said(&mut notes, &leaks);
    let related: Vec<_> = told.iter().map(|note| note.key.related.clone()).collect();
    let names = ["a.service", "b.service"].map(|name| Some(Subject::Other(name.into())));
    assert_eq!(related, names);
}

/// Of a window in which an owner leaks.
fn window(owner: &Arc<OwnerRef>, second: u64) -> Timed {
    let leaks = stream::StateEvent::example(owner.clone(), State::Leaking);
    let rate = RateEvent {
        verdict: Some(Box::new(StateNow::from(&leaks))),
        ..RateEvent::example(owner.clone(), Some(1000))
    };
    line(second, Event::Rate(Box::new(rate)))
}

#[test]
fn a_leak_that_goes_on_is_told_again_and_to_its_pod_once_that_has_a_name() {
    let mut notes = Notes::new(at(0));
    let told = said(&mut notes, &[state(&nameless(7), State::Leaking, 10)]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key.about, Subject::Node);
    assert_eq!(said(&mut notes, &[window(&nameless(7), 11)]), []);
    let named = [12, 13].map(|second| window(&container(7), second));
    let told = said(&mut notes, &named);
    let pods: Vec<_> = told.iter().map(pod_of).collect();
    assert_eq!(
        pods,
        [None, Some("web-7")],
        "the node is told whose it is, too"
    );
    let hour = (14..14 + 3600).map(|second| window(&container(7), second));
    let told = said(&mut notes, &hour.collect::<Vec<_>>());
    assert_eq!(told.len(), 2 * 12, "every five minutes of an hour");
    assert_eq!(notes.take_lost(), 0);
}

#[test]
fn a_refusal_of_a_pod_without_a_name_is_told_to_the_node() {
    let mut notes = Notes::new(at(0));
    let told = said(&mut notes, &[failed(&nameless(3), Some(PID_MAX), 10)]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key.about, Subject::Node);
    let Some(Subject::Other(name)) = &told[0].key.related else {
        panic!("{told:?}")
    };
    assert!(told[0].text.starts_with(&**name), "{told:?}");
}

#[test]
fn another_culprit_is_another_event() {
    let mut notes = Notes::new(at(0));
    let refused = |second| failed(&container(3), Some(PID_MAX), second);
    let told = said(&mut notes, &[refused(10)]);
    assert_eq!(told.len(), 1, "nobody is blamed yet");
    let opened = incident(of_node(), 0, Phase::Opened, 11);
    let told = said(&mut notes, &[opened, refused(12), refused(13)]);
    assert_eq!(told.len(), 1);
    assert!(told[0].text.contains("shop/web-7/app grows"), "{told:?}");
    let related = &told[0].key.related;
    assert!(matches!(related, Some(Subject::Pod { name, .. }) if &**name == "web-7"));
}

#[test]
fn a_refusal_is_told_to_the_pod_with_who_grows() {
    let mut notes = Notes::new(at(0));
    let opened = incident(of_node(), 0, Phase::Opened, 5);
    let told = said(
        &mut notes,
        &[opened, failed(&container(3), Some(PID_MAX), 10)],
    );
    assert_eq!(told.len(), 1);
    assert_eq!(pod_of(&told[0]), Some("web-3"));
    assert_eq!(
        (told[0].key.reason, &*told[0].key.what),
        (NoteReason::CloneFailed, "pid_max")
    );
    assert_eq!(
        told[0].text,
        "clone of ja\\u{1b}va refused: kernel.pid_max, 49152 of 49152; shop/web-7/app grows by 85.0 \
         tasks/s"
    );
    // Another reason, another event; the same one is known.
    let more = [
        failed(&container(3), Some(PID_MAX), 11),
        failed(&container(3), None, 12),
    ];
    let told = said(&mut notes, &more);
    assert_eq!(told.len(), 1);
    assert!(told[0].text.ends_with("EAGAIN, no memory"), "{told:?}");
    // Of what is no pod the node is told, by the incident.
    assert_eq!(
        said(&mut notes, &[failed(&unit("a.service"), Some(PID_MAX), 13)]),
        []
    );
    let closed = incident(of_node(), 9, Phase::Closed, 14);
    let told = said(
        &mut notes,
        &[closed, failed(&container(4), Some(PID_MAX), 15)],
    );
    assert!(told[0].text.ends_with("49152 of 49152"), "{told:?}");
}

#[test]
fn an_incident_is_told_to_the_node_once_something_was_refused() {
    let mut notes = Notes::new(at(0));
    let none = incident(of_node(), 0, Phase::Opened, 1);
    let some = incident(of_node(), 9, Phase::Updated, 2);
    let told = said(&mut notes, &[none, some]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key.about, Subject::Node);
    assert!(matches!(told[0].key.related, Some(Subject::Pod { .. })));
    assert_eq!(told[0].text, "kernel.pid_max is full");
    let of = |owner: &OwnerRef| LimitId {
        cgroup: owner.cgroup.path.clone(),
        ..LimitId::of_node("pids.max")
    };
    let of_pod = incident(of(&nameless(3)), 9, Phase::Opened, 3);
    assert_eq!(said(&mut notes, &[of_pod]), [], "its pod is told of each");
    let of_unit = incident(of(&unit("a.service")), 9, Phase::Opened, 3);
    let told = said(&mut notes, &[of_unit]);
    assert_eq!((told.len(), &*told[0].key.what), (1, "pids.max"));
}

#[test]
fn a_storm_of_refusals_is_told_at_a_pace_and_the_rest_counted() {
    let mut notes = Notes::new(at(0));
    let storm: Vec<_> = (0..100).map(|n| failed(&container(n), None, 10)).collect();
    assert_eq!(said(&mut notes, &storm).len(), 25);
    assert_eq!(notes.take_lost(), 75);
    let storm: Vec<_> = (100..200)
        .map(|n| failed(&container(n), None, 70))
        .collect();
    assert_eq!(said(&mut notes, &storm).len(), 5, "five a minute");
    assert_eq!(notes.take_lost(), 95);
    assert_eq!(notes.take_lost(), 0);
    // A leak waits until there is room, and is not lost meanwhile.
    let windows = [70, 71, 72, 100].map(|second| window(&container(300), second));
    let told = said(&mut notes, &windows);
    let times: Vec<_> = told.iter().map(|note| note.time.seconds()).collect();
    assert_eq!(times, [100, 100], "{told:?}");
    assert_eq!(notes.take_lost(), 0);
}

#[test]
fn the_queue_keeps_the_newest_of_each_and_is_bounded() {
    let mut notes = Notes::new(at(0));
    let mut queue = Queue::default();
    let note = said(&mut notes, &[failed(&container(1), None, 10)]).remove(0);
    let newer = Note {
        text: "newer".into(),
        ..note.clone()
    };
    assert!(!queue.push(note.clone()));
    assert!(!queue.push(newer.clone()));
    assert_eq!((queue.pop(), queue.pop()), (Some(newer), None));
    for n in 0..=MOST {
        let mut note = note.clone();
        note.key.about = Subject::Other(n.to_string().into());
        assert_eq!(queue.push(note), n == MOST);
    }
    let oldest = queue.pop().unwrap();
    assert_eq!(oldest.key.about, Subject::Other("1".into()));
    // Behind the others, and not if there is a newer one.
    assert!(!queue.put_back(oldest.clone()));
    assert!(!queue.put_back(oldest.clone()));
    let last = std::iter::from_fn(|| queue.pop()).last();
    assert_eq!(last, Some(oldest));
}

#[test]
fn an_event_is_as_the_kubelet_s_are_and_short_enough() {
    let mut notes = Notes::new(at(0));
    let mut note = said(&mut notes, &[state(&container(7), State::Leaking, 10)]).remove(1);
    note.text = "ä".repeat(1024);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let long = "n".repeat(253);
    let written = event(&note, &long, now);
    assert_eq!(written.note.map(|text| text.len()), Some(1024));
    assert_eq!(written.reporting_instance.map(|text| text.len()), Some(128));
    let name = written.metadata.name.unwrap_or_default();
    assert!(name.starts_with("web-7.") && name.len() == 6 + 16, "{name}");
    note.key.about = Subject::Node;
    let name = event(&note, &long, now).metadata.name.unwrap_or_default();
    assert_eq!(name.len(), 253, "{name}");
    let pod = Subject::pod(&container(7)).unwrap();
    let pod = serde_json::to_value(reference(&pod, "node-1")).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-7",
        "uid": "00000000-0000-0000-0000-000000000007", "fieldPath": "spec.containers{app}",
    });
    assert_eq!(pod, expected);
    let node = serde_json::to_value(reference(&Subject::Node, "node-1")).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1",
    });
    assert_eq!(node, expected);
}

/// What an API server was asked: the method, the path, the body.
type Asked = Vec<(Method, String, Value)>;

/// A writer to an API server that says with which status it answers, and what that is asked.
fn writer_to(mut status: impl FnMut() -> u16 + Send + 'static) -> (EventWriter, Arc<Mutex<Asked>>) {
    let asked = Arc::new(Mutex::new(Asked::new()));
    let taken = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (asked, status) = (taken.clone(), status());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let path = head.uri.path().to_owned();
            asked
                .lock()
                .unwrap()
                .push((head.method, path, body.clone()));
            let answer = match status {
                200..300 => body,
                _ => json!({
                    "kind": "Status", "status": "Failure", "code": status, "message": "no",
                }),
            };
            let response = Response::builder().status(status);
            let body = Full::new(bytes::Bytes::from(answer.to_string()));
            Ok::<_, Infallible>(response.body(body).unwrap())
        }
    });
    let client = Client::new(service, "default");
    let writer = EventWriter::new(client, "https://api".into(), "node-1", WallClock::now());
    (writer, asked)
}

/// Writes to an API server that answers with these statuses, one after the other.
async fn write_to(statuses: &[u16], notes: &[Note]) -> (Vec<Outcome>, Asked) {
    let statuses = statuses.to_vec();
    let mut answers = statuses.into_iter();
    let (mut writer, asked) = writer_to(move || answers.next().unwrap());
    let mut outcomes = Vec::new();
    for note in notes {
        outcomes.push(writer.write(note, BootTime::now()).await);
    }
    let asked = asked.lock().unwrap().clone();
    (outcomes, asked)
}

fn note_of(n: u64, time: BootTime) -> Note {
    let mut notes = Notes::new(at(0));
    let mut note = said(&mut notes, &[failed(&container(n), None, 10)]).remove(0);
    note.time = time;
    note
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    crate::runtime::single_threaded().unwrap().block_on(future)
}

#[test]
fn what_goes_on_is_counted_in_one_event() {
    let note = note_of(1, BootTime::now());
    let other = note_of(2, note.time);
    let all = [note.clone(), note.clone(), note, other];
    let (outcomes, asked) = wait(write_to(&[201, 200, 200, 201], &all));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Written));
    let (method, path, created) = &asked[0];
    assert_eq!(method, Method::POST);
    assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/shop/events");
    assert_eq!(created["regarding"]["name"], "web-1");
    assert_eq!(created["reportingInstance"], "node-1");
    let name = created["metadata"]["name"].as_str().unwrap();
    for (count, (method, patched, patch)) in (2..).zip(&asked[1..3]) {
        assert_eq!(method, Method::PATCH);
        assert_eq!(*patched, format!("{path}/{name}"));
        assert_eq!(patch["series"]["count"], count);
        let fields = patch.as_object().map(serde_json::Map::len);
        assert_eq!(fields, Some(1), "all else is immutable");
    }
    assert_eq!(asked[3].0, Method::POST);
    assert_ne!(asked[3].2["metadata"]["name"], name);
}

#[test]
fn one_that_was_taken_though_no_answer_came_is_not_written_twice() {
    let note = note_of(1, BootTime::now());
    let all = [note.clone(), note.clone(), note];
    let (outcomes, asked) = wait(write_to(&[504, 409, 200], &all));
    let later = Outcome::Later(Duration::from_secs(1));
    assert_eq!(outcomes, [later, Outcome::Written, Outcome::Written]);
    assert_eq!(asked[0].2["metadata"], asked[1].2["metadata"]);
    assert_eq!(asked[2].0, Method::PATCH);
}

#[test]
fn one_that_somebody_removed_is_written_anew() {
    let note = note_of(1, BootTime::now());
    let later = note_of(1, BootTime::now());
    let (outcomes, asked) = wait(write_to(&[201, 404, 201], &[note, later]));
    assert_eq!(outcomes, [Outcome::Written, Outcome::Written]);
    let methods: Vec<_> = asked.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "POST"]);
    assert_ne!(
        asked[0].2["metadata"]["name"],
        asked[2].2["metadata"]["name"]
    );
}

#[test]
fn a_refusal_is_for_good_and_what_may_pass_is_tried_again_ever_less_often() {
    let all = vec![note_of(1, BootTime::now()); 12];
    let statuses = [500, 503, 429, 401, 408, 504, 503, 503, 403, 422, 201, 503];
    let (outcomes, asked) = wait(write_to(&statuses, &all));
    let later = |seconds| Outcome::Later(Duration::from_secs(seconds));
    let mut expected: Vec<_> = [1, 2, 4, 8, 16, 32, 60, 60].map(later).into();
    expected.extend([Outcome::Lost, Outcome::Lost, Outcome::Written, later(1)]);
    assert_eq!(outcomes, expected);
    assert_eq!(asked.len(), statuses.len());
}

/// Sixty-three minutes of tokio's paused time.
#[test]
fn an_hour_without_the_api_server_costs_what_is_older_and_little_else() {
    const AWAY: Duration = Duration::from_mins(63);
    const EVERY: Duration = Duration::from_mins(5);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    clock.unwrap().block_on(async {
        let began = tokio::time::Instant::now();
        let now = move || BootTime::from_nanos(began.elapsed().as_nanos() as u64);
        let (writer, asked) = writer_to(move || if began.elapsed() < AWAY { 503 } else { 201 });
        let desk = Rc::<Desk>::default();
        let happens = async {
            let mut pushed = 0;
            while began.elapsed() < AWAY {
                pushed += 1;
                let is_one_lost = desk.queue.borrow_mut().push(note_of(pushed, now()));
                assert!(!is_one_lost);
                desk.news.notify_one();
                tokio::time::sleep(EVERY).await;
            }
            tokio::time::sleep(EVERY).await;
            pushed
        };
        let pushed = tokio::select! {
            pushed = happens => pushed,
            () = write(writer, desk.clone(), now) => unreachable!("it writes on"),
        };
        assert_eq!(pushed, 13, "one in five minutes");
        assert_eq!(desk.lost.get(), 1, "the one of the beginning");
        let asked = asked.lock().unwrap();
        let tried = asked.len() as u64 - (pushed - 1);
        assert!(
            tried <= 63 + 6,
            "{tried} times: once a minute after the first"
        );
        let mut written: Vec<_> = asked[tried as usize..]
            .iter()
            .map(|(_, _, event)| event["regarding"]["name"].as_str().unwrap().to_owned())
            .collect();
        written.sort();
        let mut expected: Vec<_> = (2..=pushed).map(|n| format!("web-{n}")).collect();
        expected.sort();
        assert_eq!(written, expected);
    });
}
