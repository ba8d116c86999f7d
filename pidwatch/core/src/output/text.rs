//! The stream of events as lines for people: aligned, with units, in colour on a terminal.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Lines;
use crate::{
    cgroup::{LayoutKind, TaskNames},
    clock::{BootTime, WallClock},
    detect::State,
    escape,
    event::Update,
    identity::Owner,
    incident,
    limits::{Basis, Errno, FailedClone, LimitOwner, Reason},
    snapshot::{Row, Snapshot},
    stream::{Probe, ProbeState, Rejection, Started},
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

/// Rates are given over at least this time.
const SHORTEST: Duration = Duration::from_millis(100);

/// Writer of text lines.
pub struct Text {
    clock: WallClock,
    zone: TimeZone,
    /// Columns of the terminal; `None` when lines may be of any length.
    width: Option<usize>,
    colour: bool,
    rows_since_heading: usize,
}

impl Text {
    /// For standard output as it is: a terminal or not, NO_COLOR or not (no-color.org).
    pub fn for_stdout(clock: WallClock) -> Self {
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
            clock,
            width,
            is_terminal && !no_colour && !dumb,
            TimeZone::system(),
        )
    }

    fn new(clock: WallClock, width: Option<usize>, colour: bool, zone: TimeZone) -> Self {
        Self {
            clock,
            zone,
            width,
            colour,
            rows_since_heading: HEADING_EVERY,
        }
    }

    fn time(&self, time: BootTime) -> String {
        self.clock
            .at(time)
            .to_zoned(self.zone.clone())
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

    fn path(&self, owner: &Owner, room: usize) -> String {
        let name = owner.name();
        match self.width {
            Some(_) => cut_front(&name, room.max(NARROWEST_PATH)),
            None => name,
        }
    }

    fn window(&mut self, out: &mut dyn Write, snapshot: &Snapshot) -> io::Result<()> {
        self.clock.follow_steps();
        let mut rows: Vec<&Row> = snapshot.rows.iter().collect();
        // Busiest first.
        rows.sort_by_key(|row| {
            let counts = &row.counts;
            std::cmp::Reverse((
                counts.failures(),
                counts.created.processes + counts.created.threads,
                row.tasks,
            ))
        });
        for row in rows {
            if self.rows_since_heading >= HEADING_EVERY {
                self.rows_since_heading = 0;
                writeln!(out, "{}", self.styled(Style::new().bold(), HEADING))?;
            }
            self.rows_since_heading += 1;
            self.row(out, snapshot, row)?;
        }
        Ok(())
    }

    /// `22:09:13  clone3 FAILED: pids.max of its pod, 20 of 20  java[4711/4713] uid 1000  +17 more
    /// /kubepods/...`
    fn failure(&self, failed: &FailedClone) -> String {
        let FailedClone { owner, failure, .. } = failed;
        let syscall = failure
            .syscall
            .map_or("clone".to_owned(), |name| name.to_string());
        let task = if failure.tid == failure.pid {
            failure.pid.to_string()
        } else {
            format!("{}/{}", failure.pid, failure.tid)
        };
        let more = match failed.suppressed {
            0 => String::new(),
            n => format!("+{n} more  "),
        };
        let what = format!(
            "{}  {syscall} FAILED: {}  {}[{task}]",
            self.time(failure.time),
            why(failed),
            escape::for_terminal(&failure.comm),
        );
        let probe = match &failed.on_behalf_of {
            Some(container) => format!("for {}  ", container.name()),
            None if failed.exec_probe => "exec probe  ".to_owned(),
            None => String::new(),
        };
        let more = format!("{probe}uid {}  {more}", failure.uid);
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
    fn about(&self, what: String, owner: &Owner) -> String {
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

    fn row(&self, out: &mut dyn Write, snapshot: &Snapshot, row: &Row) -> io::Result<()> {
        // The last window may have lasted no time at all.
        let seconds = snapshot.window.max(SHORTEST).as_secs_f64();
        let counts = &row.counts;
        let ended = counts.exited.processes + counts.exited.threads;
        let line = format!(
            "{}  {:>7}  {:>5}  {:>4}  {:>7}  {:>7}  {:>7}  {:>5}  ",
            self.time(snapshot.time),
            count(row.tasks),
            count(row.processes),
            events(row.zombies.unwrap_or(0), row.zombies.is_some()),
            rate(counts.created.processes, seconds),
            rate(counts.created.threads, seconds),
            rate(ended, seconds),
            events(counts.failures(), snapshot.knows_failures),
        );
        let style = if counts.failures() > 0 {
            Style::new().fg_color(Some(AnsiColor::Red.into()))
        } else {
            Style::new()
        };
        writeln!(out, "{}", self.styled(style, &self.about(line, &row.owner)))?;
        self.rejections(out, snapshot, row)
    }

    /// Creations that no limit refused, so that nobody looks for one.
    fn rejections(&self, out: &mut dyn Write, snapshot: &Snapshot, row: &Row) -> io::Result<()> {
        if row.counts.rejected == 0 || !snapshot.knows_failures {
            return Ok(());
        }
        let by: Vec<_> = Rejection::ALL
            .into_iter()
            .zip(row.counts.rejected_by)
            .collect();
        let by = by.iter().filter(|(_, n)| *n > 0);
        let is_forbidden = by.clone().any(|(rejection, _)| rejection.is_forbidden());
        let by: Vec<_> = by
            .map(|(rejection, n)| format!("{n} {rejection}"))
            .collect();
        let why = if is_forbidden {
            " (EPERM, EACCES: a seccomp filter or a security module forbids it; no limit)"
        } else {
            ""
        };
        let line = format!(
            "{}  clone REJECTED: {}{why}  ",
            self.time(snapshot.time),
            by.join(", "),
        );
        writeln!(out, "{}", self.about(line, &row.owner))
    }
}

impl Lines for Text {
    fn started(&mut self, out: &mut dyn Write, started: &Started) -> io::Result<()> {
        let line = format!(
            "pidwatch {}, kernel {}, {} cgroups ({}); Ctrl-C ends",
            escape::for_terminal(started.version.as_bytes()),
            escape::for_terminal(started.kernel.as_bytes()),
            started.cgroups,
            escape::for_terminal(started.cgroup_layout.name(LayoutKind::name).as_bytes()),
        );
        writeln!(out, "{}", self.styled(Style::new().dimmed(), &line))?;
        for Probe {
            name,
            mechanism,
            state,
            error,
        } in &started.probes
        {
            let Some(error) = error else { continue };
            let state = state.name(ProbeState::name);
            let line = match mechanism {
                Some(mechanism) => format!("{name} is {state} by {mechanism} ({error})"),
                None => format!("{name} is NOT attached ({error})"),
            };
            let line = self.sentence(&line);
            writeln!(out, "{}", self.styled(Style::new().dimmed(), &line))?;
        }
        Ok(())
    }

    fn update(&mut self, out: &mut dyn Write, update: &Update) -> io::Result<()> {
        match update {
            Update::Window(snapshot) => self.window(out, snapshot),
            Update::Failed(failed) => {
                let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
                writeln!(out, "{}", self.styled(style, &self.failure(failed)))
            }
            Update::Added(owner, time)
            | Update::Removed(owner, time)
            | Update::Named(owner, time) => {
                let change = match update {
                    Update::Added(..) => "added",
                    Update::Removed(..) => "removed",
                    _ => "named",
                };
                let what = format!("{}  cgroup {change}: ", self.time(*time));
                let line = self.about(what, owner);
                writeln!(out, "{}", self.styled(Style::new().dimmed(), &line))
            }
            Update::State(told) => {
                let verdict = &told.change.verdict;
                let style = match verdict.state {
                    State::Leaking | State::Saturated => {
                        Style::new().bold().fg_color(Some(AnsiColor::Red.into()))
                    }
                    State::Growing | State::Storm => {
                        Style::new().fg_color(Some(AnsiColor::Yellow.into()))
                    }
                    State::Ok | State::Gone => Style::new().dimmed(),
                };
                let state = verdict.state.name().to_uppercase();
                let line = format!(
                    "{}  {state}: {}  {}",
                    self.time(told.time),
                    verdict.why,
                    told.owner.name()
                );
                let line = self.sentence(&line);
                writeln!(out, "{}", self.styled(style, &line))?;
                match &told.task_names {
                    Some(names) => {
                        let line = self.sentence(&format!("{INDENT}{}", called(names)));
                        writeln!(out, "{}", self.styled(style, &line))
                    }
                    None => Ok(()),
                }
            }
            Update::Incident(incident, time) => {
                let line = format!(
                    "{}  INCIDENT {} ({}): {}",
                    self.time(*time),
                    incident.phase.name(),
                    incident::lasted(incident, *time),
                    incident.summary,
                );
                let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
                writeln!(out, "{}", self.styled(style, &self.sentence(&line)))
            }
            Update::Lost { place, count, time } => {
                let line = format!("{}  LOST {count} at {place}", self.time(*time));
                let style = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
                writeln!(out, "{}", self.styled(style, &line))
            }
        }
    }
}

/// `490 of 500 tasks looked at are `pool-*`; the largest process is java[4711] with 1480 threads`
pub fn called(names: &TaskNames) -> String {
    let (comm, pid, threads) = &names.largest;
    let patterns = names.patterns.iter().take(2);
    let patterns: Vec<_> = patterns
        .map(|(name, count)| format!("{count} are `{}`", escape::for_terminal(name)))
        .collect();
    format!(
        "of {} tasks looked at {}; the largest process is {}[{pid}] with {threads} threads",
        names.sampled,
        patterns.join(", "),
        escape::for_terminal(comm),
    )
}

/// The limit that refused with its use, or the reason, or at least the error.
pub fn why(failed: &FailedClone) -> String {
    let FailedClone {
        owner,
        failure,
        verdict,
        limit_owner,
        ..
    } = failed;
    let errno = Errno(failure.errno);
    let sure = match verdict.basis {
        Some(Basis::Inferred) => " (inferred)",
        _ => "",
    };
    let Some(limit) = verdict.limit else {
        return match verdict.reason {
            Reason::Unknown => errno.to_string(),
            Reason::PidNamespaceDying => format!("{errno}, the PID namespace's init is gone{sure}"),
            Reason::Memory => format!("{errno}, no memory{sure}"),
            Reason::RlimitNproc => format!("{errno}, RLIMIT_NPROC{sure}"),
            reason => format!("{errno}, {}{sure}", reason.name()),
        };
    };
    let whose = match (limit.owner, limit_owner) {
        (LimitOwner::Cgroup(id), _) if id == owner.id => String::new(),
        (LimitOwner::Cgroup(_), Some(above)) => format!(" of {}", named(above)),
        (LimitOwner::Cgroup(id), None) => format!(" at cgroup {}", id.0),
        (LimitOwner::User(uid), _) => format!(" of user {uid}"),
        (LimitOwner::PidNamespace(_), _) => " of its PID namespace".to_owned(),
        (LimitOwner::Node, _) => String::new(),
    };
    format!(
        "{}{whose}, {} of {}{sure}",
        limit.name, limit.usage, limit.value
    )
}

/// A cgroup above the one that the line ends with: what it is, or the end of its path.
fn named(above: &Owner) -> String {
    /// Enough to know it again in the path.
    const ROOM: usize = 24;
    if above.identity.pod_uid.is_some() && above.identity.container.is_none() {
        return "its pod".to_owned();
    }
    match &above.path {
        Some(path) => {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            cut_front(&escape::for_terminal(name), ROOM)
        }
        None => format!("cgroup {}", above.id.0),
    }
}

/// A number that may be unknown.
fn count(n: Option<u64>) -> String {
    n.map_or_else(|| "?".to_owned(), |n| n.to_string())
}

/// A number of events: a dash when there was none.
fn events(n: u64, known: bool) -> String {
    match n {
        _ if !known => "?".to_owned(),
        0 => "-".to_owned(),
        n => n.to_string(),
    }
}

/// Events per second: a dash when there was none, a digit behind the point when there were few.
fn rate(n: u64, seconds: f64) -> String {
    let rate = n as f64 / seconds;
    match n {
        0 => "-".to_owned(),
        _ if rate < 99.95 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

/// The end of a text that is wider than `room` columns: a path's end says the most.
fn cut_front(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut kept = 1;
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| {
            kept += c.width().unwrap_or(0);
            kept <= room
        })
        .last()
        .map_or(text.len(), |(index, _)| index);
    format!("\u{2026}{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cgroup::CgroupId, limits::Verdict, model::Counts, probe::Failure, snapshot::NodeState,
    };

    fn shown(width: Option<usize>, colour: bool, path: &[u8]) -> String {
        let mut counts = Counts::NONE;
        counts.created.threads = 4100;
        counts.created.processes = 3;
        let row = Row {
            owner: Owner::new(CgroupId(5), Some(path.into())),
            tasks: Some(46_012),
            subtree_tasks: None,
            processes: None,
            zombies: Some(2),
            counts,
            total: counts,
            verdict: None,
            creators: Vec::new(),
            limit: None,
        };
        let snapshot = Snapshot {
            time: BootTime::from_nanos(0),
            window: Duration::from_secs(1),
            rows: vec![row],
            knows_frees: true,
            knows_failures: true,
            node: NodeState::default(),
            incidents: Vec::new(),
        };
        let mut text = Text::new(WallClock::now(), width, colour, TimeZone::UTC);
        let mut out = Vec::new();
        text.update(&mut out, &Update::Window(snapshot)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_under_their_headings_and_the_path_last() {
        let text = shown(None, false, b"/kubepods/pod1");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], HEADING);
        assert_eq!(
            lines[0].find("CGROUP"),
            lines[1].find("/kubepods"),
            "{text}"
        );
        assert!(
            lines[1].contains("46012      ?     2      3.0     4100"),
            "{text}"
        );
    }

    #[test]
    fn a_line_is_no_wider_than_the_terminal_and_keeps_the_paths_end() {
        let text = shown(
            Some(100),
            false,
            format!("/{}/the-end", "x".repeat(200)).as_bytes(),
        );
        let row = text.lines().nth(1).unwrap();
        assert_eq!(row.width(), 100, "{row}");
        assert!(row.ends_with("the-end"), "{row}");
        assert_eq!(cut_front("/日本語/x", 6), "…語/x");
    }

    #[test]
    fn a_failure_fits_into_the_terminal_and_says_who() {
        let text = Text::new(WallClock::now(), Some(110), false, TimeZone::UTC);
        let owner = Owner::new(
            CgroupId(5),
            Some((*b"/kubepods/burstable/pod1234/some-container").into()),
        );
        let failure = Failure::example(CgroupId(5), BootTime::from_nanos(0));
        let verdict = Verdict {
            reason: Reason::PidMax,
            basis: Some(Basis::Inferred),
            limit: None,
        };
        let failed = FailedClone {
            owner,
            failure,
            verdict,
            limit_owner: None,
            suppressed: 17,
            exec_probe: false,
            on_behalf_of: None,
        };
        let line = text.failure(&failed);
        assert_eq!(line.width(), 110, "{line}");
        assert!(line.contains(
            "clone FAILED: EAGAIN, pid_max (inferred)  ja\\u{1b}va[4711/4713] uid 1000  +17 more"
        ));
        assert!(line.ends_with("container"), "{line}");
        let narrow = Text::new(WallClock::now(), Some(80), false, TimeZone::UTC).failure(&failed);
        assert!(narrow.lines().all(|line| line.width() <= 80), "{narrow}");
        assert!(
            narrow.ends_with("/kubepods/burstable/pod1234/some-container"),
            "{narrow}"
        );
    }

    #[test]
    fn a_sentence_is_broken_between_words_below_its_beginning() {
        let sentence = "22:09:13  LEAKING: 12.5 tasks/s for 6 min, 46012 of 49152 IDs; \
                        kernel.pid_max is used up in 4 min  shop/web-7f9c/app";
        let wide = Text::new(WallClock::now(), None, false, TimeZone::UTC);
        assert_eq!(wide.sentence(sentence), sentence);
        let narrow = Text::new(WallClock::now(), Some(60), false, TimeZone::UTC);
        let broken = narrow.sentence(sentence);
        let lines: Vec<_> = broken.lines().collect();
        assert!(lines.len() > 1, "{broken}");
        for line in &lines {
            assert!(line.width() <= 60, "{broken}");
        }
        for line in &lines[1..] {
            assert!(line.starts_with(INDENT), "{broken}");
        }
        let words: Vec<_> = sentence.split_whitespace().collect();
        let kept: Vec<_> = broken.split_whitespace().collect();
        assert_eq!(kept.concat(), words.concat());
    }

    #[test]
    fn a_limit_above_is_named_by_what_it_is() {
        let owner = |path: &str| Owner::new(CgroupId(1), Some(path.as_bytes().into()));
        let pod = "/kubepods/burstable/pod0c1d2e3f405162738495a6b7c8d9eafb";
        assert_eq!(named(&owner(pod)), "its pod");
        assert_eq!(named(&owner("/system.slice/x.service")), "x.service");
        assert_eq!(named(&Owner::new(CgroupId(7), None)), "cgroup 7");
    }

    #[test]
    fn colour_only_when_asked_for_and_no_escape_from_outside() {
        assert!(!shown(None, false, b"/a\x1b[31m").contains('\x1b'));
        let coloured = shown(None, true, b"/a");
        assert!(coloured.contains("\x1b[1m"), "{coloured:?}");
    }
}
