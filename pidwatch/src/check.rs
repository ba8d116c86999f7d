//! `pidwatch check`: the node's limits on one page, with findings and advice. No BPF, one pass,
//! nothing kept.

use std::io::{self, IsTerminal, Write};

use crate::{
    limits::{self, Finding, Severity},
    output::check::{Page, json, text},
    settings::CheckSettings,
};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Standard output failed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Looks at the node and prints the page; whether a finding is at least as severe as asked for.
///
/// # Errors
/// When standard output fails; what cannot be read is shown as unknown instead.
pub fn run(settings: &CheckSettings) -> Result<bool, CheckError> {
    let survey = limits::survey(&settings.proc_root, &settings.cgroup_root);
    let rows = limits::table(&survey);
    let findings = limits::find(&survey);
    let page = Page {
        survey: &survey,
        rows: &rows,
        findings: &findings,
    };
    let mut out = Vec::new();
    let written = if settings.json {
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
    Ok(is_reached(settings.fail_on, &findings))
}

fn is_reached(fail_on: Option<Severity>, findings: &[Finding]) -> bool {
    fail_on.is_some_and(|least| findings.iter().any(|finding| finding.severity >= least))
}
