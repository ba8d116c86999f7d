//! Keys: what the terminal sends, as plain data, and the one table that says what each does where.
//!
//! In: a [`Key`] and where the person is. Out: a [`Command`]. The help page and the hints at the bottom
//! are made of the same table, so they cannot say anything else than what happens.

/// A key, with what of its modifiers matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character, shift applied.
    Char(char),
    /// A character with control.
    Ctrl(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tabulator.
    Tab,
    /// Shift and tabulator.
    BackTab,
    /// Deletes what is before the cursor.
    Backspace,
    /// Arrow.
    Up,
    /// Arrow.
    Down,
    /// Arrow.
    Left,
    /// Arrow.
    Right,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the top.
    Home,
    /// To the bottom.
    End,
    /// A function key.
    F(u8),
}

/// What the mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gesture {
    /// The left button went down.
    Click,
    /// The wheel, away from the person.
    WheelUp,
    /// The wheel, towards the person.
    WheelDown,
}

/// A gesture, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mouse {
    /// What.
    pub gesture: Gesture,
    /// Column, from 0.
    pub column: u16,
    /// Row, from 0.
    pub row: u16,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Moves the selection, or scrolls, by so many rows.
    Move(i32),
    /// By so many pages.
    Page(i32),
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// Opens what is selected.
    Open,
    /// One step back: out of a page, a filter.
    Back,
    /// The next view.
    NextView,
    /// The view before.
    PreviousView,
    /// A view by its place.
    View(usize),
    /// Begins to type a filter.
    Filter,
    /// Sorts by the next column.
    SortNext,
    /// Sorts by the column before.
    SortPrevious,
    /// Sorts the other way round.
    Reverse,
    /// Stops the picture; data goes on behind.
    Pause,
    /// Tree of cgroups, or flat.
    Tree,
    /// Groups: none, by namespace, by pod.
    Group,
    /// Folds or unfolds.
    Fold,
    /// Shows a longer span.
    ZoomOut,
    /// Shows a shorter span.
    ZoomIn,
    /// Saves the report of an incident.
    Save,
    /// Shows or hides cgroups that come and go.
    Cgroups,
    /// Goes back in a recording.
    Earlier,
    /// Goes on in a recording.
    Later,
    /// Another set of colours.
    Theme,
    /// This page.
    Help,
    /// Gives the terminal to the shell.
    Suspend,
    /// Draws everything anew.
    Redraw,
    /// Ends.
    Quit,
}

/// Where a key means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Everywhere.
    Anywhere,
    /// In the table of owners.
    Owners,
    /// On the page of an owner.
    Detail,
    /// In the list of incidents and events, and on an incident's page.
    Events,
    /// Where a recording is shown.
    Recording,
}

/// A line of the table.
#[derive(Debug)]
pub struct Binding {
    /// What does it.
    pub keys: &'static [Key],
    /// How the keys are written.
    pub shown: &'static str,
    /// Where.
    pub place: Place,
    /// What it does.
    pub command: Command,
    /// What it does, in words.
    pub words: &'static str,
    /// In one word, for the bottom line; empty where it is not shown there.
    pub hint: &'static str,
}

const fn binding(
    keys: &'static [Key],
    shown: &'static str,
    place: Place,
    command: Command,
    words: &'static str,
    hint: &'static str,
) -> Binding {
    Binding {
        keys,
        shown,
        place,
        command,
        words,
        hint,
    }
}

