//! The agent's bad days: ports that are taken, folders that cannot be used, readers that do not read,
//! and its own end in the midst of a storm. What it cannot do it says, and watches on.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pidwatch_tests::agent::{Agent, Folder, eventually, get};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::deadline::Process;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::surroundings;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // A second set of programs on the same hooks, and a first whose end nobody prepared.
        scenario!(KERNELS, two_agents_watch_one_node),
        scenario!(KERNELS, killed_in_a_storm_it_starts_again_and_is_right).slow(),
        scenario!(HOST, a_thousand_connections_disturb_no_count).slow(),
        scenario!(HOST, it_creates_no_task_whatever_is_asked),
        scenario!(HOST, an_incident_is_reported_and_survives_a_restart),
        scenario!(HOST, a_port_that_is_taken_is_named_with_the_way_out),
        scenario!(HOST, without_a_state_folder_it_says_so_and_goes_on),
        scenario!(HOST, a_state_folder_that_is_read_only_is_named),
        scenario!(HOST, the_state_folder_is_closed_to_other_users),
        scenario!(HOST, a_limit_of_descriptors_is_raised_or_named),
        scenario!(HOST, a_full_disk_ends_the_recording_and_nothing_else).slow(),
        scenario!(HOST, a_state_file_that_is_broken_keeps_nobody_from_starting),
        scenario!(HOST, a_log_that_nobody_reads_holds_up_nothing),
        scenario!(HOST, readers_of_events_that_do_not_read_disturb_no_count),
    ]
}

const CREATED: &str = "pidwatch_container_created_total";
const LISTEN: [&str; 5] = ["agent", "--listen", "127.0.0.1:0", "--cri-socket", "none"];

fn a_port_that_is_taken_is_named_with_the_way_out(env: &Env) -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let refused = |listen: &str| {
        Invocation::new(env)
            .args(["agent", "--listen", listen, "--state-dir", "/proc/none"])
            .finish()
    };
    refused(&address)?.assert_refused(1, &[&address, "--listen", "in use"]);
    refused("192.0.2.1:9757")?.assert_refused(1, &["192.0.2.1:9757", "--listen"]);
    refused("somewhere:9757")?.assert_refused(2, &["--listen", "somewhere"]);
    refused("127.0.0.1")?.assert_refused(2, &["--listen"]);
    Ok(())
}

fn two_agents_watch_one_node(env: &Env) -> Result<()> {
    let folder = Folder::new("two")?;
    let first = Agent::start(env, folder.path(), &[])?;
    let second = Agent::start(env, folder.path(), &[])?;
    let said = second.pidwatch.said();
    assert!(said.contains("another agent uses it"), "{said}");
    first.assert_counts(env)?;
    second.assert_counts(env)?;
    second.pidwatch.stop()?;
    first.assert_counts(env)?;
    first.pidwatch.stop()?;
    Ok(())
}

