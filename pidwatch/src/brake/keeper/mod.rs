//! The brakes that a running pidwatch maintains itself, without creating a task.
//!
//! In: requests, refusals by brakes, the clock. Out: what became of each brake. Leases are on disk before their limits
//! are lowered, so that the next agent restores what a killed one left behind.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hashbrown::HashMap;
use rustix::fs::{FlockOperation, flock};

use super::{
    ActError, Applied, BrakeRequest, Ended, Holder, Lease, LeaseError, Leases, LimitFile,
    ReleaseError, Releases, apply, maintain, release, renew, restore, would_apply,
};
use crate::clock::BootTime;

/// The leases that this process maintains.
#[derive(Debug)]
pub struct Keeper {
    folder: Folder,
    held: HashMap<u64, Held>,
    /// Shared by the agents that brake; the last one to end restores the limits.
    presence: Option<File>,
}

/// Where leases and limits are.
#[derive(Debug)]
struct Folder {
    lease_dir: PathBuf,
    proc_root: PathBuf,
    mount: PathBuf,
}

impl Folder {
    /// The existing leases; `None` without the folder.
    fn leases(&self) -> Result<Option<Leases>, LeaseError> {
        Leases::existing(&self.lease_dir, &self.proc_root)
    }

    fn make_leases(&self) -> Result<Leases, LeaseError> {
        Leases::open(&self.lease_dir, &self.proc_root)
    }
}

#[derive(Debug)]
struct Held {
    /// The right to end the lease.
    _claim: File,
    lease: Lease,
    /// Whether the brake refused tasks since the lease began or was renewed.
    has_refused: bool,
    has_failed: bool,
}

/// What became of a brake.
#[derive(Debug)]
pub enum KeeperEvent {
    /// It was left behind by another process and is maintained here now.
    Adopted(Lease),
    /// Its lease was renewed.
    Renewed(Lease),
    /// What [`maintain`] did.
    Step(Lease, Ended),
    /// It cannot be maintained; it is tried again. Reported once.
    Failed(Lease, ActError),
}

impl Keeper {
    /// Touches nothing yet.
    pub fn new(lease_dir: &Path, proc_root: &Path, mount: &Path) -> Self {
        let folder = Folder {
            lease_dir: lease_dir.to_owned(),
            proc_root: proc_root.to_owned(),
            mount: mount.to_owned(),
        };
        Self {
            folder,
            held: HashMap::new(),
            presence: None,
        }
    }

