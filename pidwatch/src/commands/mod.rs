//! The commands: runs what was asked for, and says by the exit status how it went.

pub mod check;
pub mod record;
pub mod replay;
pub mod report;
pub mod trace;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    agent,
    cli::{self, Command, generate},
    settings::{
        AgentSettings, CheckSettings, RecordSettings, ReplaySettings, ReportSettings, Settings,
        TopSettings,
    },
    tui::{self, TopError},
};

/// Ran and ended as asked.
const DONE: u8 = 0;
/// Could not do what was asked.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const USAGE: u8 = 2;
/// `check` has findings as severe as asked for.
const FINDINGS: u8 = 3;

/// Parses, runs, and says how it went.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let default = if tui::can_run() { "top" } else { "trace" };
    let arguments: Vec<OsString> =
        cli::with_default_command(arguments.into_iter().collect(), default);
    let cli = match cli::parse(&arguments) {
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
                report::run(&settings).map_err(|error| (FAILED, error.to_string()))?;
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
