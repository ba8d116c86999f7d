//! What each command does to the state.

use super::{
    Action, App, LimitsPage, Origin, Page, SPANS, View,
    row::RowKey,
    table::Mode,
    world::{LogEntry, LogKind},
};
use crate::{stream::IncidentEvent, tui::keys::KeyCommand};

/// A line of the list of incidents and events.
#[derive(Clone, Copy, Debug)]
pub enum ListEntry<'a> {
    /// An incident.
    Incident(&'a IncidentEvent),
    /// Something that happened.
    Event(&'a LogEntry),
}

/// A step in a recording, in seconds.
const STEP_S: f64 = 10.0;

impl App {
    /// The incidents, the newest first, and then what happened, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = ListEntry<'_>> {
        let world = self.shown();
        let shown = |event: &&LogEntry| {
            (self.shows_cgroups || event.what != LogKind::Cgroup) && self.shows_event(event)
        };
        let incidents = world.incidents.iter().rev();
        let incidents = incidents.filter(|incident| self.shows(incident));
        let incidents = incidents.map(ListEntry::Incident);
        incidents.chain(
            world
                .events
                .iter()
                .rev()
                .filter(shown)
                .map(ListEntry::Event),
        )
    }

    /// Runs a command.
    pub(super) fn run(&mut self, command: KeyCommand) -> Action {
        match command {
            KeyCommand::Quit => return Action::Quit,
            KeyCommand::Suspend => return Action::Suspend,
            KeyCommand::Redraw => return Action::Redraw,
            KeyCommand::Help => {
                self.help = !self.help;
                self.scroll = 0;
            }
            _ if self.help && command == KeyCommand::Back => self.help = false,
            KeyCommand::Move(rows) => self.go(rows as isize),
            KeyCommand::Page(pages) => {
                let page = self.areas.list.height.saturating_sub(1).max(1);
                self.go(pages as isize * isize::from(page as i16));
            }
            KeyCommand::First => self.go(isize::MIN / 2),
            KeyCommand::Last => self.go(isize::MAX / 2),
            _ if self.help => return Action::None,
            KeyCommand::Open => return self.open(),
            KeyCommand::Back => self.back(),
            KeyCommand::NextView => return self.turn(1),
            KeyCommand::PreviousView => return self.turn(-1),
            KeyCommand::View(place) => {
                self.page = None;
                return self.show(View::ALL[place.min(View::ALL.len() - 1)]);
            }
            KeyCommand::Filter => self.typing = true,
            KeyCommand::SortNext => self.sort(1),
            KeyCommand::SortPrevious => self.sort(-1),
            KeyCommand::Reverse => {
                self.order.reverse = !self.order.reverse;
                self.arrange();
            }
            KeyCommand::Pause => return self.pause(),
            KeyCommand::Tree => {
                let is_tree = self.order.mode == Mode::Tree;
                self.order.mode = if is_tree { Mode::Flat } else { Mode::Tree };
                self.arrange();
            }
            KeyCommand::Group => {
                self.order.mode = match self.order.mode {
                    Mode::Flat | Mode::Tree => Mode::Namespace,
                    Mode::Namespace => Mode::Pod,
                    Mode::Pod => Mode::Flat,
                };
                self.arrange();
            }
            KeyCommand::Fold => self.fold(),
            KeyCommand::ZoomIn => self.span = self.span.saturating_sub(1),
            KeyCommand::ZoomOut => self.span = (self.span + 1).min(SPANS.len() - 1),
            KeyCommand::Save => return self.save(),
            KeyCommand::Brake => return self.ask_to_brake(),
            KeyCommand::Cgroups => self.shows_cgroups = !self.shows_cgroups,
            KeyCommand::Earlier => return Action::Skip(-STEP_S),
            KeyCommand::Later => return Action::Skip(STEP_S),
            KeyCommand::Theme => self.theme = (self.theme + 1) % self.themes.max(1),
        }
        Action::Draw
    }

    fn go(&mut self, rows: isize) {
        let to = |at: usize, n: usize| at.saturating_add_signed(rows).min(n.saturating_sub(1));
        let height = usize::from(self.areas.list.height.max(1));
        let scrolls = self.help || self.page.is_some() || self.view == View::Limits;
        if scrolls {
            let last = self.areas.lines.saturating_sub(height);
            self.scroll = self.scroll.saturating_add_signed(rows).min(last);
        } else if self.view == View::Events {
            let n = self.entries().count();
            self.events.selected = to(self.events.selected, n);
            self.events.keep(n, height);
        } else {
            self.cursor.selected = to(self.cursor.selected, self.rows.len());
            self.keep();
            self.choose();
        }
    }

    fn open(&mut self) -> Action {
        if self.page.is_some() {
            return Action::None;
        }
        let page = match self.view {
            View::Owners => match self.selected().map(|row| row.key.clone()) {
                Some(RowKey::Owner(id)) => Some(Page::Owner(id)),
                Some(RowKey::Group(_)) => {
                    self.fold();
                    None
                }
                None => None,
            },
            View::Events => match self.entries().nth(self.events.selected) {
                Some(ListEntry::Incident(incident)) => Some(Page::Incident(incident.id.clone())),
                Some(ListEntry::Event(event)) => {
                    let is_known =
                        |id: &crate::cgroup::CgroupId| self.shown().owners.contains_key(id);
                    event.owner.filter(is_known).map(Page::Owner)
                }
                None => None,
            },
            View::Limits => None,
        };
        if page.is_some() {
            (self.page, self.scroll) = (page, 0);
        }
        match self.page {
            Some(Page::Owner(id)) => Action::LookAbove(id),
            _ => Action::Draw,
        }
    }

    fn back(&mut self) {
        if self.page.take().is_some() {
            self.scroll = 0;
        } else if self.view != View::Owners {
            self.show(View::Owners);
        } else if !self.order.filter.is_empty() {
            self.order.filter.clear();
            self.arrange();
        }
    }

    fn turn(&mut self, step: isize) -> Action {
        self.page = None;
        let place = View::ALL.iter().position(|&view| view == self.view);
        let n = View::ALL.len() as isize;
        let next = (place.unwrap_or(0) as isize + step).rem_euclid(n);
        self.show(View::ALL[next as usize])
    }

    fn show(&mut self, view: View) -> Action {
        (self.view, self.scroll) = (view, 0);
        match (view, &self.limits) {
            (View::Limits, LimitsPage::Unread | LimitsPage::Read(_)) => Action::LookAtLimits,
            _ => Action::Draw,
        }
    }

    fn sort(&mut self, step: isize) {
        self.order.sort = self.order.sort.next(step);
        self.order.reverse = false;
        self.arrange();
    }

    fn fold(&mut self) {
        let Some(row) = self.selected() else {
            return;
        };
        let (place, fold) = (row.place.clone(), row.fold);
        match fold {
            Some(true) => {
                self.order.folded.remove(&place);
            }
            Some(false) => {
                self.order.folded.insert(place);
            }
            None => return,
        }
        self.choose();
        self.arrange();
    }

    fn pause(&mut self) -> Action {
        if let Origin::Recording { is_playing, .. } = &mut self.origin {
            *is_playing = !*is_playing;
            return Action::Play(*is_playing);
        }
        self.frozen = match self.frozen.take() {
            Some(_) => None,
            None => Some(Box::new(self.world.clone())),
        };
        self.arrange();
        Action::Draw
    }

    /// The owner that is looked at or selected.
    fn ask_to_brake(&mut self) -> Action {
        let id = match (&self.page, self.selected().map(|row| &row.key)) {
            (Some(Page::Owner(id)), _) | (None, Some(RowKey::Owner(id))) => *id,
            _ => {
                self.message = Some("select an owner to brake it".into());
                return Action::Draw;
            }
        };
        Action::AskToBrake(id)
    }

    /// The incident that is looked at, selected, or the only one.
    fn save(&mut self) -> Action {
        let id = match &self.page {
            Some(Page::Incident(id)) => Some(id.clone()),
            _ => match self.entries().nth(self.events.selected) {
                Some(ListEntry::Incident(incident)) => Some(incident.id.clone()),
                _ => None,
            },
        };
        match id {
            Some(id) => Action::SaveReport(id),
            None => {
                self.message = Some("select an incident to write its report".into());
                Action::Draw
            }
        }
    }
}
