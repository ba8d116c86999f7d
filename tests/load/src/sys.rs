//! Raw creations of tasks. Each goes through the named system call and no other, so that a load
//! knows what it did; a child never returns from the functions here.

use std::io::{Error, Result};
use std::mem;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_long, c_void, pid_t, pthread_t};

/// Born in the cgroup whose descriptor is given (Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Enough for a thread that does nothing, with the thread-local storage of this program.
const STACK: usize = 64 << 10;

fn outcome(result: c_long) -> Result<pid_t> {
    match result {
        -1 => Err(Error::last_os_error()),
        pid => Ok(pid as pid_t),
    }
}

/// Ends this process with no clean-up, as a forked child has to.
pub fn end(status: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Runs `child` in a forked process, whose status is 0 or, for an error, 1.
pub fn fork(child: impl FnOnce() -> anyhow::Result<()>) -> Result<pid_t> {
    // SAFETY: this program has one thread when it forks.
    match outcome(c_long::from(unsafe { libc::fork() }))? {
        0 => match child() {
            Ok(()) => end(0),
            Err(error) => {
                eprintln!("child: {error:#}");
                end(1)
            }
        },
        pid => Ok(pid),
    }
}

/// Waits for a child; true when it ended with status 0.
pub fn reap(pid: pid_t) -> Result<bool> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status == 0);
        }
        let error = Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Kills children and reaps them.
pub fn kill_all(children: &[pid_t]) -> Result<()> {
    for &child in children {
        // SAFETY: kill has no preconditions; an unreaped child's number is not reused.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    for &child in children {
        reap(child)?;
    }
    Ok(())
}

/// Puts a child into the process group of `leader`, a child or the child itself.
pub fn join_group(child: pid_t, leader: pid_t) -> Result<()> {
    // SAFETY: setpgid has no preconditions.
    match unsafe { libc::setpgid(child, leader) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// From now on `clone3` fails: with ENOSYS as container runtimes' profiles have it, with EPERM as older
/// ones had.
pub fn forbid_clone3(errno: u16) -> Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let filter = [
        // The number of the system call (`seccomp_data.nr`).
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::SYS_clone3 as u32,
            )
        },
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | u32::from(errno),
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program and its filter outlive the calls.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

extern "C" fn on_alarm(_signal: c_int) {}

/// Has this process signalled so often; system calls are restarted.
pub fn alarm_every(interval: std::time::Duration) -> Result<()> {
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: i64::from(interval.subsec_micros()),
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: all zeros is a valid sigaction; the handler does nothing; `timer` outlives the call.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// Makes this process end with its parent, so that a killed load leaves nothing behind.
pub fn end_with_parent() {
    // SAFETY: PR_SET_PDEATHSIG only takes a signal number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Sleeps until a signal ends the process.
pub fn pause_for_ever() -> ! {
    loop {
        // SAFETY: pause has no preconditions.
        unsafe { libc::pause() };
    }
}

/// `clone` like fork; the child gets 0.
pub fn clone() -> Result<pid_t> {
    // SAFETY: without CLONE_VM and a stack this is fork; the program has one thread.
    outcome(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) })
}

/// `clone` with flags that the kernel refuses: a thread without shared signal handlers.
pub fn clone_of_nonsense() -> Result<pid_t> {
    // SAFETY: refused by copy_process with EINVAL; if it were not, it is a fork with a new thread
    // that shares nothing.
    outcome(unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_THREAD, 0, 0, 0, 0) })
}

/// From now on SCHED_DEADLINE schedules this task: 2 of every 20 ms.
pub fn become_deadline() -> Result<()> {
    const SCHED_DEADLINE: u32 = 6;
    const MS: u64 = 1_000_000;
    // `struct sched_attr` (include/uapi/linux/sched/types.h).
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attributes = Attributes {
        size: mem::size_of::<Attributes>() as u32,
        policy: SCHED_DEADLINE,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: 2 * MS,
        deadline: 20 * MS,
        period: 20 * MS,
    };
    // SAFETY: `attributes` outlives the call.
    outcome(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })?;
    Ok(())
}

/// Becomes a user, then root of a user namespace in which there may be no other one.
pub fn enter_user_namespace_without_room(uid: u32) -> Result<()> {
    // SAFETY: neither has preconditions; there is one thread.
    unsafe {
        if libc::setresuid(uid, uid, uid) != 0 || libc::unshare(libc::CLONE_NEWUSER) != 0 {
            return Err(Error::last_os_error());
        }
        // Its files in /proc are root's otherwise, since it was another user when it was executed.
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
    }
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")
}

