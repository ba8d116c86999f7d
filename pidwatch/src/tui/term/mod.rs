//! The terminal: raw mode, its size, what is written to it, and that it is always given back as it was.
//!
//! In: frames to draw, bytes that come. Out: the same, never waiting for the terminal: a frame is made
//! in memory and written as far as there is room. Who reads slowly sees fewer frames, and SIGTERM is heard
//! all the same.
//!
//! Invariant: once [`Term::take`] succeeded, the terminal is restored on every way out: drop, panic,
//! suspend.

use std::{
    cell::RefCell,
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::{Mutex, Once, PoisonError},
    time::Duration,
};

use ratatui::{Terminal, TerminalOptions, Viewport, buffer::Buffer, layout::Rect};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::ansi::Ansi;

/// Another screen, no cursor, clicks and the wheel (in SGR form), pasted text marked.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[2J";
/// All of that back, and no colour left. The first ends a frame that was cut.
const LEAVE: &[u8] =
    b"\x1b[?2026l\x1b[?2004l\x1b[?1006l\x1b[?1000l\x1b[0m\x1b[2J\x1b[?25h\x1b[?1049l";
/// Around a frame: terminals that know it show it at once (mode 2026).
const FRAME: (&[u8], &[u8]) = (b"\x1b[?2026h", b"\x1b[?2026l");
/// What a terminal that says it has room takes for sure.
const AT_A_TIME: usize = 1024;
/// How long a terminal that takes nothing is waited for at the end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Where the terminal does not say how large it is.
const USUAL: Rect = Rect::new(0, 0, 80, 24);

/// What is needed to give the terminal back, wherever the program is when that must be.
struct Taken {
    terminal: OwnedFd,
    before: Termios,
}

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// What is to be written.
#[derive(Clone, Default)]
struct Waiting(Rc<RefCell<Vec<u8>>>);

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal, as long as it is ours.
pub struct Term {
    fd: OwnedFd,
    watched: AsyncFd<OwnedFd>,
    waiting: Waiting,
    screen: Terminal<Ansi<Waiting>>,
}

/// Whether there is a terminal that a screen can be drawn on: standard output is one and says which.
pub fn is_there() -> bool {
    let kind = std::env::var("TERM").unwrap_or_default();
    io::stdout().is_terminal() && !kind.is_empty() && kind != "dumb"
}

impl Term {
    /// Takes the terminal that standard output is.
    ///
    /// # Errors
    /// When it cannot be watched or set.
    pub fn take() -> io::Result<Self> {
        let fd = open()?;
        // SAFETY: an owned descriptor stays the same as long as it lives.
        let watched = unsafe {
            AsyncFd::register_with_interest(
                fd.try_clone()?,
                Interest::READABLE.add(Interest::WRITABLE),
            )
        }
        .map_err(io::Error::from)?;
        let waiting = Waiting::default();
        let size = size(&fd);
        let screen = Terminal::with_options(
            Ansi::new(waiting.clone(), size.as_size()),
            TerminalOptions {
                // Not to be asked for by the library, which would start a program for it.
                viewport: Viewport::Fixed(size),
            },
        )?;
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        enter(&fd)?;
        Ok(Self {
            fd,
            watched,
            waiting,
            screen,
        })
    }

