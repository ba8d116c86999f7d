//! Validated settings, made from the command line: what is here can be used as it is.

mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::values::{parse_ring_size, parse_room, parse_socket, parse_speed, parse_window};

use self::values::sockets;
use crate::{
    cli::args::{
        AgentArgs, CheckArgs, CommonArgs, OutputFormat, RecordArgs, ReplayArgs, ReportArgs,
        ReportFormat, RootArgs, ThemeName, TopArgs, TraceArgs,
    },
    connect::Address,
    filter::Filter,
    limits::Severity,
    node::NodeSettings,
    recording::Speed,
    thresholds::Thresholds,
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

fn node_settings(common: CommonArgs, window: Duration, all: bool) -> NodeSettings {
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
    NodeSettings {
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
            node: node_settings(common, window, all),
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
            node: node_settings(common, window, false),
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
            (None, None) => TopSource::Node(Box::new(node_settings(common, window, false))),
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
            node: node_settings(common, window, false),
            file,
            max_size,
            duration,
        }
    }
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
