//! `pidwatch report`: the post-mortem of a recording, on standard output.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::Path,
};

use crate::{
    cli::ReportFormat,
    escape,
    report::{
        Report, ReportError, Reporter, html::html, markdown::markdown, text::text, words::Words,
    },
    settings::ReportSettings,
    stream,
};

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;
/// A line is never so long; a file that has such is no recording.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum PostMortemError {
    /// The file cannot be read.
    #[error("cannot read {name}: {error}")]
    Unreadable {
        /// Which.
        name: String,
        /// The cause.
        error: io::Error,
    },
    /// It is something else.
    #[error(
        "{name} is no recording of pidwatch: its line {line} cannot be read ({error}); make one with \
         `pidwatch trace -o json > FILE`"
    )]
    Foreign {
        /// Which file.
        name: String,
        /// Which line.
        line: u64,
        /// What is wrong with it.
        error: String,
    },
    /// It is empty, or has no such incident.
    #[error("{name}: {error}")]
    Report {
        /// Which file.
        name: String,
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
/// standard output fails.
pub fn run(settings: &ReportSettings) -> Result<(), PostMortemError> {
    let name = match &settings.file {
        Some(path) => path.display().to_string(),
        None => "standard input".to_owned(),
    };
    let unreadable = |error| PostMortemError::Unreadable {
        name: name.clone(),
        error,
    };
    let mut reporter = Reporter::default();
    let input = open(settings.file.as_deref()).map_err(unreadable)?;
    match read(input, &mut reporter) {
        Ok(()) => {}
        Err(Stop::Io(error)) => return Err(unreadable(error)),
        Err(Stop::Foreign(line, error)) => {
            return Err(PostMortemError::Foreign { name, line, error });
        }
    }
    let report = reporter
        .finish(settings.incident.as_deref())
        .map_err(|error| PostMortemError::Report {
            name: name.clone(),
            error,
        })?;
    let page = page(&report, settings.output).map_err(PostMortemError::Output)?;
    match io::stdout().write_all(page.as_bytes()) {
        // `| head -1`: the reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(PostMortemError::Output),
    }
}

fn open(path: Option<&Path>) -> io::Result<Box<dyn BufRead>> {
    Ok(match path {
        Some(path) => Box::new(BufReader::with_capacity(1 << 18, File::open(path)?)),
        None => Box::new(io::stdin().lock()),
    })
}

/// Why reading ended before the end.
enum Stop {
    Io(io::Error),
    Foreign(u64, String),
}

/// Reads lines. One that cannot be read makes the file foreign when nothing before it could, and is
/// told of otherwise: it was cut off, or is of a later version.
fn read(mut input: impl BufRead, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut line = Vec::new();
    let (mut number, mut read, mut unread) = (0, 0, 0);
    let mut is_cut = false;
    loop {
        line.clear();
        let mut limited = (&mut input).take(LONGEST_LINE);
        if limited.read_until(b'\n', &mut line).map_err(Stop::Io)? == 0 {
            break;
        }
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match stream::parse(&line) {
            Ok(line) => {
                reporter.push(&line);
                read += 1;
            }
            Err(error) if read == 0 => {
                let error = escape::for_terminal(error.to_string().as_bytes());
                return Err(Stop::Foreign(number, error));
            }
            Err(_) if !line.ends_with(b"\n") => is_cut = true,
            Err(_) => unread += 1,
        }
    }
    if is_cut {
        reporter.note("The recording ends in the midst of a line: it was cut off there.".into());
    }
    if unread > 0 {
        let note = format!(
            "{} could not be read; a later version may have written them.",
            crate::report::words::count(unread, "line")
        );
        reporter.note(Words::from(note));
    }
    Ok(())
}

fn page(report: &Report, form: ReportFormat) -> io::Result<String> {
    Ok(match form {
        ReportFormat::Json => serde_json::to_string_pretty(report)? + "\n",
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
