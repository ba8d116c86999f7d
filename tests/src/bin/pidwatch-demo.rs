//! The incident that pidwatch is for, played in small, with pidwatch watching.
//!
//! In a cgroup of its own with a limit, so that the machine stays usable: a container leaks threads,
//! one forks for each request, a third one's probe is refused when the limit is full. Afterwards the
//! report. Everything is taken away at the end, also on Ctrl-C.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::deadline::Process;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::{Load, Running};

/// Plays the incident in small.
#[derive(Parser)]
struct Arguments {
    /// Where the recording and the reports go
    #[arg(long)]
    folder: PathBuf,
    /// Arguments for pidwatch instead of `trace` of the demo's cgroups
    #[arg(last = true)]
    args: Vec<String>,
}

/// Tasks of the demo in all.
const LIMIT: u64 = 1500;
/// Threads a second that leak: the limit is full after half a minute.
const LEAK_PER_S: u64 = 45;
/// How long the full limit is to be seen.
const FULL: Duration = Duration::from_secs(10);
/// How long after that the incident is over.
const CALM: Duration = Duration::from_secs(10);
/// More than the leak takes.
const PATIENCE: Duration = Duration::from_mins(2);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let env = Env::detect()?;
    env.ensure_complete()?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, interrupt as *const () as libc::sighandler_t) };
    }
    fs::create_dir_all(&arguments.folder)?;
    let recording = arguments.folder.join("demo.pidwatch");
    for old in [recording.clone(), recording.with_extension("pidwatch.1")] {
        let _ = fs::remove_file(old);
    }
    play(&env, &arguments, &recording)?;
    if !INTERRUPTED.load(Ordering::Relaxed) {
        report(&env, &arguments.folder, &recording)?;
    }
    Ok(())
}

fn play(env: &Env, arguments: &Arguments, recording: &Path) -> Result<()> {
    let top = Cgroup::named(&env.hierarchy, "pidwatch-demo")?;
    top.set("pids.max", &LIMIT.to_string())?;
    let [cart, web, calico] = ["cart", "web", "calico-node"].map(|name| top.child(name));
    let (cart, web, calico) = (cart?, web?, calico?);

    let calm = format!("calm={}s", CALM.as_secs());
    let mut watching = Command::new(&env.pidwatch);
    if arguments.args.is_empty() {
        watching.args(["trace", "--cgroup", "/pidwatch-demo*", "--window", "5s"]);
        watching.args(["--detect", &calm]);
    } else {
        watching.args(&arguments.args);
    }
    let mut recorder = Command::new(&env.pidwatch);
    recorder
        .arg("record")
        .arg(recording)
        .args(["--detect", &calm]);
    recorder.stdout(Stdio::null());
    let mut recorder = Process::start(&mut recorder).context("cannot start pidwatch record")?;
    let mut watching = Process::start(&mut watching).context("cannot start pidwatch")?;
    sleep(Duration::from_secs(2));

    say("web forks for each of its 30 requests a second; calico-node is probed twice a second");
    let _web = load(env, "pace", 30, &web)?;
    let _probe = load(env, "pace", 2, &calico)?;
    sleep(Duration::from_secs(5));
    say("cart begins to leak 45 threads a second; all three may have 1,500 tasks together");
    let leak = load(env, "leak", LEAK_PER_S, &cart)?;
    let until = Instant::now() + PATIENCE;
    while top.read("pids.current")? < LIMIT && Instant::now() < until && !interrupted() {
        sleep(Duration::from_millis(200));
    }
    say("the limit is full: whoever forks now is refused");
    sleep(FULL);
    say("cart is restarted");
    drop(leak);
    sleep(CALM + Duration::from_secs(3));
    for process in [&mut watching, &mut recorder] {
        process.signal(libc::SIGINT);
        let status = process.wait()?;
        ensure!(
            status.success() || interrupted(),
            "pidwatch ended with {status}"
        );
    }
    Ok(())
}

fn load(env: &Env, name: &str, per_second: u64, cgroup: &Cgroup) -> Result<Running> {
    let load = Load::new(env, name).with("per-second", per_second);
    load.inside(cgroup).start()
}

fn report(env: &Env, folder: &Path, recording: &Path) -> Result<()> {
    for (format, name) in [("html", "report.html"), ("markdown", "report.md")] {
        let path = folder.join(name);
        let status = Command::new(&env.pidwatch)
            .args(["report", "--output", format])
            .arg(recording)
            .stdout(File::create(&path)?)
            .status()?;
        ensure!(status.success(), "pidwatch report ended with {status}");
        say(&format!("the report is {}", path.display()));
    }
    Ok(())
}

fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Until the time is over or Ctrl-C.
fn sleep(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !interrupted() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn say(what: &str) {
    if !interrupted() {
        eprintln!("demo: {what}");
    }
}
