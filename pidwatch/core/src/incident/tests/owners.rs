//! Who is meant: containers and units with everything below them, whatever cgroup stands for them.

use std::sync::LazyLock;

use super::*;
use crate::identity::hostile;

const CONTAINER: &str = "/docker/00000000000000000000000000000000000000000000000000000000000000aa";
const OWNER: CgroupId = CgroupId(20);

/// Cgroups at paths of one's choice, of which some grow.
#[derive(Default)]
struct Paths {
    paths: HashMap<CgroupId, Vec<u8>>,
    names: HashMap<CgroupId, &'static str>,
    growers: Vec<Grower>,
    holders: Vec<(CgroupId, u64)>,
}

impl Paths {
    fn at(mut self, id: u64, path: impl Into<Vec<u8>>) -> Self {
        self.paths.insert(CgroupId(id), path.into());
        self
    }

    fn failure(&self, id: u64, second: u64, limit: Limit) -> FailedClone {
        let mut failed = failure(CgroupId(id), second, b"sh", Reason::PidsMax);
        failed.owner = self.owner(CgroupId(id));
        failed.verdict.limit = Some(limit);
        if let LimitOwner::Cgroup(of) = limit.owner {
            failed.limit_owner = Some(self.owner(of));
        }
        failed
    }

    fn refuse(&self, tracker: &mut Tracker, id: u64, limit: Limit) {
        self.refuse_at(tracker, 100, id, limit);
    }

    fn refuse_at(&self, tracker: &mut Tracker, second: u64, id: u64, limit: Limit) {
        let failed = self.failure(id, second, limit);
        tracker.failed(&failed, &self.blamed(CgroupId(id)));
    }
}

impl NodeView for Paths {
    fn owner(&self, id: CgroupId) -> Owner {
        let path = self.paths.get(&id).map(|path| path.as_slice().into());
        let names = self.names.get(&id).map(|container| {
            Arc::new(Names {
                namespace: Some("shop".into()),
                pod: Some("web-1".into()),
                container: Some((*container).into()),
                ..Names::default()
            })
        });
        Owner {
            names,
            ..Owner::new(id, path)
        }
    }

    fn blamed(&self, id: CgroupId) -> Owner {
        let owner = self.owner(id);
        let Some(anchor) = owner.anchor() else {
            return owner;
        };
        let is_it = |(_, path): &(&CgroupId, &Vec<u8>)| path.as_slice() == anchor;
        match self.paths.iter().find(is_it) {
            Some((id, _)) => self.owner(*id),
            None => Owner::new(id, Some(anchor.into())),
        }
    }

    fn verdict(&self, id: CgroupId) -> Option<&Verdict> {
        self.growers
            .iter()
            .any(|grower| grower.owner == id)
            .then(|| &*VERDICT)
    }

    fn holders(&self, _: &LimitKey) -> Vec<(CgroupId, u64)> {
        self.holders.clone()
    }

    fn usage(&self, limit: &LimitKey) -> Option<(u64, u64)> {
        let is_known = !matches!(limit.owner, LimitOwner::User(_));
        is_known.then_some((NODE.value, NODE.usage))
    }
}

static VERDICT: LazyLock<Verdict> = LazyLock::new(|| Verdict {
    state: State::Leaking,
    since: at(100),
    tasks: 1000,
    growth_per_s: Some(1.0),
    confidence: Some(1.0),
    evidence: Vec::new(),
    exhaustion: Some(Exhaustion {
        limit: NODE,
        in_s: 60.0,
        low_s: 60.0,
        high_s: 60.0,
    }),
    why: String::new(),
});

fn grower(
    id: CgroupId,
    state: State,
    per_s: f64,
    chain: &[Limit],
    part_of: Option<PartOf>,
) -> Grower {
    Grower {
        owner: id,
        state,
        per_s,
        tasks: 500,
        chain: chain.to_vec(),
        part_of,
    }
}

