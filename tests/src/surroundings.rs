//! Bad days: each function makes a command run in surroundings that lack something. Mounts are
//! changed in a mount namespace of the command's own.

use std::ffi::{CStr, CString};
use std::io::{Error, Result};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use crate::cgroup::Cgroup;

const CAP_SYS_ADMIN: libc::c_int = 21;
const CAP_SYS_RESOURCE: libc::c_int = 24;
const CAP_BPF: libc::c_int = 39;
/// `setarch --uname-2.6`.
const UNAME26: libc::c_ulong = 0x002_0000;

fn check(result: libc::c_int) -> Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

fn before_exec(command: &mut Command, prepare: fn() -> Result<()>) {
    // SAFETY: every `prepare` here only makes system calls, so it is fit for a forked child.
    unsafe { command.pre_exec(prepare) };
}

/// Inside this cgroup.
pub fn in_a_cgroup(command: &mut Command, cgroup: &Cgroup) {
    let procs = cgroup.directory.join("cgroup.procs");
    let join = move || std::fs::write(&procs, "0");
    // SAFETY: it writes to a file whose path was made before the fork, by system calls alone.
    unsafe { command.pre_exec(join) };
}

/// As an ordinary user.
pub fn without_root(command: &mut Command) {
    before_exec(command, become_nobody);
}

/// As root, without CAP_BPF and without CAP_SYS_ADMIN that contains it.
pub fn without_cap_bpf(command: &mut Command) {
    before_exec(command, || drop_capabilities(&[CAP_BPF, CAP_SYS_ADMIN]));
}

/// With 64 KiB of memory to lock and no right to raise that.
pub fn with_little_memlock(command: &mut Command) {
    before_exec(command, || {
        let limit = libc::rlimit {
            rlim_cur: 64 << 10,
            rlim_max: 64 << 10,
        };
        // SAFETY: `limit` outlives the call.
        check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
        drop_capabilities(&[CAP_SYS_RESOURCE])
    });
}

/// With a hard limit of 64 file descriptors, and a soft one below what it may be raised to.
pub fn with_few_descriptors(command: &mut Command) {
    before_exec(command, || limit_descriptors(64));
}

/// With a soft limit of 40 file descriptors that may be raised.
pub fn with_a_low_soft_limit_of_descriptors(command: &mut Command) {
    before_exec(command, || limit_descriptors(1024));
}

fn limit_descriptors(hard: u64) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 40,
        rlim_max: hard,
    };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// A program executed by root gets all capabilities of the bounding set: taking them out of it is
/// enough.
fn drop_capabilities(capabilities: &[libc::c_int]) -> Result<()> {
    for &capability in capabilities {
        // SAFETY: PR_CAPBSET_DROP takes a number.
        check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
    }
    Ok(())
}

/// Under a kernel that says it is 2.6.
pub fn on_an_old_kernel(command: &mut Command) {
    before_exec(command, || {
        // SAFETY: personality has no preconditions.
        match unsafe { libc::personality(UNAME26) } {
            -1 => Err(Error::last_os_error()),
            _ => Ok(()),
        }
    });
}

/// As an ordinary user, with other users' processes hidden in `/proc`.
pub fn with_hidden_processes(command: &mut Command) {
    before_exec(command, || {
        own_mounts()?;
        let [source, target, kind, data] =
            [c"proc", c"/proc", c"proc", c"hidepid=2"].map(CStr::as_ptr);
        // SAFETY: C strings.
        check(unsafe { libc::mount(source, target, kind, 0, data.cast()) })?;
        become_nobody()
    });
}

fn become_nobody() -> Result<()> {
    // SAFETY: none of these have preconditions.
    unsafe {
        check(libc::setgroups(0, ptr::null()))?;
        check(libc::setresgid(65534, 65534, 65534))?;
        check(libc::setresuid(65534, 65534, 65534))
    }
}

/// Without `/sys/kernel/btf`.
pub fn without_btf(command: &mut Command) {
    before_exec(command, || {
        own_mounts()?;
        mount(c"none", c"/sys/kernel/btf", c"tmpfs", 0)
    });
}

/// Without tracefs, neither in its own place nor in debugfs.
pub fn without_tracefs(command: &mut Command) {
    before_exec(command, || {
        own_mounts()?;
        unmount(c"/sys/kernel/tracing");
        unmount(c"/sys/kernel/debug");
        Ok(())
    });
}

