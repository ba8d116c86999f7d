//! What each command does to the state.

use super::{
    Action, App, Limits, Origin, Page, SPANS, View,
    row::RowKey,
    table::Mode,
    world::{Happening, What},
};
use crate::{stream::Incident, tui::keys::Command};

/// A line of the list of incidents and events.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// An incident.
    Incident(&'a Incident),
    /// Something that happened.
    Event(&'a Happening),
}

/// A step in a recording, in seconds.
const STEP_S: f64 = 10.0;

impl App {
    /// The incidents, the newest first, and then what happened, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let world = self.shown();
        let shown = |event: &&Happening| {
            (self.shows_cgroups || event.what != What::Cgroup) && self.shows_event(event)
        };
        let incidents = world.incidents.iter().rev();
        let incidents = incidents.filter(|incident| self.shows(incident));
        let incidents = incidents.map(Entry::Incident);
        incidents.chain(world.events.iter().rev().filter(shown).map(Entry::Event))
    }

    /// Runs a command.
    pub(super) fn run(&mut self, command: Command) -> Action {
        match command {
            Command::Quit => return Action::Quit,
            Command::Suspend => return Action::Suspend,
            Command::Redraw => return Action::Redraw,
            Command::Help => {
                self.help = !self.help;
                self.scroll = 0;
            }
            _ if self.help && command == Command::Back => self.help = false,
            Command::Move(rows) => self.go(rows as isize),
            Command::Page(pages) => {
                let page = self.areas.list.height.saturating_sub(1).max(1);
                self.go(pages as isize * isize::from(page as i16));
            }
            Command::First => self.go(isize::MIN / 2),
            Command::Last => self.go(isize::MAX / 2),
            _ if self.help => return Action::None,
            Command::Open => return self.open(),
            Command::Back => self.back(),
            Command::NextView => return self.turn(1),
            Command::PreviousView => return self.turn(-1),
            Command::View(place) => {
                self.page = None;
                return self.show(View::ALL[place.min(View::ALL.len() - 1)]);
            }
            Command::Filter => self.typing = true,
            Command::SortNext => self.sort(1),
            Command::SortPrevious => self.sort(-1),
            Command::Reverse => {
                self.order.reverse = !self.order.reverse;
                self.arrange();
            }
            Command::Pause => return self.pause(),
            Command::Tree => {
                let is_tree = self.order.mode == Mode::Tree;
                self.order.mode = if is_tree { Mode::Flat } else { Mode::Tree };
                self.arrange();
            }
            Command::Group => {
                self.order.mode = match self.order.mode {
                    Mode::Flat | Mode::Tree => Mode::Namespace,
                    Mode::Namespace => Mode::Pod,
                    Mode::Pod => Mode::Flat,
                };
                self.arrange();
            }
            Command::Fold => self.fold(),
            Command::ZoomIn => self.span = self.span.saturating_sub(1),
            Command::ZoomOut => self.span = (self.span + 1).min(SPANS.len() - 1),
            Command::Save => return self.save(),
            Command::Cgroups => self.shows_cgroups = !self.shows_cgroups,
            Command::Earlier => return Action::Skip(-STEP_S),
            Command::Later => return Action::Skip(STEP_S),
            Command::Theme => self.theme = (self.theme + 1) % self.themes.max(1),
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
                Some(Entry::Incident(incident)) => Some(Page::Incident(incident.id.clone())),
                Some(Entry::Event(event)) => {
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
            (View::Limits, Limits::Unread | Limits::Read(_)) => Action::LookAtLimits,
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

    /// The incident that is looked at, selected, or the only one.
    fn save(&mut self) -> Action {
        let id = match &self.page {
            Some(Page::Incident(id)) => Some(id.clone()),
            _ => match self.entries().nth(self.events.selected) {
                Some(Entry::Incident(incident)) => Some(incident.id.clone()),
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
