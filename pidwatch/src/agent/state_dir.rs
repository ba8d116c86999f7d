//! The agent's folder: what outlives it. Without one everything else goes on.

use std::{fs, io, path::Path};

use crate::{
    cgroup::Tree,
    node::StateFile,
    runtime::private::{PrivateFolder, Unusable},
};

/// The file of open incidents.
pub const INCIDENTS: &str = "state.json";

/// Claims the folder and moves a state file that cannot be used aside: an agent starts unattended. Logs what fails;
/// the recorder and the state file try again later.
pub fn prepare(folder: &PrivateFolder, proc_root: &Path) {
    let claimed = folder.claim().and_then(|()| move_aside(folder, proc_root));
    if let Err(error) = claimed {
        tracing::warn!(
            "cannot use the state folder {}: {}; going on without flight recorder, and open incidents are new \
             ones after a restart; trying again every minute; --state-dir names another folder",
            folder.path().display(),
            Unusable(&error)
        );
    }
}

fn move_aside(folder: &PrivateFolder, proc_root: &Path) -> io::Result<()> {
    let path = folder.path().join(INCIDENTS);
    let Err(error) = StateFile::new(&path, proc_root).load(&Tree::default()) else {
        return Ok(());
    };
    let aside = folder.path().join("state.json.unusable");
    tracing::warn!(
        "cannot use {}: {error}; moving it to {}",
        path.display(),
        aside.display()
    );
    fs::rename(&path, &aside)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_state_file_that_cannot_be_used_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state = PrivateFolder::new(folder.path());
        let file = folder.path().join(INCIDENTS);
        let aside = folder.path().join("state.json.unusable");
        fs::write(&file, "{").unwrap();
        prepare(&state, Path::new("/proc"));
        assert!(!file.exists());
        assert_eq!(fs::read_to_string(&aside).unwrap(), "{");
        symlink("/dev/zero", &file).unwrap();
        prepare(&state, Path::new("/proc"));
        assert!(file.symlink_metadata().is_err());
        assert!(aside.is_symlink());
    }
}
