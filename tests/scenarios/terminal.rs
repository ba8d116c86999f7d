//! `pidwatch top` on a real terminal: what it shows, that it hears keys, and that the terminal is as
//! before when it ends.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::Folder;
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::tmux::Tmux;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, without_a_terminal_top_names_trace),
        scenario!(HOST, top_shows_the_node_and_hears_every_key),
        scenario!(HOST, the_culprit_and_the_victim_are_on_the_first_screen)
            .slow()
            .minutes(4),
        scenario!(HOST, the_terminal_is_given_back_on_signals),
        scenario!(HOST, the_terminal_is_given_to_the_shell_and_taken_again),
        scenario!(HOST, a_key_brakes_and_releases_an_owner),
        scenario!(HOST, a_recording_is_paused_and_moved_in).slow(),
        scenario!(HOST, keys_are_heard_while_a_storm_runs),
    ]
}

/// A terminal with `pidwatch top` on it.
fn top(env: &Env, (columns, rows): (u16, u16), arguments: &str) -> Result<Tmux> {
    let tmux = Tmux::start(columns, rows)?;
    let pidwatch = env.pidwatch.display();
    tmux.command(&format!("{pidwatch} top {arguments}; echo ended with $?"))?;
    Ok(tmux)
}

/// The shell has the terminal as it was.
fn assert_given_back(tmux: &Tmux) -> Result<()> {
    for (flag, expected) in [
        ("alternate_on", "0"),
        ("cursor_flag", "1"),
        ("mouse_any_flag", "0"),
    ] {
        assert_eq!(tmux.flag(flag)?, expected, "{flag}");
    }
    tmux.command("stty -a")?;
    let screen = tmux.wait_until("what stty says", |screen| screen.contains("echoke"))?;
    for word in [" icanon", " echo ", " isig", " opost", " icrnl"] {
        let is_on = screen.replace('\n', " ").contains(word);
        ensure!(is_on, "{word} is not on:\n{screen}");
    }
    Ok(())
}

fn without_a_terminal_top_names_trace(env: &Env) -> Result<()> {
    let ended = Invocation::new(env).args(["top"]).finish()?;
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("pidwatch trace"), "{}", ended.stderr);
    assert_eq!(ended.stdout, b"");
    Ok(())
}

fn top_shows_the_node_and_hears_every_key(env: &Env) -> Result<()> {
    // Something to fold: a machine may have no cgroup below the root.
    let below = Cgroup::new(&env.hierarchy, "below")?;
    let mut load = Load::new(env, "hold")
        .with("processes", 1)
        .inside(&below)
        .start()?;
    load.ready()?;
    // Bare, it is `top` on a terminal.
    let tmux = Tmux::start(80, 24)?;
    tmux.command(&format!("{}; echo ended with $?", env.pidwatch.display()))?;
    let screen = tmux.wait_until("owners", |screen| {
        screen.contains("OWNER") && screen.contains("kernel.pid_max") && screen.contains("live")
    })?;
    println!("{screen}");
    ensure!(
        !screen.contains("THREADS"),
        "there is no room for it:\n{screen}"
    );
    tmux.keys(&["2"])?;
    tmux.wait("then what happened")?;
    tmux.keys(&["3"])?;
    let screen = tmux.wait_until("limits", |screen| screen.contains("kernel.threads-max"))?;
    println!("{screen}");
    tmux.keys(&["?"])?;
    tmux.wait("Everywhere")?;
    // A lone Escape is told from the beginning of a sequence.
    tmux.keys(&["Escape"])?;
    tmux.wait_until("no help", |screen| !screen.contains("Everywhere"))?;
    tmux.keys(&["1"])?;
    tmux.wait("OWNER")?;
    tmux.keys(&["/"])?;
    tmux.wait("filter:")?;
    tmux.keys(&["n", "o", "s", "u", "c", "h"])?;
    tmux.wait("no owner's name has the filter in it")?;
    tmux.keys(&["Escape"])?;
    tmux.wait_until("owners again", |screen| !screen.contains("has the filter"))?;
    tmux.keys(&["t"])?;
    tmux.wait("OWNER tree")?;
    tmux.keys(&["+"])?;
    tmux.wait("▸ /")?;
    tmux.keys(&["+", "t", "p"])?;
    tmux.wait("PAUSED")?;
    tmux.keys(&["p", "Enter"])?;
    tmux.wait("Limits above it")?;
    tmux.keys(&["Escape"])?;
    tmux.resize(200, 60)?;
    tmux.wait_until("more columns", |screen| {
        screen.contains("THREADS") && screen.lines().count() == 60
    })?;
    // The title of the tasks, by the mouse.
    let screen = tmux.screen()?;
    let header = screen.lines().position(|line| line.contains("THREADS"));
    let row = header.context("no header")? + 1;
    let line = screen.lines().nth(row - 1).context("no header")?;
    let before = line.split("TASKS").next().context("no tasks")?;
    let column = before.chars().count() + 2;
    tmux.bytes(format!("\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m").as_bytes())?;
    tmux.wait("TASKS▼")?;
    tmux.keys(&["q"])?;
    tmux.wait("ended with 0")?;
    assert_given_back(&tmux)
}

