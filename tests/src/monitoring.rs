//! A real Prometheus with the deployed alert rules, and a real Alertmanager, for one scenario.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{Folder, connect, eventually, read};
use crate::deadline::Process;

/// Both, on ports of loopback that were free.
#[derive(Debug)]
pub struct Monitoring {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    _processes: [Process; 2],
    _folder: Folder,
}

impl Monitoring {
    /// Scrapes an agent as node `node-1` and evaluates the rules, every second; alerts go on at once.
    pub fn start(agent: SocketAddr, rules: &Path) -> Result<Self> {
        let folder = Folder::new("monitoring")?;
        let (prometheus, alertmanager) = (free_address()?, free_address()?);
        let within = |name: &str| folder.path().join(name);
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: ['{}']\n\
             alerting:\n  alertmanagers:\n    - static_configs: [{{ targets: ['{alertmanager}'] }}]\n\
             scrape_configs:\n  - job_name: pidwatch\n    honor_labels: true\n    static_configs:\n      \
             - {{ targets: ['{agent}'], labels: {{ instance: node-1 }} }}\n",
            rules.display()
        );
        fs::write(within("prometheus.yml"), configuration)?;
        fs::write(
            within("alertmanager.yml"),
            "route: { receiver: nobody, group_wait: 0s }\nreceivers: [{ name: nobody }]\n",
        )?;
        let processes = [
            start(
                Command::new("prometheus-alertmanager")
                    .arg(option("config.file", &within("alertmanager.yml")))
                    .arg(option("storage.path", &within("alerts")))
                    .arg(format!("--web.listen-address={alertmanager}"))
                    .arg("--cluster.listen-address="),
                within("alertmanager.log"),
            )?,
            start(
                Command::new("prometheus")
                    .arg(option("config.file", &within("prometheus.yml")))
                    .arg(option("storage.tsdb.path", &within("data")))
                    .arg(format!("--web.listen-address={prometheus}")),
                within("prometheus.log"),
            )?,
        ];
        let monitoring = Self {
            prometheus,
            alertmanager,
            _processes: processes,
            _folder: folder,
        };
        for address in [prometheus, alertmanager] {
            eventually("it is ready", || Ok(get(address, "/-/ready").is_ok()))?;
        }
        Ok(monitoring)
    }

    /// Labels of the alerts of this name that Alertmanager has.
    pub fn alerts(&self, name: &str) -> Result<Vec<Value>> {
        let told: Value = serde_json::from_str(&get(self.alertmanager, "/api/v2/alerts")?)?;
        let alerts = told.as_array().context("no alerts")?.iter();
        Ok(alerts
            .map(|alert| alert["labels"].clone())
            .filter(|labels| labels["alertname"] == name)
            .collect())
    }

    /// The rules as Prometheus has evaluated them.
    pub fn rules(&self) -> Result<Vec<Value>> {
        let told: Value = serde_json::from_str(&get(self.prometheus, "/api/v1/rules")?)?;
        let groups = told["data"]["groups"].as_array().context("no groups")?;
        let all = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(all.flatten().cloned().collect())
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn start(command: &mut Command, log: PathBuf) -> Result<Process> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log)?);
    Process::start(command).with_context(|| {
        format!("cannot start {command:?}; install prometheus and prometheus-alertmanager")
    })
}

/// Neither takes port 0.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )?;
    let answer = read(&mut stream)?;
    ensure!(answer.status == 200, "{path}: {answer:?}");
    Ok(answer.body)
}
