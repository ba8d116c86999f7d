//! `pidwatch replay`: a recording, shown as the node was.

use std::{io, time::Duration};

use tracing::level_filters::LevelFilter;

use crate::{
    cli::args::{OutputFormat, ReplayArgs},
    commands::trace::Printer,
    node::watch::{Sink, WatchError},
    recording::{Pace, ReadError, Reader},
    report::words::count,
    runtime::{self, Signals, diagnostics},
    values::about,
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
pub fn run(args: &ReplayArgs) -> Result<(), ReplayError> {
    diagnostics::init(false, LevelFilter::WARN);
    let runtime = runtime::single_threaded().map_err(WatchError::Runtime)?;
    match runtime.block_on(replay(args)) {
        Err(ReplayError::Watch(WatchError::Output(error)))
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn replay(args: &ReplayArgs) -> Result<(), ReplayError> {
    let mut signals = Signals::new().map_err(WatchError::Runtime)?;
    let mut reader = Reader::open(&args.file)?;
    let printer = Printer::new(args.output, args.filter.clone());
    let mut printer = printer.map_err(WatchError::Output)?;
    let mut pace = Pace::new(args.speed);
    let (mut shown, mut unread) = (0_u64, 0_u64);
    for line in &mut reader {
        let line = match line {
            // As `report`: what follows is worth as much as what came before.
            Err(ReadError::Broken { .. }) if shown > 0 => {
                unread += 1;
                continue;
            }
            line => line?,
        };
        shown += 1;
        let gap = pace.go_to(&line);
        let wait = async {
            printer.flush().await?;
            pace.wait().await;
            Ok(())
        };
        tokio::select! {
            biased;
            () = signals.recv() => return Ok(()),
            waited = wait => waited.map_err(WatchError::Output)?,
        }
        if let Some(seconds) = gap.filter(|_| args.output == OutputFormat::Text) {
            let time = about(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            let text = format!("-- nothing was recorded for {time} --\n");
            printer.buffer().extend(text.as_bytes());
        }
        printer.show(line).map_err(WatchError::Output)?;
    }
    if unread > 0 {
        tracing::warn!(
            "{} of {} could not be read and are left out",
            count(unread, "line"),
            args.file.display()
        );
    }
    if reader.was_cut() {
        tracing::warn!(
            "{} was cut off: its last moments are missing",
            args.file.display()
        );
    }
    tokio::select! {
        () = signals.recv() => Ok(()),
        flushed = printer.flush() => Ok(flushed.map_err(WatchError::Output)?),
    }
}
