//! `pidwatch replay`: a recording, shown as the node was.

use std::{io, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::{
    cli::OutputFormat,
    clock::WallClock,
    detect::about,
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
        if let Some(seconds) = gap.filter(|_| settings.output == OutputFormat::Text) {
            let time = about(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            let text = format!("-- nothing was recorded for {time} --\n");
            printer.buffer().extend(text.as_bytes());
        }
        show(&mut printer, &mut restorer, settings, line, &mut updates)
            .map_err(WatchError::Output)?;
    }
    if reader.was_cut() {
        tracing::warn!(
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
pub struct Pace {
    speed: Speed,
    began: Instant,
    /// The line before.
    last: Option<Timestamp>,
    /// Seconds of the recording that were shown, gaps left out.
    shown_s: f64,
    window_s: f64,
}

/// Time between two lines that is more than a window's, by so much or so many windows.
const GAP_S: f64 = 10.0;
const GAP_WINDOWS: f64 = 3.0;
/// How long a gap is shown.
const GAP_SHOWN_S: f64 = 1.0;

impl Pace {
    /// Begins now.
    pub fn new(speed: Speed) -> Self {
        Self {
            speed,
            began: Instant::now(),
            last: None,
            shown_s: 0.0,
            window_s: 0.0,
        }
    }

    /// Goes on to a line; a gap before it, in seconds. After a step of the clock back it is due at once.
    pub fn go_to(&mut self, line: &Line) -> Option<f64> {
        if let Event::Node(node) = &line.event {
            self.window_s = node.window_s;
        }
        let last = self.last.replace(line.time).unwrap_or(line.time);
        let step_s = line.time.duration_since(last).as_secs_f64().max(0.0);
        let is_gap = step_s > GAP_S.max(GAP_WINDOWS * self.window_s);
        self.shown_s += if is_gap { GAP_SHOWN_S } else { step_s };
        is_gap.then_some(step_s)
    }

    /// Waits until the line that was gone to is due.
    pub async fn wait(&self) {
        let Speed::Times(speed) = self.speed else {
            return;
        };
        let since = Duration::try_from_secs_f64(self.shown_s / speed).unwrap_or_default();
        if let Some(due) = self.began.checked_add(since) {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::NodeWindow;

    fn line(second: i64, event: Event) -> Line {
        Line {
            time: Timestamp::from_second(second).unwrap(),
            node: "n".into(),
            event,
        }
    }

    fn lost(second: i64) -> Line {
        let place = "ring_rate".into();
        line(second, Event::Lost { place, count: 1 })
    }

    #[test]
    fn a_gap_is_told_and_shown_for_a_second() {
        let mut pace = Pace::new(Speed::Max);
        assert_eq!(pace.go_to(&lost(1000)), None);
        assert_eq!(pace.go_to(&lost(1009)), None);
        assert_eq!(pace.go_to(&lost(8209)), Some(7200.0), "suspended, say");
        assert_eq!(pace.shown_s, 10.0);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let mut pace = Pace::new(Speed::Max);
        for second in [1000, 1002, 400, 403] {
            assert_eq!(pace.go_to(&lost(second)), None);
        }
        assert_eq!(pace.shown_s, 5.0);
    }

    #[test]
    fn long_windows_are_no_gaps() {
        let window = |second| {
            let node = NodeWindow {
                window_s: 60.0,
                tasks: None,
                knows_frees: true,
                knows_failures: true,
                limits: Vec::new(),
                exhaustion: None,
            };
            line(second, Event::Node(node))
        };
        let mut pace = Pace::new(Speed::Max);
        assert_eq!(pace.go_to(&window(0)), None);
        assert_eq!(pace.go_to(&window(60)), None);
        assert_eq!(pace.go_to(&window(300)), Some(240.0));
    }
}