fn the_culprit_and_the_victim_are_on_the_first_screen(env: &Env) -> Result<()> {
    const LIMIT: u64 = 1_200;
    let parent = Cgroup::new(&env.hierarchy, "top")?;
    parent.set("pids.max", &LIMIT.to_string())?;
    let (cart, web) = (parent.child("cart")?, parent.child("web")?);
    let tmux = top(env, (80, 24), &format!("--cgroup '{}*'", parent.path))?;
    tmux.wait("OWNER")?;
    let _web = Load::new(env, "pace")
        .with("per-second", 30)
        .inside(&web)
        .start()?;
    let leak = Load::new(env, "leak")
        .with("per-second", 45)
        .inside(&cart)
        .start()?;
    let screen = tmux.wait_until("the leak", |screen| screen.contains("LEAK "))?;
    println!("{screen}");
    let screen = tmux.wait_until("the victim", |screen| {
        screen.contains("VICTIM ") && screen.contains("FULL, ")
    })?;
    println!("{screen}");
    let line = |word: &str| screen.lines().position(|line| line.starts_with(word));
    let (leaks, suffers) = (line("LEAK").or(line("CULPRIT")), line("VICTIM"));
    ensure!(
        leaks.is_some() && leaks < suffers,
        "the culprit is first:\n{screen}"
    );
    ensure!(screen.contains(" INCIDENT  pids.max of "), "{screen}");
    let of_line = |at: Option<usize>| at.and_then(|at| screen.lines().nth(at));
    ensure!(
        of_line(leaks).is_some_and(|line| line.contains("cart")),
        "{screen}"
    );
    ensure!(
        of_line(suffers).is_some_and(|line| line.contains("web")),
        "{screen}"
    );
    tmux.keys(&["Enter"])?;
    let screen = tmux.wait("Refused, the latest first")?;
    ensure!(screen.contains("pids.max"), "{screen}");
    println!("{screen}");
    // The report of what is seen.
    save_report(&tmux)?;
    drop(leak);
    Ok(())
}

/// Writes the report of the incident, where the terminal's shell is.
fn save_report(tmux: &Tmux) -> Result<()> {
    tmux.keys(&["2"])?;
    tmux.wait("INCIDENT")?;
    tmux.keys(&["w"])?;
    let screen = tmux.wait("the report is in ")?;
    let file = screen
        .split("the report is in ")
        .nth(1)
        .context("no name")?;
    let file = Path::new(&tmux.flag("pane_current_path")?).join(file.trim());
    let report = fs::read_to_string(&file)?;
    fs::remove_file(&file)?;
    ensure!(
        report.contains("cart") && report.contains("pids.max"),
        "{report}"
    );
    Ok(())
}

fn the_terminal_is_given_back_on_signals(env: &Env) -> Result<()> {
    for signal in ["TERM", "HUP", "INT"] {
        let tmux = top(env, (80, 24), "")?;
        tmux.wait("kernel.pid_max")?;
        assert_eq!(tmux.flag("alternate_on")?, "1");
        let shell = tmux.flag("pane_pid")?;
        let path = format!("/proc/{shell}/task/{shell}/children");
        let children = fs::read_to_string(path)?;
        let child = children.split_whitespace().next().context("no child")?;
        let child: libc::pid_t = child.parse()?;
        let number = match signal {
            "TERM" => libc::SIGTERM,
            "HUP" => libc::SIGHUP,
            _ => libc::SIGINT,
        };
        // SAFETY: kill has no preconditions; the child is the shell's and not reaped before it ends.
        unsafe { libc::kill(child, number) };
        tmux.wait("ended with 0")
            .with_context(|| format!("after SIG{signal}"))?;
        assert_given_back(&tmux)?;
    }
    Ok(())
}

fn the_terminal_is_given_to_the_shell_and_taken_again(env: &Env) -> Result<()> {
    let tmux = Tmux::start(80, 24)?;
    tmux.command(&format!("{} top", env.pidwatch.display()))?;
    tmux.wait("OWNER")?;
    for _ in 0..2 {
        tmux.keys(&["C-z"])?;
        tmux.wait_until("the shell", |screen| {
            screen.contains("Stopped") && !screen.contains("OWNER")
        })?;
        assert_given_back(&tmux)?;
        tmux.command("clear; fg")?;
        tmux.wait("OWNER")?;
        assert_eq!(tmux.flag("alternate_on")?, "1");
        // It draws and hears as before.
        tmux.keys(&["?"])?;
        tmux.wait("Everywhere")?;
        tmux.keys(&["?"])?;
        tmux.wait("OWNER")?;
    }
    tmux.keys(&["q"])?;
    tmux.wait_until("the shell", |screen| !screen.contains("OWNER"))?;
    assert_given_back(&tmux)
}

