//! `pidwatch replay`: a recording, shown as the node was.

use std::{io, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::{
    cli::OutputFormat,
    clock::WallClock,
    recording::{ReadError, Reader, Restorer},
    settings::{ReplaySettings, Speed},
    stream::{Event, Line},
    trace::Printer,
    watch::{Signals, Sink, WatchError, runtime},
};

/// A recording could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Standard output or the runtime.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Shows a recording until its end, a signal, or the reader leaves.
///
/// # Errors
/// When it cannot be read or standard output fails.
pub fn run(settings: &ReplaySettings) -> Result<(), ReplayError> {
    let runtime = runtime().map_err(WatchError::Runtime)?;
    match runtime.block_on(replay(settings)) {
        Err(ReplayError::Watch(WatchError::Output(error)))
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn replay(settings: &ReplaySettings) -> Result<(), ReplayError> {
    let mut signals = Signals::new().map_err(WatchError::Runtime)?;
    let mut reader = Reader::open(&settings.file)?;
    let printer = Printer::new(
        settings.output,
        WallClock::recorded(),
        settings.filter.clone(),
    );
    let mut printer = printer.map_err(WatchError::Output)?;
    let mut restorer = Restorer::default();
    let mut pace = Pace::new(settings.speed);
    let mut updates = Vec::new();
    for line in &mut reader {
        let line = line?;
        let wait = async {
            printer.flush().await?;
            pace.wait(line.time).await;
            Ok(())
        };
        tokio::select! {
            biased;
            () = signals.recv() => return Ok(()),
            waited = wait => waited.map_err(WatchError::Output)?,
        }
        show(&mut printer, &mut restorer, settings, line, &mut updates)
            .map_err(WatchError::Output)?;
    }
    if reader.was_cut() {
        log::warn!(
            "{} was cut off: its last moments are missing",
            settings.file.display()
        );
    }
    tokio::select! {
        () = signals.recv() => Ok(()),
        flushed = printer.flush() => Ok(flushed.map_err(WatchError::Output)?),
    }
}

fn show(
    printer: &mut Printer,
    restorer: &mut Restorer,
    settings: &ReplaySettings,
    line: Line,
    updates: &mut Vec<crate::node::Update>,
) -> io::Result<()> {
    if settings.output == OutputFormat::Json {
        // As it was told, to the byte: nothing is made anew.
        if settings.filter.matches_line(&line) {
            serde_json::to_writer(&mut *printer.buffer(), &line)?;
            printer.buffer().push(b'\n');
        }
        return Ok(());
    }
    if let Event::Started(started) = &line.event {
        printer.started(started)?;
    }
    updates.extend(restorer.restore(line));
    printer.take(updates)
}

/// When which line is due.
struct Pace {
    speed: Speed,
    began: Option<(Timestamp, Instant)>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    async fn wait(&mut self, time: Timestamp) {
        let Speed::Times(speed) = self.speed else {
            return;
        };
        let (first, began) = *self.began.get_or_insert((time, Instant::now()));
        // Negative after a step of the clock back: then it is due.
        let since = time.duration_since(first).as_secs_f64() / speed;
        let since = Duration::try_from_secs_f64(since).unwrap_or_default();
        if let Some(due) = began.checked_add(since) {
            sleep_until(due).await;
        }
    }
}
