use std::{fs, os::unix::fs::MetadataExt};

use super::*;
use crate::brake::PidsMax;

const MINUTE: Duration = Duration::from_mins(1);

/// A hierarchy of plain files with one cgroup, without a lease folder.
struct Setup(tempfile::TempDir);

impl Setup {
    fn new(limit: &str) -> Self {
        let setup = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(setup.mount().join("a")).unwrap();
        setup.write("pids.max", limit);
        setup.write("pids.current", "300");
        setup
    }

    fn mount(&self) -> PathBuf {
        self.0.path().join("mount")
    }

    fn lease_dir(&self) -> PathBuf {
        self.0.path().join("leases")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.mount().join("a").join(name), text).unwrap();
    }

    fn limit(&self) -> String {
        fs::read_to_string(self.mount().join("a/pids.max")).unwrap()
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(&self.lease_dir(), Path::new("/proc"), &self.mount())
    }

    fn request(&self, lasts: Duration) -> BrakeRequest {
        BrakeRequest {
            cgroup_id: fs::metadata(self.mount().join("a")).unwrap().ino(),
            path: "/a".into(),
            owner: "a".into(),
            at: None,
            lasts,
            automatic: true,
        }
    }

    fn leases(&self) -> Vec<Lease> {
        let leases = Leases::existing(&self.lease_dir(), Path::new("/proc"));
        let leases = leases.unwrap();
        leases.map_or(Vec::new(), |leases| {
            leases.all(|error| panic!("{error}")).unwrap()
        })
    }
}

fn tick(keeper: &mut Keeper, renewal: Option<Duration>) -> Vec<KeeperEvent> {
    let mut news = Vec::new();
    keeper.tick(renewal, &mut news);
    news
}

fn adopt(keeper: &mut Keeper) -> Vec<KeeperEvent> {
    let mut news = Vec::new();
    keeper.adopt(&mut news).unwrap();
    news
}

fn end(keeper: &mut Keeper) -> Vec<KeeperEvent> {
    let mut news = Vec::new();
    keeper.end(&mut news);
    news
}

fn is_restored(news: &[KeeperEvent], limit: PidsMax) -> bool {
    matches!(news, [KeeperEvent::Step(_, Ended::Restored(before))] if *before == limit)
}

#[test]
fn a_brake_is_renewed_while_it_refuses_tasks_and_ends_after_a_lease_without() {
    let setup = Setup::new("max");
    let mut keeper = setup.keeper();
    let request = setup.request(Duration::ZERO);
    keeper.brake(&request).unwrap().unwrap();
    assert_eq!(setup.limit(), "300");
    keeper.refused(request.cgroup_id);
    let news = tick(&mut keeper, Some(Duration::ZERO));
    assert!(matches!(&news[..], [KeeperEvent::Renewed(_)]), "{news:?}");
    assert_eq!(setup.limit(), "300");
    let news = tick(&mut keeper, Some(MINUTE));
    assert!(is_restored(&news, PidsMax::Unlimited), "{news:?}");
    assert_eq!(setup.limit(), "max");
    assert_eq!(keeper.ids().count(), 0);
}

#[test]
fn a_persons_brake_is_not_renewed() {
    let setup = Setup::new("max");
    let mut keeper = setup.keeper();
    let request = BrakeRequest {
        automatic: false,
        ..setup.request(Duration::ZERO)
    };
    keeper.brake(&request).unwrap().unwrap();
    keeper.refused(request.cgroup_id);
    let news = tick(&mut keeper, Some(MINUTE));
    assert!(is_restored(&news, PidsMax::Unlimited), "{news:?}");
}

#[test]
fn what_a_killed_process_left_behind_is_adopted_and_restored() {
    let setup = Setup::new("400");
    let mut killed = setup.keeper();
    killed.brake(&setup.request(Duration::ZERO)).unwrap();
    let mut next = setup.keeper();
    assert!(adopt(&mut next).is_empty(), "it is alive");
    // As after SIGKILL: its files are closed and nothing is restored.
    drop(killed);
    assert_eq!(setup.limit(), "300");
    let news = adopt(&mut next);
    assert!(matches!(&news[..], [KeeperEvent::Adopted(_)]), "{news:?}");
    assert!(is_restored(&tick(&mut next, None), PidsMax::Tasks(400)));
    assert_eq!(setup.limit(), "400");
    assert_eq!(setup.leases(), []);
}

#[test]
fn the_last_process_to_end_restores_the_limits() {
    let setup = Setup::new("max");
    let mut first = setup.keeper();
    first.brake(&setup.request(MINUTE)).unwrap();
    // A rollout: the successor starts before its predecessor ends.
    let mut successor = setup.keeper();
    assert!(adopt(&mut successor).is_empty());
    assert!(end(&mut first).is_empty());
    assert_eq!(setup.limit(), "300");
    drop(first);
    assert_eq!(adopt(&mut successor).len(), 1);
    assert!(is_restored(&end(&mut successor), PidsMax::Unlimited));
    assert_eq!(setup.limit(), "max");
}

#[test]
fn a_removed_lease_folder_does_not_keep_the_limit() {
    let setup = Setup::new("max");
    let mut keeper = setup.keeper();
    keeper.brake(&setup.request(MINUTE)).unwrap();
    fs::remove_dir_all(setup.lease_dir()).unwrap();
    let news = tick(&mut keeper, None);
    assert!(is_restored(&news, PidsMax::Unlimited), "{news:?}");
    assert_eq!(setup.limit(), "max");
}

#[test]
fn a_higher_limit_of_another_program_is_set_back_and_is_restored_at_the_end() {
    let setup = Setup::new("400");
    let mut keeper = setup.keeper();
    keeper.brake(&setup.request(MINUTE)).unwrap();
    setup.write("pids.max", "500");
    let news = tick(&mut keeper, None);
    assert!(
        matches!(
            &news[..],
            [KeeperEvent::Step(_, Ended::SetBack(_, PidsMax::Tasks(500)))]
        ),
        "{news:?}"
    );
    assert_eq!(setup.limit(), "300");
    assert!(is_restored(&end(&mut keeper), PidsMax::Tasks(500)));
    assert_eq!(setup.limit(), "500");
}

#[test]
fn a_dry_run_changes_nothing() {
    let setup = Setup::new("max");
    let applied = setup.keeper().would_brake(&setup.request(MINUTE)).unwrap();
    assert_eq!((applied.lease.limit(), applied.usage), (300, 300));
    assert_eq!(setup.limit(), "max");
    assert_eq!(setup.leases(), []);
}

#[test]
fn a_refused_brake_leaves_no_lease() {
    let setup = Setup::new("200");
    let mut keeper = setup.keeper();
    keeper.brake(&setup.request(MINUTE)).unwrap_err();
    assert_eq!(keeper.ids().count(), 0);
    assert_eq!(setup.limit(), "200");
    assert_eq!(setup.leases(), []);
}
