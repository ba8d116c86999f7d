//! Threads that cannot start though no clone is refused: there is no room for their stacks.

use std::ptr;

use anyhow::{Result, ensure};
use pidwatch_load::truth::Truth;

use super::{pace, shared};

/// What there is no room in.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Room {
    /// RLIMIT_AS
    Space,
    /// vm.max_map_count
    Mappings,
}

/// RLIMIT_AS: some twenty stacks of the usual size.
const SPACE: u64 = 200 << 20;
/// Threads that are tried; not all can start.
const THREADS: u64 = 60;
/// More than any kernel allows by default.
const MOST_MAPPINGS: u64 = 1 << 20;

/// Starts threads until none can start, and keeps them.
pub fn without_room(room: Room, truth: &mut Truth) -> Result<()> {
    match room {
        Room::Space => limit_space()?,
        Room::Mappings => use_up_mappings()?,
    }
    let started = (0..THREADS).filter(|_| thread()).count() as u64;
    ensure!(started < THREADS, "all threads could start");
    shared::keep();
    // They end with this program.
    for kinds in [&mut truth.here.created, &mut truth.here.exited] {
        kinds.threads += started;
    }
    Ok(())
}

fn limit_space() -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: SPACE,
        rlim_max: SPACE,
    };
    // SAFETY: `limit` outlives the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    ensure!(
        result == 0,
        "setrlimit: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// Mappings of a page each, which the kernel cannot merge since neighbours differ.
fn use_up_mappings() -> Result<()> {
    for n in 0..MOST_MAPPINGS {
        let protection = if n % 2 == 0 {
            libc::PROT_NONE
        } else {
            libc::PROT_READ
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, that nobody uses.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return Ok(());
        }
    }
    anyhow::bail!("there is no end of mappings")
}

/// With a stack of the usual size.
fn thread() -> bool {
    let mut id = 0;
    // SAFETY: the body takes no data.
    unsafe { libc::pthread_create(&raw mut id, ptr::null(), pace::sleep, ptr::null_mut()) == 0 }
}
