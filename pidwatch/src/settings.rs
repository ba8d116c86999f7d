//! Validated settings, made from the command line: what is here can be used as it is.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use globset::{GlobBuilder, GlobMatcher};

use crate::{
    cli::{
        AgentArgs, CheckArgs, CommonArgs, FilterArgs, OutputFormat, RecordArgs, ReplayArgs,
        ReportArgs, ReportFormat, RootArgs, TopArgs, TraceArgs,
    },
    connect::Address,
    identity::{Names, Sockets},
    limits::Severity,
    probe::Choice,
    snapshot::Owner,
    stream::{Event, Line},
    thresholds::Thresholds,
    tui::theme::ThemeName,
};

/// Settings of `trace`.
#[derive(Debug)]
pub struct Settings {
    /// How the node is watched.
    pub node: NodeSettings,
    /// Form of the lines.
    pub output: OutputFormat,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Which cgroups to show.
    pub filter: Filter,
}

/// How the node is watched.
#[derive(Debug)]
pub struct NodeSettings {
    /// The host's /proc.
    pub proc_root: PathBuf,
    /// The host's cgroup file systems.
    pub cgroup_root: PathBuf,
    /// Bytes of the ring.
    pub ring_size: u32,
    /// Mechanisms forced by the user.
    pub probes: Vec<Choice>,
    /// When something is a leak, or an incident.
    pub thresholds: Thresholds,
    /// Where the open incidents are remembered.
    pub state_file: Option<PathBuf>,
    /// Let the kernel side log.
    pub kernel_log: bool,
    /// Which container runtimes are asked for names.
    pub cri_sockets: Sockets,
    /// Length of a rate window.
    pub window: Duration,
    /// Show cgroups with nothing to say too.
    pub all: bool,
}

/// Which cgroups to show: those that match every pattern given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    path: Option<GlobMatcher>,
    namespace: Option<GlobMatcher>,
    pod: Option<GlobMatcher>,
}

impl Filter {
    /// Whether a cgroup is to be shown. What is unknown of it matches no pattern.
    pub fn matches(&self, owner: &Owner) -> bool {
        let matches = |glob: &Option<GlobMatcher>, text: Option<&[u8]>| {
            glob.as_ref()
                .is_none_or(|glob| text.is_some_and(|text| glob.is_match(OsStr::from_bytes(text))))
        };
        let names = owner.names.as_deref();
        let name = |name: fn(&Names) -> &Option<Box<str>>| {
            names.and_then(|names| name(names).as_deref().map(str::as_bytes))
        };
        matches(&self.path, owner.path.as_deref())
            && matches(&self.namespace, name(|names| &names.namespace))
            && matches(&self.pod, name(|names| &names.pod))
    }

    /// Whether a line of the stream is to be shown: those about no cgroup always are.
    pub fn matches_line(&self, line: &Line) -> bool {
        let owner = match &line.event {
            Event::Rate(rate) => &rate.owner,
            Event::CloneFailed(failed) => &failed.owner,
            Event::State(state) => &state.owner,
            Event::Cgroup(change) => &change.owner,
            Event::Started(_) | Event::Incident(_) | Event::Lost { .. } | Event::Node(_) => {
                return true;
            }
        };
        self.matches(&owner.into())
    }

    fn of(args: FilterArgs) -> Result<Self, String> {
        let FilterArgs {
            cgroup,
            namespace,
            pod,
        } = args;
        Ok(Self {
            path: glob("cgroup", cgroup)?,
            namespace: glob("namespace", namespace)?,
            pod: glob("pod", pod)?,
        })
    }
}

impl NodeSettings {
    fn of(common: CommonArgs, window: Duration, all: bool) -> Self {
        let CommonArgs {
            roots:
                RootArgs {
                    proc_root,
                    cgroup_root,
                    config: _,
                },
            ring_size,
            probes,
            detect,
            state_file,
            cri_socket,
            kernel_log,
        } = common;
        Self {
            proc_root,
            cgroup_root,
            ring_size,
            probes,
            thresholds: Thresholds::with(&detect),
            state_file,
            cri_sockets: sockets(cri_socket),
            kernel_log,
            window,
            all,
        }
    }
}

/// A pattern; `*` also matches `/`.
fn glob(option: &str, pattern: Option<String>) -> Result<Option<GlobMatcher>, String> {
    let compile = |pattern: String| {
        GlobBuilder::new(&pattern)
            .backslash_escape(true)
            .build()
            .map(|glob| glob.compile_matcher())
            .map_err(|error| format!("--{option} {pattern}: {}", error.kind()))
    };
    pattern.map(compile).transpose()
}

impl Settings {
    /// Checks the command line of `trace`.
    ///
    /// # Errors
    /// When a value cannot be used; the text names the option, the value and the cause.
    pub fn from_trace(args: TraceArgs) -> Result<Self, String> {
        let TraceArgs {
            output,
            duration,
            window,
            filter,
            all,
            common,
        } = args;
        Ok(Self {
            node: NodeSettings::of(common, window, all),
            output,
            duration,
            filter: Filter::of(filter)?,
        })
    }
}

