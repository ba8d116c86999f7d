//! The options of every command.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args, ValueEnum,
    builder::{PathBufValueParser, TypedValueParser as _},
};

use crate::{
    brake::{AutomaticBrake, BrakeExceptions},
    connect::Address,
    filter::Filter,
    limits::Severity,
    node::{NodeSettings, Roots, parse_socket},
    recording::ReplaySpeed,
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
    #[arg(long, value_name = "URL", value_parser = Address::look_up)]
    pub connect: Option<Address>,
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
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
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
    /// Where the node's files are.
    #[command(flatten)]
    pub roots: Roots,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// The option that every command has.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// Read options from a TOML file: their long names, `_` or `-` between words.
    #[arg(long, value_name = "FILE", env = "PIDWATCH_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Options of `brake`.
#[derive(Args, Debug)]
pub struct BrakeArgs {
    /// The owner: a systemd unit, a container id, namespace/pod/container, or a cgroup path.
    pub owner: String,
    /// The new pids.max; defaults to the current number of tasks.
    #[arg(long, value_name = "N", env = "PIDWATCH_AT")]
    pub at: Option<u64>,
    /// Restore the previous limit after this time (10s, 15m, 1h30m).
    #[arg(long = "for", value_name = "TIME", value_parser = values::parse_duration, default_value = "15m", env = "PIDWATCH_FOR")]
    pub lasts: Duration,
    /// Show what would change, and change nothing.
    #[arg(long, env = "PIDWATCH_DRY_RUN")]
    pub dry_run: bool,
    /// Owners that are never braked: units, namespaces or cgroup paths (comma-separated).
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        env = "PIDWATCH_BRAKE_NEVER"
    )]
    pub never: Vec<String>,
    /// Where the node's files are.
    #[command(flatten)]
    pub roots: Roots,
    /// CRI sockets of the container runtimes to ask for pod names (comma-separated); `none` disables it.
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        value_parser = parse_socket,
        env = "PIDWATCH_CRI_SOCKET"
    )]
    pub cri_socket: Vec<PathBuf>,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Options of `hold-brake`, which `brake` starts.
#[derive(Args, Debug)]
pub struct HoldBrakeArgs {
    /// Where the node's files are.
    #[command(flatten)]
    pub roots: Roots,
}

/// Options of `release`.
#[derive(Args, Debug)]
pub struct ReleaseArgs {
    /// The owner, as `brake` and `check` print it, or its cgroup path.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub owner: Option<String>,
    /// Release every brake on this node.
    #[arg(long)]
    pub all: bool,
    /// Where the node's files are.
    #[command(flatten)]
    pub roots: Roots,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Options of `top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Show this recording, or what `trace -o json` printed, with a time bar to move in.
    #[arg(value_parser = PathBufValueParser::new().try_map(seekable))]
    pub file: Option<PathBuf>,
    /// How many times as fast as it happened a recording plays, or `max`.
    #[arg(
        long,
        value_name = "N|max",
        default_value = "1",
        env = "PIDWATCH_SPEED"
    )]
    pub speed: ReplaySpeed,
    /// Show what a running agent sees: http://NODE:9757.
    #[arg(
        long,
        value_name = "URL",
        value_parser = Address::look_up,
        conflicts_with = "file",
        env = "PIDWATCH_CONNECT"
    )]
    pub connect: Option<Address>,
    /// Colours; without it those chosen last, and none with NO_COLOR.
    #[arg(long, value_enum, env = "PIDWATCH_THEME")]
    pub theme: Option<ThemeName>,
    /// Which owners to show.
    #[command(flatten)]
    pub filter: Filter,
    /// Also owners without tasks.
    #[arg(long, env = "PIDWATCH_ALL")]
    pub all: bool,
    /// Owners that the key `b` never brakes.
    #[command(flatten)]
    pub exceptions: BrakeExceptions,
    /// How the node is watched.
    #[command(flatten)]
    pub node: NodeSettings,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
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
    /// Stop after this time (500ms, 10s, 1h30m, 2d).
    #[arg(long, value_parser = values::parse_duration, env = "PIDWATCH_DURATION")]
    pub duration: Option<Duration>,
    /// Which cgroups to show.
    #[command(flatten)]
    pub filter: Filter,
    /// Also cgroups with nothing to say.
    #[arg(long, env = "PIDWATCH_ALL")]
    pub all: bool,
    /// How the node is watched.
    #[command(flatten)]
    pub node: NodeSettings,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
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
    #[arg(long, value_name = "SIZE", value_parser = values::parse_room, default_value = "64MiB", env = "PIDWATCH_FLIGHT_RECORDER")]
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
    /// The automatic brake.
    #[command(flatten)]
    pub brake: AutomaticBrake,
    /// How the node is watched.
    #[command(flatten)]
    pub node: NodeSettings,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
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
    /// Stop after this time (500ms, 10s, 1h30m, 2d).
    #[arg(long, value_parser = values::parse_duration, env = "PIDWATCH_DURATION")]
    pub duration: Option<Duration>,
    /// How the node is watched.
    #[command(flatten)]
    pub node: NodeSettings,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Options of `replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The recording, or what `trace -o json` printed; `-` is standard input.
    pub file: PathBuf,
    /// How many times as fast as it happened, or `max`.
    #[arg(
        long,
        value_name = "N|max",
        default_value = "1",
        env = "PIDWATCH_SPEED"
    )]
    pub speed: ReplaySpeed,
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
    pub filter: Filter,
    /// The option that every command has.
    #[command(flatten)]
    pub config: ConfigArgs,
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

/// A recording to go back and forth in.
fn seekable(file: PathBuf) -> Result<PathBuf, &'static str> {
    if file == Path::new("-") {
        return Err("top goes back and forth in a recording: give it a file, not `-`");
    }
    Ok(file)
}
