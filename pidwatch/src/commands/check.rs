//! `pidwatch check`: the node's limits on one page, with findings and advice. No BPF, one pass,
//! nothing kept.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use crate::{
    cli::args::{CheckArgs, OutputFormat},
    limits::{self, Finding, Severity},
    output::check::{CheckPage, json, text},
    survey::{self, Helpers},
};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no /proc to read.
    #[error("cannot read {}: {error}; say where the host's /proc is with --proc-root", path.display())]
    Proc {
        /// Where it should be.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// Standard output failed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Looks at the node and prints the page; whether a finding is at least as severe as asked for.
///
/// # Errors
/// When there is no /proc or standard output fails; what else cannot be read is shown as unknown
/// instead.
pub fn run(args: &CheckArgs) -> Result<bool, CheckError> {
    fs::read_dir(&args.roots.proc_root).map_err(|error| CheckError::Proc {
        path: args.roots.proc_root.clone(),
        error,
    })?;
    let survey = survey::read(
        &args.roots.proc_root,
        &args.roots.cgroup_root,
        &args.roots.lease_dir,
        Helpers::Allowed,
    );
    let rows = limits::table(&survey);
    let findings = limits::find(&survey);
    let page = CheckPage {
        survey: &survey,
        rows: &rows,
        findings: &findings,
    };
    let mut out = Vec::new();
    let written = if args.output == OutputFormat::Json {
        json(&mut out, &page)
    } else {
        text(&mut out, &page, io::stdout().is_terminal())
    };
    written.map_err(CheckError::Output)?;
    match io::stdout().write_all(&out) {
        // `| head -1`: the reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other.map_err(CheckError::Output)?,
    }
    Ok(is_reached(args.fail_on, &findings))
}

fn is_reached(fail_on: Option<Severity>, findings: &[Finding]) -> bool {
    fail_on.is_some_and(|least| findings.iter().any(|finding| finding.severity >= least))
}
