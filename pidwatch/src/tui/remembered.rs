//! What `top` remembers from one time to the next: the view, the order of the table, the colours.
//!
//! A small JSON file in the user's state folder (XDG base directories: `XDG_STATE_HOME`, else
//! `~/.local/state`). Whatever is wrong with it, the screen comes up: a file that cannot be read is as
//! none, one that cannot be written stays as it was.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::app::{App, SPANS, View, column::Column, table::Mode};
use crate::cli::args::ThemeName;

/// What is remembered, by names, so that another version makes of it what it can.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Remembered {
    view: String,
    rows: String,
    sort: String,
    reverse: bool,
    shows_cgroups: bool,
    span_s: u64,
    theme: String,
}

/// Where it is; `None` without a home.
pub fn file(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    // A relative path is to be ignored, says the specification.
    let absolute = |path: &PathBuf| path.is_absolute();
    let state = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(absolute);
    let home = || variable("HOME").map(PathBuf::from).filter(absolute);
    let state = state.or_else(|| Some(home()?.join(".local/state")))?;
    Some(state.join("pidwatch/top.json"))
}

impl Remembered {
    /// What was remembered; nothing when it cannot be read.
    pub fn load(file: &Path) -> Self {
        let text = fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps it, if that is possible.
    pub fn save(&self, file: &Path) {
        let Ok(text) = serde_json::to_vec_pretty(self) else {
            return;
        };
        if let Some(folder) = file.parent() {
            let _ = fs::create_dir_all(folder);
        }
        // Whole or not at all.
        let new = file.with_extension("json.new");
        if fs::write(&new, text).is_ok() {
            let _ = fs::rename(&new, file);
        }
    }

    /// What of the state is remembered.
    pub fn of(app: &App) -> Self {
        let theme = ThemeName::ALL.get(app.theme).copied().unwrap_or_default();
        Self {
            view: app.view.name().into(),
            rows: app.order.mode.name().into(),
            sort: app.order.sort.title().into(),
            reverse: app.order.reverse,
            shows_cgroups: app.shows_cgroups,
            span_s: SPANS[app.span.min(SPANS.len() - 1)],
            theme: theme
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().into()),
        }
    }

    /// The colours that were chosen.
    pub fn theme(&self) -> Option<ThemeName> {
        ThemeName::from_str(&self.theme, true).ok()
    }

    /// Makes the state as it was; what is not known here stays as it is.
    pub fn apply(&self, app: &mut App) {
        let mut views = View::ALL.into_iter();
        app.view = views
            .find(|view| view.name() == self.view)
            .unwrap_or(app.view);
        let mut modes = Mode::ALL.into_iter();
        app.order.mode = modes
            .find(|mode| mode.name() == self.rows)
            .unwrap_or(app.order.mode);
        if let Some(column) = Column::named(&self.sort) {
            (app.order.sort, app.order.reverse) = (column, self.reverse);
        }
        app.shows_cgroups = self.shows_cgroups;
        app.span = SPANS
            .iter()
            .position(|&span| span == self.span_s)
            .unwrap_or(app.span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;

    fn app() -> App {
        App::new(Filter::default(), jiff::tz::TimeZone::UTC)
    }

    #[test]
    fn what_was_chosen_is_there_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/top.json");
        let mut before = app();
        before.view = View::Events;
        before.order.mode = Mode::Tree;
        (before.order.sort, before.order.reverse) = (Column::Zombies, true);
        before.span = 4;
        before.theme = 1;
        Remembered::of(&before).save(&file);
        let loaded = Remembered::load(&file);
        let mut after = app();
        loaded.apply(&mut after);
        assert_eq!(after.view, View::Events);
        assert_eq!(after.order.mode, Mode::Tree);
        assert_eq!(
            (after.order.sort, after.order.reverse),
            (Column::Zombies, true)
        );
        assert_eq!(after.span, 4);
        assert_eq!(loaded.theme(), Some(ThemeName::ALL[1]));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("top.json");
        for text in [
            "",
            "{",
            "[]",
            "{\"sort\": 7}",
            "{\"sort\": \"NONE\", \"later\": 1}",
        ] {
            fs::write(&file, text).unwrap();
            let mut app = app();
            Remembered::load(&file).apply(&mut app);
            assert_eq!(app.order.sort, Column::State, "{text}");
        }
        // It cannot be written: no error.
        Remembered::default().save(Path::new("/proc/none/top.json"));
    }

    #[test]
    fn the_state_folder_is_where_the_specification_says() {
        let file = |set: &[(&str, &str)]| {
            file(|name| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let home = ("HOME", "/home/sre");
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            file(&[home]),
            path("/home/sre/.local/state/pidwatch/top.json")
        );
        assert_eq!(
            file(&[home, ("XDG_STATE_HOME", "/s")]),
            path("/s/pidwatch/top.json")
        );
        assert_eq!(
            file(&[home, ("XDG_STATE_HOME", "s")]),
            path("/home/sre/.local/state/pidwatch/top.json")
        );
        assert_eq!(file(&[]), None);
    }
}
