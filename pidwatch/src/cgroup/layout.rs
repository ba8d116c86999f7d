//! Which cgroup hierarchy counts tasks, and where it is mounted.
//!
//! In: the root of the cgroup file systems and of /proc. Out: a [`Layout`], or what is missing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::statfs;

use super::{Layout, LayoutKind};

/// `CGROUP2_SUPER_MAGIC`, `CGROUP_SUPER_MAGIC` of include/uapi/linux/magic.h.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
const CGROUP_SUPER_MAGIC: i64 = 0x27_e0eb;

/// No hierarchy to work with.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Nothing mounted.
    #[error(
        "no cgroup file system is mounted at {}: run `mount -t cgroup2 none {}`, or say where it \
         is with --cgroup-root", .0.display(), .0.display()
    )]
    NotMounted(PathBuf),
    /// Not readable.
    #[error(
        "cannot read {}: {error}; say where the cgroup file system is with --cgroup-root, and \
         where /proc is with --proc-root", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A cgroup namespace hides what is above.
    #[error(
        "{} is not the root of its cgroup hierarchy, so the node's other cgroups cannot be named: \
         run in the host's cgroup namespace (`--cgroupns=host`), or give the host's mount with \
         --cgroup-root", .0.display()
    )]
    NotTheRoot(PathBuf),
    /// No pids controller anywhere.
    #[error(
        "neither a pids controller nor a v2 hierarchy is mounted under {}: the kernel needs \
         CONFIG_CGROUP_PIDS and the controller must not be switched off by cgroup_disable=pids",
        .0.display()
    )]
    NoPids(PathBuf),
}

/// Looks at what is mounted under `cgroup_root` and at `proc_root`/cgroups.
///
/// # Errors
/// When no cgroup file system is there.
pub fn detect(cgroup_root: &Path, proc_root: &Path) -> Result<Layout, LayoutError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| LayoutError::Unreadable { path, error }
    };
    if magic(cgroup_root).map_err(unreadable(cgroup_root))? == CGROUP2_SUPER_MAGIC {
        // Every cgroup but the root has one (Documentation/admin-guide/cgroup-v2.rst).
        if cgroup_root.join("cgroup.type").exists() {
            return Err(LayoutError::NotTheRoot(cgroup_root.to_owned()));
        }
        let controllers = cgroup_root.join("cgroup.controllers");
        let controllers = fs::read_to_string(&controllers).map_err(unreadable(&controllers))?;
        return Ok(Layout {
            kind: LayoutKind::V2,
            mount: cgroup_root.to_owned(),
            hierarchy_id: 0,
            unified: true,
            has_pids: controllers.split_whitespace().any(|name| name == "pids"),
        });
    }
    let mut pids = None;
    let mut unified = None;
    let mut any = false;
    for entry in fs::read_dir(cgroup_root)
        .map_err(unreadable(cgroup_root))?
        .flatten()
    {
        match magic(&entry.path()) {
            Ok(CGROUP_SUPER_MAGIC) => {
                any = true;
                let name = entry.file_name();
                if name
                    .to_string_lossy()
                    .split(',')
                    .any(|controller| controller == "pids")
                {
                    pids = Some(entry.path());
                }
            }
            Ok(CGROUP2_SUPER_MAGIC) => unified = Some(entry.path()),
            _ => {}
        }
    }
    match (pids, unified) {
        (Some(mount), unified) => {
            // On v1 only the root has one (Documentation/admin-guide/cgroup-v1/cgroups.rst).
            if !mount.join("release_agent").exists() {
                return Err(LayoutError::NotTheRoot(mount));
            }
            let path = proc_root.join("cgroups");
            let table = fs::read_to_string(&path).map_err(unreadable(&path))?;
            let hierarchy_id = hierarchy_of(&table, "pids")
                .ok_or_else(|| LayoutError::NoPids(cgroup_root.to_owned()))?;
            let kind = if unified.is_some() {
                LayoutKind::Hybrid
            } else {
                LayoutKind::V1
            };
            Ok(Layout {
                kind,
                mount,
                hierarchy_id,
                unified: false,
                has_pids: true,
            })
        }
        (None, Some(mount)) => Ok(Layout {
            kind: LayoutKind::Hybrid,
            mount,
            hierarchy_id: 0,
            unified: true,
            has_pids: false,
        }),
        (None, None) if any => Err(LayoutError::NoPids(cgroup_root.to_owned())),
        (None, None) => Err(LayoutError::NotMounted(cgroup_root.to_owned())),
    }
}

/// Whether cgroup v2 is mounted so that the pids controller counts refusals as v1 does (`pids_localevents`,
/// 6.11). An option of the hierarchy: every mount of it says so.
pub fn counts_refusals_locally(proc_root: &Path) -> bool {
    let mounts = fs::read_to_string(proc_root.join("mounts")).unwrap_or_default();
    mounts.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(2);
        columns.next() == Some("cgroup2")
            && columns
                .next()
                .is_some_and(|options| options.split(',').any(|name| name == "pids_localevents"))
    })
}

fn magic(path: &Path) -> io::Result<i64> {
    Ok(statfs(path)?.f_type as i64)
}

/// Hierarchy number of a controller in /proc/cgroups: `pids\t8\t12\t1`.
fn hierarchy_of(table: &str, controller: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.next()? == controller).then(|| columns.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_hierarchy_is_read_from_proc() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\npids\t8\t12\t1\n";
        assert_eq!(hierarchy_of(table, "pids"), Some(8));
        assert_eq!(hierarchy_of(table, "pid"), None);
    }

    #[test]
    fn the_option_for_local_events_is_found_among_the_mounts() {
        let proc_root = tempfile::tempdir().unwrap();
        let counts = |mounts: &str| {
            fs::write(proc_root.path().join("mounts"), mounts).unwrap();
            counts_refusals_locally(proc_root.path())
        };
        assert!(!counts(
            "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0\n"
        ));
        assert!(counts(
            "cgroup2 /sys/fs/cgroup cgroup2 rw,pids_localevents 0 0\n"
        ));
        assert!(!counts(
            "pids_localevents /a tmpfs rw,pids_localevents 0 0\n"
        ));
    }

    #[test]
    fn a_folder_without_cgroups_is_named_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let error = detect(folder.path(), Path::new("/proc"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        assert!(error.contains("--cgroup-root"), "{error}");
    }
}
