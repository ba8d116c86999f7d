//! `pidwatch report`: the post-mortem of a recording, on standard output.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    cli::args::{ReportArgs, ReportFormat},
    connect::{self, Address, ConnectError},
    escape,
    recording::{ReadError, Reader, reporter},
    report::{Report, ReportError, html::html, markdown::markdown, text::text},
};

/// Columns where there is no terminal to ask, and the most that read well.
const WIDTH: usize = 100;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum PostMortemError {
    /// The recording cannot be read, or is none.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An agent has none.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It is empty, or has no such incident.
    #[error("{file}: {error}")]
    Report {
        /// Which.
        file: String,
        /// What is missing.
        error: ReportError,
    },
    /// Standard output failed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Reads the recording and writes the report.
///
/// # Errors
/// When the recording cannot be read, is none, has nothing in it or not the incident asked for, or
/// standard output fails; or the agent asked has none.
pub fn run(args: &ReportArgs) -> Result<(), PostMortemError> {
    let incident = args.incident.as_deref();
    let page = match (&args.connect, &args.file) {
        // Whatever answers there: it is shown here.
        (Some(address), _) => escape::lines_for_terminal(&ask(address, incident, args.output)?),
        // One of the two is there: the command line sees to it.
        (None, file) => {
            let file = file.as_deref().unwrap_or(Path::new("-"));
            let reporter = reporter(Reader::open(file)?)?;
            let report = reporter
                .finish(incident)
                .map_err(|error| PostMortemError::Report {
                    file: file.display().to_string(),
                    error,
                })?;
            page(&report, args.output).map_err(PostMortemError::Output)?
        }
    };
    match io::stdout().write_all(page.as_bytes()) {
        // `| head -1`: the reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(PostMortemError::Output),
    }
}

/// The report of an agent's flight recorder.
fn ask(
    address: &Address,
    incident: Option<&str>,
    form: ReportFormat,
) -> Result<String, ConnectError> {
    let path = match incident {
        Some(id) => {
            let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
            format!("/api/v1/incidents/{id}/report")
        }
        None => "/api/v1/report".to_owned(),
    };
    let media = match form {
        ReportFormat::Text => "text/plain",
        ReportFormat::Json => "application/json",
        ReportFormat::Markdown => "text/markdown",
        ReportFormat::Html => "text/html",
    };
    connect::get(address, &path, media)
}

fn page(report: &Report, form: ReportFormat) -> io::Result<String> {
    Ok(match form {
        ReportFormat::Json => {
            let json = escape::shown_json(serde_json::to_vec_pretty(report)?);
            String::from_utf8_lossy(&json).into_owned() + "\n"
        }
        ReportFormat::Markdown => markdown(report),
        ReportFormat::Html => html(report),
        ReportFormat::Text => text(report, width()),
    })
}

/// Columns of the terminal.
fn width() -> usize {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return WIDTH;
    }
    let size = rustix::termios::tcgetwinsize(&stdout);
    size.map_or(WIDTH, |size| usize::from(size.ws_col))
        .min(WIDTH)
}
