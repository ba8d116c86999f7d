//! Processes that cannot start a thread though nothing refuses a clone: the stack's mapping fails before, for
//! want of mappings (`vm.max_map_count`) or of address space (`ulimit -v`). pthread_create(3) says EAGAIN as it
//! does of a refused clone.

use std::{
    cmp::Reverse,
    fs::{self, File},
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use crate::limits::memory::{HIGH, MemoryLimit, Want};

/// Processes whose mappings are counted: those with the most threads, and with the most address space. For each
/// the kernel walks all of them.
const COUNTED: usize = 8;
/// Time for that.
const TIME: Duration = Duration::from_millis(50);
/// No mapping is smaller than a page.
const PAGE: u64 = 4096;
/// A process as its `status` tells.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub comm: Vec<u8>,
    pub threads: u64,
    /// Bytes of address space; a kernel thread has none.
    pub size: u64,
}

/// Those of some processes that are near one of the two limits.
pub fn near(proc_root: &Path, mut processes: Vec<Process>) -> Vec<MemoryLimit> {
    let mut found = Vec::new();
    for process in &processes {
        if let Some(value) = address_space(proc_root, process.pid) {
            found.push(MemoryLimit {
                pid: process.pid,
                comm: process.comm.clone(),
                want: Want::AddressSpace,
                value,
                usage: process.size,
            });
        }
    }
    let most = fs::read_to_string(proc_root.join("sys/vm/max_map_count")).ok();
    if let Some(most) = most.and_then(|text| text.trim().parse::<u64>().ok()) {
        processes.retain(|process| (process.size / PAGE) as f64 >= HIGH * most as f64);
        processes.sort_by_key(|process| Reverse(process.size));
        let counted = COUNTED.min(processes.len());
        let (largest, others) = processes.split_at_mut(counted);
        others.sort_by_key(|process| Reverse(process.threads));
        let until = Instant::now() + TIME;
        for process in largest.iter().chain(others.iter().take(COUNTED)) {
            if Instant::now() >= until {
                break;
            }
            if let Some(usage) = mappings(proc_root, process.pid) {
                found.push(MemoryLimit {
                    pid: process.pid,
                    comm: process.comm.clone(),
                    want: Want::Mappings,
                    value: most,
                    usage,
                });
            }
        }
    }
    found.retain(MemoryLimit::is_near);
    found
}

/// The soft RLIMIT_AS of a process in bytes, if it has one.
fn address_space(proc_root: &Path, pid: u32) -> Option<u64> {
    let text = fs::read_to_string(proc_root.join(pid.to_string()).join("limits")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn mappings(proc_root: &Path, pid: u32) -> Option<u64> {
    let mut file = File::open(proc_root.join(pid.to_string()).join("maps")).ok()?;
    let mut buffer = vec![0; 64 * 1024];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(lines),
            Ok(len) => lines += buffer[..len].iter().filter(|&&byte| byte == b'\n').count() as u64,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_room_for_a_stack_is_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/vm/max_map_count", "100\n");
        let limits = |space: &str| format!("Max address space   {space}   unlimited   bytes\n");
        write("1/limits", &limits("unlimited"));
        write("1/maps", &"x\n".repeat(95));
        write("2/limits", &limits("1000000"));
        write("2/maps", &"x\n".repeat(20));
        write("3/limits", &limits("100000000"));
        write("3/maps", &"x\n".repeat(99));
        let process = |pid, size| Process {
            pid,
            comm: b"x".to_vec(),
            threads: 1,
            size,
        };
        let found = near(
            root.path(),
            vec![
                process(1, 10_000_000),
                process(2, 900_000),
                // Too small to have as many mappings as it claims.
                process(3, 80 * PAGE),
                // Gone.
                process(4, 10_000_000),
            ],
        );
        let found: Vec<_> = found
            .iter()
            .map(|limit| (limit.pid, limit.want, limit.usage, limit.is_full()))
            .collect();
        assert_eq!(
            found,
            [
                (2, Want::AddressSpace, 900_000, true),
                (1, Want::Mappings, 95, false),
            ]
        );
    }
}
