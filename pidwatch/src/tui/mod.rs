//! `pidwatch top`: the node on one screen. The only place that knows ratatui.
//!
//! In: lines of a [`source`], keys of the terminal ([`term`], [`input`]). Out: a screen. [`app`] is the
//! state and decides, pure; [`render`] draws it, a function of the state; here they are joined in one
//! loop on the one thread.

pub mod ansi;
pub mod app;
mod brake;
pub mod input;
pub mod keys;
pub mod remembered;
pub mod render;
pub mod source;
pub mod term;
pub mod theme;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::tz::TimeZone;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

use self::{
    app::{Action, App, LimitsPage, Origin, Page},
    input::{Input, InputParser},
    remembered::Remembered,
    source::{AgentSource, LiveSource, Source, SourceError, SourceEvent},
    term::Term,
    theme::{Theme, is_utf8},
};
use crate::{
    brake::AutomaticBrake,
    cli::args::{ThemeName, TopArgs},
    connect::Address,
    limits,
    node::{Node, NodeSettings, node_name},
    output::check::{self, CheckPage},
    recording::{ReadError, ReplaySpeed},
    report::markdown::markdown,
    runtime::{self, diagnostics},
    survey::{self, Helpers},
};

/// A screen could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// There is no terminal.
    #[error(
        "top needs a terminal, and standard output is none (or TERM is not set): run `pidwatch trace`, \
         which prints lines"
    )]
    NoTerminal,
    /// The terminal fails.
    #[error("cannot use the terminal: {0}; run `pidwatch trace`, which prints lines")]
    Terminal(io::Error),
    /// The node, the recording.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No runtime.
    #[error("cannot start: {0}; the process may be out of file descriptors (`ulimit -n`)")]
    Runtime(io::Error),
}

/// Whether the screen can be what people get who ask for nothing in particular.
pub fn can_run() -> bool {
    term::is_there() && io::IsTerminal::is_terminal(&io::stdin())
}

/// How long a lone Escape waits for what makes it another key.
const ESCAPE: Duration = Duration::from_millis(30);
/// Pictures of what happens between two windows are no more frequent than this.
const BETWEEN: Duration = Duration::from_millis(250);
/// The limits are looked at so often, while they are in sight: it walks over all processes.
const LIMITS_EVERY: Duration = Duration::from_secs(10);

/// Shows the screen until it is left or a signal comes.
///
/// # Errors
/// When there is no terminal, or the source cannot be used.
pub fn run(args: &TopArgs) -> Result<(), TopError> {
    if !term::is_there() {
        return Err(TopError::NoTerminal);
    }
    let messages = diagnostics::collect();
    let runtime = runtime::single_threaded().map_err(TopError::Runtime)?;
    runtime.block_on(async {
        let mut screen = Screen::new(args, messages)?;
        let outcome = screen.show().await;
        screen.remember();
        screen.leave_brakes();
        drop(screen);
        outcome
    })
}

/// What is shown.
#[derive(Clone, Copy)]
enum Shown<'a> {
    /// This node.
    Node(&'a NodeSettings),
    /// A recording, so many times as fast as it happened.
    Recording(&'a Path, ReplaySpeed),
    /// What an agent sees.
    Agent(&'a Address),
}

impl<'a> From<&'a TopArgs> for Shown<'a> {
    fn from(args: &'a TopArgs) -> Self {
        match (&args.file, &args.connect) {
            (Some(file), _) => Self::Recording(file, args.speed),
            (None, Some(address)) => Self::Agent(address),
            (None, None) => Self::Node(&args.node),
        }
    }
}

/// What the loop holds.
struct Screen<'a> {
    shown: Shown<'a>,
    term: Term,
    app: App,
    source: Source,
    file: Option<PathBuf>,
    is_utf8: bool,
    signals: TerminalSignals,
    messages: diagnostics::Messages,
    parser: InputParser,
    limits_due: Instant,
    /// The screen does not show what is known.
    is_stale: bool,
}

/// The signals that matter here.
struct TerminalSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    resize: Signal,
    stop: Signal,
    go_on: Signal,
}

/// What a signal asks for.
enum Asked {
    End,
    Resize,
    Stop,
}