/// Makes a user namespace and enters it; nobody is mapped there yet.
pub fn enter_user_namespace() -> Result<()> {
    // SAFETY: no preconditions; there is one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

/// Becomes the root of its user namespace, where there is one by now.
pub fn become_root_inside() -> Result<()> {
    // SAFETY: no preconditions.
    if unsafe { libc::setresuid(0, 0, 0) } != 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

/// `clone` like fork, with a user namespace for the child; the child gets 0.
pub fn clone_with_user_namespace() -> Result<pid_t> {
    let flags = libc::SIGCHLD | libc::CLONE_NEWUSER;
    // SAFETY: as for `clone`.
    outcome(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

/// `clone3` like fork, into a cgroup if one is given; the child gets 0.
pub fn clone3(cgroup: Option<RawFd>) -> Result<pid_t> {
    // SAFETY: all zeros is a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup as u64;
    }
    let size = mem::size_of_val(&arguments);
    // SAFETY: as for clone; `arguments` outlives the call.
    outcome(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) })
}

/// `fork`, the system call (x86 still has it); the child gets 0.
#[cfg(target_arch = "x86_64")]
pub fn old_fork() -> Result<pid_t> {
    // SAFETY: the program has one thread.
    outcome(unsafe { libc::syscall(libc::SYS_fork) })
}

/// Where the system call does not exist: `clone`.
#[cfg(not(target_arch = "x86_64"))]
pub fn old_fork() -> Result<pid_t> {
    clone()
}

/// `vfork` whose child ends at once, before this returns.
#[cfg(target_arch = "x86_64")]
pub fn vfork_that_ends() -> Result<pid_t> {
    let mut result: c_long = libc::SYS_vfork;
    // SAFETY: the child runs on this stack until it ends; it touches registers only, and the parent
    // sleeps meanwhile.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor edi, edi",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            exit = const libc::SYS_exit,
            inout("rax") result,
            out("rdi") _,
            out("rcx") _,
            out("r11") _,
        );
    }
    if result < 0 {
        Err(Error::from_raw_os_error(-result as i32))
    } else {
        Ok(result as pid_t)
    }
}

/// Where the system call does not exist: `clone` with CLONE_VFORK.
#[cfg(not(target_arch = "x86_64"))]
pub fn vfork_that_ends() -> Result<pid_t> {
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child has its own memory, so it is like fork.
    match outcome(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })? {
        0 => end(0),
        pid => Ok(pid),
    }
}

/// Starts a thread with a small stack.
pub fn thread(body: extern "C" fn(*mut c_void) -> *mut c_void) -> Result<pthread_t> {
    // SAFETY: plain data that pthread_attr_init fills.
    let mut attributes: libc::pthread_attr_t = unsafe { mem::zeroed() };
    let mut id: pthread_t = 0;
    // SAFETY: attributes are initialised before use and destroyed after it; `body` takes no data.
    let error = unsafe {
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
        let error = libc::pthread_create(&raw mut id, &raw const attributes, body, ptr::null_mut());
        libc::pthread_attr_destroy(&raw mut attributes);
        error
    };
    if error == 0 {
        Ok(id)
    } else {
        Err(Error::from_raw_os_error(error))
    }
}

/// Joins a thread.
pub fn join(thread: pthread_t) -> Result<()> {
    // SAFETY: the thread was started by `thread` and is joined once.
    match unsafe { libc::pthread_join(thread, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(Error::from_raw_os_error(error)),
    }
}

/// A clock in nanoseconds.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` outlives the call.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Becomes another user, without any capability, bounded to so many tasks.
pub fn become_user(uid: u32, rlimit_nproc: u64) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: rlimit_nproc,
        rlim_max: rlimit_nproc,
    };
    // SAFETY: `limit` outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) } != 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: setresuid has no preconditions; there is one thread.
    if unsafe { libc::setresuid(uid, uid, uid) } != 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

extern "C" fn on_sigterm(_signal: c_int) {}

/// Waits, and returns whether standard input has ended meanwhile.
pub fn input_ends_within(time: std::time::Duration) -> bool {
    let mut input = libc::pollfd {
        fd: 0,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor is given.
    unsafe { libc::poll(&raw mut input, 1, time.as_millis() as c_int) };
    // Nobody writes to it.
    input.revents != 0
}

/// Returns when standard input is at its end or SIGTERM has come.
pub fn wait_for_end_of_input() {
    // SAFETY: all zeros is a valid sigaction; without SA_RESTART, read ends with EINTR.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_sigterm as *const () as usize;
        libc::sigaction(libc::SIGTERM, &raw const action, ptr::null_mut());
    }
    let mut byte = 0u8;
    // SAFETY: one byte is read into one byte.
    while unsafe { libc::read(0, (&raw mut byte).cast(), 1) } == 1 {}
}
