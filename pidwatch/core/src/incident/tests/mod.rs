mod owners;

use std::sync::Arc;

use super::*;
use crate::{
    detect::{Exhaustion, PartOf, Verdict},
    identity::Names,
    limits::{Basis, RefusalVerdict},
    probe::Failure,
};

const NODE: Limit = Limit {
    name: "kernel.pid_max",
    value: 3000,
    usage: 2990,
    owner: LimitOwner::Node,
};
const LEAKER: CgroupId = CgroupId(10);
const GROWER: CgroupId = CgroupId(11);
const PROBE: CgroupId = CgroupId(12);

fn at(second: u64) -> BootTime {
    BootTime::from_seconds(second)
}

/// A node on which some leak.
#[derive(Default)]
struct Scene {
    verdicts: HashMap<CgroupId, Verdict>,
    holders: Vec<(CgroupId, u64)>,
    /// Of whoever is not the leaker.
    grower_per_s: Option<f64>,
    names: Naming,
    /// Cgroups that are parts of others.
    parts: HashMap<CgroupId, PartOf>,
}

/// Whether cgroups are containers, and their names known.
#[derive(Default, PartialEq)]
enum Naming {
    #[default]
    NoContainers,
    NotYet,
    Known,
}

impl Scene {
    fn leak(mut self, id: CgroupId, state: State, in_s: f64) -> Self {
        let verdict = Verdict {
            state,
            since: at(100),
            tasks: 1000,
            growth_per_s: Some(41.0),
            confidence: Some(1.0),
            evidence: Vec::new(),
            exhaustion: Some(Exhaustion {
                limit: NODE,
                in_s,
                low_s: in_s,
                high_s: in_s,
            }),
            why: "+41 tasks/s".into(),
        };
        self.verdicts.insert(id, verdict);
        self
    }

    fn growers(&self) -> Vec<Grower> {
        let grower = |(&owner, verdict): (&CgroupId, &Verdict)| Grower {
            owner,
            state: verdict.state,
            per_s: if owner == LEAKER {
                41.0
            } else {
                self.grower_per_s.unwrap_or(4.0)
            },
            tasks: verdict.tasks,
            chain: vec![NODE],
            part_of: self.parts.get(&owner).copied(),
        };
        self.verdicts.iter().map(grower).collect()
    }
}

impl NodeView for Scene {
    fn owner(&self, id: CgroupId) -> Owner {
        let path = match self.names {
            Naming::NoContainers => format!("/c{}", id.0),
            _ => format!("/kubepods/pod{:032x}/{:064x}", id.0, id.0),
        };
        let names = (self.names == Naming::Known).then(|| {
            Arc::new(Names {
                namespace: Some("shop".into()),
                pod: Some("web-1".into()),
                container: Some("app".into()),
                ..Names::default()
            })
        });
        Owner {
            names,
            ..Owner::new(id, Some(path.into_bytes().into()))
        }
    }

    fn blamed(&self, id: CgroupId) -> Owner {
        let owner = self.owner(id);
        match owner.anchor() {
            Some(path) => Owner::new(self.parts[&id].owner, Some(path.into())),
            None => owner,
        }
    }

    fn verdict(&self, id: CgroupId) -> Option<&Verdict> {
        self.verdicts.get(&id)
    }

    fn holders(&self, _: &LimitKey) -> Vec<(CgroupId, u64)> {
        self.holders.clone()
    }

    fn usage(&self, _: &LimitKey) -> Option<(u64, u64)> {
        Some((NODE.value, NODE.usage))
    }
}

/// A creation was refused in a cgroup that is its own owner.
fn refuse(tracker: &mut Tracker, failed: &FailedClone) {
    tracker.failed(failed, &failed.owner);
}

fn failure(id: CgroupId, second: u64, comm: &[u8], reason: Reason) -> FailedClone {
    FailedClone {
        owner: Scene::default().owner(id),
        failure: Failure {
            cgroup: id,
            time: at(second),
            totals: pidwatch_common::totals::Totals::ZERO,
            errno: 11,
            syscall: None,
            pid: 1,
            tid: 1,
            uid: 1000,
            comm: comm.into(),
            parent: None,
            origin: None,
            evidence: Box::default(),
        },
        verdict: RefusalVerdict {
            reason,
            basis: Some(Basis::Measured),
            limit: (reason == Reason::PidMax).then_some(NODE),
        },
        limit_owner: None,
        suppressed: 0,
        exec_probe: false,
        on_behalf_of: None,
    }
}

