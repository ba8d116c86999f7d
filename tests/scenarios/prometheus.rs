//! A real Prometheus scrapes a running agent, with the alert rules that are shipped.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use pidwatch_tests::agent::{Agent, Folder, eventually, get};
use pidwatch_tests::cgroup::Cgroup;
use pidwatch_tests::deadline::Process;
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use serde_json::Value;

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(HOST, prometheus_scrapes_the_agent_s_exact_counts),
        scenario!(HOST, a_restart_of_the_agent_is_a_reset_to_prometheus).slow(),
    ]
}

struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _folder: Folder,
}

impl Prometheus {
    /// Scrapes an agent every second.
    fn start(agent: SocketAddr) -> Result<Self> {
        let folder = Folder::new("prometheus")?;
        let rules: Vec<String> = rules(&deploy())
            .iter()
            .map(|path| format!("  - {}\n", path.display()))
            .collect();
        let mut configuration = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nscrape_configs:\n  - \
             job_name: pidwatch\n    static_configs:\n      - targets: ['{agent}']\n"
        );
        if !rules.is_empty() {
            configuration += &format!("rule_files:\n{}", rules.concat());
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration)?;
        // It takes no port 0.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let said = fs::File::create(folder.path().join("stderr"))?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        let process =
            Process::start(&mut command).context("cannot start prometheus (of that package)")?;
        let prometheus = Self {
            address,
            _process: process,
            _folder: folder,
        };
        eventually("Prometheus is ready", || {
            let answer = get(address, "/-/ready", "");
            Ok(answer.is_ok_and(|answer| answer.status == 200))
        })?;
        println!("    with {} files of rules", rules.len());
        Ok(prometheus)
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let answer = get(self.address, path, "")?.json()?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The values of an expression now.
    fn query(&self, expression: &str) -> Result<Vec<f64>> {
        let encoded: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let data = self.ask(&format!("/api/v1/query?query={encoded}"))?;
        let samples = data["result"].as_array().context("no result")?;
        let value = |sample: &Value| -> Result<f64> {
            Ok(sample["value"][1].as_str().context("no value")?.parse()?)
        };
        samples.iter().map(value).collect()
    }

    fn eventually(&self, expression: &str, expected: &[f64]) -> Result<()> {
        eventually(expression, || Ok(self.query(expression)? == expected))
            .with_context(|| format!("it is {:?}", self.query(expression)))
    }
}

/// What is shipped for clusters.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Files of alert rules in a folder, whatever is beside them.
fn rules(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rules(&path));
            continue;
        }
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yml" || extension == "yaml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        if is_yaml && text.lines().any(|line| line.starts_with("groups:")) {
            found.push(path);
        }
    }
    found
}

fn prometheus_scrapes_the_agent_s_exact_counts(env: &Env) -> Result<()> {
    let folder = Folder::new("scraped")?;
    let agent = Agent::start(env, folder.path(), &[])?;
    let prometheus = Prometheus::start(agent.address)?;
    let cgroup = Cgroup::new(&env.hierarchy, "scraped")?;
    cgroup.set("pids.max", "60")?;
    let truth = Load::new(env, "fail")
        .with("count", 100)
        .inside(&cgroup)
        .run()?;
    let path = &cgroup.path;
    prometheus.eventually("up{job=\"pidwatch\"}", &[1.0])?;
    let created = truth.here.created.processes as f64;
    prometheus.eventually(
        &format!("pidwatch_container_created_total{{id=\"{path}\",kind=\"process\"}}"),
        &[created],
    )?;
    let failed = truth.failures.len() as f64;
    prometheus.eventually(
        &format!("sum(pidwatch_clone_failures_total{{id=\"{path}\"}})"),
        &[failed],
    )?;
    eventually("all incidents are scraped", || {
        let all = agent.incidents("pids.max")?.concat();
        let ours = all.iter().filter(|incident| incident["cgroup"] == **path);
        let scraped = prometheus.query("pidwatch_incidents_total{limit=\"pids.max\"}")?;
        Ok(ours.count() == 1 && scraped == [all.len() as f64])
    })?;
    prometheus.eventually("count(pidwatch_build_info)", &[1.0])?;
    let types = prometheus.ask("/api/v1/metadata?metric=pidwatch_container_created")?;
    let openmetrics = types["pidwatch_container_created"][0]["type"] == "counter";
    let classic = prometheus.ask("/api/v1/metadata?metric=pidwatch_container_created_total")?;
    let classic = classic["pidwatch_container_created_total"][0]["type"] == "counter";
    assert!(openmetrics || classic, "the type is known");

    eventually("every rule was evaluated", || {
        let told = prometheus.ask("/api/v1/rules")?;
        Ok(!told.to_string().contains("\"health\":\"unknown\""))
    })?;
    let told = prometheus.ask("/api/v1/rules")?;
    let groups = told["groups"].as_array().context("no groups")?;
    let all = groups.iter().filter_map(|group| group["rules"].as_array());
    for rule in all.flatten() {
        assert_ne!(rule["health"], "err", "{rule}");
    }
    agent.pidwatch.stop()?;
    Ok(())
}

fn a_restart_of_the_agent_is_a_reset_to_prometheus(env: &Env) -> Result<()> {
    let folder = Folder::new("reset")?;
    let mut agent = Agent::start(env, folder.path(), &[])?;
    let prometheus = Prometheus::start(agent.address)?;
    let cgroup = Cgroup::new(&env.hierarchy, "reset")?;
    let created = format!(
        "pidwatch_container_created_total{{id=\"{}\",kind=\"process\"}}",
        cgroup.path
    );
    let forks = |count| Load::new(env, "forks").with("count", count).inside(&cgroup);
    // A series that begins above 0 has no increase there.
    forks(10).run()?;
    prometheus.eventually(&created, &[10.0])?;
    forks(200).run()?;
    prometheus.eventually(&created, &[210.0])?;
    let address = agent.address.to_string();
    agent.pidwatch.signal(libc::SIGKILL);
    drop(agent);
    agent = Agent::start(env, folder.path(), &["--listen", &address])?;
    forks(50).run()?;
    prometheus.eventually(&created, &[50.0])?;
    prometheus.eventually(&format!("resets({created}[5m])"), &[1.0])?;
    agent.pidwatch.stop()?;
    Ok(())
}
