//! A real containerd with runc, of the distribution's packages, started for one scenario: its own
//! folders and socket, one image made here from busybox, and cgroups below those of this test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::cgroup::Cgroup;
use crate::cri::{Cri, Pod, PodMetadata};
use crate::cri_container::{Config, OWN};
use crate::deadline::Process;
use crate::env::Env;
use crate::surroundings;

/// The image of pods and containers.
pub const IMAGE: &str = "localhost/pidwatch-test:1";

/// How long it may take to be there.
const START: Duration = Duration::from_mins(1);

/// What it keeps in its folder.
const CONFIG: &str = r#"
version = 2
root = "@FOLDER@/root"
state = "@FOLDER@/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
address = "@FOLDER@/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
# A negative score takes CAP_SYS_RESOURCE, which root need not have.
restrict_oom_score_adj = true
sandbox_image = "@IMAGE@"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
# A guest's root is the initramfs, which pivot_root(2) refuses to put away.
NoPivotRoot = @IN_GUEST@
"#;

/// A containerd that runs. What it made goes with it.
#[derive(Debug)]
pub struct Containerd {
    /// Its CRI.
    pub cri: Cri,
    process: Process,
    folder: PathBuf,
    pods: Mutex<Vec<String>>,
    /// Containers that were made without CRI.
    plain: Mutex<Vec<String>>,
    mount: PathBuf,
    is_guest: bool,
}

impl Containerd {
    /// Whether this machine has what it takes.
    fn is_at_hand() -> bool {
        ["containerd", "runc", "ctr", "busybox"]
            .iter()
            .all(|program| find(program).is_some())
    }

    /// Starts it with the image.
    pub fn start(env: &Env) -> Result<Self> {
        Self::start_within(env, |_| {})
    }

    /// Starts it among the mounts of a node: shared, so that containers see what is mounted later.
    pub fn start_on_a_node(env: &Env) -> Result<Self> {
        Self::start_within(env, surroundings::with_shared_mounts)
    }

    fn start_within(env: &Env, surroundings: impl FnOnce(&mut Command)) -> Result<Self> {
        ensure!(
            Self::is_at_hand(),
            "there is no containerd, runc, ctr or busybox; install containerd, runc and busybox-static"
        );
        let folder =
            std::env::temp_dir().join(format!("pidwatch-containerd-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let config = CONFIG
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@IMAGE@", IMAGE)
            .replace("@IN_GUEST@", &env.guest.to_string());
        fs::write(folder.join("config.toml"), config)?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Command::new("containerd");
        command
            .arg("--config")
            .arg(folder.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        surroundings(&mut command);
        let process = Process::start(&mut command).context("cannot start containerd")?;
        let containerd = Self {
            cri: Cri {
                socket: folder.join("containerd.sock"),
            },
            process,
            folder,
            pods: Mutex::default(),
            plain: Mutex::default(),
            mount: env.hierarchy.pids.clone(),
            is_guest: env.guest,
        };
        let until = Instant::now() + START;
        while let Err(error) = containerd.cri.version() {
            if Instant::now() > until {
                bail!(
                    "containerd does not answer: {error:#}\n{}",
                    containerd.log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        containerd.import_image().context("cannot make the image")?;
        Ok(containerd)
    }

    /// Its PID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// A pod with a running sandbox, in namespace `shop`.
    pub fn pod(&self, name: &str, uid: &str) -> Result<RunningPod<'_>> {
        self.pod_with(name, uid, OWN)
    }

    /// The same in this namespace of PIDs.
    pub fn pod_with(&self, name: &str, uid: &str, pid: i32) -> Result<RunningPod<'_>> {
        let pod = Pod {
            metadata: PodMetadata {
                name: name.to_owned(),
                uid: uid.to_owned(),
                namespace: "shop".to_owned(),
            },
            cgroup: format!("{}/kubepods/burstable/pod{uid}", Cgroup::own_path()),
            image: IMAGE.to_owned(),
            logs: self.folder.join("logs").join(uid).display().to_string(),
            pid,
        };
        let sandbox = self
            .cri
            .run_pod(&pod)
            .with_context(|| format!("containerd's log:\n{}", self.log()))?;
        lock(&self.pods).push(sandbox.clone());
        Ok(RunningPod {
            containerd: self,
            pod,
            sandbox,
        })
    }

    /// A container without a pod, as `ctr run` makes it; its cgroup's path.
    pub fn plain(&self, id: &str, command: &[&str]) -> Result<String> {
        let cgroup = format!("{}/{id}", Cgroup::own_path());
        lock(&self.plain).push(id.to_owned());
        let mut arguments = vec!["run", "--detach", "--snapshotter", "native"];
        arguments.extend(["--cgroup", &cgroup]);
        if self.is_guest {
            arguments.push("--no-pivot");
        }
        arguments.extend([IMAGE, id]);
        self.ctr(&arguments, command)?;
        Ok(cgroup)
    }

    /// Runs a command in a container without a pod.
    pub fn exec(&self, id: &str, name: &str, command: &[&str]) -> Result<()> {
        self.ctr(&["task", "exec", "--exec-id", name, id], command)
    }

    fn ctr(&self, arguments: &[&str], more: &[&str]) -> Result<()> {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&self.cri.socket);
        run(ctr.args(arguments).args(more))
    }

    /// The id of a cgroup by its path.
    pub fn cgroup_id(&self, path: &str) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(self.directory(path))?.ino())
    }

    /// The directory of a cgroup in the hierarchy that counts tasks.
    pub fn directory(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }

    /// One layer, one program under many names.
    fn import_image(&self) -> Result<()> {
        let folder = self.folder.join("image");
        let bin = folder.join("layer/bin");
        fs::create_dir_all(&bin)?;
        let busybox = find("busybox").context("no busybox")?;
        fs::copy(busybox, bin.join("busybox"))?;
        for name in ["sh", "sleep", "true", "cat", "usleep"] {
            std::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        for name in ["fifo-own", "fifo-probe"] {
            run(Command::new("mkfifo").arg(folder.join("layer").join(name)))?;
        }
        let tar = |arguments: &[&str], at: &Path| {
            run(Command::new("tar")
                .arg("-C")
                .arg(at)
                .arg("-cf")
                .args(arguments))
        };
        let layer = folder.join("layer.tar");
        tar(&[&layer.display().to_string(), "."], &folder.join("layer"))?;
        let sum = Command::new("sha256sum").arg(&layer).output()?.stdout;
        let sum = String::from_utf8_lossy(&sum);
        let digest = sum.split_whitespace().next().context("no sha256sum")?;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            // The sandbox runs it.
            "config": { "Entrypoint": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        });
        fs::write(folder.join("config.json"), config.to_string())?;
        let manifest = json!([{
            "Config": "config.json",
            "RepoTags": [IMAGE],
            "Layers": ["layer.tar"],
        }]);
        fs::write(folder.join("manifest.json"), manifest.to_string())?;
        let image = folder.join("image.tar").display().to_string();
        tar(
            &[&image, "manifest.json", "config.json", "layer.tar"],
            &folder,
        )?;
        for namespace in ["k8s.io", "default"] {
            let mut ctr = Command::new("ctr");
            ctr.arg("--address").arg(&self.cri.socket);
            ctr.args([
                "--namespace",
                namespace,
                "image",
                "import",
                "--snapshotter",
                "native",
            ]);
            run(ctr.arg(&image))?;
        }
        Ok(())
    }

    /// Takes an archive of an image in, under a name that its tags are put to.
    pub fn import(&self, archive: &Path, name: &str) -> Result<()> {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&self.cri.socket);
        ctr.args(["--namespace", "k8s.io", "image", "import"]);
        ctr.args(["--snapshotter", "native", "--base-name", name]);
        run(ctr.arg(archive))
    }