#[test]
fn a_leak_opens_an_incident_before_anything_fails() {
    let mut tracker = Tracker::default();
    let scene = Scene::default().leak(LEAKER, State::Leaking, 540.0);
    let told = tracker.look(at(120), &scene.growers(), &scene);
    let [incident] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incident.phase, Phase::Opened);
    assert_eq!(incident.limit.name, "kernel.pid_max");
    assert_eq!(incident.culprits[0].owner.id, LEAKER);
    assert_eq!(incident.timeline[0].what, What::FirstSign);
    assert_eq!(incident.timeline[0].time, at(100));
    assert!(
        tracker.look(at(121), &scene.growers(), &scene).is_empty(),
        "no news"
    );
}

#[test]
fn a_leak_far_from_its_limit_and_a_growth_open_none() {
    let mut tracker = Tracker::default();
    let far =
        Scene::default()
            .leak(LEAKER, State::Leaking, 7200.0)
            .leak(GROWER, State::Growing, 60.0);
    assert!(tracker.look(at(120), &far.growers(), &far).is_empty());
}

#[test]
fn who_fails_without_growing_is_a_victim_and_who_leaks_is_none() {
    let mut tracker = Tracker::default();
    let scene =
        Scene::default()
            .leak(LEAKER, State::Leaking, 0.0)
            .leak(GROWER, State::Growing, 0.0);
    tracker.look(at(120), &scene.growers(), &scene);
    for (id, comm) in [
        (PROBE, b"runc" as &[u8]),
        (PROBE, b"runc"),
        (LEAKER, b"java"),
    ] {
        refuse(&mut tracker, &failure(id, 130, comm, Reason::PidMax));
    }
    let told = tracker.look(at(131), &scene.growers(), &scene);
    let [incident] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incident.phase, Phase::Updated);
    let culprits: Vec<_> = incident
        .culprits
        .iter()
        .map(|culprit| culprit.owner.id)
        .collect();
    assert_eq!(
        culprits,
        [LEAKER],
        "what grows beside a leak is not accused"
    );
    assert_eq!(incident.victims.len(), 1);
    assert_eq!(incident.victims[0].owner.id, PROBE);
    assert_eq!(incident.victims[0].comms, [(b"runc".to_vec(), 2)]);
    assert_eq!(incident.failures, 3);
    let what: Vec<_> = incident.timeline.iter().map(|moment| moment.what).collect();
    assert_eq!(
        what,
        [
            What::FirstSign,
            What::Flagged,
            What::FirstFailure,
            What::Victim
        ]
    );
}

#[test]
fn one_limit_is_one_incident_however_much_fails() {
    let mut tracker = Tracker::default();
    let scene = Scene::default();
    let mut told = Vec::new();
    for second in 0..100 {
        for _ in 0..50 {
            refuse(&mut tracker, &failure(PROBE, second, b"sh", Reason::PidMax));
        }
        told.extend(tracker.look(at(second), &[], &scene));
    }
    assert!(told.iter().all(|incident| incident.id == told[0].id));
    assert!(told.len() <= 12, "{}", told.len());
    assert_eq!(tracker.open().count(), 1);
    let closed = tracker.look(at(99 + 60), &[], &scene);
    assert_eq!(closed[0].phase, Phase::Closed);
    assert_eq!(closed[0].failures, 5000);
    assert_eq!(closed[0].timeline.last().unwrap().what, What::Closed);
    assert_eq!(tracker.open().count(), 0);
}

#[test]
fn what_is_no_limit_opens_nothing() {
    let mut tracker = Tracker::default();
    for reason in [
        Reason::Memory,
        Reason::Unknown,
        Reason::PidNamespaceDying,
        Reason::Other,
    ] {
        refuse(&mut tracker, &failure(PROBE, 1, b"sh", reason));
    }
    assert!(tracker.look(at(2), &[], &Scene::default()).is_empty());
}

#[test]
fn a_limit_that_was_full_before_anybody_looked_is_blamed_on_who_holds_it() {
    let mut tracker = Tracker::default();
    let scene = Scene {
        holders: vec![(LEAKER, 2700), (PROBE, 12)],
        ..Scene::default()
    };
    refuse(&mut tracker, &failure(PROBE, 1, b"sh", Reason::PidMax));
    let told = tracker.look(at(2), &[], &scene);
    assert_eq!(told[0].culprits[0].owner.id, LEAKER);
    assert_eq!(told[0].culprits[0].growth_per_s, None);
    assert_eq!(told[0].victims[0].owner.id, PROBE);
    let mut tracker = Tracker::default();
    let many = Scene {
        holders: vec![(LEAKER, 900), (PROBE, 800)],
        ..Scene::default()
    };
    refuse(&mut tracker, &failure(PROBE, 1, b"sh", Reason::PidMax));
    assert!(
        tracker.look(at(2), &[], &many)[0].culprits.is_empty(),
        "nobody holds the most"
    );
}

