//! The stream of events as lines for people: aligned, with units, in colour on a terminal.

mod phrases;

use std::{
    cmp::Reverse,
    io::{self, IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use unicode_width::UnicodeWidthStr;

pub use self::phrases::{called, why};
use self::phrases::{cut_front, safe};
use super::Lines;
use crate::{
    brake::BrakePhase,
    cgroup::LayoutKind,
    detect,
    incident::Phase,
    stream::{
        BrakeEvent, Breakdown, CgroupEvent, Change, CloneFailure, Event, IncidentEvent, Line,
        OwnerRef, ProbeReport, ProbeState, RateEvent, Rejection, Started, StateEvent,
    },
};

/// Column headings come again after this many rows.
const HEADING_EVERY: usize = 20;
/// Narrower than this a path says nothing any more.
const NARROWEST_PATH: usize = 12;
/// Narrower than this a sentence is left to the terminal.
const NARROWEST_SENTENCE: usize = 40;
/// As wide as a time and what parts it from the text.
const INDENT: &str = "          ";
const HEADING: &str = "TIME        TASKS   PROC  ZOMB  +PROC/s   +THR/s  -TASK/s   FAIL  CGROUP";

/// Rates are given over at least this time, in seconds.
const SHORTEST: f64 = 0.1;

/// Writer of text lines.
pub struct Text {
    zone: TimeZone,
    /// Columns of the terminal; `None` when lines may be of any length.
    width: Option<usize>,
    colour: bool,
    rows_since_heading: usize,
    /// Rates of a window that is not over.
    rates: Vec<(Timestamp, Box<RateEvent>)>,
}

const RED: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
const YELLOW: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));

