//! The state of the screen, and what keys, clicks and updates make of it.
//!
//! In: [`KeyPress`]s, [`Mouse`] gestures, updates of the node. Out: an [`Action`] for whoever runs the loop.
//! Pure: knows neither the terminal nor the clock; what is drawn is a function of this state.

pub mod column;
pub mod commands;
pub mod gauge;
pub mod owner;
pub mod row;
pub mod table;
pub mod world;

use jiff::Timestamp;

use self::{
    gauge::Gauge,
    row::{RowKey, TableRow},
    table::Order,
    world::{LogEntry, LogKind, NodeStore},
};
use super::keys::{KeyPlace, KeyPress, Mouse};
use crate::{
    brake::ControlRequest,
    cgroup::CgroupId,
    escape,
    filter::Filter,
    stream::{IncidentEvent, LimitUse, Line},
};

/// Spans of time that charts show, in seconds.
pub const SPANS: [u64; 6] = [60, 300, 900, 3600, 7200, 14_400];

/// A view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The node and its owners.
    #[default]
    Owners,
    /// Incidents and what happened.
    Events,
    /// Limits.
    Limits,
}

impl View {
    /// In the order of their keys.
    pub const ALL: [Self; 3] = [Self::Owners, Self::Events, Self::Limits];

    /// As its tab is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owners => "Owners",
            Self::Events => "Incidents",
            Self::Limits => "Limits",
        }
    }
}

/// A page over a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// An owner's.
    Owner(CgroupId),
    /// An incident's, by its id.
    Incident(String),
}

/// Where the updates come from, and how that goes.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// The node is not watched yet.
    #[default]
    Starting,
    /// This node.
    Live,
    /// A recording: its span, and where in it the picture is.
    Recording {
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
        /// The moment that is shown.
        at: Timestamp,
        /// It goes on by itself.
        is_playing: bool,
    },
    /// An agent.
    Agent {
        /// Its address.
        url: String,
        /// Why nothing comes; `None` while it does.
        trouble: Option<String>,
    },
}

/// What `check` says.
#[derive(Clone, Debug, Default)]
pub enum LimitsPage {
    /// Nobody has looked yet.
    #[default]
    Unread,
    /// It is not known here: a recording's or an agent's node is another one.
    Elsewhere,
    /// Its lines.
    Read(Vec<String>),
}

/// What the loop is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing; the screen is as it was.
    None,
    /// Draws.
    Draw,
    /// Draws everything anew.
    Redraw,
    /// Ends.
    Quit,
    /// Gives the terminal to the shell.
    Suspend,
    /// Asks whether an owner is to be braked, or released.
    AskToBrake(CgroupId),
    /// Brakes or releases.
    CarryOut(ControlRequest),
    /// Writes the report of an incident.
    SaveReport(String),
    /// Looks at the limits.
    LookAtLimits,
    /// Looks at the limits above an owner.
    LookAbove(CgroupId),
    /// Goes by so many seconds in the recording.
    Skip(f64),
    /// Goes to a part of the recording, 0 to 1.
    Seek(f64),
    /// Goes on by itself, or stops.
    Play(bool),
}

/// A question that is answered with `y`, or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What will happen.
    pub lines: Vec<String>,
    /// What `y` does, in words.
    pub yes: &'static str,
    /// What `y` does.
    pub request: ControlRequest,
}

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// The first column.
    pub x: u16,
    /// The first row.
    pub y: u16,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Area {
    /// Whether a place is in it.
    pub fn has(&self, column: u16, row: u16) -> bool {
        (self.x..self.x + self.width).contains(&column)
            && (self.y..self.y + self.height).contains(&row)
    }
}

/// What was drawn where, for the mouse and for pages.
#[derive(Clone, Debug, Default)]
pub struct Areas {
    /// The rows of the list.
    pub list: Area,
    /// Rows that there are in all.
    pub lines: usize,
    /// Titles of columns.
    pub titles: Vec<(Area, column::Column)>,
    /// Tabs of views.
    pub tabs: Vec<(Area, View)>,
    /// The time bar of a recording.
    pub time_bar: Area,
}

/// Where in a list the person is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which row.
    pub selected: usize,
    /// The first row that is shown.
    pub top: usize,
}

