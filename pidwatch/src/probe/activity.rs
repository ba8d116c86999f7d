//! Passes over the tasks of watched cgroups, by the kernel side's iterator, a bounded number of tasks a read.
//!
//! In: the bytes that the program writes. Out: [`Task`]s, as the detector reads them.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use aya::{
    Btf, Ebpf,
    programs::{Iter, ProgramError},
};
use bytes::Buf;
use pidwatch_common::activity::{
    MARK, NO_SOCKET, NO_SYSCALL, PROGRAM, SOCKET, TaskActivity, UNKNOWN_IDLE,
};
use rustix::time::{ClockId, clock_getres, clock_gettime};

use super::{error::unfold, sys};
use crate::{
    cgroup::CgroupId,
    detect::evidence::{Task, Wait, Zombie},
};

/// What one read may give. A task that is passed over takes one byte, so that a read is over after so many:
/// some milliseconds.
const READ: usize = 4096;

/// The program, ready to run.
pub struct Activities {
    link: OwnedFd,
    /// Length of a jiffy.
    jiffy: Duration,
}

impl Activities {
    /// Loads the program.
    pub(super) fn start(ebpf: &mut Ebpf, btf: &Btf) -> Result<Self, String> {
        let link = Self::link(ebpf, btf).map_err(|error| unfold(error.as_ref()).0)?;
        let resolution = clock_getres(ClockId::MonotonicCoarse);
        Ok(Self {
            link,
            jiffy: Duration::from_nanos(resolution.tv_nsec as u64),
        })
    }

    fn link(ebpf: &mut Ebpf, btf: &Btf) -> Result<OwnedFd, Box<dyn std::error::Error>> {
        let program = ebpf.program_mut(PROGRAM).ok_or(ProgramError::NotLoaded)?;
        let program: &mut Iter = program.try_into()?;
        program.load("task", btf)?;
        Ok(sys::link_iterator(program.fd()?.as_fd(), None)?)
    }

    /// Begins a pass.
    ///
    /// # Errors
    /// When there is no descriptor left to read from.
    pub(super) fn begin(&self) -> io::Result<Pass> {
        let file = sys::create_iterator(self.link.as_fd())?;
        Ok(Pass {
            file: file.into(),
            jiffy: self.jiffy,
            rest: Vec::with_capacity(READ + size_of::<TaskActivity>()),
        })
    }
}

/// A pass over all tasks that is under way.
#[derive(Debug)]
pub struct Pass {
    file: File,
    jiffy: Duration,
    /// The begin of a record of which the rest comes with the next read.
    rest: Vec<u8>,
}

impl Pass {
    /// Goes on by one read; false at the end.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&mut self, mut each: impl FnMut(CgroupId, &Task)) -> io::Result<bool> {
        let begun = self.rest.len();
        self.rest.resize(begun + READ, 0);
        let read = match self.file.read(&mut self.rest[begun..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.rest.truncate(begun);
                return Ok(true);
            }
            read => read?,
        };
        self.rest.truncate(begun + read);
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        let mut at = 0;
        while let Some(&mark) = self.rest.get(at) {
            if u64::from(mark) != MARK {
                at += 1;
                continue;
            }
            let Some(record) = self.rest.get(at..at + size_of::<TaskActivity>()) else {
                break;
            };
            let activity = decode(record);
            each(CgroupId(activity.cgroup), &task(&activity, now, self.jiffy));
            at += size_of::<TaskActivity>();
        }
        self.rest.drain(..at);
        Ok(read > 0)
    }
}

fn decode(mut record: &[u8]) -> TaskActivity {
    TaskActivity {
        mark: record.get_u64_ne(),
        cgroup: record.get_u64_ne(),
        start_time: record.get_u64_ne(),
        idle_ns: record.get_u64_ne(),
        ended_jiffies: record.get_u64_ne(),
        tgid: record.get_u32_ne(),
        tid: record.get_u32_ne(),
        parent: record.get_u32_ne(),
        is_zombie: record.get_u32_ne(),
        syscall: record.get_i32_ne(),
        socket: record.get_u32_ne(),
        comm: {
            let mut comm = [0; 16];
            record.copy_to_slice(&mut comm);
            comm
        },
    }
}