/// Without any cgroup filesystem.
pub fn without_cgroups(command: &mut Command) {
    before_exec(command, || {
        own_mounts()?;
        unmount(c"/sys/fs/cgroup");
        Ok(())
    });
}

/// With `/proc` and `/sys/fs/cgroup` at [`HOST_PROC`] and [`HOST_CGROUP`] too, as a container of an
/// agent has them, and no cgroup filesystem at the usual place.
pub fn in_a_container(command: &mut Command) {
    // An initramfs need not have it.
    let _ = std::fs::create_dir("/mnt");
    before_exec(command, || {
        own_mounts()?;
        mount(c"none", c"/mnt", c"tmpfs", 0)?;
        for directory in [c"/mnt/proc", c"/mnt/cgroup"] {
            // SAFETY: a C string.
            check(unsafe { libc::mkdir(directory.as_ptr(), 0o755) })?;
        }
        mount(c"/proc", c"/mnt/proc", c"", libc::MS_BIND | libc::MS_REC)?;
        mount(
            c"/sys/fs/cgroup",
            c"/mnt/cgroup",
            c"",
            libc::MS_BIND | libc::MS_REC,
        )?;
        unmount(c"/sys/fs/cgroup");
        Ok(())
    });
}

/// The host's `/proc` in [`in_a_container`].
pub const HOST_PROC: &str = "/mnt/proc";
/// The host's cgroups in [`in_a_container`].
pub const HOST_CGROUP: &str = "/mnt/cgroup";

/// With mounts of its own that are shared below it, as systemd makes those of a node.
pub fn with_shared_mounts(command: &mut Command) {
    before_exec(command, || {
        own_mounts()?;
        mount(c"none", c"/", c"", libc::MS_REC | libc::MS_SHARED)
    });
}

/// In a pod whose service account's files are those of a folder: they are where kubelets put them.
pub fn in_a_pod(command: &mut Command, account: &Path) {
    let account = CString::new(account.as_os_str().as_bytes());
    let prepare = move || {
        let account = account
            .as_deref()
            .map_err(|_| Error::from_raw_os_error(libc::EINVAL))?;
        own_mounts()?;
        mount(c"none", c"/run", c"tmpfs", 0)?;
        for directory in [c"/run/secrets", c"/run/secrets/kubernetes.io", ACCOUNT] {
            // SAFETY: a C string.
            check(unsafe { libc::mkdir(directory.as_ptr(), 0o755) })?;
        }
        mount(account, ACCOUNT, c"", libc::MS_BIND)
    };
    // SAFETY: it only makes system calls, so it is fit for a forked child.
    unsafe { command.pre_exec(prepare) };
}

const ACCOUNT: &CStr = c"/run/secrets/kubernetes.io/serviceaccount";

/// With a disk of one page at [`SMALL_DISK`].
pub fn with_a_small_disk(command: &mut Command) {
    let _ = std::fs::create_dir(SMALL_DISK);
    before_exec(command, || mount_disk(0, c"size=4096,mode=755"));
}

/// Where the disk of [`with_a_small_disk`] is.
pub const SMALL_DISK: &str = "/mnt";

/// With a disk at [`READ_ONLY_DISK`] that cannot be written to, as root neither.
pub fn with_a_read_only_disk(command: &mut Command) {
    let _ = std::fs::create_dir(READ_ONLY_DISK);
    before_exec(command, || mount_disk(libc::MS_RDONLY, c"mode=755"));
}

fn mount_disk(flags: libc::c_ulong, options: &CStr) -> Result<()> {
    own_mounts()?;
    let [source, target, kind, data] = [c"none", c"/mnt", c"tmpfs", options].map(CStr::as_ptr);
    // SAFETY: C strings.
    check(unsafe { libc::mount(source, target, kind, flags, data.cast()) })
}

/// Where the disk of [`with_a_read_only_disk`] is.
pub const READ_ONLY_DISK: &str = "/mnt";

fn own_mounts() -> Result<()> {
    // SAFETY: unshare has no preconditions; the forked child has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE)
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> Result<()> {
    let [source, target, kind] = [source.as_ptr(), target.as_ptr(), kind.as_ptr()];
    // SAFETY: C strings; no data.
    check(unsafe { libc::mount(source, target, kind, flags, ptr::null()) })
}

/// Unmounts whatever is there, however often; nothing there is fine.
fn unmount(target: &CStr) {
    // SAFETY: a C string.
    while unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } == 0 {}
}
