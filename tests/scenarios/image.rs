//! The image that is given to others, run by a real containerd with exactly the rights of the deployed
//! DaemonSet: it sees the whole node, and says what is missing when a right is taken away.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Folder, Metrics, get};
use pidwatch_tests::cgroup::{Cgroup, Layout};
use pidwatch_tests::containerd::{Containerd, RunningPod};
use pidwatch_tests::cri_container::{Config, Security, SecurityProfile};
use pidwatch_tests::env::Env;
use pidwatch_tests::fake_runtime::uid;
use pidwatch_tests::load::Load;
use pidwatch_tests::manifest::{Manifest, Node};
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

/// What `cargo xtask dist` made.
fn archive() -> Option<PathBuf> {
    std::env::var_os("PIDWATCH_IMAGE").map(PathBuf::from)
}

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // What a capability, a profile and a mount let through is the kernel's to say.
        scenario!(
            KERNELS,
            with_the_chart_s_rights_it_counts_the_node_and_names_containers
        )
        .slow()
        .minutes(10),
        scenario!(KERNELS, with_its_own_seccomp_profile_it_does_the_same)
            .slow()
            .minutes(10),
        scenario!(
            KERNELS,
            without_one_of_the_chart_s_capabilities_it_says_which
        )
        .slow()
        .minutes(10),
        scenario!(KERNELS, on_5_10_it_names_the_limit_on_locked_memory)
            .before((5, 11))
            .minutes(10),
        // A setting of the whole machine. Guests with v2 have a container runtime.
        scenario!(
            GUESTS,
            from_7_0_classic_tracepoints_want_perf_event_paranoid_2
        )
        .since((7, 0))
        .with(Layout::V2)
        .minutes(10),
        scenario!(HOST, without_a_mount_of_the_chart_s_it_says_which),
    ]
}

/// Before 5.11 BPF memory is charged to RLIMIT_MEMLOCK, and the chart's `capabilities.sysResource` is
/// what it is for.
fn needs_memlock(env: &Env) -> bool {
    env.kernel < (5, 11)
}

/// The chart's capabilities as this kernel needs them.
fn with_what_the_kernel_forces(env: &Env, config: &mut Config) {
    if needs_memlock(env) {
        let capabilities = security(config).capabilities.get_or_insert_default();
        capabilities.add.push("SYS_RESOURCE".to_owned());
    }
}

/// An emulated guest is slow.
fn wait(env: &Env, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let patience = Duration::from_secs(if env.guest { 240 } else { 60 });
    let until = Instant::now() + patience;
    while !is_so()? {
        ensure!(Instant::now() < until, "not so within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// include/uapi/linux/capability.h
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
const IMAGE: &str = "localhost/pidwatch";
const MANIFEST: &str = include_str!("../../deploy/kubernetes/pidwatch.yaml");
const SECCOMP: &str = include_str!("../../deploy/chart/files/seccomp.json");

/// A node with the image on it, and what the DaemonSet's volumes are there.
struct Deployed {
    containerd: Containerd,
    tracefs: Tracefs,
    state: Folder,
    image: String,
}

impl Deployed {
    fn new(env: &Env) -> Result<Self> {
        let archive = archive().context(
            "PIDWATCH_IMAGE is not set: make the image by `cargo xtask dist` and name it there",
        )?;
        // Before containerd, whose mounts are a copy.
        let tracefs = Tracefs::mount()?;
        let containerd = Containerd::start_on_a_node(env)?;
        containerd.import(&archive, IMAGE)?;
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let version = name
            .strip_prefix("pidwatch-")
            .and_then(|rest| rest.strip_suffix(".oci.tar"))
            .with_context(|| format!("{name} has no version"))?;
        Ok(Self {
            containerd,
            tracefs,
            state: Folder::new("deployed-state")?,
            image: format!("{IMAGE}:{version}"),
        })
    }

    /// What the kubelet would ask for, changed by `change`.
    fn run(&self, label: u8, change: impl FnOnce(&mut Config)) -> Result<Running<'_>> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(MANIFEST)?;
        let daemon_set = documents
            .iter()
            .find(|object| object["kind"] == "DaemonSet")
            .context("no DaemonSet")?;
        let manifest = Manifest::new(daemon_set);
        let folders = [
            ("cri", self.containerd.folder()),
            ("state", self.state.path()),
            ("tracefs", self.tracefs.0.path()),
        ];
        let mut config = manifest.container(&Node {
            folders: &folders,
            image: &self.image,
        })?;
        change(&mut config);
        let uid = uid(label.into());
        let pod = self
            .containerd
            .pod_with(&format!("pidwatch-{label}"), &uid, manifest.pid())?;
        let log = config.log.clone();
        let id = pod.run_as(config)?;
        let cgroup = self.containerd.directory(&pod.path_of(&id));
        Ok(Running { pod, log, cgroup })
    }
}

/// An agent in its pod.
struct Running<'a> {
    pod: RunningPod<'a>,
    log: String,
    cgroup: PathBuf,
}

impl Running<'_> {
    fn printed(&self) -> String {
        self.pod.printed(&self.log)
    }

    /// Where it listens, once it does.
    fn address(&self, env: &Env) -> Result<SocketAddr> {
        let word = "listening on http://";
        self.says(env, &[word])?;
        let printed = self.printed();
        let address = printed
            .split_once(word)
            .and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(address.context("no address")?.parse()?)
    }

    /// What the kernel says of the agent's process.
    fn status(&self) -> Result<String> {
        let processes = fs::read_to_string(self.cgroup.join("cgroup.procs"))?;
        let process = processes.lines().next().context("nobody there")?;
        Ok(fs::read_to_string(format!("/proc/{process}/status"))?)
    }

    /// Waits until it has printed all of these words.
    fn says(&self, env: &Env, words: &[&str]) -> Result<()> {
        wait(env, &format!("it says {words:?}"), || {
            let printed = self.printed();
            Ok(words.iter().all(|word| printed.contains(word)))
        })
        .with_context(|| self.printed())
    }
}