    /// Draws a frame, if the one before was taken. Only what changed is written.
    ///
    /// # Errors
    /// Those of the library; none is known.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.waiting.write_all(FRAME.0)?;
        self.screen.draw(|frame| draw(frame.buffer_mut()))?;
        self.waiting.write_all(FRAME.1)
    }

    /// Whether the last frame was taken.
    pub fn is_idle(&self) -> bool {
        self.waiting.0.borrow().is_empty()
    }

    /// Takes the size that the terminal has now, and draws everything anew the next time.
    ///
    /// # Errors
    /// Those of the library; none is known.
    pub fn resize(&mut self) -> io::Result<()> {
        let mut waiting = self.waiting.0.borrow_mut();
        // What was not written of the last frame belongs to another screen, and what was cut may have
        // left a colour, with which the screen would be cleared.
        waiting.clear();
        waiting.extend(b"\x1b[0m");
        drop(waiting);
        // It clears as well.
        let size = size(&self.fd);
        self.screen.backend_mut().size = size.as_size();
        self.screen.resize(size)
    }

    /// Writes what waits, now: where what comes next takes a while and nothing else is listened for.
    pub fn flush_now(&mut self) {
        let waiting = std::mem::take(&mut *self.waiting.0.borrow_mut());
        write_patiently(&self.fd, &waiting);
    }

    /// Writes what waits. May be dropped half-way and called again.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub async fn flush(&self) -> io::Result<()> {
        while !self.is_idle() {
            let mut guard = self.watched.writable().await?;
            if !has(&self.fd, PollFlags::OUT, Duration::ZERO)? {
                guard.clear_ready();
                continue;
            }
            let mut waiting = self.waiting.0.borrow_mut();
            let chunk = &waiting[..waiting.len().min(AT_A_TIME)];
            let written = retry_on_intr(|| rustix::io::write(&self.fd, chunk))?;
            waiting.drain(..written);
        }
        Ok(())
    }

    /// Waits for bytes; none when the terminal is gone. May be dropped and called again.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.watched.readable().await?;
            if has(&self.fd, PollFlags::IN, Duration::ZERO)? {
                return Ok(retry_on_intr(|| rustix::io::read(&self.fd, &mut *bytes))?);
            }
            guard.clear_ready();
        }
    }

    /// Gives the terminal to the shell and stops, with the whole process group, as Ctrl-Z does; takes it
    /// again once continued. With `everybody` false only this process stops: it was asked to alone.
    ///
    /// # Errors
    /// When the terminal cannot be taken again.
    pub fn suspend(&mut self, everybody: bool) -> io::Result<()> {
        restore();
        stop(everybody);
        enter(&self.fd)?;
        self.resize()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        restore();
    }
}

/// The terminal for reading and writing: standard input may be a pipe.
fn open() -> io::Result<OwnedFd> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    if stdin.is_terminal()
        && rustix::fs::fcntl_getfl(&stdin)
            .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::RDWR))
    {
        return stdin.as_fd().try_clone_to_owned();
    }
    match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(tty) => Ok(tty.into()),
        Err(_) => stdout.as_fd().try_clone_to_owned(),
    }
}

fn size(fd: &OwnedFd) -> Rect {
    match tcgetwinsize(fd) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Rect::new(0, 0, size.ws_col, size.ws_row),
        _ => USUAL,
    }
}

fn enter(fd: &OwnedFd) -> io::Result<()> {
    let (terminal, before) = (fd.try_clone()?, tcgetattr(fd)?);
    let mut raw = before.clone();
    raw.make_raw();
    // First, so that no way out finds the terminal raw and nothing to put back.
    *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Taken { terminal, before });
    tcsetattr(fd, OptionalActions::Now, &raw)?;
    write_patiently(fd, ENTER);
    Ok(())
}

/// Gives the terminal back as it was; nothing when that is done.
fn restore() {
    let Ok(mut taken) = TAKEN.try_lock() else {
        return;
    };
    let Some(Taken { terminal, before }) = taken.take() else {
        return;
    };
    write_patiently(&terminal, LEAVE);
    // It may be gone.
    let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
}

/// Writes to a terminal that may have been stopped (Ctrl-S), or be gone.
fn write_patiently(fd: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        if !has(fd, PollFlags::OUT, PATIENCE).unwrap_or(false) {
            return;
        }
        // Room for something is not room for all, and a write without room is waited for.
        let chunk = &bytes[..bytes.len().min(AT_A_TIME)];
        match retry_on_intr(|| rustix::io::write(fd, chunk)) {
            Ok(written) => bytes = &bytes[written..],
            Err(_) => return,
        }
    }
}

fn has(fd: &OwnedFd, what: PollFlags, wait: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, what)];
    let wait = Timespec {
        tv_sec: wait.as_secs() as i64,
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    // An error or a terminal that is gone counts: reading or writing then says which it is.
    Ok(retry_on_intr(|| poll(&mut fds, Some(&wait)))? > 0)
}

/// Stops by SIGTSTP with its own meaning, for which the kernel asks whether there is anybody to continue
/// us: a SIGSTOP would leave a process without a shell standing for ever.
fn stop(everybody: bool) {
    // SAFETY: a zeroed sigaction is one with the default action, no flags and no mask.
    let mut default: libc::sigaction = unsafe { std::mem::zeroed() };
    default.sa_sigaction = libc::SIG_DFL;
    // SAFETY: as above; it is written before it is read.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the time of the calls, and the action of before is put back whole. A
    // process id of 0 is one's own group.
    unsafe {
        libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut before);
        if everybody {
            libc::kill(0, libc::SIGTSTP);
        } else {
            libc::raise(libc::SIGTSTP);
        }
        libc::sigaction(libc::SIGTSTP, &raw const before, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests;
