//! What the tasks of watched cgroups do: how old each is, when it last ran, what it waits in, and since
//! when zombies are. An iterator program (`bpf_iter` "task", 5.8) that user space reads in slices, for
//! owners that grow; nothing here is on the path of a creation.
//!
//! `struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; }`

use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{bpf_get_current_task, bpf_seq_write, bpf_task_pt_regs},
};
use pidwatch_common::{
    activity::{MARK, NO_SOCKET, NO_SYSCALL, SOCKET, TaskActivity, UNKNOWN_IDLE, UNKNOWN_SOCKET},
    pending::{EXIT_DEAD, EXIT_ZOMBIE},
};

use crate::{
    cgroup::Owner,
    maps::{PENDING, WATCHED, offset, setting},
    task::{Task, jiffies, load, probe},
};

/// `S_IFMT` and `S_IFSOCK` of include/uapi/linux/stat.h.
const S_IFMT: u16 = 0xf000;
const S_IFSOCK: u16 = 0xc000;
/// `__USER32_CS` of arch/x86/include/asm/segment.h: a 32-bit task's system calls have other numbers.
const USER32_CS: u16 = 0x23;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn activity(ctx: *mut [u64; 2]) -> i32 {
    // SAFETY: the context of a task iterator, as above.
    let (meta, task) = unsafe {
        (
            (&raw const (*ctx)[0]).read_volatile() as *const u8,
            (&raw const (*ctx)[1]).read_volatile() as *const u8,
        )
    };
    if task.is_null() {
        return 0;
    }
    // SAFETY: a typed pointer.
    let file: *mut seq_file = unsafe { load(meta, 0) };
    let task = Task(task);
    let cgroup = Owner::of(task).id;
    let Some(is_zombie) = WATCHED.get_ptr(cgroup).and_then(|_| kind(task)) else {
        let passed_over = 0u8;
        // SAFETY: one byte.
        unsafe { bpf_seq_write(file, (&raw const passed_over).cast(), 1) };
        return 0;
    };
    let (syscall, socket) = if is_zombie {
        (NO_SYSCALL, UNKNOWN_SOCKET)
    } else {
        waits_in(task)
    };
    // SAFETY: typed pointers; the record is on the stack.
    unsafe {
        let parent: *const u8 = load(task.0, offset!(task_real_parent));
        let record = TaskActivity {
            mark: MARK,
            cgroup,
            start_time: task.start_time(),
            idle_ns: idle(task),
            ended_jiffies: if is_zombie { ended(task) } else { 0 },
            tgid: load(task.0, offset!(task_tgid)),
            tid: task.pid(),
            parent: load(parent, offset!(task_tgid)),
            is_zombie: u32::from(is_zombie),
            syscall,
            socket,
            comm: probe(task.0, offset!(task_comm)).unwrap_or([0; 16]),
        };
        bpf_seq_write(
            file,
            (&raw const record).cast(),
            size_of::<TaskActivity>() as u32,
        );
    }
    0
}

/// Whether it is a zombie; `None` for one that is being reaped, a thread that its tracer must reap, and a
/// leader whose threads live on: neither at work nor left behind.
#[inline(always)]
fn kind(task: Task) -> Option<bool> {
    let state = task.exit_state();
    if state == 0 {
        return Some(false);
    }
    if state & EXIT_DEAD != 0 || state & EXIT_ZOMBIE == 0 || !task.is_leader() {
        return None;
    }
    // SAFETY: typed pointers.
    let live: u32 = unsafe {
        let signal: *const u8 = load(task.0, offset!(task_signal));
        load(signal, offset!(signal_live))
    };
    (live == 0).then_some(true)
}

/// Nanoseconds since it last got a CPU. What the clock of the run queues says now is when the reader itself
/// last got one, a few milliseconds ago.
#[inline(always)]
fn idle(task: Task) -> u64 {
    if offset!(task_last_arrival) == 0 {
        return UNKNOWN_IDLE;
    }
    // SAFETY: no arguments.
    let reader = unsafe { bpf_get_current_task() } as *const u8;
    let now: u64 = probe(reader, offset!(task_last_arrival)).unwrap_or(0);
    // SAFETY: a typed pointer.
    let ran: u64 = unsafe { load(task.0, offset!(task_last_arrival)) };
    // 0: it never ran, or nobody keeps the account.
    if now == 0 || ran == 0 {
        return UNKNOWN_IDLE;
    }
    now.saturating_sub(ran)
}

/// Jiffies since the end of a zombie, where a hook saw it.
#[inline(always)]
fn ended(task: Task) -> u64 {
    let Some(pending) = PENDING.get_ptr(task.address()) else {
        return 0;
    };
    // SAFETY: an entry of the map.
    let (start_time, ended_at) = unsafe {
        (
            (&raw const (*pending).start_time).read_volatile(),
            (&raw const (*pending).ended_at).read_volatile(),
        )
    };
    if start_time != task.start_time() || ended_at == 0 {
        return 0;
    }
    jiffies().wrapping_sub(ended_at)
}

/// The system call that a task is in, and whether that is about a socket.
#[inline(always)]
fn waits_in(task: Task) -> (i32, u32) {
    read_call(task).unwrap_or((NO_SYSCALL, UNKNOWN_SOCKET))
}

#[inline(always)]
fn read_call(task: Task) -> Option<(i32, u32)> {
    let above = setting!(pt_regs_above_stack);
    let registers = if above == 0 {
        // SAFETY: a typed task.
        unsafe { bpf_task_pt_regs(task.0.cast_mut().cast()) as *const u8 }
    } else {
        // SAFETY: a typed pointer.
        let stack: *const u8 = unsafe { load(task.0, offset!(task_stack)) };
        stack.wrapping_add(above as usize)
    };
    if offset!(pt_regs_cs) != 0 && probe::<u16>(registers, offset!(pt_regs_cs))? == USER32_CS {
        return None;
    }
    let syscall: i32 = probe(registers, offset!(pt_regs_syscall))?;
    let socket = match is_socket(task, registers) {
        Some(true) => SOCKET,
        Some(false) => NO_SOCKET,
        None => UNKNOWN_SOCKET,
    };
    Some((syscall, socket))
}

/// Whether the first argument of its call is a socket's descriptor.
#[inline(always)]
fn is_socket(task: Task, registers: *const u8) -> Option<bool> {
    if offset!(task_files) == 0 || offset!(inode_mode) == 0 {
        return None;
    }
    let descriptor: u64 = probe(registers, offset!(pt_regs_first))?;
    let files: *const u8 = probe(task.0, offset!(task_files))?;
    let table: *const u8 = probe(files, offset!(files_table))?;
    if descriptor >= u64::from(probe::<u32>(table, offset!(table_size))?) {
        return None;
    }
    let files: *const u8 = probe(table, offset!(table_files))?;
    let file: *const u8 = probe(files.wrapping_add(descriptor as usize * 8), 0)?;
    let inode: *const u8 = probe(file, offset!(file_inode))?;
    let mode: u16 = probe(inode, offset!(inode_mode))?;
    Some(mode & S_IFMT == S_IFSOCK)
}