/// Settings of `agent`.
#[derive(Debug)]
pub struct AgentSettings {
    /// How the node is watched.
    pub node: NodeSettings,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Folder for what outlives a restart.
    pub state_dir: PathBuf,
    /// Bytes of the flight recorder; 0 for none.
    pub flight_recorder: u64,
    /// Most series of owners.
    pub max_series: usize,
    /// Write events to the API server.
    pub kubernetes_events: bool,
}

impl From<AgentArgs> for AgentSettings {
    fn from(args: AgentArgs) -> Self {
        let AgentArgs {
            listen,
            state_dir,
            flight_recorder,
            max_series,
            kubernetes_events,
            window,
            common,
        } = args;
        Self {
            node: NodeSettings::of(common, window, false),
            listen,
            state_dir,
            flight_recorder,
            max_series,
            kubernetes_events,
        }
    }
}

/// What `top` shows.
#[derive(Debug)]
pub enum TopSource {
    /// This node.
    Node(Box<NodeSettings>),
    /// A recording, so many times as fast as it happened.
    Recording(PathBuf, Speed),
    /// An agent.
    Agent(Address),
}

/// Settings of `top`.
#[derive(Debug)]
pub struct TopSettings {
    /// What it shows.
    pub source: TopSource,
    /// Which cgroups.
    pub filter: Filter,
    /// Also those with nothing to say.
    pub all: bool,
    /// The colours, if asked for.
    pub theme: Option<ThemeName>,
}

impl TopSettings {
    /// Checks the command line of `top`, and looks the agent's name up.
    ///
    /// # Errors
    /// When a value cannot be used; the text names the option, the value and the cause.
    pub fn from_top(args: TopArgs) -> Result<Self, String> {
        let TopArgs {
            file,
            speed,
            connect,
            theme,
            window,
            filter,
            all,
            common,
        } = args;
        let source = match (file, connect) {
            (Some(file), _) if file == Path::new("-") => {
                return Err(
                    "top goes back and forth in a recording: give it a file, not `-`".into(),
                );
            }
            (Some(file), _) => TopSource::Recording(file, speed),
            (None, Some(url)) => TopSource::Agent(Address::look_up(&url)?),
            // Silent owners are told now and then, and not in every window.
            (None, None) => TopSource::Node(Box::new(NodeSettings::of(common, window, false))),
        };
        Ok(Self {
            source,
            filter: Filter::of(filter)?,
            all,
            theme,
        })
    }
}

/// Settings of `record`.
#[derive(Debug)]
pub struct RecordSettings {
    /// How the node is watched.
    pub node: NodeSettings,
    /// The recording.
    pub file: PathBuf,
    /// Most bytes of it, its older part included.
    pub max_size: u64,
    /// Stop after this time.
    pub duration: Option<Duration>,
}

impl From<RecordArgs> for RecordSettings {
    fn from(args: RecordArgs) -> Self {
        let RecordArgs {
            file,
            max_size,
            duration,
            window,
            common,
        } = args;
        Self {
            node: NodeSettings::of(common, window, false),
            file,
            max_size,
            duration,
        }
    }
}

/// How fast a recording is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it happened.
    Times(f64),
    /// Without waiting.
    Max,
}

/// Settings of `replay`.
#[derive(Debug)]
pub struct ReplaySettings {
    /// The recording.
    pub file: PathBuf,
    /// How fast.
    pub speed: Speed,
    /// Form of the lines.
    pub output: OutputFormat,
    /// Which cgroups to show.
    pub filter: Filter,
}

impl ReplaySettings {
    /// Checks the command line of `replay`.
    ///
    /// # Errors
    /// When a value cannot be used; the text names the option, the value and the cause.
    pub fn from_replay(args: ReplayArgs) -> Result<Self, String> {
        let ReplayArgs {
            file,
            speed,
            output,
            filter,
            config: _,
        } = args;
        Ok(Self {
            file,
            speed,
            output,
            filter: Filter::of(filter)?,
        })
    }
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

fn sockets(given: Vec<PathBuf>) -> Sockets {
    if given.is_empty() {
        Sockets::Usual
    } else {
        let is_socket = |path: &PathBuf| path != Path::new(NO_SOCKET);
        Sockets::These(given.into_iter().filter(is_socket).collect())
    }
}

/// Settings of `check`.
#[derive(Debug)]
pub struct CheckSettings {
    /// JSON instead of a page.
    pub json: bool,
    /// The severity that makes it fail.
    pub fail_on: Option<Severity>,
    /// The host's /proc.
    pub proc_root: PathBuf,
    /// The host's cgroup file systems.
    pub cgroup_root: PathBuf,
}

impl From<CheckArgs> for CheckSettings {
    fn from(args: CheckArgs) -> Self {
        let RootArgs {
            proc_root,
            cgroup_root,
            config: _,
        } = args.roots;
        Self {
            json: args.output == OutputFormat::Json,
            fail_on: args.fail_on,
            proc_root,
            cgroup_root,
        }
    }
}

/// What a report is of.
#[derive(Debug)]
pub enum ReportSource {
    /// A recording; `-` for standard input.
    File(PathBuf),
    /// The flight recorder of an agent.
    Agent(Address),
}

/// Settings of `report`.
#[derive(Debug)]
pub struct ReportSettings {
    /// What it is of.
    pub source: ReportSource,
    /// Form of the report.
    pub output: ReportFormat,
    /// Only this incident.
    pub incident: Option<String>,
}

impl ReportSettings {
    /// Checks the command line of `report`, and looks the agent's name up.
    ///
    /// # Errors
    /// When the agent's address cannot be used; the text names it and the cause.
    pub fn from_report(args: ReportArgs) -> Result<Self, String> {
        let ReportArgs {
            file,
            connect,
            output,
            incident,
            config: _,
        } = args;
        // One of the two is there, and not both: the command line sees to it.
        let source = match connect {
            Some(url) => ReportSource::Agent(Address::look_up(&url)?),
            None => ReportSource::File(file.unwrap_or_default()),
        };
        Ok(Self {
            source,
            output,
            incident,
        })
    }
}

/// A time with its unit: `500ms`, `10s`, `5m`, `1h`.
///
/// # Errors
/// When there is no number, no unit, or one that is not known.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no time such as 10s"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("`{text}` has no unit of ms, s, m, h")),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is too long"))
}