impl Cursor {
    /// Keeps it among `n` rows of which `height` are shown.
    pub fn keep(&mut self, n: usize, height: usize) {
        self.selected = self.selected.min(n.saturating_sub(1));
        let last_top = n.saturating_sub(height);
        let lowest = (self.selected + 1).saturating_sub(height.max(1));
        self.top = self
            .top
            .clamp(lowest, self.selected.max(lowest))
            .min(last_top);
    }
}

/// The state of the screen.
#[derive(Debug)]
pub struct App {
    /// What is known.
    pub world: NodeStore,
    /// What was known when the picture was stopped.
    frozen: Option<Box<NodeStore>>,
    /// In which times are shown.
    pub zone: jiff::tz::TimeZone,
    /// Where the lines come from.
    pub origin: Origin,
    /// The view.
    pub view: View,
    /// The page over it.
    pub page: Option<Page>,
    /// The help is shown.
    pub help: bool,
    /// How the table is shown.
    pub order: Order,
    /// Its rows.
    pub rows: Vec<TableRow>,
    /// Where in it the person is.
    pub cursor: Cursor,
    /// The row that the person chose; `None`: the first, whichever that is.
    chosen: Option<RowKey>,
    /// Where in incidents and events the person is.
    pub events: Cursor,
    /// How far a page is scrolled.
    pub scroll: usize,
    /// A filter is being typed.
    pub typing: bool,
    /// Cgroups that come and go are shown.
    pub shows_cgroups: bool,
    /// Which of [`SPANS`] charts show.
    pub span: usize,
    /// Limits.
    pub limits: LimitsPage,
    /// A question that waits for its answer.
    pub prompt: Option<Prompt>,
    /// Something to tell once.
    pub message: Option<String>,
    /// Which colours, by their place among all.
    pub theme: usize,
    /// How many sets of colours there are.
    pub themes: usize,
    /// Which owners are to be shown at all.
    wanted: Filter,
    /// What was drawn where.
    pub areas: Areas,
}

impl App {
    /// Nothing is known yet.
    pub fn new(wanted: Filter, zone: jiff::tz::TimeZone) -> Self {
        Self {
            world: NodeStore::default(),
            frozen: None,
            zone,
            origin: Origin::default(),
            view: View::default(),
            page: None,
            help: false,
            order: Order::default(),
            rows: Vec::new(),
            cursor: Cursor::default(),
            chosen: None,
            events: Cursor::default(),
            scroll: 0,
            typing: false,
            shows_cgroups: false,
            span: 1,
            limits: LimitsPage::default(),
            prompt: None,
            message: None,
            theme: 0,
            themes: 1,
            wanted,
            areas: Areas::default(),
        }
    }

    /// What is to be drawn: what is known now, or was when the picture was stopped.
    pub fn shown(&self) -> &NodeStore {
        self.frozen.as_deref().unwrap_or(&self.world)
    }

    /// Whether the picture is stopped.
    pub fn is_paused(&self) -> bool {
        let stopped = matches!(
            self.origin,
            Origin::Recording {
                is_playing: false,
                ..
            }
        );
        self.frozen.is_some() || stopped
    }

    /// Takes the limits above an owner as they are now, also into a picture that is stopped.
    pub fn tell_limits(&mut self, id: CgroupId, limits: Option<Vec<LimitUse>>) {
        if let Some(frozen) = &mut self.frozen {
            frozen.tell_limits(id, limits.clone());
        }
        self.world.tell_limits(id, limits);
    }

    /// Takes lines. Whether a window closed: the picture is to be drawn then.
    pub fn take(&mut self, lines: impl IntoIterator<Item = Line>) -> bool {
        let mut closed = false;
        for line in lines {
            closed |= self.world.apply(line);
        }
        if closed {
            if let (Origin::Recording { at, .. }, Some(time)) = (&mut self.origin, self.world.time)
            {
                *at = time;
            }
            self.arrange();
        }
        closed
    }

    /// Everything is told anew: another moment of a recording, an agent that is there again.
    pub fn forget(&mut self) {
        let node_name = std::mem::take(&mut self.world.node_name);
        self.world = NodeStore {
            node_name,
            ..NodeStore::default()
        };
        if let Origin::Recording { from, at, .. } = &mut self.origin {
            *at = *from;
        }
        self.arrange();
    }