impl TerminalSignals {
    fn new() -> io::Result<Self> {
        let listen = |number: i32| signal(SignalKind::from_raw(number));
        Ok(Self {
            interrupt: listen(libc::SIGINT)?,
            terminate: listen(libc::SIGTERM)?,
            hangup: listen(libc::SIGHUP)?,
            resize: listen(libc::SIGWINCH)?,
            stop: listen(libc::SIGTSTP)?,
            go_on: listen(libc::SIGCONT)?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End,
            _ = self.terminate.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::End,
            _ = self.resize.recv() => Asked::Resize,
            _ = self.stop.recv() => Asked::Stop,
            // Whoever had the terminal meanwhile may have left anything on it.
            _ = self.go_on.recv() => Asked::Resize,
        }
    }
}

impl<'a> Screen<'a> {
    fn new(args: &'a TopArgs, messages: diagnostics::Messages) -> Result<Self, TopError> {
        let variable = |name: &str| std::env::var(name).ok();
        let shown = Shown::from(args);
        // What can be wrong with the source is said before the screen is taken.
        let opened = match shown {
            Shown::Recording(file, speed) => {
                Some(source::open(file, speed).map_err(SourceError::Read)?)
            }
            Shown::Node(_) | Shown::Agent(_) => None,
        };
        let mut app = App::new(args.filter.clone(), TimeZone::system());
        app.order.shows_idle = args.all;
        let file = remembered::file(variable);
        let remembered = file.as_deref().map(Remembered::load).unwrap_or_default();
        remembered.apply(&mut app);
        let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let theme = match args.theme {
            Some(asked) => asked,
            None if no_color => ThemeName::Mono,
            None => remembered.theme().unwrap_or_default(),
        };
        app.themes = ThemeName::ALL.len();
        app.theme = ThemeName::ALL
            .iter()
            .position(|&known| known == theme)
            .unwrap_or(0);
        let is_utf8 = is_utf8(variable);
        let signals = TerminalSignals::new().map_err(TopError::Runtime)?;
        let mut term = Term::take().map_err(TopError::Terminal)?;
        // Loading the kernel side takes a moment: something is to be seen meanwhile.
        draw(&mut term, &mut app, is_utf8).map_err(TopError::Terminal)?;
        term.flush_now();
        let source = match (shown, opened) {
            (Shown::Recording(..), Some((source, (from, to)))) => {
                app.limits = LimitsPage::Elsewhere;
                app.origin = Origin::Recording {
                    from,
                    to,
                    at: from,
                    is_playing: true,
                };
                source
            }
            (Shown::Agent(address), _) => {
                app.limits = LimitsPage::Elsewhere;
                app.origin = Origin::Agent {
                    url: address.url.clone(),
                    trouble: Some("connecting".into()),
                };
                Source::Agent(Box::new(AgentSource::start(address.clone())))
            }
            (Shown::Node(node), _) => {
                let settings = NodeSettings {
                    polls_idle: true,
                    brake: Some(AutomaticBrake::on_request(&args.exceptions)),
                    ..node.clone()
                };
                let node = Node::start(&settings).map_err(SourceError::Node)?;
                app.world.node_name = node_name();
                app.origin = Origin::Live;
                Source::Live(Box::new(LiveSource::new(node)))
            }
            (Shown::Recording(file, _), None) => {
                let path = file.display().to_string();
                let error = io::ErrorKind::NotFound.into();
                return Err(SourceError::Read(ReadError::Io { path, error }).into());
            }
        };
        Ok(Self {
            shown,
            term,
            app,
            source,
            file,
            is_utf8,
            signals,
            messages,
            parser: InputParser::default(),
            limits_due: Instant::now(),
            is_stale: true,
        })
    }

    fn remember(&self) {
        if let Some(file) = &self.file {
            Remembered::of(&self.app).save(file);
        }
    }

    async fn show(&mut self) -> Result<(), TopError> {
        let mut news = Vec::new();
        let mut inputs = Vec::new();
        let mut bytes = [0; 1024];
        let (mut draw_at, mut escape_at) = (Instant::now(), Instant::now());
        loop {
            if self.is_stale && self.term.is_idle() && Instant::now() >= draw_at {
                draw(&mut self.term, &mut self.app, self.is_utf8).map_err(TopError::Terminal)?;
                self.is_stale = false;
                draw_at = Instant::now() + BETWEEN;
            }
            let (is_idle, is_waiting) = (self.term.is_idle(), self.parser.is_waiting());
            let wants_limits = self.app.view == app::View::Limits
                && self.app.page.is_none()
                && !matches!(self.app.limits, LimitsPage::Elsewhere);
            tokio::select! {
                biased;
                asked = self.signals.next() => match asked {
                    Asked::End => return Ok(()),
                    Asked::Resize => {
                        self.term.resize().map_err(TopError::Terminal)?;
                        (self.is_stale, draw_at) = (true, Instant::now());
                    }
                    Asked::Stop => self.suspend(false)?,
                },
                read = self.term.read(&mut bytes) => match read {
                    // The terminal is gone, and nobody looks any more.
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(n) => {
                        self.parser.push(&bytes[..n], &mut inputs);
                        escape_at = Instant::now() + ESCAPE;
                    }
                },
                () = sleep_until(escape_at), if is_waiting => self.parser.idle(&mut inputs),
                flushed = self.term.flush(), if !is_idle => {
                    // As above.
                    if flushed.is_err() {
                        return Ok(());
                    }
                }
                () = sleep_until(draw_at), if self.is_stale && is_idle => {}
                () = sleep_until(self.limits_due), if wants_limits => {
                    self.look_at_limits();
                    (self.is_stale, draw_at) = (true, Instant::now());
                }
                next = self.source.next(&mut news) => next?,
            }
            for input in inputs.drain(..) {
                let action = match input {
                    Input::Key(key) => self.app.on_key(key),
                    Input::Mouse(mouse) => self.app.on_mouse(mouse),
                    Input::Paste(text) => self.app.on_paste(&text),
                };
                if action != Action::None {
                    (self.is_stale, draw_at) = (true, Instant::now());
                }
                if action == Action::Quit {
                    return Ok(());
                }
                self.act(action)?;
            }
            self.take(&mut news);
        }
    }

