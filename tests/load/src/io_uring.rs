//! Workers of io_uring: threads that the kernel makes for a process (from Linux 5.12; before, they
//! are kernel threads of their own).
//!
//! The truth is read in `/proc/self/task`. Nothing there can come and go unseen: each operation
//! opens a FIFO that nobody writes, so its io-wq worker blocks, and the next is not submitted
//! before that worker sleeps; each polling ring has exactly one thread. All of them end with the
//! process.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::Error;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use anyhow::{Context, Result, ensure};
use libc::{c_long, c_void};
use pidwatch_load::truth::{Failure, Truth};

use super::{fail, shared};

const SETUP_SQPOLL: u32 = 1 << 1;
const OFF_SQ_RING: i64 = 0;
const OFF_SQES: i64 = 0x1000_0000;
const SQE_ASYNC: u8 = 1 << 4;
const OP_OPENAT: u8 = 18;
/// Room for all operations; with fewer entries io-wq would have fewer workers.
const ENTRIES: u32 = 64;

/// `struct io_sqring_offsets`, `struct io_cqring_offsets`, `struct io_uring_params` and the first
/// 64 bytes of `struct io_uring_sqe`, from include/uapi/linux/io_uring.h.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Default)]
struct Parameters {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: Offsets,
    cq: Offsets,
}

#[repr(C)]
#[derive(Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    offset: u64,
    address: u64,
    len: u32,
    open_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

struct Ring {
    fd: OwnedFd,
    parameters: Parameters,
}

impl Ring {
    fn new(flags: u32) -> Result<Self> {
        // A polling thread with nothing to do goes to sleep after a millisecond.
        let mut parameters = Parameters {
            flags,
            sq_thread_idle: 1,
            ..Parameters::default()
        };
        // SAFETY: `parameters` is what the kernel expects and outlives the call.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut parameters) };
        if fd < 0 {
            return Err(Error::last_os_error()).context("io_uring_setup");
        }
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { fd, parameters })
    }

    fn map(&self, offset: i64, size: usize) -> Result<*mut c_void> {
        // SAFETY: a new shared mapping of the ring, wherever there is room.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                self.fd.as_raw_fd(),
                offset,
            )
        };
        ensure!(
            address != libc::MAP_FAILED,
            "mmap of the ring: {}",
            Error::last_os_error()
        );
        Ok(address)
    }

    /// Submits the opening of each path, and calls `submitted` after each.
    fn open_all(
        &self,
        path: &CString,
        count: u64,
        mut submitted: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let sq = &self.parameters.sq;
        let ring = self.map(OFF_SQ_RING, sq.array as usize + ENTRIES as usize * 4)?;
        let entries: *mut Entry = self
            .map(OFF_SQES, ENTRIES as usize * mem::size_of::<Entry>())?
            .cast();
        for number in 0..count.min(u64::from(ENTRIES)) as usize {
            let entry = Entry {
                opcode: OP_OPENAT,
                flags: SQE_ASYNC,
                fd: libc::AT_FDCWD,
                address: path.as_ptr() as u64,
                open_flags: libc::O_RDONLY as u32,
                ..Entry::default()
            };
            // SAFETY: `number` is below ENTRIES, for which both mappings have room; the kernel
            // reads the slots only after the tail has moved, in the system call below.
            unsafe {
                entries.add(number).write(entry);
                ring.byte_add(sq.array as usize)
                    .cast::<u32>()
                    .add(number)
                    .write(number as u32);
                let tail = &*ring.byte_add(sq.tail as usize).cast::<AtomicU32>();
                fence(Ordering::SeqCst);
                tail.store(number as u32 + 1, Ordering::Release);
            }
            let ring = self.fd.as_raw_fd();
            let nothing: *const c_void = ptr::null();
            // SAFETY: submits one entry; no signal mask.
            let done: c_long =
                unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, 1, 0, 0, nothing, 0) };
            ensure!(
                done == 1,
                "io_uring_enter: {done}, {}",
                Error::last_os_error()
            );
            submitted()?;
        }
        Ok(())
    }
}

/// Adds the tasks of this process to those already seen; true when each of them sleeps.
fn look(seen: &mut BTreeSet<u64>) -> Result<bool> {
    let myself = u64::from(std::process::id());
    let mut asleep = true;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let tid: u64 = task.file_name().to_string_lossy().parse()?;
        if tid == myself {
            continue;
        }
        seen.insert(tid);
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // "tid (comm) state ...": comm can hold anything but the state follows the last bracket.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        asleep &= state == Some('S');
    }
    Ok(asleep)
}

/// A FIFO that is removed again.
struct Fifo(PathBuf);

impl Fifo {
    fn new() -> Result<Self> {
        let directory = std::env::temp_dir();
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("pidwatch-load-{}", std::process::id()));
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `name` outlives the call.
        let result = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        ensure!(
            result == 0,
            "mkfifo {}: {}",
            path.display(),
            Error::last_os_error()
        );
        Ok(Self(path))
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the workers, one by one, and counts them.
pub fn run(workers: u64, pollers: u64, truth: &mut Truth) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut rings = Vec::new();
    for number in 1..=pollers {
        rings.push(Ring::new(SETUP_SQPOLL).context("a polling ring")?);
        while (seen.len() as u64) < number {
            look(&mut seen)?;
        }
    }
    let fifo = Fifo::new()?;
    let path = CString::new(fifo.0.as_os_str().as_bytes())?;
    let ring = Ring::new(0)?;
    let mut expected = seen.len();
    ring.open_all(&path, workers, || {
        expected += 1;
        loop {
            let asleep = look(&mut seen)?;
            if asleep && seen.len() >= expected {
                return Ok(());
            }
            std::thread::yield_now();
        }
    })?;
    truth.here.created.threads += seen.len() as u64;
    truth.here.exited.threads += seen.len() as u64;
    Ok(())
}

/// Makes rings with a polling thread each, as far as there is room for these, and keeps them.
pub fn refused(rings: u64, truth: &mut Truth) -> Result<()> {
    let mut kept = Vec::new();
    for _ in 0..rings {
        match Ring::new(SETUP_SQPOLL) {
            Ok(ring) => kept.push(ring),
            Err(error) => {
                let cause = error.downcast_ref::<Error>();
                let errno = cause.and_then(Error::raw_os_error);
                ensure!(errno == Some(libc::EAGAIN), "{error:#}");
                truth.failures.push(Failure {
                    syscall: "io_uring_setup".to_owned(),
                    ..fail::now(libc::EAGAIN)
                });
            }
        }
    }
    shared::keep();
    for kinds in [&mut truth.here.created, &mut truth.here.exited] {
        kinds.threads += kept.len() as u64;
    }
    Ok(())
}
