//! Parse, run, exit code; nothing else.

use std::process::ExitCode;

use pidwatch::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
