//! What the tasks of a cgroup are called: the names of some hundred of them, grouped by their pattern.
//! It tells a developer which pool it is that leaks.
//!
//! Read once, when an owner is flagged: the kernel walks the cgroup's tasks for `cgroup.procs`.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::Path,
};

use hashbrown::HashMap;

use super::{SampledTaskNames, pattern};

/// Tasks whose names are read.
const MOST_TASKS: usize = 500;
/// Processes that are looked at; those of them with the most threads are sampled first.
const MOST_PROCESSES: usize = 500;
/// Patterns that are kept.
const MOST_PATTERNS: usize = 5;

/// Reads the names of some tasks in a cgroup's directory; `None` when there is nobody in it, or it may
/// not be read.
pub fn sample(directory: &Path, proc_root: &Path) -> Option<SampledTaskNames> {
    let procs = File::open(directory.join("cgroup.procs")).ok()?;
    let mut processes: Vec<(u64, u32)> = BufReader::new(procs)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.parse().ok())
        // 0 is a process of another PID namespace.
        .filter(|&pid| pid != 0)
        .take(MOST_PROCESSES)
        .filter_map(|pid| Some((threads(proc_root, pid)?, pid)))
        .collect();
    processes.sort_unstable_by(|a, b| b.cmp(a));
    let &(threads, pid) = processes.first()?;
    let largest = (comm(&proc_root.join(pid.to_string()))?, pid, threads);
    let mut sampled = 0;
    let mut patterns: HashMap<Vec<u8>, u64> = HashMap::new();
    'sampling: for (_, pid) in processes {
        let Ok(tasks) = fs::read_dir(proc_root.join(pid.to_string()).join("task")) else {
            continue;
        };
        for task in tasks.flatten() {
            if sampled as usize == MOST_TASKS {
                break 'sampling;
            }
            if let Some(name) = comm(&task.path()) {
                sampled += 1;
                *patterns.entry(pattern(&name)).or_default() += 1;
            }
        }
    }
    let mut patterns: Vec<_> = patterns.into_iter().collect();
    patterns.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    patterns.truncate(MOST_PATTERNS);
    Some(SampledTaskNames {
        sampled,
        patterns,
        largest,
    })
}

/// Threads of a process: the 20th field of `stat` (proc(5)), counted behind the name, which may hold
/// anything.
fn threads(proc_root: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read(proc_root.join(pid.to_string()).join("stat")).ok()?;
    let behind = stat.iter().rposition(|&byte| byte == b')')? + 2;
    let rest = std::str::from_utf8(stat.get(behind..)?).ok()?;
    rest.split(' ').nth(20 - 3)?.parse().ok()
}

fn comm(task: &Path) -> Option<Vec<u8>> {
    let mut comm = Vec::new();
    let file = File::open(task.join("comm")).ok()?;
    file.take(64).read_to_end(&mut comm).ok()?;
    if comm.last() == Some(&b'\n') {
        comm.pop();
    }
    Some(comm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_process_is_sampled_first() {
        let root = tempfile::tempdir().unwrap();
        let (cgroup, proc) = (root.path().join("cgroup"), root.path().join("proc"));
        fs::create_dir(&cgroup).unwrap();
        fs::write(cgroup.join("cgroup.procs"), "0\n7\n8\n9\n").unwrap();
        let process = |pid: u32, name: &str, tasks: u32| {
            let folder = proc.join(pid.to_string());
            for task in 0..tasks {
                let folder = folder.join("task").join(task.to_string());
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("comm"), format!("{name}-{task}\n")).unwrap();
            }
            fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
            let stat = format!("{pid} ({name} ) 1) S{} {tasks} 0", " 0".repeat(16));
            fs::write(folder.join("stat"), stat).unwrap();
        };
        process(7, "sh", 1);
        process(8, "exec", 600);
        let names = sample(&cgroup, &proc).unwrap();
        assert_eq!(names.sampled, 500);
        assert_eq!(names.patterns, [(b"exec-*".to_vec(), 500)]);
        assert_eq!(names.largest, (b"exec".to_vec(), 8, 600));
        fs::write(cgroup.join("cgroup.procs"), "9\n").unwrap();
        assert_eq!(sample(&cgroup, &proc), None, "it has ended meanwhile");
    }
}
