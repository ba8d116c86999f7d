use std::{fs, os::unix::fs::MetadataExt};

use super::*;

/// A hierarchy of plain files with one cgroup, and a lease folder.
struct Setup {
    folder: tempfile::TempDir,
    leases: Leases,
}

impl Setup {
    fn new(limit: &str, usage: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("mount/a/b")).unwrap();
        let leases = folder.path().join("leases");
        let leases = Leases::open(&leases, Path::new("/proc")).unwrap();
        let setup = Self { folder, leases };
        setup.write("pids.max", limit);
        setup.write("pids.current", &usage.to_string());
        setup
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.mount().join("a/b").join(name), text).unwrap();
    }

    fn limit(&self) -> String {
        let file = LimitFile::open(&self.mount(), b"/a/b", self.id());
        file.unwrap().unwrap().limit().unwrap().unwrap().to_string()
    }

    fn id(&self) -> u64 {
        fs::metadata(self.mount().join("a/b")).unwrap().ino()
    }

    fn brake(&self, at: Option<u64>, lasts: Duration) -> Result<Applied, ActError> {
        let request = BrakeRequest {
            cgroup_id: self.id(),
            path: "/a/b".into(),
            owner: "b".into(),
            at,
            lasts,
            automatic: false,
        };
        apply(&self.leases, &self.mount(), &request)
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn releasing_a_brake_restores_the_previous_limit() {
    for before in ["max", "400"] {
        let setup = Setup::new(before, 300);
        let applied = setup.brake(None, MINUTE).unwrap();
        assert_eq!((applied.lease.limit(), applied.usage), (300, 300));
        assert_eq!(setup.limit(), "300");
        let looked = maintain(&setup.leases, &setup.mount(), setup.id()).unwrap();
        assert!(matches!(looked, Ended::Not(_)), "{looked:?}");
        let ended = release(&setup.leases, &setup.mount(), setup.id()).unwrap();
        assert_eq!(ended, Ended::Restored(before.parse().unwrap()));
        assert_eq!(setup.limit(), before);
        assert_eq!(setup.leases.all(|error| panic!("{error}")).unwrap(), []);
        let again = release(&setup.leases, &setup.mount(), setup.id()).unwrap();
        assert_eq!(again, Ended::Earlier);
    }
}

#[test]
fn an_expired_lease_restores_the_limit() {
    let setup = Setup::new("max", 300);
    setup.brake(Some(320), Duration::ZERO).unwrap();
    assert_eq!(setup.limit(), "320");
    let ended = maintain(&setup.leases, &setup.mount(), setup.id()).unwrap();
    assert_eq!(ended, Ended::Restored(PidsMax::Unlimited));
    assert_eq!(setup.limit(), "max");
}

#[test]
fn a_second_brake_changes_the_first_and_restores_the_same_limit() {
    let setup = Setup::new("max", 300);
    setup.brake(None, MINUTE).unwrap();
    setup.write("pids.current", "250");
    let applied = setup.brake(None, 2 * MINUTE).unwrap();
    assert_eq!(applied.lease.limit(), 250);
    assert_eq!(applied.lease.before, PidsMax::Unlimited);
    let ended = release(&setup.leases, &setup.mount(), setup.id()).unwrap();
    assert_eq!(ended, Ended::Restored(PidsMax::Unlimited));
}

#[test]
fn limits_written_by_other_programs_are_kept() {
    let setup = Setup::new("max", 300);
    setup.brake(None, MINUTE).unwrap();
    setup.write("pids.max", "800");
    let looked = maintain(&setup.leases, &setup.mount(), setup.id()).unwrap();
    assert!(
        matches!(looked, Ended::SetBack(_, PidsMax::Tasks(800))),
        "{looked:?}"
    );
    assert_eq!(setup.limit(), "300");
    // What was created under the other limit is not cut off.
    setup.write("pids.max", "800");
    setup.write("pids.current", "350");
    maintain(&setup.leases, &setup.mount(), setup.id()).unwrap();
    assert_eq!(setup.limit(), "350");
    let ended = release(&setup.leases, &setup.mount(), setup.id()).unwrap();
    assert_eq!(ended, Ended::Restored(PidsMax::Tasks(800)));
    setup.write("pids.current", "300");

    setup.brake(None, MINUTE).unwrap();
    setup.write("pids.max", "100");
    let ended = release(&setup.leases, &setup.mount(), setup.id()).unwrap();
    let theirs = Ended::Otherwise(Ending::Replaced(PidsMax::Tasks(100)));
    assert_eq!(ended, theirs);
    assert_eq!(setup.limit(), "100");
}

#[test]
fn a_refused_brake_changes_nothing() {
    let setup = Setup::new("300", 300);
    for at in [None, Some(200), Some(300), Some(500)] {
        let error = setup.brake(at, MINUTE).unwrap_err();
        assert!(matches!(error, ActError::Refused { .. }), "{error}");
    }
    assert_eq!(setup.limit(), "300");
    assert_eq!(setup.leases.all(|error| panic!("{error}")).unwrap(), []);
}

#[test]
fn no_lease_remains_if_the_limit_cannot_be_written() {
    let setup = Setup::new("max", 300);
    // A number that can be read but not written.
    let file = setup.mount().join("a/b/pids.max");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/proc/sys/kernel/ngroups_max", &file).unwrap();
    let error = setup.brake(None, MINUTE).unwrap_err();
    assert!(matches!(error, ActError::Limit { .. }), "{error}");
    assert_eq!(setup.leases.all(|error| panic!("{error}")).unwrap(), []);
}

#[test]
fn removing_the_cgroup_ends_its_brake() {
    let setup = Setup::new("max", 300);
    setup.brake(None, MINUTE).unwrap();
    let id = setup.id();
    fs::remove_dir_all(setup.mount().join("a")).unwrap();
    let ended = maintain(&setup.leases, &setup.mount(), id).unwrap();
    assert_eq!(ended, Ended::Otherwise(Ending::Gone));
    assert_eq!(setup.leases.all(|error| panic!("{error}")).unwrap(), []);
}

#[test]
fn a_dry_run_changes_nothing() {
    let setup = Setup::new("max", 300);
    let request = BrakeRequest {
        cgroup_id: setup.id(),
        path: "/a/b".into(),
        owner: "b".into(),
        at: None,
        lasts: MINUTE,
        automatic: false,
    };
    let applied = would_apply(Some(&setup.leases), &setup.mount(), &request).unwrap();
    assert_eq!(applied.lease.limit(), 300);
    assert_eq!(setup.limit(), "max");
    assert_eq!(setup.leases.all(|error| panic!("{error}")).unwrap(), []);
}

#[test]
fn an_exhausted_limit_above_is_found() {
    let setup = Setup::new("max", 300);
    let proc_root = setup.folder.path().join("proc");
    fs::create_dir_all(proc_root.join("sys/kernel")).unwrap();
    let proc = Proc::new(&proc_root);
    let of_node = |tasks: u64| {
        let text = format!("0.0 0.0 0.0 2/{tasks} 4711");
        fs::write(proc_root.join("loadavg"), text).unwrap();
    };
    for (name, text) in [("pid_max", "32768"), ("threads-max", "7000")] {
        fs::write(proc_root.join("sys/kernel").join(name), text).unwrap();
    }
    let above = || {
        let full = exhausted_above(&setup.mount(), &proc, b"/a/b")?;
        Some((full.cgroup, full.name.into_owned(), full.value))
    };
    of_node(6999);
    assert_eq!(above(), None);
    of_node(7000);
    assert_eq!(above(), Some((None, "kernel.threads-max".into(), 7000)));
    for (name, text) in [("pids.max", "900"), ("pids.current", "900")] {
        fs::write(setup.mount().join("a").join(name), text).unwrap();
    }
    assert_eq!(above(), Some((Some("/a".into()), "pids.max".into(), 900)));
}

#[test]
fn no_limit_is_written_if_the_lease_cannot_be_saved() {
    let setup = Setup::new("max", 300);
    let leases = setup.folder.path().join("leases");
    fs::remove_dir_all(&leases).unwrap();
    assert!(setup.brake(None, MINUTE).is_err());
    assert_eq!(setup.limit(), "max");
}