/// Every key. A key may stand twice when its places differ; the narrower place comes first.
#[rustfmt::skip]
pub const BINDINGS: &[Binding] = &[
    binding(&[Key::Enter], "Enter", Place::Anywhere, Command::Open, "open what is selected", "open"),
    binding(&[Key::Esc], "Esc", Place::Anywhere, Command::Back, "back; in the table: drop the filter", "back"),
    binding(&[Key::Char('/')], "/", Place::Owners, Command::Filter, "filter by name as you type; Enter keeps it", "filter"),
    binding(&[Key::Char('s'), Key::Char('>')], "s >", Place::Owners, Command::SortNext, "sort by the next column", "sort"),
    binding(&[Key::Char('<')], "<", Place::Owners, Command::SortPrevious, "sort by the column before", ""),
    binding(&[Key::Char('r')], "r", Place::Owners, Command::Reverse, "sort the other way round", ""),
    binding(&[Key::Char('t')], "t", Place::Owners, Command::Tree, "tree of cgroups, or flat", "tree"),
    binding(&[Key::Char('n')], "n", Place::Owners, Command::Group, "group by namespace, by pod, or not", "group"),
    binding(&[Key::Char('+'), Key::Char('-'), Key::Char('=')], "+ -", Place::Owners, Command::Fold, "fold or unfold (tree, groups)", ""),
    binding(&[Key::Char('+'), Key::Char('=')], "+", Place::Detail, Command::ZoomIn, "a shorter span of time", "zoom"),
    binding(&[Key::Char('-')], "-", Place::Detail, Command::ZoomOut, "a longer span of time", ""),
    binding(&[Key::Char('w')], "w", Place::Events, Command::Save, "write the incident's report into a file", "save report"),
    binding(&[Key::Char('c')], "c", Place::Events, Command::Cgroups, "show or hide cgroups coming and going", "cgroups"),
    binding(&[Key::Left, Key::Char('[')], "← [", Place::Recording, Command::Earlier, "back in the recording", "earlier"),
    binding(&[Key::Right, Key::Char(']')], "→ ]", Place::Recording, Command::Later, "on in the recording", "later"),
    binding(&[Key::Tab], "Tab", Place::Anywhere, Command::NextView, "the next view", "view"),
    binding(&[Key::BackTab], "Shift-Tab", Place::Anywhere, Command::PreviousView, "the view before", ""),
    binding(&[Key::Char('1'), Key::F(1)], "1", Place::Anywhere, Command::View(0), "owners", ""),
    binding(&[Key::Char('2'), Key::F(2)], "2", Place::Anywhere, Command::View(1), "incidents and events", ""),
    binding(&[Key::Char('3'), Key::F(3)], "3", Place::Anywhere, Command::View(2), "limits, as `pidwatch check` says", ""),
    binding(&[Key::Char('p'), Key::Char(' ')], "p Space", Place::Anywhere, Command::Pause, "pause the picture; data goes on behind", "pause"),
    binding(&[Key::Up, Key::Char('k')], "Up k", Place::Anywhere, Command::Move(-1), "up", ""),
    binding(&[Key::Down, Key::Char('j')], "Down j", Place::Anywhere, Command::Move(1), "down", ""),
    binding(&[Key::PageUp, Key::Ctrl('b'), Key::Ctrl('u')], "PgUp", Place::Anywhere, Command::Page(-1), "a page up", ""),
    binding(&[Key::PageDown, Key::Ctrl('f'), Key::Ctrl('d')], "PgDn", Place::Anywhere, Command::Page(1), "a page down", ""),
    binding(&[Key::Home, Key::Char('g')], "Home g", Place::Anywhere, Command::First, "to the top", ""),
    binding(&[Key::End, Key::Char('G')], "End G", Place::Anywhere, Command::Last, "to the bottom", ""),
    binding(&[Key::Char('T')], "T", Place::Anywhere, Command::Theme, "other colours", ""),
    binding(&[Key::Ctrl('l')], "Ctrl-L", Place::Anywhere, Command::Redraw, "draw everything anew", ""),
    binding(&[Key::Ctrl('z')], "Ctrl-Z", Place::Anywhere, Command::Suspend, "to the shell; `fg` comes back", ""),
    binding(&[Key::Char('?'), Key::Char('h')], "?", Place::Anywhere, Command::Help, "this page", "help"),
    binding(&[Key::Char('q'), Key::Ctrl('c')], "q", Place::Anywhere, Command::Quit, "quit", "quit"),
];

/// What the mouse does, for the help page.
pub const MOUSE: &[(&str, &str)] = &[
    (
        "click",
        "select; again: open; on a title: sort, again: the other way round",
    ),
    ("wheel", "up and down"),
];

/// What a key does where the person is.
pub fn command(key: Key, places: &[Place]) -> Option<Command> {
    let matches = |binding: &&Binding| {
        binding.keys.contains(&key)
            && (binding.place == Place::Anywhere || places.contains(&binding.place))
    };
    BINDINGS.iter().find(matches).map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for (i, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[i + 1..] {
                let meet = a.place == b.place
                    || a.place == Place::Anywhere
                    || b.place == Place::Anywhere
                    || [a.place, b.place].contains(&Place::Recording);
                let shared = a.keys.iter().find(|key| b.keys.contains(key));
                assert!(
                    !meet || shared.is_none(),
                    "{} and {}: {shared:?}",
                    a.words,
                    b.words
                );
            }
        }
    }

    #[test]
    fn keys_mean_what_the_place_says() {
        assert_eq!(
            command(Key::Char('+'), &[Place::Detail]),
            Some(Command::ZoomIn)
        );
        assert_eq!(
            command(Key::Char('+'), &[Place::Owners]),
            Some(Command::Fold)
        );
        assert_eq!(command(Key::Char('+'), &[Place::Events]), None);
        assert_eq!(command(Key::Char('q'), &[]), Some(Command::Quit));
        assert_eq!(command(Key::Left, &[Place::Owners]), None);
    }
}
