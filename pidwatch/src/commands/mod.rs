//! The commands: runs what was asked for, and says by the exit status how it went.

pub mod brake;
pub mod check;
pub mod record;
pub mod replay;
pub mod report;
pub mod trace;

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    agent,
    cli::{self, Command, generate},
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
    let failed = |error: &dyn Error| (FAILED, error.to_string());
    let result = match cli.command {
        Some(Command::Trace(args)) => trace::run(args).map_err(|error| failed(&error)),
        Some(Command::Agent(args)) => agent::run(args).map_err(|error| failed(&error)),
        Some(Command::Top(args)) => tui::run(&args).map_err(|error| match error {
            TopError::NoTerminal => (USAGE, error.to_string()),
            error => failed(&error),
        }),
        Some(Command::Record(args)) => record::run(&args).map_err(|error| failed(&error)),
        Some(Command::Replay(args)) => replay::run(&args).map_err(|error| failed(&error)),
        Some(Command::Check(args)) => match check::run(&args) {
            Ok(true) => return ExitCode::from(FINDINGS),
            Ok(false) => Ok(()),
            Err(error) => Err(failed(&error)),
        },
        Some(Command::Report(args)) => report::run(&args).map_err(|error| failed(&error)),
        Some(Command::Brake(args)) => brake::run(&args).map_err(|error| failed(&error)),
        Some(Command::Release(args)) => brake::release(&args).map_err(|error| failed(&error)),
        Some(Command::HoldBrake(args)) => brake::wait(&args).map_err(|error| failed(&error)),
        Some(Command::Completions(args)) => print(generate::completions(args.shell)),
        Some(Command::Man) => print(generate::man()),
        None => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::from(DONE),
        Err((code, error)) => {
            let _ = writeln!(io::stderr(), "pidwatch: {error}");
            ExitCode::from(code)
        }
    }
}

fn print(page: io::Result<Vec<u8>>) -> Result<(), (u8, String)> {
    page.and_then(|page| io::stdout().write_all(&page))
        .map_err(|error| (FAILED, format!("cannot print: {error}")))
}
