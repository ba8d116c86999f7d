//! Cgroups for the length of a scenario.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Which hierarchies are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The pids controller in v1 and no v2.
    V1,
    /// The pids controller in v1, and v2 beside it.
    Hybrid,
    /// The pids controller in v2.
    V2,
}

impl Layout {
    /// As pidwatch writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
        }
    }
}

/// Where the pids controller is mounted.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// The mount point of the hierarchy with the pids controller.
    pub pids: PathBuf,
    /// The mount point of cgroup v2, if there is one.
    pub v2: Option<PathBuf>,
    /// Which of them there are.
    pub layout: Layout,
}

impl Hierarchy {
    /// Looks in the table of mounts.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
        let mut v1 = None;
        let mut v2 = None;
        for mount in mounts.lines() {
            let fields: Vec<&str> = mount.split(' ').collect();
            let [_, point, kind, options, ..] = fields[..] else {
                continue;
            };
            match kind {
                "cgroup" if options.split(',').any(|option| option == "pids") => {
                    v1.get_or_insert(PathBuf::from(point));
                }
                "cgroup2" => {
                    v2.get_or_insert(PathBuf::from(point));
                }
                _ => {}
            }
        }
        let (layout, pids) = match (v1, &v2) {
            (Some(pids), Some(_)) => (Layout::Hybrid, pids),
            (Some(pids), None) => (Layout::V1, pids),
            (None, Some(v2)) => (Layout::V2, v2.clone()),
            (None, None) => anyhow::bail!("no cgroup filesystem is mounted"),
        };
        Ok(Self { pids, v2, layout })
    }

    /// The paths of all cgroups that tasks are counted in, the root's first.
    pub fn paths(&self) -> Result<Vec<String>> {
        let mut paths = vec!["/".to_owned()];
        let mut folders = vec![self.pids.clone()];
        while let Some(folder) = folders.pop() {
            // One may go while this looks.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = Path::new("/").join(entry.path().strip_prefix(&self.pids)?);
                    paths.push(path.to_string_lossy().into_owned());
                    folders.push(entry.path());
                }
            }
        }
        Ok(paths)
    }
}

/// A cgroup that is removed, with the processes and the cgroups in it, when it is dropped.
#[derive(Debug)]
pub struct Cgroup {
    /// Its directory.
    pub directory: PathBuf,
    /// Its path from the root of the hierarchy.
    pub path: String,
    /// Its id: the number of its kernfs node, which is its inode number on 64-bit machines.
    pub id: u64,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Cgroup {
    /// A cgroup of the pids hierarchy, named after `label`, under this test's own one.
    pub fn new(hierarchy: &Hierarchy, label: &str) -> Result<Self> {
        Self::under_own(&hierarchy.pids, label)
    }

    /// A cgroup of the v2 hierarchy, where CLONE_INTO_CGROUP works.
    pub fn in_v2(hierarchy: &Hierarchy, label: &str) -> Result<Self> {
        Self::under_own(
            hierarchy.v2.as_ref().context("cgroup v2 is not mounted")?,
            label,
        )
    }

    /// A cgroup of this name at the top of the pids hierarchy. One that is left of an earlier run is
    /// removed with what is inside.
    pub fn named(hierarchy: &Hierarchy, name: &str) -> Result<Self> {
        delegate(&hierarchy.pids);
        let directory = hierarchy.pids.join(name);
        if directory.exists() {
            remove(&directory)?;
        }
        Self::make(&hierarchy.pids, directory)
    }

    /// The path of the cgroup that holds all those of this test program.
    pub fn own_path() -> String {
        format!("/pidwatch-test-{}", std::process::id())
    }

    fn under_own(mount: &Path, label: &str) -> Result<Self> {
        let own = mount.join(&Self::own_path()[1..]);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        delegate(mount);
        delegate(&own);
        let name = format!("{label}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::make(mount, own.join(name))
    }

    fn make(mount: &Path, directory: PathBuf) -> Result<Self> {
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let path = Path::new("/").join(directory.strip_prefix(mount)?);
        let path = path.to_string_lossy().into_owned();
        let id = fs::metadata(&directory)?.ino();
        Ok(Self {
            directory,
            path,
            id,
        })
    }

    /// A cgroup below this one. In v2 this one can no longer have processes then.
    pub fn child(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        delegate(&self.directory);
        let depth = Path::new(&self.path).components().count() - 1;
        let mount = self
            .directory
            .ancestors()
            .nth(depth)
            .context("no mount point")?
            .to_owned();
        Self::make(&mount, self.directory.join(name.as_ref()))
    }

    /// Writes one of its files.
    pub fn set(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.directory.join(file), value)
            .with_context(|| format!("cannot write {value} to {file} of {}", self.path))
    }

    /// Reads one of its files as a number.
    pub fn read(&self, file: &str) -> Result<u64> {
        let text = fs::read_to_string(self.directory.join(file))?;
        text.trim()
            .parse()
            .with_context(|| format!("{file} of {} is {text:?}", self.path))
    }

    /// Removes it now, as soon as its last task has left.
    pub fn remove(self) -> Result<()> {
        remove(&self.directory).with_context(|| format!("cannot remove {}", self.path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            eprintln!("cannot remove {}: {error}", self.directory.display());
        }
        if let Some(own) = self
            .directory
            .parent()
            .filter(|own| own.ends_with(&Self::own_path()[1..]))
        {
            // Succeeds when this was the last one.
            let _ = fs::remove_dir(own);
        }
    }
}

/// Gives a v2 cgroup's children the pids controller. Elsewhere there is no such file, or the
/// controller is in v1 and the kernel refuses: nothing to do.
fn delegate(directory: &Path) {
    let _ = fs::write(directory.join("cgroup.subtree_control"), "+pids");
}

/// Kills what is inside, and removes it and everything below it.
fn remove(directory: &Path) -> io::Result<()> {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                if Instant::now() > patience {
                    return Err(error);
                }
            }
            done => return done,
        }
        kill_inside(directory);
        for entry in fs::read_dir(directory)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path())?;
            }
        }
        std::thread::yield_now();
    }
}

fn kill_inside(directory: &Path) {
    let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in inside
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|&pid: &i32| pid > 0)
    {
        // SAFETY: kill has no preconditions; the process is in a cgroup of this test.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}
