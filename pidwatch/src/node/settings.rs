//! How a node is watched, as the command line says it.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use clap::Args;

use super::control_queue::ControlQueue;
use crate::{
    brake::{AutomaticBrake, Holder},
    identity::Sockets,
    probe::{self, Choice},
    runtime::private::PrivateFolder,
    thresholds::{self, Threshold, Thresholds},
    values::parse_duration,
};

/// Where the node's files are.
#[derive(Args, Clone, Debug)]
pub struct Roots {
    /// The host's /proc.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/proc",
        env = "PIDWATCH_PROC_ROOT"
    )]
    pub proc_root: PathBuf,
    /// The host's cgroup file systems.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/sys/fs/cgroup",
        env = "PIDWATCH_CGROUP_ROOT"
    )]
    pub cgroup_root: PathBuf,
    /// Folder with the leases of brakes, one file per braked cgroup. The agent's socket `agent.sock` is beside it.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/run/pidwatch/brakes",
        env = "PIDWATCH_LEASE_DIR"
    )]
    pub lease_dir: PathBuf,
}

impl Roots {
    /// The folders as they are found from everywhere.
    ///
    /// # Errors
    /// When the working directory is unknown.
    pub fn absolute(&self) -> io::Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path);
        Ok(Self {
            proc_root: absolute(&self.proc_root)?,
            cgroup_root: absolute(&self.cgroup_root)?,
            lease_dir: absolute(&self.lease_dir)?,
        })
    }

    /// Starts the process that will maintain a brake ([`Holder::start`]).
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn start_holder(&self, cgroup_id: u64) -> io::Result<Holder> {
        let roots = self.absolute()?;
        let arguments: [&OsStr; 7] = [
            "hold-brake".as_ref(),
            "--lease-dir".as_ref(),
            roots.lease_dir.as_os_str(),
            "--proc-root".as_ref(),
            roots.proc_root.as_os_str(),
            "--cgroup-root".as_ref(),
            roots.cgroup_root.as_os_str(),
        ];
        Holder::start(&arguments, cgroup_id)
    }
}

/// How the node is watched.
#[derive(Args, Clone, Debug)]
pub struct NodeSettings {
    /// Length of a rate window.
    #[arg(long, value_parser = parse_window, default_value = "1s", env = "PIDWATCH_WINDOW")]
    pub window: Duration,
    /// Where its files are.
    #[command(flatten)]
    pub roots: Roots,
    /// Bytes of the kernel's ring buffer: a power of two, at least a page.
    #[arg(long, value_name = "BYTES", value_parser = parse_ring_size, default_value = "1048576", env = "PIDWATCH_RING_SIZE")]
    pub ring_size: u32,
    /// Attach a probe by this mechanism and no other (PROBE=MECHANISM, comma-separated); for
    /// diagnosis.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        env = "PIDWATCH_PROBES"
    )]
    pub probes: Vec<Choice>,
    /// Other thresholds of detection and incidents (NAME=VALUE, comma-separated); docs/detection.md
    /// has them.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = thresholds::parse,
        env = "PIDWATCH_DETECT"
    )]
    pub detect: Vec<Threshold>,
    /// Remember the open incidents here, so that a restart goes on with them.
    #[arg(long, value_name = "FILE", env = "PIDWATCH_STATE_FILE")]
    pub state_file: Option<PathBuf>,
    /// The state file is used only while this folder is this process's.
    #[arg(skip)]
    pub state_folder: Option<Rc<PrivateFolder>>,
    /// Ask these container runtimes for names of pods and containers, by their CRI sockets
    /// (comma-separated); `none` asks nobody. Without it, whichever listens at the usual places.
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        value_parser = parse_socket,
        env = "PIDWATCH_CRI_SOCKET"
    )]
    pub cri_socket: Vec<PathBuf>,
    /// Show the kernel side's own diagnostics on standard error.
    #[arg(long, env = "PIDWATCH_KERNEL_LOG")]
    pub kernel_log: bool,
    /// Every window has all cgroups, also those with nothing to say.
    #[arg(skip)]
    pub shows_all: bool,
    /// Cgroups in which nothing happens are read once a minute, at first at once, and told where anything of
    /// them is new.
    #[arg(skip)]
    pub polls_idle: bool,
    /// Brakes are maintained here, and owners are braked if it says so.
    #[arg(skip)]
    pub brake: Option<AutomaticBrake>,
    /// Requests to brake or release owners come from here.
    #[arg(skip)]
    pub requests: Option<Rc<ControlQueue>>,
}

