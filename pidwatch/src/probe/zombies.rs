//! Counts zombies: runs the kernel side's scan over the ended tasks that are not freed.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    maps::Map,
    programs::{Iter, ProgramError},
};
use bytes::Buf;
use hashbrown::HashMap;
use pidwatch_common::{
    map,
    pending::{Scanned, ScannedKind},
};

use super::{error::unfold, sys};
use crate::cgroup::CgroupId;

/// Name of the program.
const PROGRAM: &str = "zombies";
/// What one read may give: the kernel gathers no more (`PAGE_SIZE << 3`, kernel/bpf/bpf_iter.c).
const READ: usize = 32 * 1024;

/// The scan, ready to run.
pub struct Zombies {
    link: OwnedFd,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Zombies by cgroup.
    pub zombies: HashMap<CgroupId, u64>,
    /// Addresses of tasks that were freed without the hook.
    pub stale: Vec<u64>,
}

impl Zombies {
    /// Loads the program and ties it to its map.
    pub(super) fn start(ebpf: &mut Ebpf, btf: &Btf) -> Result<Self, String> {
        let map = match ebpf.map(map::PENDING) {
            Some(Map::HashMap(map)) => map.fd().as_fd().try_clone_to_owned(),
            _ => return Err(format!("the object has no map {}", map::PENDING)),
        };
        let map = map.map_err(|error| error.to_string())?;
        let link = Self::link(ebpf, btf, &map).map_err(|error| unfold(error.as_ref()).0)?;
        Ok(Self { link })
    }

    fn link(
        ebpf: &mut Ebpf,
        btf: &Btf,
        map: &OwnedFd,
    ) -> Result<OwnedFd, Box<dyn std::error::Error>> {
        let program = ebpf.program_mut(PROGRAM).ok_or(ProgramError::NotLoaded)?;
        let program: &mut Iter = program.try_into()?;
        program.load("bpf_map_elem", btf)?;
        Ok(sys::link_iterator(
            program.fd()?.as_fd(),
            Some(map.as_fd()),
        )?)
    }

    /// Looks at every ended task.
    ///
    /// # Errors
    /// When there is no descriptor left to read from.
    pub(super) fn scan(&self) -> io::Result<Scan> {
        let mut file = File::from(sys::create_iterator(self.link.as_fd())?);
        let mut scan = Scan::default();
        let mut room = vec![0; READ];
        loop {
            let read = file.read(&mut room)?;
            if read == 0 {
                return Ok(scan);
            }
            // A record is never divided: the kernel writes whole ones into its buffer.
            for record in room[..read].chunks_exact(size_of::<Scanned>()) {
                scan.take(record);
            }
        }
    }
}

impl Scan {
    fn take(&mut self, mut record: &[u8]) {
        let (kind, value) = (record.get_u64_ne(), record.get_u64_ne());
        if kind == ScannedKind::Zombie as u64 {
            *self.zombies.entry(CgroupId(value)).or_default() += 1;
        } else if kind == ScannedKind::Stale as u64 {
            self.stale.push(value);
        }
    }
}