#[test]
fn a_culprit_that_vanishes_stays_in_the_incident() {
    let mut tracker = Tracker::default();
    let scene = Scene::default().leak(LEAKER, State::Leaking, 60.0);
    tracker.look(at(120), &scene.growers(), &scene);
    let empty = Scene::default();
    assert!(tracker.look(at(121), &[], &empty).is_empty());
    let closed = tracker.look(at(185), &[], &empty);
    assert_eq!(closed[0].phase, Phase::Closed);
    assert_eq!(closed[0].culprits[0].owner.id, LEAKER);
}

#[test]
fn after_a_restart_it_goes_on() {
    let mut tracker = Tracker::default();
    let scene = Scene::default().leak(LEAKER, State::Leaking, 60.0);
    let opened = tracker.look(at(120), &scene.growers(), &scene).remove(0);
    let mut restarted = Tracker::default();
    restarted.restore(opened.clone(), at(125));
    tracker = restarted;
    refuse(&mut tracker, &failure(PROBE, 126, b"sh", Reason::PidMax));
    let told = tracker.look(at(127), &scene.growers(), &scene);
    assert_eq!(told[0].id, opened.id);
    assert_eq!(told[0].opened, at(120));
    let what: Vec<_> = told[0].timeline.iter().map(|moment| moment.what).collect();
    assert!(what.contains(&What::Restarted), "{what:?}");
}

#[test]
fn a_leak_with_a_tiny_share_is_noted_once() {
    let mut tracker = Tracker::default();
    let mut scene =
        Scene::default()
            .leak(LEAKER, State::Leaking, 540.0)
            .leak(GROWER, State::Leaking, 540.0);
    scene.grower_per_s = Some(0.4);
    let told = tracker.look(at(120), &scene.growers(), &scene);
    assert_eq!(told[0].culprits.len(), 1, "{:?}", told[0].culprits);
    for second in 121..200 {
        assert!(
            tracker
                .look(at(second), &scene.growers(), &scene)
                .is_empty()
        );
    }
}

#[test]
fn who_a_runtime_works_for_is_the_victim() {
    let mut tracker = Tracker::default();
    let scene = Scene::default().leak(LEAKER, State::Leaking, 0.0);
    let runtime = CgroupId(90);
    let mut failed = failure(runtime, 100, b"containerd-shim", Reason::PidMax);
    failed.on_behalf_of = Some(scene.owner(PROBE));
    refuse(&mut tracker, &failed);
    tracker.failed_unrecorded(runtime, 3);
    tracker.failed_unrecorded(LEAKER, 5);
    let told = tracker.look(at(120), &scene.growers(), &scene);
    let mut victims: Vec<_> = told[0]
        .victims
        .iter()
        .map(|victim| (victim.owner.id, victim.failures))
        .collect();
    victims.sort();
    // Those without a record may have been for others.
    assert_eq!(victims, [(PROBE, 1), (runtime, 3)]);
    assert_eq!(told[0].failures, 4);
    let first = told[0]
        .timeline
        .iter()
        .find(|moment| moment.what == What::FirstFailure);
    assert!(first.unwrap().text.ends_with("containerd-shim in /c12"));
}

#[test]
fn names_that_come_late_come_into_the_incident() {
    let mut tracker = Tracker::default();
    let mut scene = Scene::default().leak(LEAKER, State::Leaking, 0.0);
    scene.names = Naming::NotYet;
    let mut failed = failure(PROBE, 100, b"sh", Reason::PidMax);
    failed.owner = scene.owner(PROBE);
    refuse(&mut tracker, &failed);
    let told = tracker.look(at(120), &scene.growers(), &scene);
    assert!(told[0].culprits[0].owner.name().starts_with("/kubepods"));
    scene.names = Naming::Known;
    refuse(&mut tracker, &failed);
    let told = tracker.look(at(200), &scene.growers(), &scene);
    assert_eq!(told[0].culprits[0].owner.name(), "shop/web-1/app");
    assert_eq!(told[0].victims[0].owner.name(), "shop/web-1/app");
}
