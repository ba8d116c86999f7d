//! Parse, run, exit code; nothing else.

use std::process::ExitCode;

use pidwatch::commands;

fn main() -> ExitCode {
    commands::run(std::env::args_os())
}
