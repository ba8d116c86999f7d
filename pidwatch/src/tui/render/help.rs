//! The help page, made of the table of keys.

use super::lines::{LineStyle, PageLines};
use crate::tui::{
    app::App,
    keys::{BINDINGS, KeyPlace, MOUSE},
};

/// Columns of the keys.
const KEYS: u16 = 12;

/// All keys, those that matter where the person is first.
pub fn lines(app: &App, width: u16) -> PageLines {
    let mut lines = PageLines::default();
    let here = app.places();
    let mut places = vec![
        (KeyPlace::Owners, "In the table of owners"),
        (KeyPlace::Detail, "On an owner's page"),
        (KeyPlace::Live, "On an owner of this node"),
        (KeyPlace::Events, "In incidents and events"),
        (KeyPlace::Recording, "In a recording"),
    ];
    places.sort_by_key(|(place, _)| !here.contains(place));
    places.insert(0, (KeyPlace::Anywhere, "Everywhere"));
    for (place, name) in places {
        lines.title(name);
        for binding in BINDINGS.iter().filter(|binding| binding.place == place) {
            lines.pair(KEYS, binding.shown, binding.words);
        }
    }
    lines.title("Mouse");
    for (gesture, words) in MOUSE {
        lines.pair(KEYS, *gesture, *words);
    }
    lines.title("What the columns say");
    for text in [
        "TASKS are processes and threads, zombies included, of the cgroup without those below it. LIM% \
         is their part of the limit that matters: the node's nearest, or that of an open incident above \
         the owner. GROW/s is growth that comes to stay. FULL IN is when a limit is hit if that goes on.",
        "LEAK grows as no pool does; CULPRIT holds most of a limit that is full; FULL fills its own; \
         VICTIM is refused though it does not grow. docs/detection.md has the rules.",
    ] {
        lines.wrapped(LineStyle::Plain, text, width);
    }
    lines
}
