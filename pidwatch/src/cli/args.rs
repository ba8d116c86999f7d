//! The options of every command.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    limits::Severity,
    probe::Choice,
    recording::Speed,
    settings,
    thresholds::{self, Threshold},
    values,
};

/// Options of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Options of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The recording, or what `trace -o json` printed; `-` is standard input.
    #[arg(required_unless_present = "connect", conflicts_with = "connect")]
    pub file: Option<PathBuf>,
    /// Ask a running agent for the report of its flight recorder (http://node:9757, node).
    #[arg(long, value_name = "URL")]
    pub connect: Option<String>,
    /// Form of the report.
    #[arg(
        long,
        short,
        value_enum,
        default_value = "text",
        env = "PIDWATCH_OUTPUT"
    )]
    pub output: ReportFormat,
    /// Only this incident, by its id.
    #[arg(long, value_name = "ID", env = "PIDWATCH_INCIDENT")]
    pub incident: Option<String>,
    /// Read options from a TOML file: their long names, `_` or `-` between words.
    #[arg(long, value_name = "FILE", env = "PIDWATCH_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a terminal.
    Text,
    /// One JSON object.
    Json,
    /// For a ticket or a wiki.
    Markdown,
    /// One page with charts; needs no other file.
    Html,
}

/// Options of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Form of the page.
    #[arg(
        long,
        short,
        value_enum,
        default_value = "text",
        env = "PIDWATCH_OUTPUT"
    )]
    pub output: OutputFormat,
    /// Exit with status 3 when a finding is at least this severe.
    #[arg(long, value_enum, env = "PIDWATCH_FAIL_ON")]
    pub fail_on: Option<Severity>,
    /// Options that every command has.
    #[command(flatten)]
    pub roots: RootArgs,
}

/// Options of every command.
#[derive(Args, Debug)]
pub struct RootArgs {
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
    /// Read options from a TOML file: their long names, `_` or `-` between words.
    #[arg(long, value_name = "FILE", env = "PIDWATCH_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Options of `top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Show this recording, or what `trace -o json` printed, with a time bar to move in.
    pub file: Option<PathBuf>,
    /// How many times as fast as it happened a recording plays, or `max`.
    #[arg(long, value_name = "N|max", value_parser = settings::parse_speed, default_value = "1", env = "PIDWATCH_SPEED")]
    pub speed: Speed,
    /// Show what a running agent sees: http://NODE:9757.
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "file",
        env = "PIDWATCH_CONNECT"
    )]
    pub connect: Option<String>,
    /// Colours; without it those chosen last, and none with NO_COLOR.
    #[arg(long, value_enum, env = "PIDWATCH_THEME")]
    pub theme: Option<ThemeName>,
    /// Length of a rate window.
    #[arg(long, value_parser = settings::parse_window, default_value = "1s", env = "PIDWATCH_WINDOW")]
    pub window: Duration,
    /// Which owners to show.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Also owners without tasks.
    #[arg(long, env = "PIDWATCH_ALL")]
    pub all: bool,
    /// Options of every command that watches the node.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Form of the lines; JSON is one object a line.
    #[arg(
        long,
        short,
        value_enum,
        default_value = "text",
        env = "PIDWATCH_OUTPUT"
    )]
    pub output: OutputFormat,
    /// Stop after this time (10s, 5m, 500ms).
    #[arg(long, value_parser = values::parse_duration, env = "PIDWATCH_DURATION")]
    pub duration: Option<Duration>,
    /// Length of a rate window.
    #[arg(long, value_parser = settings::parse_window, default_value = "1s", env = "PIDWATCH_WINDOW")]
    pub window: Duration,
    /// Which cgroups to show.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Also cgroups with nothing to say.
    #[arg(long, env = "PIDWATCH_ALL")]
    pub all: bool,
    /// Options of every command that watches the node.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Where to serve HTTP. Port 0 takes a free one, and tells which. Whoever can reach it can read all
    /// of it; nothing can be changed by it.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:9757",
        env = "PIDWATCH_LISTEN"
    )]
    pub listen: SocketAddr,
    /// Folder for what outlives a restart: open incidents and the flight recorder.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/pidwatch",
        env = "PIDWATCH_STATE_DIR"
    )]
    pub state_dir: PathBuf,
    /// Keep the last so many bytes of the stream of events in the state folder (64MiB, 1GiB); 0 keeps
    /// none.
    #[arg(long, value_name = "SIZE", value_parser = settings::parse_room, default_value = "64MiB", env = "PIDWATCH_FLIGHT_RECORDER")]
    pub flight_recorder: u64,
    /// Most series of owners in /metrics, at 20 for each; the owners beyond are summed up in one.
    #[arg(
        long,
        value_name = "N",
        default_value = "50000",
        env = "PIDWATCH_MAX_SERIES"
    )]
    pub max_series: usize,
    /// Write events about pods that leak, and about failed clones, to the API server of the cluster in which
    /// this is a pod.
    #[arg(long, env = "PIDWATCH_KUBERNETES_EVENTS")]
    pub kubernetes_events: bool,
    /// Length of a rate window: how often metrics are new.
    #[arg(long, value_parser = settings::parse_window, default_value = "1s", env = "PIDWATCH_WINDOW")]
    pub window: Duration,
    /// Options of every command that watches the node.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `record`.
