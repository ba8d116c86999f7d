//! The command line, and what its outcome is as an exit status.
//!
//! A flag beats its `PIDWATCH_*` variable beats the `--config` file beats the default.

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::{
    agent, check, config, generate,
    limits::Severity,
    post_mortem,
    probe::Choice,
    record, replay,
    settings::{
        self, AgentSettings, CheckSettings, RecordSettings, ReplaySettings, ReportSettings,
        Settings, TopSettings,
    },
    thresholds::{self, Threshold},
    trace,
    tui::{self, TopError, theme::ThemeName},
};

/// Ran and ended as asked.
const DONE: u8 = 0;
/// Could not do what was asked.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const USAGE: u8 = 2;
/// `check` has findings as severe as asked for.
const FINDINGS: u8 = 3;

/// Live fork and clone tracing per cgroup: who creates tasks, which clones fail and why, who leaks.
#[derive(Debug, Parser)]
#[command(name = "pidwatch", version, max_term_width = 100)]
pub struct Cli {
    /// What to do; when left out `top` on a terminal, otherwise `trace`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the node on one screen.
    ///
    /// How close it is to which limit, who eats it, who suffers. Needs a terminal. Shows this node, a
    /// recording, or with --connect what a running agent sees, which needs neither root nor BPF.
    Top(TopArgs),
    /// Show the node's task life as a stream of lines.
    ///
    /// One line for each cgroup in which something happened in a window, and one for each failed
    /// clone as it happens.
    Trace(TraceArgs),
    /// Watch the node for as long as it is up, and tell of it over HTTP: metrics for Prometheus, the node
    /// as it is, what happens, and the reports of incidents.
    ///
    /// Prints states and incidents as JSON lines. Keeps the last of the stream of events in a flight
    /// recorder, so that the report of last night can be had in the morning.
    Agent(AgentArgs),
    /// Record the node's task life into a file, to replay it and report on it later.
    ///
    /// Writes the stream of `trace -o json`, compressed, and prints what matters of it: leaks,
    /// incidents, losses.
    Record(RecordArgs),
    /// Show a recording as the node was.
    Replay(ReplayArgs),
    /// Check the node's limits on tasks, and say what to change.
    ///
    /// One page: the limits in force and how much of them is used, which one binds the node, who holds
    /// the most tasks, and findings with advice. Needs no BPF; what it may not see without root it
    /// names.
    Check(CheckArgs),
    /// Write the post-mortem of a recording.
    ///
    /// What happened, who it was, who suffered, why nothing stopped it, what to do, and an alert that
    /// would have caught it. Reads what `record` wrote, or `trace -o json`, or asks an agent; needs neither
    /// root nor BPF.
    Report(ReportArgs),
    /// Print completions for a shell.
    ///
    /// For bash: `pidwatch completions bash > /usr/share/bash-completion/completions/pidwatch`.
    Completions(CompletionsArgs),
    /// Print the manual as a man page, every command in it.
    Man,
}

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
    pub speed: settings::Speed,
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
    #[arg(long, value_parser = settings::parse_duration, env = "PIDWATCH_DURATION")]
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
    #[arg(long, value_name = "SIZE", value_parser = settings::parse_size, default_value = "1GiB", env = "PIDWATCH_MAX_SIZE")]
    pub max_size: u64,
    /// Stop after this time (10s, 5m, 500ms).
    #[arg(long, value_parser = settings::parse_duration, env = "PIDWATCH_DURATION")]
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
    pub speed: settings::Speed,
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

/// Parses, runs, and says how it went.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let default = if tui::can_run() { "top" } else { "trace" };
    let arguments: Vec<OsString> = with_default_command(arguments.into_iter().collect(), default);
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output.
            let code = if error.use_stderr() { USAGE } else { DONE };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Some(Command::Trace(args)) => Settings::from_trace(args)
            .map_err(|error| (USAGE, error))
            .and_then(|settings| {
                trace::run(&settings).map_err(|error| (FAILED, error.to_string()))?;
                Ok(DONE)
            }),
        Some(Command::Agent(args)) => agent::run(AgentSettings::from(args))
            .map(|()| DONE)
            .map_err(|error| (FAILED, error.to_string())),
        Some(Command::Top(args)) => TopSettings::from_top(args)
            .map_err(|error| (USAGE, error))
            .and_then(|settings| match tui::run(&settings) {
                Ok(()) => Ok(DONE),
                Err(error @ TopError::NoTerminal) => Err((USAGE, error.to_string())),
                Err(error) => Err((FAILED, error.to_string())),
            }),
        Some(Command::Record(args)) => record::run(&RecordSettings::from(args))
            .map(|()| DONE)
            .map_err(|error| (FAILED, error.to_string())),
        Some(Command::Replay(args)) => ReplaySettings::from_replay(args)
            .map_err(|error| (USAGE, error))
            .and_then(|settings| {
                replay::run(&settings).map_err(|error| (FAILED, error.to_string()))?;
                Ok(DONE)
            }),
        Some(Command::Check(args)) => match check::run(&CheckSettings::from(args)) {
            Ok(true) => Ok(FINDINGS),
            Ok(false) => Ok(DONE),
            Err(error) => Err((FAILED, error.to_string())),
        },
        Some(Command::Report(args)) => ReportSettings::from_report(args)
            .map_err(|error| (USAGE, error))
            .and_then(|settings| {
                post_mortem::run(&settings).map_err(|error| (FAILED, error.to_string()))?;
                Ok(DONE)
            }),
        Some(Command::Completions(args)) => print(generate::completions(args.shell)),
        Some(Command::Man) => print(generate::man()),
        None => Ok(DONE),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err((code, error)) => {
            let _ = writeln!(io::stderr(), "pidwatch: {error}");
            ExitCode::from(code)
        }
    }
}