    /// The cgroups whose brakes are maintained here.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.held.keys().copied()
    }

    /// The lease of a cgroup that is braked by this process.
    pub fn lease(&self, cgroup_id: u64) -> Option<&Lease> {
        self.held.get(&cgroup_id).map(|held| &held.lease)
    }

    /// Lowers a limit and maintains it; `None` if another process brakes this cgroup.
    ///
    /// # Errors
    /// As [`apply`]; the limit is then unchanged, or its lease is maintained all the same.
    pub fn brake(&mut self, request: &BrakeRequest) -> Result<Option<Applied>, ActError> {
        let leases = self.folder.make_leases()?;
        self.announce()?;
        if let Some(held) = self.held.get_mut(&request.cgroup_id) {
            let applied = apply(&leases, &self.folder.mount, request)?;
            held.lease = applied.lease.clone();
            return Ok(Some(applied));
        }
        let Some(claim) = leases.hold(request.cgroup_id)? else {
            return Ok(None);
        };
        let applied = apply(&leases, &self.folder.mount, request);
        let lease = match &applied {
            Ok(applied) => Some(applied.lease.clone()),
            Err(_) => leases.load(request.cgroup_id)?,
        };
        match lease {
            Some(lease) => self.keep(claim, lease),
            // Nothing is braked: the claim's file goes as well.
            None => leases.lock()?.remove(request.cgroup_id)?,
        }
        applied.map(Some)
    }

    /// What [`Keeper::brake`] would do.
    ///
    /// # Errors
    /// As [`would_apply`].
    pub fn would_brake(&self, request: &BrakeRequest) -> Result<Applied, ActError> {
        let leases = self.folder.leases()?;
        would_apply(leases.as_ref(), &self.folder.mount, request)
    }

    /// Releases the brake with this owner's name or path, or all, also those of other processes. Those that were
    /// maintained here go to `news`.
    ///
    /// # Errors
    /// As [`Releases::make`].
    pub fn release(
        &mut self,
        name: Option<&str>,
        news: &mut Vec<KeeperEvent>,
    ) -> Result<Releases, ReleaseError> {
        let leases = self.folder.leases()?;
        Releases::make(leases.as_ref(), name, |lease| {
            let leases = leases.as_ref().expect("a lease is in the folder");
            let ended = release(leases, &self.folder.mount, lease.cgroup_id)?;
            if let Some(held) = self.held.remove(&lease.cgroup_id) {
                news.push(KeeperEvent::Step(held.lease, ended.clone()));
            }
            Ok(ended)
        })
    }

    /// Hands the brakes to processes of their own: this one ends, and not the brakes. Where no process can be created, the
    /// limit is restored.
    pub fn leave(&mut self, mut start: impl FnMut(u64) -> io::Result<Holder>) {
        for (id, held) in self.held.drain() {
            drop(held);
            // Once its pipe is closed, it maintains the lease.
            if start(id).map(drop).is_err()
                && let Ok(Some(leases)) = self.folder.leases()
            {
                // As it fails, `check` reports the brake.
                let _ = release(&leases, &self.folder.mount, id);
            }
        }
    }

    fn keep(&mut self, claim: File, lease: Lease) {
        let held = Held {
            _claim: claim,
            lease,
            has_refused: false,
            has_failed: false,
        };
        self.held.insert(held.lease.cgroup_id, held);
    }

    /// Takes a shared lock that shows other agents that this one is there.
    fn announce(&mut self) -> Result<(), LeaseError> {
        if self.presence.is_none() {
            let path = self.folder.lease_dir.join("agents");
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .and_then(|file| {
                    flock(&file, FlockOperation::NonBlockingLockShared)?;
                    Ok(file)
                });
            self.presence = Some(file.map_err(|error| LeaseError::File { path, error })?);
        }
        Ok(())
    }

    /// A brake refused a task.
    pub fn refused(&mut self, cgroup_id: u64) {
        if let Some(held) = self.held.get_mut(&cgroup_id) {
            held.has_refused = true;
        }
    }

    /// Takes over the leases that no live process maintains, where this one may write the limit. Where another process
    /// maintains them, it learns that this one is there to take over.
    ///
    /// # Errors
    /// When the leases cannot be read.
    pub fn adopt(&mut self, news: &mut Vec<KeeperEvent>) -> Result<(), LeaseError> {
        let Some(leases) = self.folder.leases()? else {
            return Ok(());
        };
        // `check` reports those that cannot be read.
        for lease in leases.all(|_| {})? {
            let id = lease.cgroup_id;
            if self.held.contains_key(&id) || !self.can_restore(&lease) {
                continue;
            }
            self.announce()?;
            if let Some(claim) = leases.hold(id)? {
                news.push(KeeperEvent::Adopted(lease.clone()));
                self.keep(claim, lease);
            }
        }
        Ok(())
    }

    /// A removed cgroup needs no right to write.
    fn can_restore(&self, lease: &Lease) -> bool {
        match LimitFile::open(&self.folder.mount, lease.path.as_bytes(), lease.cgroup_id) {
            Ok(Some(file)) => file.is_writable(),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Takes the step that is due for each brake: once a window. Automatic ones that refused tasks are renewed for
    /// `renewal`, if there is one.
    pub fn tick(&mut self, renewal: Option<Duration>, news: &mut Vec<KeeperEvent>) {
        self.each(news, |leases, mount, held| {
            let is_over = BootTime::now() >= held.lease.until();
            let is_renewed = is_over && held.lease.automatic && held.has_refused;
            if let Some(lasts) = renewal.filter(|_| is_renewed)
                && let Some(lease) = renew(leases, held.lease.cgroup_id, lasts)?
            {
                held.has_refused = false;
                return Ok(KeeperEvent::Renewed(lease));
            }
            let ended = maintain(leases, mount, held.lease.cgroup_id)?;
            Ok(KeeperEvent::Step(held.lease.clone(), ended))
        });
    }

    /// Restores the limits, unless another agent is there to maintain them.
    pub fn end(&mut self, news: &mut Vec<KeeperEvent>) {
        let is_last = self.presence.as_ref().is_none_or(|presence| {
            flock(presence, FlockOperation::NonBlockingLockExclusive).is_ok()
        });
        if !is_last {
            self.held.clear();
            return;
        }
        self.each(news, |leases, mount, held| {
            let ended = release(leases, mount, held.lease.cgroup_id)?;
            Ok(KeeperEvent::Step(held.lease.clone(), ended))
        });
    }

    fn each(
        &mut self,
        news: &mut Vec<KeeperEvent>,
        mut step: impl FnMut(&Leases, &Path, &mut Held) -> Result<KeeperEvent, ActError>,
    ) {
        let Folder { mount, .. } = &self.folder;
        self.held.retain(|_, held| {
            let kept = match self.folder.leases() {
                Ok(Some(leases)) => step(&leases, mount, held),
                // Without the folder, the previous limit is known here only.
                Ok(None) => restore(mount, &held.lease)
                    .map(|ended| KeeperEvent::Step(held.lease.clone(), ended)),
                Err(error) => Err(error.into()),
            };
            let kept = match kept {
                Ok(kept) => kept,
                Err(error) => {
                    if !std::mem::replace(&mut held.has_failed, true) {
                        news.push(KeeperEvent::Failed(held.lease.clone(), error));
                    }
                    return true;
                }
            };
            held.has_failed = false;
            match &kept {
                KeeperEvent::Renewed(lease) => held.lease = lease.clone(),
                KeeperEvent::Step(_, Ended::Not(lease)) => {
                    // Another `pidwatch brake` may have changed it.
                    held.lease = lease.clone();
                    return true;
                }
                KeeperEvent::Step(_, Ended::SetBack(lease, _)) => held.lease = lease.clone(),
                KeeperEvent::Step(..) => {
                    news.push(kept);
                    return false;
                }
                KeeperEvent::Adopted(_) | KeeperEvent::Failed(..) => {}
            }
            news.push(kept);
            true
        });
    }
}

#[cfg(test)]
mod tests;