fn pids_max(id: u64, value: u64, usage: u64) -> Limit {
    Limit {
        name: "pids.max",
        value,
        usage,
        owner: LimitOwner::Cgroup(CgroupId(id)),
    }
}

/// A container with sixty cgroups of its own that leak a third of a task each a second.
fn spread(states: impl Fn(u64) -> State) -> Paths {
    let mut scene = Paths::default().at(OWNER.0, CONTAINER).at(90, "/victim");
    let part_of = PartOf {
        owner: OWNER,
        limits_inside: 0,
    };
    scene
        .growers
        .push(grower(OWNER, State::Leaking, 20.0, &[NODE], None));
    for id in 100..160 {
        scene = scene.at(id, format!("{CONTAINER}/c{id}"));
        let state = states(id);
        if state != State::Ok {
            let part = grower(CgroupId(id), state, 0.33, &[NODE], Some(part_of));
            scene.growers.push(part);
        }
    }
    scene
}

#[test]
fn a_leak_spread_over_a_containers_own_cgroups_is_the_containers() {
    for state in [State::Ok, State::Growing, State::Leaking] {
        let scene = spread(|_| state);
        let mut tracker = Tracker::default();
        for id in [100, 101, 159, OWNER.0, 90] {
            scene.refuse(&mut tracker, id, NODE);
        }
        let told = tracker.look(at(120), &scene.growers, &scene);
        let [culprit] = &told[0].culprits[..] else {
            panic!("{:?}", told[0].culprits)
        };
        assert_eq!((culprit.owner.id, culprit.share), (OWNER, 1.0));
        assert_eq!((culprit.growth_per_s, &culprit.inside), (Some(20.0), &None));
        let victims: Vec<_> = told[0].victims.iter().map(|of| of.owner.id.0).collect();
        assert_eq!(victims, [90], "its own cgroups are no victims");
        assert_eq!(told[0].failures, 5);
    }
}

#[test]
fn the_part_that_most_comes_from_is_named_after_its_owner() {
    let mut scene = spread(|id| if id == 123 { State::Leaking } else { State::Ok });
    scene.growers[1].per_s = 15.0;
    let told = Tracker::default().look(at(120), &scene.growers, &scene);
    let culprit = &told[0].culprits[0];
    assert_eq!(
        (culprit.owner.id, culprit.growth_per_s),
        (OWNER, Some(20.0))
    );
    let inside = culprit.inside.as_ref().unwrap();
    assert_eq!(inside.name(), "docker:000000000000/c123");
    let flagged = told[0]
        .timeline
        .iter()
        .filter(|moment| moment.what == What::Flagged);
    assert_eq!(flagged.count(), 1, "once, of the owner");
}

#[test]
fn a_limit_inside_of_a_container_is_its_own_affair() {
    let inner = pids_max(100, 50, 50);
    let mut scene = spread(|id| {
        if id == 100 {
            State::Saturated
        } else {
            State::Ok
        }
    });
    scene.growers[1] = Grower {
        chain: vec![inner, NODE],
        part_of: Some(PartOf {
            owner: OWNER,
            limits_inside: 1,
        }),
        ..scene.growers[1].clone()
    };
    scene.growers.remove(0);
    let mut tracker = Tracker::default();
    for id in [100, 101] {
        scene.refuse(&mut tracker, id, inner);
    }
    let told = tracker.look(at(120), &scene.growers, &scene);
    assert_eq!(told.len(), 2, "and the forecast's");
    let full = told
        .iter()
        .find(|incident| incident.limit.name == "pids.max")
        .unwrap();
    assert_eq!(full.culprits[0].owner.id, OWNER);
    assert!(full.victims.is_empty());
    // An owner that does not grow is no culprit beyond its walls, whatever moves about in it.
    let node = told
        .iter()
        .find(|incident| incident.limit.name != "pids.max")
        .unwrap();
    assert!(node.culprits.is_empty());
}

