//! Standard output on the one thread: a reader that does not read must not keep pidwatch from
//! hearing Ctrl-C.
//!
//! A blocking write cannot be interrupted, and making the descriptor non-blocking would do so for
//! everyone who shares it. So it is written only when, and only as much as, there is room for.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
};
use tokio::io::{Interest, unix::AsyncFd};

/// What fits into a pipe that says it has room: a page (pipe(7), `PIPE_BUF`).
const AT_A_TIME: usize = 4096;

/// Standard output and what waits to be written.
pub struct Stdout {
    fd: OwnedFd,
    /// Tells of room; a regular file always has some and cannot be watched.
    room: Option<AsyncFd<OwnedFd>>,
    waiting: Vec<u8>,
}

impl Stdout {
    /// Takes standard output.
    ///
    /// # Errors
    /// When it is closed.
    pub fn new() -> io::Result<Self> {
        let fd = io::stdout().as_fd().try_clone_to_owned()?;
        let watched = fd.try_clone()?;
        // SAFETY: an owned descriptor stays the same as long as it lives.
        let room = unsafe { AsyncFd::register_with_interest(watched, Interest::WRITABLE) }.ok();
        Ok(Self {
            fd,
            room,
            waiting: Vec::new(),
        })
    }

    /// Where to put what is to be written.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.waiting
    }

    /// Writes of what waits as much as there is room for now.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_now(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() && has_room(&self.fd)? {
            self.write_some()?;
        }
        Ok(())
    }

    fn write_some(&mut self) -> io::Result<()> {
        let chunk = &self.waiting[..self.waiting.len().min(AT_A_TIME)];
        let written = retry_on_intr(|| rustix::io::write(&self.fd, chunk))?;
        self.waiting.drain(..written);
        Ok(())
    }

    /// Writes what waits. May be dropped half-way and called again.
    ///
    /// # Errors
    /// Those of `write(2)`: EPIPE when the reader has gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            if let Some(room) = &self.room {
                let mut guard = room.writable().await?;
                if !has_room(&self.fd)? {
                    guard.clear_ready();
                    continue;
                }
            }
            self.write_some()?;
        }
        Ok(())
    }
}

fn has_room(fd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // An error or a gone reader counts as room: the write then says which it is.
    // Interrupted by the very signal that is to end it, for instance.
    Ok(retry_on_intr(|| poll(&mut fds, Some(&at_once)))? > 0)
}
