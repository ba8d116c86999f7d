//! Keys: what the terminal sends, as plain data, and the one table that says what each does where.
//!
//! In: a [`KeyPress`] and where the person is. Out: a [`KeyCommand`]. The help page and the hints at the bottom
//! are made of the same table, so they cannot say anything else than what happens.

/// A key, with what of its modifiers matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPress {
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
pub enum KeyCommand {
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
    /// Brakes an owner, or releases it.
    Brake,
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
pub enum KeyPlace {
    /// Everywhere.
    Anywhere,
    /// In the table of owners.
    Owners,
    /// On the page of an owner.
    Detail,
    /// In the table of this node's owners, and on the page of one.
    Live,
    /// In the list of incidents and events, and on an incident's page.
    Events,
    /// Where a recording is shown.
    Recording,
}

/// A line of the table.
#[derive(Debug)]
pub struct KeyBinding {
    /// What does it.
    pub keys: &'static [KeyPress],
    /// How the keys are written.
    pub shown: &'static str,
    /// Where.
    pub place: KeyPlace,
    /// What it does.
    pub command: KeyCommand,
    /// What it does, in words.
    pub words: &'static str,
    /// In one word, for the bottom line; empty where it is not shown there.
    pub hint: &'static str,
}

const fn binding(
    keys: &'static [KeyPress],
    shown: &'static str,
    place: KeyPlace,
    command: KeyCommand,
    words: &'static str,
    hint: &'static str,
) -> KeyBinding {
    KeyBinding {
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
pub const BINDINGS: &[KeyBinding] = &[
    binding(&[KeyPress::Enter], "Enter", KeyPlace::Anywhere, KeyCommand::Open, "open what is selected", "open"),
    binding(&[KeyPress::Esc], "Esc", KeyPlace::Anywhere, KeyCommand::Back, "back; in the table: drop the filter", "back"),
    binding(&[KeyPress::Char('/')], "/", KeyPlace::Owners, KeyCommand::Filter, "filter by name as you type; Enter keeps it", "filter"),
    binding(&[KeyPress::Char('s'), KeyPress::Char('>')], "s >", KeyPlace::Owners, KeyCommand::SortNext, "sort by the next column", "sort"),
    binding(&[KeyPress::Char('<')], "<", KeyPlace::Owners, KeyCommand::SortPrevious, "sort by the column before", ""),
    binding(&[KeyPress::Char('r')], "r", KeyPlace::Owners, KeyCommand::Reverse, "sort the other way round", ""),
    binding(&[KeyPress::Char('b')], "b", KeyPlace::Live, KeyCommand::Brake, "brake the owner: no new tasks for 15 min; again: release", "brake"),
    binding(&[KeyPress::Char('t')], "t", KeyPlace::Owners, KeyCommand::Tree, "tree of cgroups, or flat", "tree"),
    binding(&[KeyPress::Char('n')], "n", KeyPlace::Owners, KeyCommand::Group, "group by namespace, by pod, or not", "group"),
    binding(&[KeyPress::Char('+'), KeyPress::Char('-'), KeyPress::Char('=')], "+ -", KeyPlace::Owners, KeyCommand::Fold, "fold or unfold (tree, groups)", ""),
    binding(&[KeyPress::Char('+'), KeyPress::Char('=')], "+", KeyPlace::Detail, KeyCommand::ZoomIn, "a shorter span of time", "zoom"),
    binding(&[KeyPress::Char('-')], "-", KeyPlace::Detail, KeyCommand::ZoomOut, "a longer span of time", ""),
    binding(&[KeyPress::Char('w')], "w", KeyPlace::Events, KeyCommand::Save, "write the incident's report into a file", "save report"),
    binding(&[KeyPress::Char('c')], "c", KeyPlace::Events, KeyCommand::Cgroups, "show or hide cgroups coming and going", "cgroups"),
    binding(&[KeyPress::Left, KeyPress::Char('[')], "← [", KeyPlace::Recording, KeyCommand::Earlier, "back in the recording", "earlier"),
    binding(&[KeyPress::Right, KeyPress::Char(']')], "→ ]", KeyPlace::Recording, KeyCommand::Later, "on in the recording", "later"),
    binding(&[KeyPress::Tab], "Tab", KeyPlace::Anywhere, KeyCommand::NextView, "the next view", "view"),
    binding(&[KeyPress::BackTab], "Shift-Tab", KeyPlace::Anywhere, KeyCommand::PreviousView, "the view before", ""),
    binding(&[KeyPress::Char('1'), KeyPress::F(1)], "1", KeyPlace::Anywhere, KeyCommand::View(0), "owners", ""),
    binding(&[KeyPress::Char('2'), KeyPress::F(2)], "2", KeyPlace::Anywhere, KeyCommand::View(1), "incidents and events", ""),
    binding(&[KeyPress::Char('3'), KeyPress::F(3)], "3", KeyPlace::Anywhere, KeyCommand::View(2), "limits, as `pidwatch check` says", ""),
    binding(&[KeyPress::Char('p'), KeyPress::Char(' ')], "p Space", KeyPlace::Anywhere, KeyCommand::Pause, "pause the picture; data goes on behind", "pause"),
    binding(&[KeyPress::Up, KeyPress::Char('k')], "Up k", KeyPlace::Anywhere, KeyCommand::Move(-1), "up", ""),
    binding(&[KeyPress::Down, KeyPress::Char('j')], "Down j", KeyPlace::Anywhere, KeyCommand::Move(1), "down", ""),
    binding(&[KeyPress::PageUp, KeyPress::Ctrl('b'), KeyPress::Ctrl('u')], "PgUp", KeyPlace::Anywhere, KeyCommand::Page(-1), "a page up", ""),
    binding(&[KeyPress::PageDown, KeyPress::Ctrl('f'), KeyPress::Ctrl('d')], "PgDn", KeyPlace::Anywhere, KeyCommand::Page(1), "a page down", ""),
    binding(&[KeyPress::Home, KeyPress::Char('g')], "Home g", KeyPlace::Anywhere, KeyCommand::First, "to the top", ""),
    binding(&[KeyPress::End, KeyPress::Char('G')], "End G", KeyPlace::Anywhere, KeyCommand::Last, "to the bottom", ""),
    binding(&[KeyPress::Char('T')], "T", KeyPlace::Anywhere, KeyCommand::Theme, "other colours", ""),
    binding(&[KeyPress::Ctrl('l')], "Ctrl-L", KeyPlace::Anywhere, KeyCommand::Redraw, "draw everything anew", ""),
    binding(&[KeyPress::Ctrl('z')], "Ctrl-Z", KeyPlace::Anywhere, KeyCommand::Suspend, "to the shell; `fg` comes back", ""),
    binding(&[KeyPress::Char('?'), KeyPress::Char('h')], "?", KeyPlace::Anywhere, KeyCommand::Help, "this page", "help"),
    binding(&[KeyPress::Char('q'), KeyPress::Ctrl('c')], "q", KeyPlace::Anywhere, KeyCommand::Quit, "quit", "quit"),
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
pub fn command(key: KeyPress, places: &[KeyPlace]) -> Option<KeyCommand> {
    let matches = |binding: &&KeyBinding| {
        binding.keys.contains(&key)
            && (binding.place == KeyPlace::Anywhere || places.contains(&binding.place))
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
                    || a.place == KeyPlace::Anywhere
                    || b.place == KeyPlace::Anywhere
                    || [a.place, b.place].contains(&KeyPlace::Recording);
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
            command(KeyPress::Char('+'), &[KeyPlace::Detail]),
            Some(KeyCommand::ZoomIn)
        );
        assert_eq!(
            command(KeyPress::Char('+'), &[KeyPlace::Owners]),
            Some(KeyCommand::Fold)
        );
        assert_eq!(command(KeyPress::Char('+'), &[KeyPlace::Events]), None);
        assert_eq!(command(KeyPress::Char('q'), &[]), Some(KeyCommand::Quit));
        assert_eq!(command(KeyPress::Left, &[KeyPlace::Owners]), None);
    }
}