#[test]
fn a_crash_loop_is_one_incident_and_one_victim() {
    let mut tracker = Tracker::default();
    let mut told = Vec::new();
    for round in 0..200 {
        // Made anew at the same path each time.
        let scene = Paths::default()
            .at(1000 + round, "/app/run")
            .at(2000 + round, "/app/run/x");
        for id in [1000 + round, 2000 + round] {
            let limit = pids_max(1000 + round, 5, 5);
            scene.refuse_at(&mut tracker, 100 + round, id, limit);
            tracker.failed_unrecorded(CgroupId(id), 2);
        }
        told.extend(tracker.look(at(100 + round), &[], &scene));
    }
    assert_eq!(tracker.open().count(), 1);
    let incident = tracker.open().next().unwrap();
    assert_eq!(incident.failures, 200 * 6);
    let victims: Vec<_> = incident.victims.iter().map(|of| of.failures).collect();
    assert_eq!(victims, [600, 600], "two paths");
    assert!(told.iter().all(|other| other.id == incident.id));
}

#[test]
fn containers_that_replace_each_other_in_a_pod_are_one_owner() {
    let pod = "/kubepods/burstable/pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
    let mut scene = Paths::default();
    let mut tracker = Tracker::default();
    for id in 1..=4 {
        scene = scene.at(id, format!("{pod}/{id:064x}"));
        if id % 2 == 0 {
            // Its name is known only later.
            scene.names.insert(CgroupId(id), "churner");
        }
        scene.refuse(&mut tracker, id, NODE);
    }
    scene = scene.at(9, format!("{pod}/{:064x}", 9));
    scene.names.insert(CgroupId(9), "sidecar");
    scene.refuse(&mut tracker, 9, NODE);
    for id in [1, 3] {
        scene.names.insert(CgroupId(id), "churner");
    }
    let told = tracker.look(at(120), &[], &scene);
    let mut victims: Vec<_> = told[0]
        .victims
        .iter()
        .map(|victim| (victim.owner.name(), victim.failures, &victim.comms[..]))
        .collect();
    victims.sort();
    let comm = b"sh".to_vec();
    let expected = [
        ("shop/web-1/churner".to_owned(), 4, &[(comm.clone(), 4)][..]),
        ("shop/web-1/sidecar".to_owned(), 1, &[(comm, 1)][..]),
    ];
    assert_eq!(victims, expected);
}

#[test]
fn who_is_stopped_by_a_limit_of_its_own_does_not_fill_the_node() {
    let mut scene = Paths::default();
    for id in 1..=10 {
        scene = scene.at(id, format!("/app{id}"));
        let own = pids_max(id, 100, 100);
        scene.growers.push(grower(
            CgroupId(id),
            State::Saturated,
            5.0,
            &[own, NODE],
            None,
        ));
    }
    scene = scene.at(11, "/leaker");
    scene
        .growers
        .push(grower(CgroupId(11), State::Leaking, 1.0, &[NODE], None));
    let told = Tracker::default().look(at(120), &scene.growers, &scene);
    let culprits: Vec<_> = told[0]
        .culprits
        .iter()
        .map(|of| (of.owner.id.0, of.share))
        .collect();
    assert_eq!(culprits, [(11, 1.0)]);
}

#[test]
fn who_has_most_of_a_users_tasks_is_the_culprit_as_soon_as_that_is_known() {
    let limit = |value, usage| Limit {
        name: "RLIMIT_NPROC",
        value,
        usage,
        owner: LimitOwner::User(61_000),
    };
    let mut scene = Paths::default().at(1, "/a").at(2, "/b");
    let mut tracker = Tracker::default();
    scene.refuse(&mut tracker, 2, limit(64, 64));
    // Another process of that user has another limit.
    scene.refuse(&mut tracker, 2, limit(40, 62));
    let told = tracker.look(at(101), &[], &scene);
    assert!(told[0].culprits.is_empty());
    assert_eq!(tracker.open().next().unwrap().id, told[0].id);
    scene.holders = vec![(CgroupId(1), 60), (CgroupId(2), 4)];
    let told = tracker.look(at(102), &[], &scene);
    let culprits: Vec<_> = told[0]
        .culprits
        .iter()
        .map(|of| (of.owner.id.0, of.tasks))
        .collect();
    assert_eq!(culprits, [(1, 60)]);
    assert_eq!(
        (told[0].value, told[0].usage, told[0].peak),
        (Some(64), Some(64), Some(64))
    );
    let victims: Vec<_> = told[0]
        .victims
        .iter()
        .map(|of| (of.owner.id.0, of.failures))
        .collect();
    assert_eq!(victims, [(2, 2)]);
}

