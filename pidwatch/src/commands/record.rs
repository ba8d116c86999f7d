//! `pidwatch record`: the stream of events into a file, and what matters of it on standard output.

use std::{
    fs,
    io::{self, Write as _},
};

use crate::{
    cli::args::RecordArgs,
    node::watch::{self, Sink, WatchError},
    output::{Lines, json::Json, text::Text},
    recording::Writer,
    runtime::Stdout,
    stream::{Event, Line},
};

/// Recording could not begin, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be made.
    #[error("cannot record to {path}: {error}{}", advice(.error))]
    Create {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// The file could not be written to its end; the node was watched on.
    #[error("the recording {path} ends at {ended}: {cause}")]
    Ended {
        /// The file.
        path: String,
        /// When, by the wall clock.
        ended: String,
        /// The cause.
        cause: io::Error,
    },
    /// The node cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "; choose another name, or remove it",
        io::ErrorKind::NotFound => "; its folder must be there",
        _ => "",
    }
}

/// Records until the time is over, a signal comes, or the reader of standard output leaves. A full
/// disk ends the recording, not the watch.
///
/// # Errors
/// When the file cannot be made or written, or the node cannot be watched.
pub fn run(args: &RecordArgs) -> Result<(), RecordError> {
    let path = args.file.display().to_string();
    let writer = Writer::create(&args.file, args.max_size).map_err(|error| {
        let path = path.clone();
        RecordError::Create { path, error }
    })?;
    let recorder = || {
        Ok(Recorder {
            text: Text::for_stdout(),
            out: Stdout::new()?,
            writer: Some(writer),
            failure: None,
            path: path.clone(),
        })
    };
    let mut recorder = watch::run(&args.node, args.duration, recorder).inspect_err(|_| {
        // An empty file would only be in the way of the next try.
        if fs::metadata(&args.file).is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&args.file);
        }
    })?;
    recorder.end();
    match recorder.failure {
        Some((ended, cause)) => Err(RecordError::Ended { path, ended, cause }),
        None => Ok(()),
    }
}

struct Recorder {
    text: Text,
    out: Stdout,
    /// Until it fails.
    writer: Option<Writer>,
    failure: Option<(String, io::Error)>,
    path: String,
}

impl Recorder {
    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        if let Err(error) = write(writer) {
            let ended = format!("{:.0}", jiff::Timestamp::now());
            // A diagnostic, and what was asked for is not done: told now and at the end.
            tracing::error!("stopped recording to {}: {error}; watching on", self.path);
            self.writer = None;
            self.failure = Some((ended, error));
        }
    }

    fn end(&mut self) {
        self.write(Writer::write);
    }
}

impl Sink for Recorder {
    fn started(&mut self, line: Line) -> io::Result<()> {
        self.write(|writer| {
            Json::write(writer.lines(), &line)?;
            writer.end_preamble();
            Ok(())
        });
        writeln!(self.out.buffer(), "recording to {}", self.path)?;
        self.text.line(self.out.buffer(), line)
    }

    fn take(&mut self, lines: &mut Vec<Line>) -> io::Result<()> {
        self.write(|writer| {
            for line in &*lines {
                Json::write(writer.lines(), line)?;
            }
            writer.write_due()
        });
        let matters = |line: &Line| {
            matches!(
                line.event,
                Event::State(_) | Event::Incident(_) | Event::Brake(_) | Event::Lost { .. }
            )
        };
        for line in lines.drain(..).filter(matters) {
            self.text.line(self.out.buffer(), line)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.out.flush().await
    }
}