    /// Puts the rows in order anew.
    pub fn arrange(&mut self) {
        let world = self.frozen.as_deref().unwrap_or(&self.world);
        self.rows = self
            .order
            .rows(world, |known| self.wanted.matches(&known.owner));
        let place = self.chosen.as_ref().and_then(|chosen| {
            let mut keys = self.rows.iter().map(|row| &row.key);
            keys.position(|key| key == chosen)
        });
        match (&self.chosen, place) {
            (Some(_), Some(place)) => self.cursor.selected = place,
            (None, _) => self.cursor.selected = 0,
            // It has gone: whoever stands there now.
            (Some(_), None) => {}
        }
        self.keep();
    }

    /// Whether an incident is to be shown: one who is asked for has a part in it.
    pub fn shows(&self, incident: &IncidentEvent) -> bool {
        let filter = self.order.filter.as_str();
        let culprits = incident.culprits.iter().map(|culprit| &culprit.owner);
        let victims = incident.victims.iter().map(|victim| &victim.owner);
        let mut names = culprits
            .chain(victims)
            .map(pidwatch_core::stream::OwnerRef::name);
        let path = incident.cgroup.as_deref();
        let path = path.map(|path| escape::for_terminal(path.as_bytes()));
        self.wanted.matches_incident(incident)
            && (filter.is_empty()
                || names.any(|name| name.to_lowercase().contains(filter))
                || path.is_some_and(|path| path.to_lowercase().contains(filter)))
    }

    /// Whether something that happened is to be shown: nobody's, or that of one who is asked for.
    pub fn shows_event(&self, event: &LogEntry) -> bool {
        let filter = self.order.filter.as_str();
        let is_named = filter.is_empty() || event.name.to_lowercase().contains(filter);
        match (event.what, event.owner) {
            (LogKind::Lost, _) => true,
            (LogKind::Incident, _) => {
                let mut all = self.shown().incidents.iter();
                let incident = all.find(|incident| Some(&incident.id) == event.incident.as_ref());
                incident.is_none_or(|incident| self.shows(incident))
            }
            (_, Some(id)) => {
                // Names may have come since.
                let known = self.shown().owners.get(&id).map(|known| &known.owner);
                let owner = known.or(event.whose.as_ref());
                is_named && owner.is_some_and(|owner| self.wanted.matches(owner))
            }
            (_, None) => is_named,
        }
    }

    /// The incidents that are open and to be shown, the most urgent first.
    pub fn open_incidents(&self) -> Vec<&IncidentEvent> {
        let world = self.shown();
        let mut open: Vec<_> = world
            .open_incidents()
            .filter(|open| self.shows(open))
            .collect();
        open.sort_by(|a, b| world.urgency(a, b));
        open
    }

    /// The limits that matter now: the node's that is hit first, then those of the open incidents, the most
    /// urgent first.
    pub fn gauges(&self) -> Vec<Gauge> {
        self.shown().gauges_of(&self.open_incidents())
    }

    /// The row that is selected.
    pub fn selected(&self) -> Option<&TableRow> {
        self.rows.get(self.cursor.selected)
    }

    /// Where the person is, for keys.
    pub fn places(&self) -> Vec<KeyPlace> {
        let mut places = match (&self.page, self.view) {
            (Some(Page::Owner(_)), _) => vec![KeyPlace::Detail],
            (Some(Page::Incident(_)), _) | (None, View::Events) => vec![KeyPlace::Events],
            (None, View::Owners) => vec![KeyPlace::Owners],
            (None, View::Limits) => vec![],
        };
        let is_owners = places
            .iter()
            .any(|place| matches!(place, KeyPlace::Detail | KeyPlace::Owners));
        match self.origin {
            Origin::Recording { .. } => places.push(KeyPlace::Recording),
            Origin::Live if is_owners => places.push(KeyPlace::Live),
            Origin::Live | Origin::Starting | Origin::Agent { .. } => {}
        }
        places
    }

    /// What a key does.
    pub fn on_key(&mut self, key: KeyPress) -> Action {
        self.message = None;
        if let Some(prompt) = self.prompt.take() {
            return match key {
                KeyPress::Char('y' | 'Y') => Action::CarryOut(prompt.request),
                KeyPress::Ctrl('c') => Action::Quit,
                _ => Action::Draw,
            };
        }
        if self.typing {
            return self.type_filter(key);
        }
        match super::keys::command(key, &self.places()) {
            Some(command) => self.run(command),
            None => Action::None,
        }
    }