impl NodeSettings {
    /// When something is a leak, or an incident.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::with(&self.detect)
    }

    /// Which container runtimes are asked for names.
    pub fn sockets(&self) -> Sockets {
        sockets(&self.cri_socket)
    }
}

/// The sockets that these values select.
pub fn sockets(given: &[PathBuf]) -> Sockets {
    if given.is_empty() {
        return Sockets::Usual;
    }
    let given = given.iter().filter(|path| *path != Path::new(NO_SOCKET));
    Sockets::These(given.cloned().collect())
}

/// A container runtime's socket, or `none`.
///
/// # Errors
/// When it is no absolute path.
pub fn parse_socket(text: &str) -> Result<PathBuf, String> {
    // As the kubelet and crictl write it.
    let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
    if path.is_absolute() || text == NO_SOCKET {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "`{text}` is no absolute path of a socket, nor `{NO_SOCKET}`"
        ))
    }
}

/// Instead of a socket: nobody is asked.
const NO_SOCKET: &str = "none";

/// A window: at least as long as the kernel side's own.
///
/// # Errors
/// When it is no time or too short.
fn parse_window(text: &str) -> Result<Duration, String> {
    let window = parse_duration(text)?;
    if window < probe::WINDOW {
        return Err(format!("a window is at least {:?}", probe::WINDOW));
    }
    Ok(window)
}

/// Bytes of the ring: the kernel takes powers of two of whole pages only.
///
/// # Errors
/// When it is another number; the nearest good ones are named.
fn parse_ring_size(text: &str) -> Result<u32, String> {
    const MAX: u32 = 1 << 30;
    let page = rustix::param::page_size() as u32;
    let bytes: u32 = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of bytes"))?;
    if bytes >= page && bytes <= MAX && bytes.is_power_of_two() {
        return Ok(bytes);
    }
    let nearest = bytes
        .clamp(page, MAX)
        .checked_next_power_of_two()
        .unwrap_or(MAX)
        .min(MAX);
    Err(format!(
        "the kernel's ring buffer takes a power of two from {page} to {MAX} bytes; the next one \
         is {nearest}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_at_least_the_kernel_sides() {
        assert!(parse_window("99ms").is_err());
        assert!(parse_window("100ms").is_ok());
    }

    #[test]
    fn a_ring_that_the_kernel_would_refuse_is_refused_with_the_next_good_size() {
        assert_eq!(parse_ring_size("4096"), Ok(4096));
        assert!(parse_ring_size("5000").unwrap_err().contains("8192"));
        assert!(parse_ring_size("3").unwrap_err().contains("4096"));
        assert!(parse_ring_size("0").is_err());
        assert!(parse_ring_size("4294967295").is_err());
        assert!(parse_ring_size("many").unwrap_err().contains("many"));
    }

    #[test]
    fn sockets_are_paths_or_none() {
        let given = |texts: &[&str]| -> Result<_, String> {
            let parsed: Result<Vec<_>, _> = texts.iter().map(|text| parse_socket(text)).collect();
            Ok(sockets(&parsed?))
        };
        assert_eq!(given(&[]), Ok(Sockets::Usual));
        assert_eq!(given(&["none"]), Ok(Sockets::These(Vec::new())));
        let paths = ["/run/a.sock", "/run/b.sock"].map(PathBuf::from).to_vec();
        assert_eq!(
            given(&["/run/a.sock", "unix:///run/b.sock"]),
            Ok(Sockets::These(paths))
        );
        for bad in ["a.sock", "", "tcp://1.2.3.4:5"] {
            assert!(
                given(&[bad]).unwrap_err().contains("no absolute path"),
                "{bad}"
            );
        }
    }
}
