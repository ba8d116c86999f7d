//! A recording that plays: at its pace, paused, or somewhere else at once.
//!
//! In: the file; where to go. Out: the lines up to there. To go back it is read from its
//! beginning: what is known of a moment is made of everything before it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::SourceEvent;
use crate::{
    recording::{Pace, ReadError, Reader, ReplaySpeed, reporter},
    report::Reporter,
    stream::{Event, Line},
};

/// On the way to another moment keys are heard so often.
const SLICE: Duration = Duration::from_millis(20);

/// A recording that is open.
pub struct Playback {
    file: PathBuf,
    reader: Reader,
    pace: Pace,
    speed: ReplaySpeed,
    span: (Timestamp, Timestamp),
    /// The line that is shown next, and whether the pace knows of it.
    ahead: Option<Line>,
    at: Timestamp,
    is_playing: bool,
    /// Where it goes without waiting.
    target: Option<Timestamp>,
    /// Read from the beginning first.
    rewinds: bool,
    /// There is something to see: a window was shown.
    has_window: bool,
}

impl Playback {
    /// Opens it, and reads it once to know where it ends.
    ///
    /// # Errors
    /// When it cannot be read or has no line.
    pub fn open(file: &Path, speed: ReplaySpeed) -> Result<Self, ReadError> {
        let mut span: Option<(Timestamp, Timestamp)> = None;
        for line in &mut Reader::open(file)? {
            match line {
                Ok(line) => {
                    let (from, to) = span.unwrap_or((line.time, line.time));
                    span = Some((from.min(line.time), to.max(line.time)));
                }
                // What follows is worth as much as what came before.
                Err(ReadError::Broken { .. }) if span.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let span = span.ok_or_else(|| ReadError::Foreign {
            path: file.display().to_string(),
            cause: "it has no line".into(),
        })?;
        Ok(Self {
            file: file.to_owned(),
            reader: Reader::open(file)?,
            pace: Pace::new(speed),
            speed,
            span,
            ahead: None,
            at: span.0,
            is_playing: true,
            target: None,
            rewinds: false,
            has_window: false,
        })
    }

    /// Its first and last moment.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        self.span
    }

    /// Plays, or stops.
    pub fn play(&mut self, plays: bool) {
        self.is_playing = plays;
        self.pace = Pace::new(self.speed);
        if let Some(line) = &self.ahead {
            self.pace.go_to(line);
        }
    }

    /// Goes to a moment by so many seconds from where it is going.
    pub fn skip(&mut self, seconds: f64) {
        let from = self.target.unwrap_or(self.at);
        let by = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
        self.go_to(from.checked_add(by).unwrap_or(from));
    }

    /// Goes to a part of it, 0 to 1.
    pub fn seek(&mut self, part: f64) {
        let whole = self.span.1.duration_since(self.span.0).as_secs_f64();
        let by = SignedDuration::try_from_secs_f64(whole * part).unwrap_or_default();
        self.go_to(self.span.0.checked_add(by).unwrap_or(self.span.0));
    }

    fn go_to(&mut self, time: Timestamp) {
        let time = time.clamp(self.span.0, self.span.1);
        self.rewinds |= time < self.at;
        self.target = Some(time);
    }

    /// Waits for the next line, or goes on the way to where it should be. May be dropped and called
    /// again.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub async fn next(&mut self, news: &mut Vec<SourceEvent>) -> Result<(), ReadError> {
        if std::mem::take(&mut self.rewinds) {
            self.reader = Reader::open(&self.file)?;
            (self.ahead, self.at, self.has_window) = (None, self.span.0, false);
            news.push(SourceEvent::Anew);
        }
        if let Some(target) = self.target {
            let until = Instant::now() + SLICE;
            while Instant::now() < until {
                // Something is to be seen wherever one goes.
                let is_blank = !self.has_window;
                match self.peek()? {
                    Some(line) if line.time <= target || is_blank => self.show(news),
                    _ => {
                        self.target = None;
                        self.play(self.is_playing);
                        break;
                    }
                }
            }
            // Keys and signals have their turn.
            tokio::task::yield_now().await;
            return Ok(());
        }
        if !self.is_playing {
            std::future::pending::<()>().await;
        }
        let is_new = self.ahead.is_none();
        if self.peek()?.is_none() {
            self.is_playing = false;
            news.push(SourceEvent::Playing(false));
            return Ok(());
        }
        if is_new && let Some(line) = &self.ahead {
            self.pace.go_to(line);
        }
        self.pace.wait().await;
        self.show(news);
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&Line>, ReadError> {
        while self.ahead.is_none() {
            match self.reader.next() {
                Some(Ok(line)) => self.ahead = Some(line),
                Some(Err(ReadError::Broken { .. })) => {}
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(self.ahead.as_ref())
    }

    fn show(&mut self, news: &mut Vec<SourceEvent>) {
        let Some(line) = self.ahead.take() else {
            return;
        };
        self.at = self.at.max(line.time);
        self.has_window |= matches!(line.event, Event::Node(_));
        news.push(SourceEvent::Line(Box::new(line)));
    }

    /// All of it, for a report.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn reporter(&self) -> Result<Reporter, ReadError> {
        reporter(Reader::open(&self.file)?)
    }
}
