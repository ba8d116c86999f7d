use std::sync::Arc;

use super::{
    notes::{Reason, Subject},
    queue::MOST,
    *,
};
use crate::{
    cgroup::CgroupId,
    detect::{Change, State, Verdict},
    identity::Names,
    incident::{Culprit, Incident, LimitKey, Phase},
    limits::{self, Basis, Limit, LimitOwner},
    node::{FailedClone, StateChange},
    probe::Failure,
    snapshot::Owner,
};

const PID_MAX: Limit = Limit {
    name: "kernel.pid_max",
    value: 49152,
    usage: 49152,
    owner: LimitOwner::Node,
};

fn at(second: u64) -> BootTime {
    BootTime::from_seconds(second)
}

/// A container of the pod `shop/web-N`.
fn container(n: u64) -> Owner {
    let names = Names {
        namespace: Some("shop".into()),
        pod: Some(format!("web-{n}").into()),
        container: Some("app".into()),
        ..Names::default()
    };
    Owner {
        names: Some(Arc::new(names)),
        ..nameless(n)
    }
}

fn nameless(n: u64) -> Owner {
    let path = format!("/kubepods/burstable/pod00000000-0000-0000-0000-{n:012}/{n:064x}");
    Owner::new(CgroupId(n), Some(path.as_bytes().into()))
}

fn unit(name: &str) -> Owner {
    let path = format!("/system.slice/{name}");
    Owner::new(CgroupId(1), Some(path.as_bytes().into()))
}

fn state(owner: &Owner, state: State, second: u64) -> Update {
    let verdict = Verdict {
        state,
        since: at(second),
        tasks: 1000,
        growth_per_s: Some(41.0),
        confidence: None,
        exhaustion: None,
        why: "+41.0 tasks/s".into(),
    };
    Update::State(Box::new(StateChange {
        owner: owner.clone(),
        time: at(second),
        change: Change {
            owner: owner.id,
            from: State::Growing,
            verdict,
        },
        limit_owner: None,
        limits: None,
        task_names: None,
    }))
}

fn failed(owner: &Owner, limit: Option<Limit>, second: u64) -> Update {
    let failure = Failure {
        cgroup: owner.id,
        time: at(second),
        totals: pidwatch_common::totals::Totals::ZERO,
        errno: 11,
        syscall: None,
        pid: 4711,
        tid: 4713,
        uid: 1000,
        comm: b"ja\x1bva".to_vec(),
        parent: None,
        origin: None,
        evidence: Box::default(),
    };
    let reason = limit.map_or(limits::Reason::Memory, |_| limits::Reason::PidMax);
    Update::Failed(Box::new(FailedClone {
        owner: owner.clone(),
        failure,
        verdict: limits::Verdict {
            reason,
            basis: Some(Basis::Measured),
            limit,
        },
        limit_owner: None,
        suppressed: 0,
        exec_probe: false,
        on_behalf_of: None,
    }))
}

fn incident(limit: LimitKey, failures: u64, phase: Phase, second: u64) -> Update {
    let incident = Incident {
        id: "1".into(),
        phase,
        value: Some(49152),
        usage: Some(49152),
        peak: None,
        opened: at(1),
        culprits: vec![Culprit {
            owner: container(7),
            share: 1.0,
            growth_per_s: Some(85.0),
            tasks: 46_012,
        }],
        victims: Vec::new(),
        failures,
        timeline: Vec::new(),
        summary: format!("{} is full", limit.name),
        limit,
    };
    Update::Incident(Box::new(incident), at(second))
}

fn of_node() -> LimitKey {
    LimitKey {
        name: "kernel.pid_max",
        owner: LimitOwner::Node,
        path: None,
    }
}

/// What is said of some updates.
fn said(notes: &mut Notes, updates: &[Update]) -> Vec<Note> {
    let mut said = Vec::new();
    for update in updates {
        notes.take(update, &mut |note| said.push(note));
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
        assert_eq!(note.key.reason, Reason::PidLeakDetected);
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

#[test]
fn names_that_come_late_are_waited_for() {
    let mut notes = Notes::new(at(0));
    let told = said(&mut notes, &[state(&nameless(7), State::Leaking, 10)]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key.about, Subject::Node);
    let named = |owner: Owner| Update::Named(owner, at(12));
    assert_eq!(said(&mut notes, &[named(container(8))]), []);
    let told = said(&mut notes, &[named(container(7)), named(container(7))]);
    let pods: Vec<_> = told.iter().map(pod_of).collect();
    assert_eq!(pods, [Some("web-7")]);
    // One that is gone, or calm, before it has a name is not told.
    let mut notes = Notes::new(at(0));
    let leaks = |n| state(&nameless(n), State::Leaking, 10);
    let gone = Update::Removed(nameless(7), at(11));
    let calm = state(&nameless(8), State::Ok, 11);
    assert_eq!(said(&mut notes, &[leaks(7), leaks(8), gone, calm]).len(), 2);
    let named = [named(container(7)), named(container(8))];
    assert_eq!(said(&mut notes, &named), []);
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
        (told[0].key.reason, told[0].key.what),
        (Reason::CloneFailed, "pid_max")
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
    assert_eq!(
        (&told[0].key.about, &told[0].key.related),
        (&Subject::Node, &None)
    );
    assert_eq!(told[0].text, "kernel.pid_max is full");
    let of = |owner: &Owner| LimitKey {
        name: "pids.max",
        owner: LimitOwner::Cgroup(owner.id),
        path: owner.path.clone(),
    };
    let of_pod = incident(of(&nameless(3)), 9, Phase::Opened, 3);
    assert_eq!(said(&mut notes, &[of_pod]), [], "its pod is told of each");
    let of_unit = incident(of(&unit("a.service")), 9, Phase::Opened, 3);
    let told = said(&mut notes, &[of_unit]);
    assert_eq!(
        told[0].key.related,
        Some(Subject::Other("a.service".into()))
    );
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
    let oldest = queue.pop().map(|note| note.key.about);
    assert_eq!(oldest, Some(Subject::Other("1".into())));
}

#[test]
fn an_event_is_as_the_kubelet_s_are_and_short_enough() {
    let mut notes = Notes::new(at(0));
    let mut note = said(&mut notes, &[state(&container(7), State::Leaking, 10)]).remove(1);
    note.text = "ä".repeat(MOST_TEXT);
    let written = event(&note, Duration::from_secs(90));
    let text = written.note.unwrap_or_default();
    assert!(text.len() <= MOST_TEXT && text.ends_with("ä (90 s before this was written)"));
    assert_eq!(written.reason, "PidLeakDetected");
    let pod = serde_json::to_value(reference(&note.key.about, "node-1")).unwrap();
    let expected = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-7",
        "uid": "00000000-0000-0000-0000-000000000007", "fieldPath": "spec.containers{app}",
    });
    assert_eq!(pod, expected);
    let node = serde_json::to_value(reference(&Subject::Node, "node-1")).unwrap();
    let expected = serde_json::json!({
        "apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1",
    });
    assert_eq!(node, expected);
}