    /// Text that was pasted: of use where a filter is typed, and nowhere else taken for keys.
    pub fn on_paste(&mut self, text: &str) -> Action {
        if self.typing {
            let text = text.chars().filter(|c| !c.is_control());
            self.order.filter.extend(text.flat_map(char::to_lowercase));
            self.arrange();
        }
        Action::Draw
    }

    fn type_filter(&mut self, key: KeyPress) -> Action {
        match key {
            KeyPress::Char(c) => self.order.filter.extend(c.to_lowercase()),
            KeyPress::Backspace => {
                self.order.filter.pop();
            }
            KeyPress::Ctrl('u') => self.order.filter.clear(),
            KeyPress::Enter => self.typing = false,
            KeyPress::Esc => {
                self.typing = false;
                self.order.filter.clear();
            }
            KeyPress::Ctrl('c') => return Action::Quit,
            KeyPress::Up | KeyPress::Down => self.typing = false,
            _ => return Action::None,
        }
        self.chosen = None;
        self.arrange();
        Action::Draw
    }

    /// What a gesture of the mouse does.
    pub fn on_mouse(&mut self, mouse: Mouse) -> Action {
        use super::keys::{Gesture, KeyCommand};
        self.message = None;
        if self.prompt.take().is_some() {
            return Action::Draw;
        }
        match mouse.gesture {
            Gesture::WheelUp => self.run(KeyCommand::Move(-3)),
            Gesture::WheelDown => self.run(KeyCommand::Move(3)),
            Gesture::Click => self.click(mouse.column, mouse.row),
        }
    }

    fn click(&mut self, column: u16, row: u16) -> Action {
        use super::keys::KeyCommand;
        if self.help {
            self.help = false;
            return Action::Draw;
        }
        let areas = &self.areas;
        if let Some(&(_, view)) = areas.tabs.iter().find(|(area, _)| area.has(column, row)) {
            let place = View::ALL.iter().position(|&known| known == view);
            return self.run(KeyCommand::View(place.unwrap_or(0)));
        }
        if areas.time_bar.has(column, row) {
            let width = f64::from(areas.time_bar.width.max(2) - 1);
            return Action::Seek(f64::from(column - areas.time_bar.x) / width);
        }
        if self.page.is_some() {
            return Action::None;
        }
        if let Some(&(_, title)) = areas.titles.iter().find(|(area, _)| area.has(column, row)) {
            if self.order.sort == title {
                self.order.reverse = !self.order.reverse;
            } else {
                (self.order.sort, self.order.reverse) = (title, false);
            }
            self.arrange();
            return Action::Draw;
        }
        if !areas.list.has(column, row) || self.view == View::Limits {
            return Action::None;
        }
        let line = usize::from(row - areas.list.y);
        let (cursor, n) = match self.view {
            View::Events => (&mut self.events, areas.lines),
            _ => (&mut self.cursor, self.rows.len()),
        };
        let place = cursor.top + line;
        if place >= n {
            return Action::None;
        }
        let again = cursor.selected == place;
        cursor.selected = place;
        if again {
            return self.run(KeyCommand::Open);
        }
        self.choose();
        Action::Draw
    }

    /// Remembers which row the person chose.
    fn choose(&mut self) {
        self.chosen = match self.cursor.selected {
            0 => None,
            _ => self.selected().map(|row| row.key.clone()),
        };
    }

    fn keep(&mut self) {
        let height = usize::from(self.areas.list.height.max(1));
        self.cursor.keep(self.rows.len(), height);
    }

    /// Takes what was drawn where.
    pub fn drawn(&mut self, areas: Areas) {
        let resized = areas.list.height != self.areas.list.height;
        self.areas = areas;
        if resized {
            self.keep();
        }
        let height = usize::from(self.areas.list.height.max(1));
        if self.view == View::Events && self.page.is_none() {
            self.events.keep(self.areas.lines, height);
        } else {
            self.scroll = self.scroll.min(self.areas.lines.saturating_sub(height));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