/// Mounted for a scenario, as it is on every node with systemd.
struct Tracefs(Folder);

impl Tracefs {
    fn mount() -> Result<Self> {
        let folder = Folder::new("tracefs")?;
        mount_tracefs(folder.path())?;
        Ok(Self(folder))
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        let _ = run("umount", &["-l".as_ref(), self.0.path().as_os_str()]);
    }
}

fn mount_tracefs(folder: &Path) -> Result<()> {
    let tracefs: [&std::ffi::OsStr; 3] = ["-t".as_ref(), "tracefs".as_ref(), "none".as_ref()];
    run("mount", &[&tracefs[..], &[folder.as_os_str()]].concat())
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let status = std::process::Command::new(program)
        .args(arguments)
        .status()?;
    ensure!(status.success(), "{program} {arguments:?}: {status}");
    Ok(())
}

fn security(config: &mut Config) -> &mut Security {
    let linux = config.linux.get_or_insert_default();
    linux.security.get_or_insert_default()
}

fn with_the_chart_s_rights_it_counts_the_node_and_names_containers(env: &Env) -> Result<()> {
    counts_and_names(env, &Deployed::new(env)?, |config| {
        with_what_the_kernel_forces(env, config);
    })
}

/// Which lets nothing start a process, so that nothing that breaks in can either.
fn with_its_own_seccomp_profile_it_does_the_same(env: &Env) -> Result<()> {
    let deployed = Deployed::new(env)?;
    let file = deployed.containerd.folder().join("seccomp.json");
    fs::write(&file, SECCOMP)?;
    counts_and_names(env, &deployed, |config| {
        with_what_the_kernel_forces(env, config);
        security(config).seccomp = Some(SecurityProfile {
            kind: 2,
            file: file.display().to_string(),
        });
    })
}

fn counts_and_names(
    env: &Env,
    deployed: &Deployed,
    change: impl FnOnce(&mut Config),
) -> Result<()> {
    let agent = deployed.run(1, change)?;
    let address = agent.address(env)?;
    wait(env, "ready", || {
        Ok(get(address, "/readyz", "").is_ok_and(|answer| answer.status == 200))
    })
    .with_context(|| agent.printed())?;
    assert_eq!(get(address, "/healthz", "")?.status, 200);

    // The chart's rights, and nothing beyond.
    let status = agent.status()?;
    let mut rights = (1u64 << CAP_BPF) | (1 << CAP_PERFMON);
    if needs_memlock(env) {
        rights |= 1 << CAP_SYS_RESOURCE;
    }
    for line in [
        format!("CapEff:\t{rights:016x}"),
        format!("CapBnd:\t{rights:016x}"),
        "NoNewPrivs:\t1".to_owned(),
        // A filter.
        "Seccomp:\t2".to_owned(),
        "Threads:\t1".to_owned(),
    ] {
        assert!(status.contains(&line), "{line} is not in {status}");
    }

    // A cgroup of the host that is no container, to the last task.
    let cgroup = Cgroup::new(&env.hierarchy, "beside")?;
    let truth = Load::new(env, "forks")
        .with("count", 300)
        .inside(&cgroup)
        .run()?;
    let metrics = || -> Result<Metrics> {
        let answer = get(address, "/metrics", "text/plain;version=0.0.4")?;
        Ok(Metrics(answer.body))
    };
    let created = truth.here.created.processes as f64;
    let kind = "kind=\"process\"";
    wait(env, "every task of the host is counted", || {
        let all = metrics()?;
        let exited = all.of("pidwatch_container_exited_total", &cgroup.path, kind);
        Ok(exited == Some(truth.here.exited.processes as f64))
    })?;
    let counted = metrics()?.of("pidwatch_container_created_total", &cgroup.path, kind);
    assert_eq!(counted, Some(created));

    // A container of another pod, by the names that its runtime has.
    let pod = deployed.containerd.pod("web-7f9c", &uid(2))?;
    let many = "i=0; while [ $i -lt 40 ]; do /bin/true; i=$((i+1)); done; sleep 1000";
    let (_, path) = pod.run("app", &["/bin/sh", "-c", many])?;
    let names = "namespace=\"shop\",pod=\"web-7f9c\",container=\"app\"";
    wait(env, "the container is counted by its names", || {
        let parts = [&*format!("id=\"{path}\""), names, kind];
        let created = metrics()?.value("pidwatch_container_created_total", &parts);
        Ok(created >= Some(40.0))
    })
    .with_context(|| agent.printed())?;

    // The node's limit, as the host has it and not the agent's own namespace.
    let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max")?;
    let told = metrics()?.value("pidwatch_node_limit", &["kernel.pid_max"]);
    assert_eq!(told, Some(pid_max.trim().parse()?));
    for line in agent.printed().lines() {
        println!("    {line}");
    }
    for probe in [
        "task_newtask",
        "sched_process_exit",
        "sched_process_free",
        "kernel_clone",
    ] {
        let part = format!("probe=\"{probe}\"");
        let attached = metrics()?.value("pidwatch_probe_attached", &[&part, "} 1"]);
        assert_eq!(attached, Some(1.0), "{probe}");
    }
    Ok(())
}