    /// Takes news.
    fn take(&mut self, news: &mut Vec<SourceEvent>) {
        let mut closed = false;
        for told in news.drain(..) {
            self.is_stale = true;
            match told {
                SourceEvent::Line(line) => closed |= self.app.take([*line]),
                SourceEvent::Anew => self.app.forget(),
                SourceEvent::Trouble(why) => {
                    if let Origin::Agent { trouble, .. } = &mut self.app.origin {
                        *trouble = why;
                    }
                }
                SourceEvent::Playing(plays) => {
                    if let Origin::Recording { is_playing, .. } = &mut self.app.origin {
                        *is_playing = plays;
                    }
                }
            }
        }
        if let Some(message) = self.messages.take() {
            self.app.message = Some(message);
            self.is_stale = true;
        }
        if closed
            && !self.app.is_paused()
            && let Some(Page::Owner(id)) = self.app.page
        {
            let limits = self.source.limits_above(id);
            self.app.tell_limits(id, limits);
        }
    }

    fn act(&mut self, action: Action) -> Result<(), TopError> {
        match action {
            Action::None | Action::Draw | Action::Quit => {}
            Action::Redraw => self.term.resize().map_err(TopError::Terminal)?,
            Action::Suspend => self.suspend(true)?,
            Action::AskToBrake(id) => self.ask_to_brake(id),
            Action::CarryOut(request) => self.carry_out(&request),
            Action::SaveReport(id) => self.app.message = Some(self.save_report(&id)),
            // When it is due, which may be at once.
            Action::LookAtLimits => {}
            Action::LookAbove(id) => {
                let limits = self.source.limits_above(id);
                self.app.tell_limits(id, limits);
            }
            Action::Skip(seconds) => {
                if let Some(playback) = self.source.playback() {
                    playback.skip(seconds);
                }
            }
            Action::Seek(part) => {
                if let Some(playback) = self.source.playback() {
                    playback.seek(part);
                }
            }
            Action::Play(plays) => {
                if let Some(playback) = self.source.playback() {
                    playback.play(plays);
                }
            }
        }
        Ok(())
    }

    fn suspend(&mut self, everybody: bool) -> Result<(), TopError> {
        self.term.suspend(everybody).map_err(TopError::Terminal)?;
        self.is_stale = true;
        Ok(())
    }

    /// What `check` would print now.
    fn look_at_limits(&mut self) {
        self.limits_due = Instant::now() + LIMITS_EVERY;
        let Shown::Node(node) = self.shown else {
            return;
        };
        let survey = survey::read(
            &node.roots.proc_root,
            &node.roots.cgroup_root,
            &node.roots.lease_dir,
            Helpers::Forbidden,
        );
        let (rows, findings) = (limits::table(&survey), limits::find(&survey));
        let page = CheckPage {
            survey: &survey,
            rows: &rows,
            findings: &findings,
        };
        let mut text = Vec::new();
        // Into memory: it does not fail.
        let _ = check::text(&mut text, &page, false);
        let text = String::from_utf8_lossy(&text);
        self.app.limits = LimitsPage::Read(text.lines().map(str::to_owned).collect());
    }

    /// Writes the report of an incident into the folder that the person is in; what came of it.
    fn save_report(&self, id: &str) -> String {
        let report = self.source.reporter().map_err(|error| error.to_string());
        let report = report.and_then(|all| all.finish(Some(id)).map_err(|error| error.to_string()));
        let report = match report {
            Ok(report) => report,
            Err(error) => return format!("no report: {error}"),
        };
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name: String = id.chars().map(safe).take(100).collect();
        let file = format!("pidwatch-{name}.md");
        match std::fs::write(&file, markdown(&report)) {
            Ok(()) => format!("the report is in {file}"),
            Err(error) => format!("cannot write {file}: {error}"),
        }
    }
}

fn draw(term: &mut Term, app: &mut App, is_utf8: bool) -> io::Result<()> {
    let name = ThemeName::ALL.get(app.theme).copied().unwrap_or_default();
    let theme = Theme::new(name, is_utf8);
    let mut areas = app::Areas::default();
    term.draw(|buffer| areas = render::draw(app, &theme, buffer))?;
    app.drawn(areas);
    Ok(())
}