/// A number of bytes, with or without a unit of 1,024 or 1,000 (`64MiB`, `1G`, `500MB`); at least a
/// mebibyte.
///
/// # Errors
/// When it is no number, has another unit, or is too small or large.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no size such as 64MiB"))?;
    let unit = match unit {
        "" | "B" => 1,
        "K" | "Ki" | "KiB" => 1 << 10,
        "M" | "Mi" | "MiB" => 1 << 20,
        "G" | "Gi" | "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(format!("`{text}` has no unit of KiB, MiB, GiB, kB, MB, GB")),
    };
    let bytes = number
        .checked_mul(unit)
        .ok_or_else(|| format!("`{text}` is too large"))?;
    if bytes < 1 << 20 {
        return Err(format!("`{text}` is less than 1MiB"));
    }
    Ok(bytes)
}

/// A number of bytes as [`parse_size`] takes it, or `0` for nothing.
///
/// # Errors
/// As [`parse_size`].
pub fn parse_room(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    parse_size(text)
}

/// How fast a recording is shown: `max`, or how many times as fast as it happened.
///
/// # Errors
/// When it is neither `max` nor a number above 0.
pub fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse() {
        Ok(speed) if speed > 0.0 && f64::is_finite(speed) => Ok(Speed::Times(speed)),
        _ => Err(format!("`{text}` is neither `max` nor a number above 0")),
    }
}

/// A window: at least as long as the kernel side's own.
///
/// # Errors
/// When it is no time or too short.
pub fn parse_window(text: &str) -> Result<Duration, String> {
    let window = parse_duration(text)?;
    if window < crate::probe::WINDOW {
        return Err(format!("a window is at least {:?}", crate::probe::WINDOW));
    }
    Ok(window)
}

/// Bytes of the ring: the kernel takes powers of two of whole pages only.
///
/// # Errors
/// When it is another number; the nearest good ones are named.
pub fn parse_ring_size(text: &str) -> Result<u32, String> {
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
    use std::sync::Arc;

    use super::*;
    use crate::cgroup::CgroupId;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
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
    fn a_star_matches_everything_below() {
        let filter = Filter {
            path: glob("cgroup", Some("/kube*".into())).unwrap(),
            ..Filter::default()
        };
        let owner = |path: &[u8]| Owner::new(CgroupId(1), Some(path.into()));
        assert!(filter.matches(&owner(b"/kubepods/pod1/abc")));
        assert!(!filter.matches(&owner(b"/system.slice")));
        assert!(!filter.matches(&Owner::new(CgroupId(1), None)));
        assert!(Filter::default().matches(&Owner::new(CgroupId(1), None)));
    }

    #[test]
    fn an_owner_without_names_is_in_no_namespace() {
        let owner = |namespace: &str, pod: &str| Owner {
            names: Some(Arc::new(Names {
                namespace: Some(namespace.into()),
                pod: Some(pod.into()),
                ..Names::default()
            })),
            ..Owner::new(CgroupId(1), None)
        };
        let filter = Filter {
            namespace: glob("namespace", Some("shop*".into())).unwrap(),
            pod: glob("pod", Some("web-?".into())).unwrap(),
            ..Filter::default()
        };
        assert!(filter.matches(&owner("shop-eu", "web-1")));
        assert!(!filter.matches(&owner("shop-eu", "web-10")));
        assert!(!filter.matches(&owner("bank", "web-1")));
        assert!(!filter.matches(&Owner::new(CgroupId(1), None)));
        assert!(
            glob("pod", Some("[".into()))
                .unwrap_err()
                .contains("--pod [")
        );
    }

    #[test]
    fn sockets_are_paths_or_none() {
        let given = |texts: &[&str]| -> Result<_, String> {
            let parsed: Result<_, _> = texts.iter().map(|text| parse_socket(text)).collect();
            Ok(sockets(parsed?))
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