fn task(activity: &TaskActivity, now: Duration, jiffy: Duration) -> Task {
    let idle = (activity.idle_ns != UNKNOWN_IDLE).then(|| Duration::from_nanos(activity.idle_ns));
    let ended = match activity.ended_jiffies {
        // One that has not run since its end has not run since then.
        0 => idle,
        jiffies => Some(jiffy.saturating_mul(u32::try_from(jiffies).unwrap_or(u32::MAX))),
    };
    Task {
        process: activity.tgid,
        is_process: activity.tgid == activity.tid,
        parent: activity.parent,
        comm: activity.comm,
        age: now.saturating_sub(Duration::from_nanos(activity.start_time)),
        idle,
        wait: wait(activity.syscall, activity.socket),
        zombie: (activity.is_zombie != 0).then_some(Zombie { ended }),
    }
}

/// What a system call waits for.
fn wait(syscall: i32, socket: u32) -> Wait {
    if syscall == NO_SYSCALL || syscall == RESTART {
        Wait::Unknown
    } else if CONNECTIONS.contains(&syscall) {
        Wait::Connection
    } else if FILES.contains(&syscall) {
        match socket {
            SOCKET => Wait::Connection,
            NO_SOCKET => Wait::Other,
            _ => Wait::Unknown,
        }
    } else {
        Wait::Other
    }
}

/// Calls that wait for a client or a server: accept, accept4, recvfrom, recvmsg, recvmmsg, sendto, sendmsg,
/// connect, and those on many descriptors at once, which are sockets as a rule: poll, ppoll, select,
/// pselect6, epoll_wait, epoll_pwait, epoll_pwait2, io_uring_enter, io_getevents.
#[cfg(target_arch = "x86_64")]
const CONNECTIONS: [i32; 17] = [
    43, 288, 45, 47, 299, 44, 46, 42, 7, 271, 23, 270, 232, 281, 441, 426, 208,
];
#[cfg(not(target_arch = "x86_64"))]
const CONNECTIONS: [i32; 14] = [
    202, 242, 207, 212, 243, 206, 211, 203, 73, 72, 22, 441, 426, 4,
];
/// Calls on one descriptor of any kind: read, write, readv, writev.
#[cfg(target_arch = "x86_64")]
const FILES: [i32; 4] = [0, 1, 19, 20];
#[cfg(not(target_arch = "x86_64"))]
const FILES: [i32; 4] = [63, 64, 65, 66];
/// Goes on with a call that a stop interrupted, whichever that was: restart_syscall.
#[cfg(target_arch = "x86_64")]
const RESTART: i32 = 219;
#[cfg(not(target_arch = "x86_64"))]
const RESTART: i32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_from_a_pipe_is_no_connection() {
        assert_eq!(wait(FILES[0], SOCKET), Wait::Connection);
        assert_eq!(wait(FILES[0], NO_SOCKET), Wait::Other);
        assert_eq!(wait(FILES[0], 2), Wait::Unknown);
        assert_eq!(wait(CONNECTIONS[0], NO_SOCKET), Wait::Connection);
        assert_eq!(wait(NO_SYSCALL, SOCKET), Wait::Unknown);
        // futex: its first argument is an address, whatever is open under that number.
        assert_eq!(
            wait(
                if cfg!(target_arch = "x86_64") {
                    202
                } else {
                    98
                },
                SOCKET
            ),
            Wait::Other
        );
    }

    #[test]
    fn the_end_of_a_zombie_is_when_it_last_ran_where_no_hook_saw_it() {
        let seen = |ended_jiffies, idle_ns| {
            let activity = TaskActivity {
                mark: MARK,
                cgroup: 7,
                start_time: 5_000_000_000,
                idle_ns,
                ended_jiffies,
                tgid: 9,
                tid: 9,
                parent: 1,
                is_zombie: 1,
                syscall: NO_SYSCALL,
                socket: 0,
                comm: *b"true\0\0\0\0\0\0\0\0\0\0\0\0",
            };
            let now = Duration::from_secs(65);
            task(&activity, now, Duration::from_millis(4))
        };
        let ended = |task: Task| task.zombie.and_then(|zombie| zombie.ended);
        assert_eq!(seen(0, UNKNOWN_IDLE).age, Duration::from_mins(1));
        assert_eq!(ended(seen(500, 7)), Some(Duration::from_secs(2)));
        assert_eq!(ended(seen(0, 7)), Some(Duration::from_nanos(7)));
        assert_eq!(ended(seen(0, UNKNOWN_IDLE)), None);
    }
}