fn without_one_of_the_chart_s_capabilities_it_says_which(env: &Env) -> Result<()> {
    let deployed = Deployed::new(env)?;
    for (label, capability) in [(1, "BPF"), (2, "PERFMON")] {
        let agent = deployed.run(label, |config| {
            let capabilities = security(config).capabilities.get_or_insert_default();
            let before = capabilities.add.len();
            capabilities.add.retain(|name| name != capability);
            assert_eq!(capabilities.add.len() + 1, before, "{capability}");
        })?;
        agent.says(
            env,
            &[
                "needs CAP_BPF and CAP_PERFMON",
                &format!("missing: CAP_{capability}"),
            ],
        )?;
        println!("    {}", agent.printed());
    }
    Ok(())
}

fn on_5_10_it_names_the_limit_on_locked_memory(env: &Env) -> Result<()> {
    let deployed = Deployed::new(env)?;
    let agent = deployed.run(1, |_| {})?;
    agent.says(env, &["RLIMIT_MEMLOCK"])?;
    println!("    {}", agent.printed());
    assert!(!agent.printed().contains("setrlimit("), "said twice");
    Ok(())
}

/// Debian's kernels have a level 3 by default, at which CAP_PERFMON does not suffice for classic
/// tracepoints. BTF tracepoints, which then stand in, may be skipped from 7.0 on (told as lost).
fn from_7_0_classic_tracepoints_want_perf_event_paranoid_2(env: &Env) -> Result<()> {
    const SETTING: &str = "/proc/sys/kernel/perf_event_paranoid";
    let before = fs::read_to_string(SETTING)?;
    let deployed = Deployed::new(env)?;
    fs::write(SETTING, "3")?;
    let refused = deployed.run(1, |_| {})?;
    let outcome = refused.says(env, &["sysctl kernel.perf_event_paranoid=2"]);
    fs::write(SETTING, "2")?;
    outcome?;
    let agent = deployed.run(2, |_| {})?;
    let started = "\"type\":\"started\"";
    let outcome = agent.says(env, &[started]);
    fs::write(SETTING, before.trim())?;
    outcome?;
    println!("    {}", agent.printed());
    for probe in ["task_newtask", "sched_process_exit", "kernel_clone"] {
        let attached = format!("\"name\":\"{probe}\",\"mechanism\":\"tracepoint\"");
        assert!(agent.printed().contains(&attached), "{probe}");
    }
    // tracefs is read-only: no return probe was made.
    assert!(!agent.printed().contains("return probe kernel_clone"));
    Ok(())
}

fn without_a_mount_of_the_chart_s_it_says_which(env: &Env) -> Result<()> {
    let deployed = Deployed::new(env)?;
    for (label, mount, words) in [
        (1, "/host/proc", &["/host/proc"][..]),
        (2, "/host/sys/fs/cgroup", &["cgroup", "--cgroup-root"]),
        (
            3,
            "/sys/kernel/tracing",
            &["tracefs", "/sys/kernel/tracing"],
        ),
        (4, "/host/cri", &["/host/cri/containerd.sock"]),
    ] {
        let agent = deployed.run(label, |config| {
            let before = config.mounts.len();
            config.mounts.retain(|known| known.container_path != mount);
            assert_eq!(config.mounts.len() + 1, before, "{mount}");
        })?;
        agent.says(env, words)?;
        println!("    {mount}: {}", agent.printed());
    }
    Ok(())
}
