//! The few system calls that the loader library has no way to make.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_info, perf_event_attr};

/// `PERF_TYPE_TRACEPOINT`
const PERF_TYPE_TRACEPOINT: u32 = 2;
/// `PERF_EVENT_IOC_ENABLE`, `PERF_EVENT_IOC_SET_BPF`
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
/// `PERF_FLAG_FD_CLOEXEC`
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// What the kernel knows of a loaded program.
///
/// # Errors
/// When the descriptor is no program's.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: plain old data, valid as zeros; the kernel writes at most `info_len` bytes.
    unsafe {
        let mut info: bpf_prog_info = std::mem::zeroed();
        let mut attr: bpf_attr = std::mem::zeroed();
        attr.info.bpf_fd = program.as_raw_fd() as u32;
        attr.info.info_len = size_of::<bpf_prog_info>() as u32;
        attr.info.info = (&raw mut info) as u64;
        let result = libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
            &raw mut attr,
            size_of::<bpf_attr>(),
        );
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(info)
        }
    }
}

/// Ties an iterator program to what it is to see: all tasks, or the elements of a map. It stays so as long
/// as the descriptor lives.
///
/// # Errors
/// Those of `bpf(2)`.
pub fn link_iterator(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    // `union bpf_iter_link_info { struct { __u32 map_fd; } map; ... }`
    let mut info: RawFd = map.map_or(0, |map| map.as_raw_fd());
    // SAFETY: plain old data, valid as zeros.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    // SAFETY: the members of a union that a link of an iterator has.
    let iterator = unsafe { &mut attr.link_create.__bindgen_anon_3.__bindgen_anon_1 };
    if map.is_some() {
        iterator.iter_info = (&raw mut info) as u64;
        iterator.iter_info_len = size_of::<RawFd>() as u32;
    }
    open(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// A new run of an iterator.
///
/// # Errors
/// Those of `bpf(2)`: EMFILE, ENFILE.
pub fn create_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: plain old data, valid as zeros.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.iter_create.link_fd = link.as_raw_fd() as u32;
    open(bpf_cmd::BPF_ITER_CREATE, &mut attr)
}

fn open(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are of the size that is given; the result is checked.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Attaches a program to a tracepoint by its number, on all CPUs. It stays attached as long as the
/// descriptor lives.
///
/// # Errors
/// Those of `perf_event_open(2)`: EACCES and EPERM without CAP_PERFMON.
pub fn attach_tracepoint(program: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    // SAFETY: plain old data, valid as zeros; results are checked before use.
    unsafe {
        let mut attr: perf_event_attr = std::mem::zeroed();
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.type_ = PERF_TYPE_TRACEPOINT;
        attr.config = id;
        attr.__bindgen_anon_1.sample_period = 1;
        attr.__bindgen_anon_2.wakeup_events = 1;
        // A program on a tracepoint runs on every CPU, whichever one the event is opened on.
        let fd = libc::syscall(
            libc::SYS_perf_event_open,
            &raw mut attr,
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let event = OwnedFd::from_raw_fd(fd as i32);
        for (request, argument) in [
            (PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()),
            (PERF_EVENT_IOC_ENABLE, 0),
        ] {
            if libc::ioctl(event.as_raw_fd(), request, argument) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(event)
    }
}