fn without_a_state_folder_it_says_so_and_goes_on(env: &Env) -> Result<()> {
    let agent = Agent::start(env, "/proc/none".as_ref(), &[])?;
    let said = agent.pidwatch.said();
    println!("    said: {}", said.trim_end());
    for word in ["/proc/none", "--state-dir", "flight recorder"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    agent.assert_counts(env)?;
    let report = agent.get("/api/v1/incidents/x/report", "")?;
    assert_eq!(report.status, 404);
    assert!(report.body.contains("--flight-recorder"), "{report:?}");
    agent.pidwatch.stop()?;
    Ok(())
}

fn a_state_folder_that_is_read_only_is_named(env: &Env) -> Result<()> {
    let pidwatch = Invocation::new(env)
        .args(LISTEN)
        .args([
            "--window",
            "200ms",
            "--state-dir",
            surroundings::READ_ONLY_DISK,
        ])
        .within(surroundings::with_a_read_only_disk)
        .start()?;
    let agent = Agent::of(pidwatch)?;
    let said = agent.pidwatch.said();
    println!("    said: {}", said.trim_end());
    for word in [
        surroundings::READ_ONLY_DISK,
        "Read-only file system",
        "--state-dir",
    ] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn the_state_folder_is_closed_to_other_users(env: &Env) -> Result<()> {
    let folder = Folder::new("private")?;
    let mode =
        |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    // A link in place of the state file would make root write elsewhere.
    let target = folder.path().join("target");
    fs::write(&target, "before")?;
    fs::write(folder.path().join("lock"), "")?;
    symlink(&target, folder.path().join("state.json"))?;
    let agent = Agent::start(env, folder.path(), &["--window", "200ms"])?;
    let said = agent.pidwatch.said();
    assert!(said.contains("state.json.unusable"), "{said}");
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    assert_eq!(mode(folder.path())?, 0o700);
    assert_eq!(fs::read_to_string(&target)?, "before");
    let mut recorded = 0;
    for entry in fs::read_dir(folder.path())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("flight-") || name == "lock" {
            recorded += 1;
            assert_eq!(mode(&path)?, 0o600, "{name}");
        }
    }
    assert!(recorded >= 2, "{recorded}");
    Ok(())
}

fn a_limit_of_descriptors_is_raised_or_named(env: &Env) -> Result<()> {
    let folder = Folder::new("descriptors")?;
    let invocation = || {
        let state = ["--state-dir".as_ref(), folder.path().as_os_str()];
        Invocation::new(env).args(LISTEN).args(state)
    };
    let refused = invocation().within(surroundings::with_few_descriptors);
    refused
        .finish()?
        .assert_refused(1, &["512", "64", "LimitNOFILE"]);
    let raised = invocation().within(surroundings::with_a_low_soft_limit_of_descriptors);
    let agent = Agent::of(raised.args(["--window", "200ms"]).start()?)?;
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn a_full_disk_ends_the_recording_and_nothing_else(env: &Env) -> Result<()> {
    let pidwatch = Invocation::new(env)
        .args(LISTEN)
        .args(["--window", "200ms", "--state-dir", surroundings::SMALL_DISK])
        .within(surroundings::with_a_small_disk)
        .start()?;
    let agent = Agent::of(pidwatch)?;
    let lost = ["where=\"flight_recorder\""];
    eventually("the loss is counted", || {
        // Something to record.
        agent.assert_counts(env)?;
        Ok(agent.metrics()?.value("pidwatch_lost_total", &lost) > Some(0.0))
    })?;
    let said = agent.pidwatch.said();
    println!("    said: {}", said.trim_end());
    let told = said.matches("the flight recorder cannot write").count();
    assert_eq!(told, 1, "once: {said}");
    assert!(said.contains("No space left"), "{said}");
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn a_state_file_that_is_broken_keeps_nobody_from_starting(env: &Env) -> Result<()> {
    let folder = Folder::new("broken")?;
    fs::write(folder.path().join("state.json"), "{\"pidwatch_")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let said = agent.pidwatch.said();
    assert!(said.contains("state.json.unusable"), "{said}");
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}

/// A pipe that is full from the beginning.
fn a_log_that_nobody_reads_holds_up_nothing(env: &Env) -> Result<()> {
    let folder = Folder::new("unread")?;
    let (unread, mut log) = std::io::pipe()?;
    let file = folder.path().join("stderr");
    // Filled by as much as any pipe has by default, less what the last page may lack.
    let filled = vec![b'\n'; 15 * 4096];
    log.write_all(&filled)?;
    let mut command = Command::new(&env.pidwatch);
    command
        .args(LISTEN)
        .args(["--window", "200ms"])
        .args(["--state-dir".as_ref(), folder.path().as_os_str()])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(fs::File::create(&file)?);
    let mut process = Process::start(&mut command)?;
    drop(command);
    let mut address = None;
    eventually("it listens", || {
        let said = fs::read_to_string(&file)?;
        let said = said.split_once("listening on http://");
        let said = said.and_then(|(_, rest)| rest.split_once('\n'));
        address = said.and_then(|(address, _)| address.parse().ok());
        Ok(address.is_some())
    })?;
    let address = address.context("no address")?;
    eventually("it is ready", || {
        Ok(get(address, "/readyz", "")?.status == 200)
    })?;
    // Each leak and its end are some lines; with room for a page, not all are taken.
    let cgroup = Cgroup::new(&env.hierarchy, "unread")?;
    cgroup.set("pids.max", "30")?;
    for _ in 0..5 {
        Load::new(env, "fail")
            .with("count", 50)
            .inside(&cgroup)
            .run()?;
    }
    eventually("an incident", || {
        Ok(get(address, "/api/v1/incidents", "")?
            .body
            .contains("pids.max"))
    })?;
    process.signal(libc::SIGTERM);
    let ended = process.wait()?;
    assert_eq!(ended.code(), Some(0));
    drop(unread);
    Ok(())
}

fn raise_files() -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives both calls.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(8192);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    anyhow::ensure!(done == 0, "cannot raise RLIMIT_NOFILE");
    Ok(())
}

fn a_thousand_connections_disturb_no_count(env: &Env) -> Result<()> {
    raise_files()?;
    let folder = Folder::new("connections")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let mut open = Vec::new();
    for n in 0..1_000 {
        let mut stream = agent.connect()?;
        if n % 2 == 0 {
            // Half a request; it may be refused already.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHo");
        }
        open.push(stream);
    }
    let files = fs::read_dir(format!("/proc/{}/fd", agent.pidwatch.id()))?.count();
    println!("    {files} files are open");
    assert!(files < 300, "{files} files are open");
    // Idle ones are closed after seconds.
    eventually("it answers", || {
        Ok(agent
            .get("/readyz", "")
            .is_ok_and(|answer| answer.status == 200))
    })?;
    agent.assert_counts(env)?;
    drop(open);
    agent.pidwatch.stop()?;
    Ok(())
}

fn readers_of_events_that_do_not_read_disturb_no_count(env: &Env) -> Result<()> {
    let folder = Folder::new("readers")?;
    let agent = Agent::start(env, folder.path(), &["--window", "100ms"])?;
    let mut readers = Vec::new();
    for _ in 0..16 {
        let mut stream = agent.connect()?;
        write!(
            stream,
            "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )?;
        readers.push(stream);
    }
    for _ in 0..5 {
        agent.assert_counts(env)?;
    }
    drop(readers);
    agent.pidwatch.stop()?;
    Ok(())
}

/// Asked twice: of `/proc`, and of the agent itself, which would see a task of its own be born.
fn it_creates_no_task_whatever_is_asked(env: &Env) -> Result<()> {
    let folder = Folder::new("tasks")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let pid = agent.pidwatch.id();
    let own = Cgroup::new(&env.hierarchy, "own")?;
    own.set("cgroup.procs", &pid.to_string())?;
    for path in [
        "/metrics",
        "/api/v1/snapshot",
        "/api/v1/incidents",
        "/api/v1/incidents/x/report",
        "/healthz",
        "/",
    ] {
        agent.get(path, "")?;
    }
    agent.assert_counts(env)?;
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    assert_eq!(tasks, 1);
    let metrics = agent.metrics()?;
    let created = |kind| metrics.of(CREATED, &own.path, kind);
    assert_eq!(created("process"), Some(0.0));
    assert_eq!(created("thread"), Some(0.0));
    agent.pidwatch.stop()?;
    Ok(())
}

fn killed_in_a_storm_it_starts_again_and_is_right(env: &Env) -> Result<()> {
    let folder = Folder::new("killed")?;
    let held = Cgroup::new(&env.hierarchy, "held")?;
    let mut hold = Load::new(env, "hold")
        .with("processes", 20)
        .with("threads", 10)
        .inside(&held)
        .start()?;
    hold.ready()?;
    let stormy = Cgroup::new(&env.hierarchy, "stormy")?;
    let storm = Load::new(env, "forks")
        .with("count", env.many() / 2)
        .inside(&stormy)
        .start()?;
    let agent = Agent::start(env, folder.path(), &[])?;
    agent.pidwatch.signal(libc::SIGKILL);
    drop(agent);
    let began = Instant::now();
    let agent = Agent::start(env, folder.path(), &[])?;
    let took = began.elapsed();
    println!("    ready again after {:.0} ms", took.as_secs_f64() * 1e3);
    let metrics = agent.metrics()?;
    let tasks = metrics.of("pidwatch_container_tasks", &held.path, "");
    assert_eq!(tasks, Some(held.read("pids.current")? as f64));
    let processes = metrics.of("pidwatch_container_processes", &held.path, "");
    assert_eq!(processes, Some(21.0));
    let created = metrics.of(CREATED, &held.path, "process");
    assert_eq!(created, Some(0.0), "counters begin at 0");
    storm.finish()?;
    hold.finish()?;
    agent.assert_counts(env)?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn an_incident_is_reported_and_survives_a_restart(env: &Env) -> Result<()> {
    let folder = Folder::new("incident")?;
    let cgroup = Cgroup::new(&env.hierarchy, "full")?;
    cgroup.set("pids.max", "40")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let mut load = Load::new(env, "fail")
        .with("count", 200)
        .flag("hold")
        .inside(&cgroup)
        .start()?;
    load.ready()?;
    let mut id = String::new();
    let find = |agent: &Agent| -> Result<Option<String>> {
        let incidents = agent.get("/api/v1/incidents", "")?.json()?;
        let open = incidents["open"].as_array().context("no list")?;
        let ours = open
            .iter()
            .find(|one| one["cgroup"] == cgroup.path.as_str());
        Ok(ours.and_then(|one| Some(one["id"].as_str()?.to_owned())))
    };
    eventually("an incident opens", || {
        id = find(&agent)?.unwrap_or_default();
        Ok(!id.is_empty())
    })?;
    eventually("the metrics count what is listed", || {
        let [open, closed] = agent.incidents("pids.max")?;
        let metrics = agent.metrics()?;
        let told = |name| metrics.value(name, &["limit=\"pids.max\""]);
        let all = (open.len() + closed.len()) as f64;
        let is_ours = |one: &&serde_json::Value| one["cgroup"] == cgroup.path.as_str();
        Ok(open.iter().filter(is_ours).count() == 1
            && told("pidwatch_incident_open") == Some(open.len() as f64)
            && told("pidwatch_incidents_total") == Some(all))
    })?;
    let metrics = agent.metrics()?;
    let refused = metrics.of("pidwatch_clone_failures_total", &cgroup.path, "pids_max");
    assert!(refused > Some(0.0), "{refused:?}");
    let path = format!("/api/v1/incidents/{id}/report");
    // It is told, and so recorded, within a second of its beginning.
    eventually("the incident is recorded", || {
        Ok(agent.get(&path, "")?.status == 200)
    })?;
    assert_reported(&agent, &path, &cgroup.path)?;

    std::thread::sleep(Duration::from_secs(3));
    agent.pidwatch.signal(libc::SIGKILL);
    drop(agent);
    let agent = Agent::start(env, folder.path(), &[])?;
    assert_eq!(find(&agent)?, Some(id), "the same incident");
    assert_reported(&agent, &path, &cgroup.path)?;
    load.finish()?;
    agent.pidwatch.stop()?;
    Ok(())
}

fn assert_reported(agent: &Agent, path: &str, cgroup: &str) -> Result<()> {
    for (accept, media, begin) in [
        ("", "text/markdown; charset=utf-8", "# "),
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8", "<!"),
        ("application/json", "application/json", "{"),
    ] {
        let report = agent.get(path, accept)?;
        assert_eq!(report.status, 200, "{report:?}");
        assert_eq!(report.header("content-type"), Some(media));
        assert!(report.body.starts_with(begin), "{}", report.body);
        assert!(
            report.body.contains(cgroup),
            "no {cgroup} in {}",
            report.body
        );
    }
    assert_eq!(agent.get(path, "image/png")?.status, 406);
    let none = agent.get("/api/v1/incidents/none/report", "")?;
    assert_eq!(none.status, 404, "{none:?}");
    Ok(())
}
