//! The command line: what can be asked for, and how it is read.
//!
//! A flag beats its `PIDWATCH_*` variable beats the `--config` file beats the default.

pub mod args;
mod config;
pub mod generate;

use std::{ffi::OsString, path::Path};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::args::{
    AgentArgs, BrakeArgs, CheckArgs, CompletionsArgs, HoldBrakeArgs, RecordArgs, ReleaseArgs,
    ReplayArgs, ReportArgs, TopArgs, TraceArgs,
};

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
    /// Stop a leak without killing anything: lower a container's or unit's pids.max to its current usage.
    ///
    /// Existing tasks keep running; new ones fail, in this owner only. The previous limit is restored when the lease
    /// ends (--for) or with `pidwatch release`. docs/brake.md lists the side effects. Requires root.
    Brake(BrakeArgs),
    /// Release a brake now: restore the previous limit.
    Release(ReleaseArgs),
    /// Restore the limit when the lease ends; started by `brake`.
    #[command(hide = true)]
    HoldBrake(HoldBrakeArgs),
    /// Print completions for a shell.
    ///
    /// For bash: `pidwatch completions bash > /usr/share/bash-completion/completions/pidwatch`.
    Completions(CompletionsArgs),
    /// Print the manual as a man page, every command in it.
    Man,
}

/// `pidwatch` alone is the default command, and with options only `pidwatch trace`, whose they are.
pub fn with_default_command(mut arguments: Vec<OsString>, default: &str) -> Vec<OsString> {
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

/// Reads the command line, and the configuration file that it names.
///
/// # Errors
/// Wrong usage; also help and the version, which are to be printed.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
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
    fn config_file(&self) -> Option<(&'static str, &Path)> {
        match self.command.as_ref()? {
            Command::Top(args) => Some(("top", args.config.config.as_deref()?)),
            Command::Trace(args) => Some(("trace", args.config.config.as_deref()?)),
            Command::Agent(args) => Some(("agent", args.config.config.as_deref()?)),
            Command::Record(args) => Some(("record", args.config.config.as_deref()?)),
            Command::Replay(args) => Some(("replay", args.config.config.as_deref()?)),
            Command::Check(args) => Some(("check", args.config.config.as_deref()?)),
            Command::Report(args) => Some(("report", args.config.config.as_deref()?)),
            Command::Brake(args) => Some(("brake", args.config.config.as_deref()?)),
            Command::Release(args) => Some(("release", args.config.config.as_deref()?)),
            Command::HoldBrake(_) | Command::Completions(_) | Command::Man => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::Severity;

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
        assert_eq!(args.node.window, Duration::from_secs(2));
        assert_eq!(args.node.ring_size, 8192);
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