impl Text {
    /// For standard output as it is: a terminal or not, NO_COLOR or not (no-color.org).
    pub fn for_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = is_terminal
            .then(|| rustix::termios::tcgetwinsize(&stdout).ok())
            .flatten()
            .map(|size| usize::from(size.ws_col))
            .filter(|&columns| columns > 0);
        Self::new(
            width,
            is_terminal && !no_colour && !dumb,
            TimeZone::system(),
        )
    }

    fn new(width: Option<usize>, colour: bool, zone: TimeZone) -> Self {
        Self {
            zone,
            width,
            colour,
            rows_since_heading: HEADING_EVERY,
            rates: Vec::new(),
        }
    }

    fn time(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone())
            .strftime("%H:%M:%S")
            .to_string()
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn path(&self, owner: &OwnerRef, room: usize) -> String {
        let name = owner.name();
        match self.width {
            Some(_) => cut_front(&name, room.max(NARROWEST_PATH)),
            None => name,
        }
    }

    fn started(&self, out: &mut dyn Write, started: &Started) -> io::Result<()> {
        let line = format!(
            "pidwatch {}, kernel {}, {} cgroups ({}); Ctrl-C ends",
            safe(&started.version),
            safe(&started.kernel),
            started.cgroups,
            safe(started.cgroup_layout.name(LayoutKind::name)),
        );
        writeln!(out, "{}", self.styled(Style::new().dimmed(), &line))?;
        for ProbeReport {
            name,
            mechanism,
            state,
            error,
        } in &started.probes
        {
            let Some(error) = error else { continue };
            let (name, state) = (safe(name), safe(state.name(ProbeState::name)));
            let error = safe(error);
            let line = match mechanism {
                Some(mechanism) => format!("{name} is {state} by {} ({error})", safe(mechanism)),
                None => format!("{name} is NOT attached ({error})"),
            };
            let line = self.sentence(&line);
            writeln!(out, "{}", self.styled(Style::new().dimmed(), &line))?;
        }
        Ok(())
    }

    fn window(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut rates = std::mem::take(&mut self.rates);
        // Busiest first.
        rates.sort_by_key(|(_, rate)| {
            let created = rate.counts.created;
            Reverse((
                rate.counts.failures(),
                created.processes + created.threads,
                rate.tasks,
            ))
        });
        for (time, rate) in rates.drain(..) {
            if self.rows_since_heading >= HEADING_EVERY {
                self.rows_since_heading = 0;
                writeln!(out, "{}", self.styled(Style::new().bold(), HEADING))?;
            }
            self.rows_since_heading += 1;
            self.row(out, time, &rate)?;
        }
        // Its room is used again.
        self.rates = rates;
        Ok(())
    }

    /// `22:09:13  clone3 FAILED: pids.max of its pod, 20 of 20  java[4711/4713] uid 1000  +17 more
    /// /kubepods/...`
    fn failure(&self, time: Timestamp, failed: &CloneFailure) -> String {
        let CloneFailure { owner, proc, .. } = failed;
        let syscall = safe(failed.syscall.as_deref().unwrap_or("clone"));
        let task = if proc.tid == proc.pid {
            proc.pid.to_string()
        } else {
            format!("{}/{}", proc.pid, proc.tid)
        };
        let more = match failed.suppressed {
            0 => String::new(),
            n => format!("+{n} more  "),
        };
        let what = format!(
            "{}  {syscall} FAILED: {}  {}[{task}]",
            self.time(time),
            why(failed),
            safe(&proc.comm),
        );
        let probe = match &failed.on_behalf_of {
            Some(container) => format!("for {}  ", container.name()),
            None if proc.exec_probe => "exec probe  ".to_owned(),
            None => String::new(),
        };
        let more = format!("{probe}uid {}  {more}", proc.uid);
        let one = format!("{what} {more}");
        match self.width {
            // No room for the path: the rest goes on a line of its own, below the text.
            Some(width) if one.width() + NARROWEST_PATH > width => {
                let below = format!("{}{more}", " ".repeat("22:09:13  ".len()));
                format!("{what}\n{}", self.about(below, owner))
            }
            _ => self.about(one, owner),
        }
    }

    /// Something about a cgroup, with as much of its path as there is room for.
    fn about(&self, what: String, owner: &OwnerRef) -> String {
        let room = self.width.unwrap_or(0).saturating_sub(what.width());
        let path = self.path(owner, room);
        what + &path
    }

    /// A sentence, broken between words where the terminal ends, below its beginning.
    fn sentence(&self, text: &str) -> String {
        let Some(width) = self.width else {
            return text.to_owned();
        };
        let options = textwrap::Options::new(width.max(NARROWEST_SENTENCE))
            .subsequent_indent(INDENT)
            // First-fit: what is on the screen already does not depend on what follows.
            .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
        textwrap::fill(text, options)
    }

    fn row(&self, out: &mut dyn Write, time: Timestamp, rate: &RateEvent) -> io::Result<()> {
        // The last window may have lasted no time at all.
        let seconds = rate.window_s.max(SHORTEST);
        let counts = &rate.counts;
        let ended = counts.exited.processes + counts.exited.threads;
        let line = format!(
            "{}  {:>7}  {:>5}  {:>4}  {:>7}  {:>7}  {:>7}  {:>5}  ",
            self.time(time),
            count(rate.tasks),
            count(rate.processes),
            events(rate.zombies),
            per_second(counts.created.processes, seconds),
            per_second(counts.created.threads, seconds),
            per_second(ended, seconds),
            events(counts.failed.as_ref().map(Breakdown::total)),
        );
        let style = if counts.failures() > 0 {
            RED
        } else {
            Style::new()
        };
        writeln!(
            out,
            "{}",
            self.styled(style, &self.about(line, &rate.owner))
        )?;
        self.rejections(out, time, rate)
    }

    /// Creations that no limit refused, so that nobody looks for one.
    fn rejections(&self, out: &mut dyn Write, time: Timestamp, rate: &RateEvent) -> io::Result<()> {
        let Some(rejected) = rate.counts.rejected.filter(|n| *n > 0) else {
            return Ok(());
        };
        let by = rate.counts.rejected_by.clone().unwrap_or_default();
        let is_forbidden = Rejection::ALL
            .into_iter()
            .any(|rejection| rejection.is_forbidden() && by.get(rejection) > 0);
        let by: Vec<_> = by
            .iter()
            .map(|(rejection, n)| format!("{n} {}", safe(&rejection.to_string())))
            .collect();
        let by = if by.is_empty() {
            rejected.to_string()
        } else {
            by.join(", ")
        };
        let why = if is_forbidden {
            " (EPERM, EACCES: a seccomp filter or a security module forbids it; no limit)"
        } else {
            ""
        };
        let line = format!("{}  clone REJECTED: {by}{why}  ", self.time(time));
        writeln!(out, "{}", self.about(line, &rate.owner))
    }

    fn state(&self, out: &mut dyn Write, time: Timestamp, state: &StateEvent) -> io::Result<()> {
        use detect::State::{Gone, Growing, Leaking, Ok as Calm, Saturated, Storm};
        let style = match state.to.known() {
            Some(Leaking | Saturated) => RED.bold(),
            Some(Growing | Storm) => YELLOW,
            Some(Calm | Gone) | None => Style::new().dimmed(),
        };
        let line = format!(
            "{}  {}: {}  {}",
            self.time(time),
            safe(&state.to.name(detect::State::name).to_uppercase()),
            safe(&state.why),
            state.name()
        );
        let line = self.sentence(&line);
        writeln!(out, "{}", self.styled(style, &line))?;
        if let Some(names) = &state.task_names {
            let line = self.sentence(&format!("{INDENT}{}", called(names)));
            writeln!(out, "{}", self.styled(style, &line))?;
        }
        Ok(())
    }

    fn incident(&self, time: Timestamp, incident: &IncidentEvent) -> String {
        let line = format!(
            "{}  INCIDENT {} ({}): {}",
            self.time(time),
            safe(incident.phase.name(Phase::name)),
            incident.lasted(time),
            safe(&incident.summary),
        );
        self.styled(RED.bold(), &self.sentence(&line))
    }

    fn brake(&self, time: Timestamp, brake: &BrakeEvent) -> String {
        let style = match brake.phase.known() {
            Some(BrakePhase::Applied | BrakePhase::SetBack | BrakePhase::Failed) => YELLOW.bold(),
            _ => YELLOW,
        };
        let line = format!(
            "{}  BRAKE {}: {}  {}",
            self.time(time),
            safe(brake.phase.name(BrakePhase::name)),
            safe(&brake.why),
            brake.owner.name()
        );
        self.styled(style, &self.sentence(&line))
    }

    fn cgroup(&self, time: Timestamp, change: &CgroupEvent) -> String {
        let word = safe(change.change.name(Change::name));
        let what = format!("{}  cgroup {word}: ", self.time(time));
        let line = self.about(what, &change.owner);
        self.styled(Style::new().dimmed(), &line)
    }
}