    /// Its folder, with its socket in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn clean(&self) -> Result<()> {
        for id in lock(&self.plain).drain(..) {
            let _ = self.ctr(&["task", "delete", "--force", &id], &[]);
            let _ = self.ctr(&["container", "delete", &id], &[]);
        }
        for sandbox in lock(&self.pods).drain(..) {
            self.cri.remove_pod(&sandbox)?;
        }
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Err(error) = self.clean() {
            eprintln!("cannot remove what containerd made: {error:#}");
        }
        self.process.signal(libc::SIGTERM);
        let _ = self.process.wait();
        remove_cgroups();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A pod whose sandbox runs.
#[derive(Debug)]
pub struct RunningPod<'a> {
    containerd: &'a Containerd,
    pod: Pod,
    /// The sandbox's id.
    pub sandbox: String,
}

impl RunningPod<'_> {
    /// Makes a container and starts it: its id, and its cgroup's path.
    pub fn run(&self, name: &str, command: &[&str]) -> Result<(String, String)> {
        let id = self.create(name, command)?;
        self.containerd.cri.start(&id)?;
        let path = self.path_of(&id);
        Ok((id, path))
    }

    /// Makes a container without starting it.
    pub fn create(&self, name: &str, command: &[&str]) -> Result<String> {
        self.containerd
            .cri
            .create(&self.pod, &self.sandbox, name, command)
    }

    /// Makes a container just so, and starts it: its id.
    pub fn run_as(&self, config: Config) -> Result<String> {
        let cri = &self.containerd.cri;
        let id = cri.create_as(&self.pod, &self.sandbox, config)?;
        cri.start(&id)?;
        Ok(id)
    }

    /// What a container printed, without the runtime's time stamps.
    pub fn printed(&self, log: &str) -> String {
        let file = Path::new(&self.pod.logs).join(log);
        let text = fs::read_to_string(file).unwrap_or_default();
        // Time, stream, whether the line is whole, the line.
        let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The path of a container's cgroup.
    pub fn path_of(&self, id: &str) -> String {
        format!("{}/{id}", self.pod.cgroup)
    }

    /// The path of the pod's own cgroup.
    pub fn path(&self) -> &str {
        &self.pod.cgroup
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}, {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// runc makes cgroups in every hierarchy, and leaves those above a container's own.
fn remove_cgroups() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines() {
        let fields: Vec<&str> = mount.split(' ').collect();
        if let [_, point, "cgroup" | "cgroup2", ..] = fields[..] {
            let own = Path::new(point).join(&Cgroup::own_path()[1..]);
            let _ = remove_below(&own);
        }
    }
}

fn remove_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