/// Tasks that were moved in past a limit, or a limit of 0: nobody took anything from anybody.
#[test]
fn who_holds_its_own_limit_and_does_not_grow_is_no_culprit() {
    let shop = "/shop";
    for (limited, accused) in [(OWNER.0, None), (21, None), (30, Some(OWNER))] {
        let mut scene = Paths::default()
            .at(OWNER.0, CONTAINER)
            .at(21, format!("{CONTAINER}/inside"))
            .at(30, shop)
            .at(90, "/shop/victim");
        scene.holders = vec![(OWNER, NODE.usage)];
        let mut tracker = Tracker::default();
        scene.refuse(&mut tracker, 21, pids_max(limited, 5, 10));
        let told = tracker.look(at(101), &[], &scene).pop().unwrap();
        let culprits: Vec<_> = told.culprits.iter().map(|of| of.owner.id).collect();
        assert_eq!(culprits, Vec::from_iter(accused), "limit of {limited}");
        assert_eq!(told.failures, 1);
    }
}

/// Who is accused and who is a victim, whatever the paths of the parts are.
#[test]
fn hostile_names_below_an_owner_change_no_verdict() {
    let pod = "3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
    let container = "d".repeat(64);
    let victim = format!("/kubepods/burstable/pod{pod}/{container}");
    let mut random = 0x2545_f491_4f6c_dd1d;
    for round in 0..300 {
        let seed = random;
        let parties = |is_hostile: bool| {
            let mut random = seed;
            let mut scene = Paths::default()
                .at(OWNER.0, CONTAINER)
                .at(90, victim.as_bytes());
            let mut tracker = Tracker::default();
            let leaks = hostile::draw(&mut random, 2) == 0;
            let state = if leaks {
                State::Leaking
            } else {
                State::Growing
            };
            scene
                .growers
                .push(grower(OWNER, state, 20.0, &[NODE], None));
            for id in 100..110 {
                let mut path = CONTAINER.as_bytes().to_vec();
                path.extend(format!("/{id}").bytes());
                let way = hostile::way(&mut random, pod, &container);
                if is_hostile {
                    path.truncate(CONTAINER.len());
                    path.extend(way);
                }
                scene = scene.at(id, path);
                if hostile::draw(&mut random, 2) == 0 {
                    let part_of = PartOf {
                        owner: OWNER,
                        limits_inside: 0,
                    };
                    let part = grower(CgroupId(id), state, 2.0, &[NODE], Some(part_of));
                    scene.growers.push(part);
                }
            }
            for id in [90, OWNER.0].into_iter().chain(100..110) {
                if hostile::draw(&mut random, 3) > 0 {
                    scene.refuse(&mut tracker, id, NODE);
                }
            }
            tracker.look(at(120), &scene.growers, &scene);
            let open = tracker.open().next().cloned();
            open.map(|incident| {
                let culprits = incident
                    .culprits
                    .iter()
                    .map(|of| (of.owner.key(), of.tasks));
                let victims = incident
                    .victims
                    .iter()
                    .map(|of| (of.owner.key(), of.failures));
                (culprits.collect::<Vec<_>>(), victims.collect::<Vec<_>>())
            })
        };
        assert_eq!(parties(true), parties(false), "round {round}");
        hostile::draw(&mut random, 2);
    }
}