impl Lines for Text {
    fn line(&mut self, out: &mut dyn Write, line: Line) -> io::Result<()> {
        let time = line.time;
        match line.event {
            Event::Started(started) => {
                // Of a stream that was cut off: its window never ends.
                self.rates.clear();
                self.started(out, &started)
            }
            Event::Rate(rate) => {
                self.rates.push((time, rate));
                Ok(())
            }
            Event::Node(_) => self.window(out),
            Event::CloneFailed(failed) => {
                let line = self.failure(time, &failed);
                writeln!(out, "{}", self.styled(RED.bold(), &line))
            }
            Event::Cgroup(change) => writeln!(out, "{}", self.cgroup(time, &change)),
            Event::State(state) => self.state(out, time, &state),
            Event::Incident(incident) => writeln!(out, "{}", self.incident(time, &incident)),
            Event::Brake(brake) => writeln!(out, "{}", self.brake(time, &brake)),
            Event::Lost { place, count } => {
                let line = format!("{}  LOST {count} at {}", self.time(time), safe(&place));
                writeln!(out, "{}", self.styled(YELLOW.bold(), &line))
            }
        }
    }
}

/// A number that may be unknown.
fn count(n: Option<u64>) -> String {
    n.map_or_else(|| "?".to_owned(), |n| n.to_string())
}

/// A number of events: a dash when there was none.
fn events(n: Option<u64>) -> String {
    match n {
        None => "?".to_owned(),
        Some(0) => "-".to_owned(),
        Some(n) => n.to_string(),
    }
}

/// Events per second: a dash when there was none, a digit behind the point when there were few.
fn per_second(n: u64, seconds: f64) -> String {
    // A recording may say that a window took no time.
    let rate = n as f64 / seconds.max(0.001);
    match n {
        0 => "-".to_owned(),
        _ if rate < 99.95 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests;