fn a_recording_is_paused_and_moved_in(env: &Env) -> Result<()> {
    let parent = Cgroup::new(&env.hierarchy, "rec")?;
    let file = std::env::temp_dir().join(format!("pidwatch-top-{}.pidwatch", std::process::id()));
    let shown = file.display().to_string();
    let recorder = Invocation::new(env).args(["record", &shown, "--duration", "6s"]);
    std::thread::scope(|scope| {
        let recorder = scope.spawn(|| recorder.finish());
        Load::new(env, "forks")
            .with("count", 200)
            .inside(&parent)
            .run()?;
        let recorder = recorder.join().ok().context("the recorder panicked")??;
        ensure!(recorder.status.success(), "{}", recorder.stderr);
        anyhow::Ok(())
    })?;
    let outcome = move_in(env, &shown);
    fs::remove_file(&file)?;
    outcome
}

fn move_in(env: &Env, file: &str) -> Result<()> {
    let tmux = top(env, (100, 30), &format!("--speed 100 {file}"))?;
    // It stops at the end by itself.
    let screen = tmux.wait("PAUSED")?;
    println!("{screen}");
    let place = |screen: &str| {
        let bar = screen.lines().nth(1).unwrap_or_default();
        bar.chars().filter(|&c| c == '█').count()
    };
    let at_end = place(&screen);
    tmux.keys(&["Left"])?;
    tmux.wait_until("its beginning", |screen| place(screen) < at_end)?;
    tmux.keys(&["3"])?;
    tmux.wait("not known here")?;
    tmux.keys(&["q"])?;
    tmux.wait("ended with 0")?;
    Ok(())
}

/// Told is how long a key takes to be seen, tmux included; it fails on no figure.
fn keys_are_heard_while_a_storm_runs(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "storm")?;
    let tmux = top(env, (80, 24), "")?;
    tmux.wait("OWNER")?;
    let load = Load::new(env, "pace").with("per-second", 5_000);
    let _load = load.inside(&cgroup).start()?;
    tmux.wait_until("the storm", |screen| {
        screen.lines().any(|line| line.starts_with("storm "))
    })?;
    let mut took: Vec<Duration> = Vec::new();
    for i in 0..20 {
        let (key, shown) = [("?", "Everywhere"), ("?", "OWNER")][i % 2];
        let began = Instant::now();
        tmux.keys(&[key])?;
        loop {
            if tmux.screen()?.contains(shown) {
                break;
            }
            ensure!(began.elapsed() < Duration::from_secs(30), "no {shown}");
        }
        took.push(began.elapsed());
    }
    took.sort();
    let idle = Instant::now();
    tmux.screen()?;
    println!(
        "    key to screen: median {:?}, most {:?}, of which one look takes {:?}",
        took[took.len() / 2],
        took[took.len() - 1],
        idle.elapsed()
    );
    Ok(())
}

fn a_key_brakes_and_releases_an_owner(env: &Env) -> Result<()> {
    let slice = Cgroup::new(&env.hierarchy, "keys.slice")?;
    let unit = slice.child(format!("key-{}.service", std::process::id()))?;
    let load = Load::new(env, "hold").with("processes", 3);
    let mut load = load.inside(&unit).start()?;
    load.ready()?;
    let held = unit.read("pids.current")?.to_string();
    let folder = Folder::new("keys")?;
    let leases = folder.path().join("run/brakes");
    let limit = || -> Result<String> {
        let text = fs::read_to_string(unit.directory.join("pids.max"))?;
        Ok(text.trim().to_owned())
    };
    let arguments = format!(
        "--cri-socket none --lease-dir {} --cgroup '{}'",
        leases.display(),
        unit.path
    );
    let tmux = top(env, (80, 24), &arguments)?;
    tmux.wait("OWNER (1)")?;
    tmux.keys(&["b"])?;
    let screen = tmux.wait("y: brake it")?;
    println!("{screen}");
    // Any other key leaves it alone.
    tmux.keys(&["n"])?;
    tmux.wait_until("no question", |screen| !screen.contains("y: brake it"))?;
    assert_eq!(limit()?, "max");
    tmux.keys(&["b"])?;
    tmux.wait("y: brake it")?;
    tmux.keys(&["y"])?;
    tmux.wait("is braked")?;
    assert_eq!(limit()?, held);
    tmux.keys(&["Enter", "b"])?;
    let screen = tmux.wait("y: release it")?;
    println!("{screen}");
    tmux.keys(&["y"])?;
    tmux.wait("is released")?;
    assert_eq!(limit()?, "max");
    // It outlives the screen.
    tmux.keys(&["b"])?;
    tmux.wait("y: brake it")?;
    tmux.keys(&["y"])?;
    tmux.wait("is braked")?;
    tmux.keys(&["q"])?;
    tmux.wait("ended with 0")?;
    assert_eq!(limit()?, held);
    let release = Invocation::new(env).args(["release", "--all", "--lease-dir"]);
    let released = release.args([&leases]).finish()?;
    ensure!(released.status.success(), "{released:?}");
    assert_eq!(limit()?, "max");
    load.finish()?;
    Ok(())
}