#[derive(Args, Debug)]
pub struct RecordArgs {
    /// The recording; a new file.
    pub file: PathBuf,
    /// Most bytes on the disk (64MiB, 1GiB): when it has half of them, it is begun anew and the older
    /// half kept beside it as FILE.1.
    #[arg(long, value_name = "SIZE", value_parser = values::parse_size, default_value = "1GiB", env = "PIDWATCH_MAX_SIZE")]
    pub max_size: u64,
    /// Stop after this time (10s, 5m, 500ms).
    #[arg(long, value_parser = values::parse_duration, env = "PIDWATCH_DURATION")]
    pub duration: Option<Duration>,
    /// Length of a rate window.
    #[arg(long, value_parser = settings::parse_window, default_value = "1s", env = "PIDWATCH_WINDOW")]
    pub window: Duration,
    /// Options of every command that watches the node.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The recording, or what `trace -o json` printed; `-` is standard input.
    pub file: PathBuf,
    /// How many times as fast as it happened, or `max`.
    #[arg(long, value_name = "N|max", value_parser = settings::parse_speed, default_value = "1", env = "PIDWATCH_SPEED")]
    pub speed: Speed,
    /// Form of the lines; JSON is one object a line.
    #[arg(
        long,
        short,
        value_enum,
        default_value = "text",
        env = "PIDWATCH_OUTPUT"
    )]
    pub output: OutputFormat,
    /// Which cgroups to show.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Read options from a TOML file: their long names, `_` or `-` between words.
    #[arg(long, value_name = "FILE", env = "PIDWATCH_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Which cgroups to show.
#[derive(Args, Debug)]
pub struct FilterArgs {
    /// Only cgroups whose path matches; `*` also matches `/`.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_CGROUP")]
    pub cgroup: Option<String>,
    /// Only owners in a Kubernetes namespace that matches; what belongs to no pod, or to one whose names
    /// are not known (yet), is left out.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Only pods whose name matches.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_POD")]
    pub pod: Option<String>,
}

/// Options of every command that watches the node.
#[derive(Args, Debug)]
pub struct CommonArgs {
    /// Options that every command has.
    #[command(flatten)]
    pub roots: RootArgs,
    /// Bytes of the kernel's ring buffer: a power of two, at least a page.
    #[arg(long, value_name = "BYTES", value_parser = settings::parse_ring_size, default_value = "1048576", env = "PIDWATCH_RING_SIZE")]
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
    /// Ask these container runtimes for names of pods and containers, by their CRI sockets
    /// (comma-separated); `none` asks nobody. Without it, whichever listens at the usual places.
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        value_parser = settings::parse_socket,
        env = "PIDWATCH_CRI_SOCKET"
    )]
    pub cri_socket: Vec<PathBuf>,
    /// Show the kernel side's own diagnostics on standard error.
    #[arg(long, env = "PIDWATCH_KERNEL_LOG")]
    pub kernel_log: bool,
}

/// Form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A set of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ThemeName {
    /// The terminal's own sixteen colours, so that they fit its background.
    #[default]
    Terminal,
    /// Blue, orange and vermilion, which colour-blind people tell apart (Okabe and Ito).
    ColorBlind,
    /// No colours: bold, reverse, underlined.
    Mono,
}

impl ThemeName {
    /// All, in the order in which a key goes through them.
    pub const ALL: [Self; 3] = [Self::Terminal, Self::ColorBlind, Self::Mono];
}
