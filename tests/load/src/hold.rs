//! Tasks that stay: running ones, and zombies.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::ptr;

use anyhow::{Result, ensure};
use libc::c_void;
use pidwatch_load::truth::Truth;

use super::{pace, shared, sys};

extern "C" fn sleep(_: *mut c_void) -> *mut c_void {
    sys::pause_for_ever()
}

/// Keeps `processes` processes of `1 + threads` tasks until told to let go.
pub fn hold(processes: u64, threads: u64, truth: &mut Truth) -> Result<()> {
    let mut children = Vec::new();
    let (reader, writer) = std::io::pipe()?;
    for _ in 0..processes {
        children.push(sys::fork(|| {
            sys::end_with_parent();
            for _ in 0..threads {
                sys::thread(sleep)?;
            }
            (&writer).write_all(b".")?;
            sys::pause_for_ever()
        })?);
    }
    let mut ready = vec![0; children.len()];
    drop(writer);
    (&reader).read_exact(&mut ready)?;
    shared::keep();
    sys::kill_all(&children)?;
    for kinds in [&mut truth.here.created, &mut truth.here.exited] {
        kinds.processes += processes;
        kinds.threads += processes * threads;
    }
    Ok(())
}

/// Zombies, and what goes on beside them.
#[derive(clap::Args)]
pub struct Zombies {
    #[arg(long)]
    count: u64,
    /// Meanwhile fork and reap so many a second
    #[arg(long, default_value_t = 0.0)]
    beside: f64,
    /// They go to this cgroup before they end
    #[arg(long)]
    within: Option<PathBuf>,
}

/// Keeps children that have ended; they are reaped when told to let go.
pub fn zombies(options: &Zombies, truth: &mut Truth) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..options.count {
        children.push(sys::fork(|| match &options.within {
            Some(cgroup) => shared::join(cgroup),
            None => Ok(()),
        })?);
    }
    for &child in &children {
        wait_until_ended(child)?;
    }
    if options.beside > 0.0 {
        pace::forks(options.beside, truth)?;
    } else {
        shared::keep();
    }
    for child in children {
        ensure!(sys::reap(child)?, "a child failed");
    }
    truth.here.created.processes += options.count;
    let there = match &options.within {
        Some(cgroup) => truth
            .elsewhere
            .entry(cgroup.display().to_string())
            .or_default(),
        None => &mut truth.here,
    };
    there.exited.processes += options.count;
    Ok(())
}

/// Keeps processes of which the main thread has ended and another one lives.
pub fn headless(processes: u64, truth: &mut Truth) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..processes {
        children.push(sys::fork(|| {
            sys::end_with_parent();
            sys::thread(sleep)?;
            // SAFETY: ends this thread alone; the other one needs nothing of it.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            Ok(())
        })?);
    }
    shared::keep();
    sys::kill_all(&children)?;
    for kinds in [&mut truth.here.created, &mut truth.here.exited] {
        kinds.processes += processes;
        kinds.threads += processes;
    }
    Ok(())
}

/// Keeps processes of a user: some outside of user namespaces, and some each in one that the user made, where
/// they are another user.
pub fn in_user_namespaces(
    uid: u32,
    limit: u64,
    [outside, inside]: [u64; 2],
    truth: &mut Truth,
) -> Result<()> {
    let mut children = Vec::new();
    for index in 0..outside + inside {
        let is_inside = index >= outside;
        let (mut from_child, to_parent) = std::io::pipe()?;
        let (mut from_parent, to_child) = std::io::pipe()?;
        let child = sys::fork(|| {
            sys::become_user(uid, limit)?;
            sys::end_with_parent();
            if is_inside {
                sys::enter_user_namespace()?;
                (&to_parent).write_all(b".")?;
                from_parent.read_exact(&mut [0])?;
                sys::become_root_inside()?;
            }
            (&to_parent).write_all(b".")?;
            sys::pause_for_ever()
        })?;
        children.push(child);
        from_child.read_exact(&mut [0])?;
        if is_inside {
            let map = format!("0 {} 1", uid + 1);
            std::fs::write(format!("/proc/{child}/uid_map"), map)?;
            (&to_child).write_all(b".")?;
            from_child.read_exact(&mut [0])?;
        }
    }
    shared::keep();
    sys::kill_all(&children)?;
    for kinds in [&mut truth.here.created, &mut truth.here.exited] {
        kinds.processes += outside + inside;
    }
    Ok(())
}

/// Waits for the end of a child and leaves it unreaped.
fn wait_until_ended(child: libc::pid_t) -> Result<()> {
    let options = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: a null siginfo is allowed; WNOWAIT leaves the child waitable.
    let result =
        unsafe { libc::waitid(libc::P_PID, child as libc::id_t, ptr::null_mut(), options) };
    ensure!(result == 0, "waitid: {}", std::io::Error::last_os_error());
    Ok(())
}
