//! What `pidwatch check` takes on a loaded node, next to `ps -eLf`, which people reach for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::inputs::Programs;
use super::statistics::median;

const CGROUPS: usize = 1_000;
const PROCESSES: u64 = 30;
/// Of each process, besides its first.
const THREADS: u64 = 999;
const ROUNDS: usize = 5;

/// Measures and prints the table.
pub fn measure(programs: &Programs) -> Result<()> {
    println!("## check\n");
    println!(
        "{} threads in one cgroup, {CGROUPS} cgroups beside it; wall time, {ROUNDS} rounds in turn.\n",
        PROCESSES * (THREADS + 1)
    );
    let node = LoadedNode::new(programs)?;
    let check = || {
        let mut command = Command::new(&programs.pidwatch);
        command.args(["check", "-o", "json"]);
        command
    };
    let ps = || {
        let mut command = Command::new("ps");
        command.arg("-eLf");
        command
    };
    let (mut of_check, mut of_ps) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_check.push(seconds(&mut check())?);
        of_ps.push(seconds(&mut ps())?);
    }
    drop(node);
    println!("| | median |\n|---|---|");
    println!("| pidwatch check | {:.3} s |", median(of_check));
    println!("| ps -eLf | {:.3} s |\n", median(of_ps));
    Ok(())
}

fn seconds(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(began.elapsed().as_secs_f64())
}

/// Threads and cgroups, gone when dropped.
struct LoadedNode {
    root: PathBuf,
    load: Child,
    /// Kept open: it tells what it did at its end.
    told: BufReader<ChildStdout>,
}

impl LoadedNode {
    fn new(programs: &Programs) -> Result<Self> {
        // The pids controller's own hierarchy (v1, hybrid), else the one there is.
        let mount = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists())
            .context("no cgroup file system at /sys/fs/cgroup")?;
        let root = mount.join(format!("pidwatch-bench-{}", std::process::id()));
        fs::create_dir(&root)?;
        for i in 0..CGROUPS {
            fs::create_dir(root.join(i.to_string()))?;
        }
        let home = root.join("load");
        fs::create_dir(&home)?;
        let mut load = Command::new(&programs.load)
            .args(["hold", "--processes", &PROCESSES.to_string()])
            .args(["--threads", &THREADS.to_string(), "--cgroup"])
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the load")?;
        let told = BufReader::new(load.stdout.take().context("no standard output")?);
        let mut node = Self { root, load, told };
        let mut line = String::new();
        node.told.read_line(&mut line)?;
        ensure!(line.contains("ready"), "the load said {line:?}");
        Ok(node)
    }
}

impl Drop for LoadedNode {
    fn drop(&mut self) {
        // The end of its standard input ends it.
        drop(self.load.stdin.take());
        let _ = self.load.wait();
        if let Ok(cgroups) = fs::read_dir(&self.root) {
            for cgroup in cgroups.flatten().filter(|entry| entry.path().is_dir()) {
                let _ = fs::remove_dir(cgroup.path());
            }
        }
        if let Err(error) = fs::remove_dir(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}
