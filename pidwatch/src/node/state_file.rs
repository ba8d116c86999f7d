//! What outlives a restart of pidwatch: the incidents that are open.
//!
//! One small JSON file, replaced whole (written beside it, synced, renamed), so that a crash leaves the
//! old one or the new one. What it says is true only until the node restarts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use super::saved_incident::SavedIncident;
use crate::{
    cgroup::Tree,
    clock::WallClock,
    incident::Incident,
    runtime::private::{self, PrivateFolder, Unusable},
};

/// Version of the format: another one's is not read.
const FORMAT: u32 = 1;
/// Larger than any state: a thousand incidents have a megabyte.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Deserialize, Serialize)]
struct SavedState {
    pidwatch_state: u32,
    /// Of the boot that it is about (`/proc/sys/kernel/random/boot_id`).
    boot_id: String,
    incidents: Vec<SavedIncident>,
}

/// The file of a node that is watched.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    proc_root: PathBuf,
    folder: Option<Rc<PrivateFolder>>,
    /// It is told once that it cannot be written.
    has_failed: bool,
}

impl StateFile {
    /// At this place, which need not be there yet.
    pub fn new(path: &Path, proc_root: &Path) -> Self {
        Self {
            path: path.to_owned(),
            proc_root: proc_root.to_owned(),
            folder: None,
            has_failed: false,
        }
    }

    /// Used only while the folder is this process's.
    pub fn in_folder(self, folder: Option<Rc<PrivateFolder>>) -> Self {
        Self { folder, ..self }
    }

    fn claim(&self) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.claim())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The incidents that were open when pidwatch ended, if the node is still up; none when there is
    /// no file yet or the folder is another process's. A cgroup that is gone keeps its name; what cannot be made
    /// out is left out.
    ///
    /// # Errors
    /// When there is a file that cannot be read, or is no state file of this version.
    pub fn load(&self, tree: &Tree) -> io::Result<Vec<Incident>> {
        match self.claim() {
            Ok(()) => load(&self.path, &self.proc_root, tree),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Writes the open incidents. What goes wrong is logged, once.
    pub fn save<'a>(&mut self, incidents: impl Iterator<Item = &'a Incident>) {
        let saved = self
            .claim()
            .and_then(|()| save(&self.path, &self.proc_root, incidents));
        match saved {
            Ok(()) => self.has_failed = false,
            Err(_) if self.has_failed => {}
            Err(error) => {
                self.has_failed = true;
                tracing::error!(
                    "cannot write the state file {}: {}; after a restart the open incidents would be new ones",
                    self.path.display(),
                    Unusable(&error)
                );
            }
        }
    }
}

fn save<'a>(
    path: &Path,
    proc_root: &Path,
    incidents: impl Iterator<Item = &'a Incident>,
) -> io::Result<()> {
    let clock = WallClock::now();
    let state = SavedState {
        pidwatch_state: FORMAT,
        boot_id: boot_id(proc_root)?,
        incidents: incidents
            .map(|incident| SavedIncident::of(incident, |time| clock.at(time)))
            .collect(),
    };
    private::replace(path, &serde_json::to_vec(&state)?)
}

fn load(path: &Path, proc_root: &Path, tree: &Tree) -> io::Result<Vec<Incident>> {
    let bytes = match private::read(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let state: SavedState = serde_json::from_slice(&bytes)?;
    if state.pidwatch_state != FORMAT {
        let text = format!("it has format {}, not {FORMAT}", state.pidwatch_state);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if state.boot_id != boot_id(proc_root)? {
        return Ok(Vec::new());
    }
    let clock = WallClock::now();
    let incidents = state.incidents.into_iter();
    Ok(incidents
        .filter_map(|saved| saved.restore(tree, |time| clock.boot_time(time)))
        .collect())
}

fn boot_id(proc_root: &Path) -> io::Result<String> {
    let text = fs::read_to_string(proc_root.join("sys/kernel/random/boot_id"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cgroup::CgroupId,
        clock::BootTime,
        incident::{LimitKey, Moment, Phase, What},
        limits::LimitOwner,
    };

    fn incident() -> Incident {
        let time = BootTime::from_seconds(100);
        Incident {
            id: "pids.max-7-100000".into(),
            phase: Phase::Updated,
            limit: LimitKey {
                name: "pids.max",
                owner: LimitOwner::Cgroup(CgroupId(7)),
                path: Some((*b"/kubepods/pod1").into()),
            },
            value: Some(100),
            usage: Some(99),
            peak: Some(100),
            opened: time,
            culprits: Vec::new(),
            victims: Vec::new(),
            failures: 3,
            timeline: vec![Moment {
                time,
                what: What::Flagged,
                text: "flagged".into(),
            }],
        }
    }

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.insert(CgroupId(1), b"/");
        tree.insert(CgroupId(7), b"/kubepods/pod1");
        tree
    }

    #[test]
    fn what_was_saved_is_loaded_while_the_node_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let proc = Path::new("/proc");
        assert_eq!(load(&path, proc, &tree()).unwrap(), []);
        save(&path, proc, [incident()].iter()).unwrap();
        let mut loaded = load(&path, proc, &tree()).unwrap().remove(0);
        // By way of the wall clock, and that is read anew.
        let off = loaded.opened.nanos().abs_diff(incident().opened.nanos());
        assert!(off < 1_000_000, "{off} ns");
        loaded.opened = incident().opened;
        loaded.timeline[0].time = incident().opened;
        assert_eq!(loaded, incident());
        let gone = load(&path, proc, &Tree::default()).unwrap();
        assert_eq!(gone[0].limit.path, incident().limit.path);

        let text = fs::read_to_string(&path).unwrap();
        let boot = boot_id(proc).unwrap();
        fs::write(&path, text.replace(&boot, "an-earlier-one")).unwrap();
        assert_eq!(
            load(&path, proc, &tree()).unwrap(),
            [],
            "the node was restarted"
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_file_that_is_not_ours_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        for text in [
            "",
            "{}",
            "[1]",
            "{\"pidwatch_state\":9,\"boot_id\":\"\",\"incidents\":[]}",
        ] {
            fs::write(&path, text).unwrap();
            assert!(load(&path, Path::new("/proc"), &tree()).is_err(), "{text}");
        }
    }
}