fn print(page: io::Result<Vec<u8>>) -> Result<u8, (u8, String)> {
    page.and_then(|page| io::stdout().write_all(&page))
        .map(|()| DONE)
        .map_err(|error| (FAILED, format!("cannot print: {error}")))
}

/// `pidwatch` alone is the default command, and with options only `pidwatch trace`, whose they are.
fn with_default_command(mut arguments: Vec<OsString>, default: &str) -> Vec<OsString> {
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    let is_option = first.is_some_and(|argument| argument.starts_with('-'));
    let is_about = matches!(first, Some("-h" | "--help" | "-V" | "--version"));
    if first.is_none() && arguments.len() <= 1 {
        arguments.insert(1.min(arguments.len()), default.into());
    } else if is_option && !is_about {
        arguments.insert(1, "trace".into());
    }
    arguments
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let command = Cli::command();
    let matches = command.clone().try_get_matches_from(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let Some((name, file)) = cli.config_file() else {
        return Ok(cli);
    };
    let command = config::apply(command, name, file)?;
    Cli::from_arg_matches(&command.clone().try_get_matches_from(arguments)?)
}

impl Cli {
    /// The command's name and its configuration file.
    fn config_file(&self) -> Option<(&'static str, &std::path::Path)> {
        match self.command.as_ref()? {
            Command::Top(args) => Some(("top", args.common.roots.config.as_deref()?)),
            Command::Trace(args) => Some(("trace", args.common.roots.config.as_deref()?)),
            Command::Agent(args) => Some(("agent", args.common.roots.config.as_deref()?)),
            Command::Record(args) => Some(("record", args.common.roots.config.as_deref()?)),
            Command::Replay(args) => Some(("replay", args.config.as_deref()?)),
            Command::Check(args) => Some(("check", args.roots.config.as_deref()?)),
            Command::Report(args) => Some(("report", args.config.as_deref()?)),
            Command::Completions(_) | Command::Man => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        with_default_command(line.split_whitespace().map(Into::into).collect(), "trace")
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_traces() {
        for line in ["pidwatch", "pidwatch -o json", "pidwatch trace --window 2s"] {
            let cli = parse(&arguments(line)).unwrap();
            assert!(matches!(cli.command, Some(Command::Trace(_))), "{line}");
        }
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pidwatch.toml");
        std::fs::write(&file, "window = \"3s\"\nring_size = 8192\nall = true\n").unwrap();
        let line = format!("pidwatch trace --window 2s --config {}", file.display());
        let Some(Command::Trace(args)) = parse(&arguments(&line)).unwrap().command else {
            panic!()
        };
        assert_eq!(args.window, Duration::from_secs(2));
        assert_eq!(args.common.ring_size, 8192);
        assert!(args.all);
        assert_eq!(args.duration, None);
    }

    #[test]
    fn one_file_serves_every_command() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pidwatch.toml");
        std::fs::write(&file, "window = \"3s\"\nfail_on = \"critical\"\n").unwrap();
        let line = format!("pidwatch check --config {}", file.display());
        let Some(Command::Check(args)) = parse(&arguments(&line)).unwrap().command else {
            panic!()
        };
        assert_eq!(args.fail_on, Some(Severity::Critical));
    }

    #[test]
    fn an_unknown_key_names_itself_and_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pidwatch.toml");
        std::fs::write(&file, "windw = \"3s\"\n").unwrap();
        let line = format!("pidwatch trace --config {}", file.display());
        let error = parse(&arguments(&line)).unwrap_err().to_string();
        assert!(
            error.contains("windw") && error.contains("`window`"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_in_the_file_is_refused_like_one_on_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pidwatch.toml");
        for text in ["ring_size = 3\n", "window = \"soon\"\n", "window = [\n"] {
            std::fs::write(&file, text).unwrap();
            let line = format!("pidwatch trace --config {}", file.display());
            assert!(parse(&arguments(&line)).is_err(), "{text}");
        }
        let error = parse(&arguments("pidwatch trace --config /nonexistent.toml")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.toml"));
    }
}
