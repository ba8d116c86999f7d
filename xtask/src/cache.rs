//! What is dear to make, kept between checkouts.
//!
//! In: a place in the cache and how to make what belongs there. Out: its folder. Invariant: what is in
//! its place is whole, because it is made beside it and then moved; of several processes one makes it
//! and the others wait.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The folder at `place`, made if what is there is not whole. `make` gets a folder to work in, which
/// goes away, and the one to fill.
pub fn ensure(
    place: &str,
    is_whole: impl Fn(&Path) -> bool,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = workspace::cache_dir()?.join(place);
    if !is_whole(&folder) {
        make_in(&folder, &is_whole, make)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(folder)
}

fn make_in(
    folder: &Path,
    is_whole: impl Fn(&Path) -> bool,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<()> {
    let beside = |suffix: &str| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        folder.with_file_name(format!("{name}.{suffix}"))
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    let lock = File::create(beside("lock"))?;
    lock.lock()?;
    if is_whole(folder) {
        return Ok(());
    }
    let work = beside("partial");
    let ready = work.join("ready");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&ready)?;
    make(&work, &ready)?;
    if !is_whole(&ready) {
        bail!("it lacks something after all; see {}", ready.display());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(&ready, folder)?;
    Ok(fs::remove_dir_all(&work)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_whole(folder: &Path) -> bool {
        folder.join("whole").is_file()
    }

    #[test]
    fn what_broke_off_is_not_in_its_place_and_is_made_anew() {
        let base = std::env::temp_dir().join(format!("xtask-cache-{}", std::process::id()));
        let folder = base.join("tool-1.2");
        let broken = make_in(&folder, is_whole, |_, ready| {
            fs::write(ready.join("half"), "")?;
            bail!("no network")
        });
        let lacking = make_in(&folder, is_whole, |_, ready| {
            Ok(fs::write(ready.join("half"), "")?)
        });
        let was_there = folder.exists();
        let made = make_in(&folder, is_whole, |_, ready| {
            Ok(fs::write(ready.join("whole"), "")?)
        });
        let again = make_in(&folder, is_whole, |_, _| bail!("is there already"));
        let left: Vec<_> = fs::read_dir(&folder).expect("a folder").collect();
        fs::remove_dir_all(&base).expect("removed");
        assert!(broken.is_err() && lacking.is_err() && !was_there);
        made.expect("made");
        again.expect("kept");
        assert_eq!(left.len(), 1, "nothing of the earlier tries: {left:?}");
    }
}
