//! Colours and characters: what means what, in every theme.
//!
//! In: a theme's name, `NO_COLOR` and the locale. Out: a style for each meaning, and the characters
//! that bars and charts are made of. What matters has a word and not only a colour; strong colours are
//! backgrounds with their own foreground, which read on dark and light terminals alike.

use ratatui::style::{Color, Modifier, Style};

use super::app::owner::Badge;
use crate::cli::args::ThemeName;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Text that matters less.
    pub dim: Style,
    /// Titles.
    pub title: Style,
    /// Titles of columns.
    pub header: Style,
    /// The row that is selected.
    pub selected: Style,
    /// As it should be.
    pub good: Style,
    /// On its way.
    pub warn: Style,
    /// Bad.
    pub bad: Style,
    /// Stands out without being bad.
    pub accent: Style,
    /// The line of an open incident.
    pub alarm: Style,
    /// Of who suffers or is full, and of who grows.
    badges: [Style; 2],
    /// The characters.
    pub glyphs: &'static Glyphs,
}

/// Characters of bars and charts.
#[derive(Debug)]
pub struct Glyphs {
    /// Columns of a chart from nothing to full.
    pub levels: [&'static str; 9],
    /// A full cell of a bar.
    pub full: &'static str,
    /// An empty one.
    pub empty: &'static str,
    /// A cut name.
    pub cut: &'static str,
    /// Sorted downwards, upwards.
    pub sorted: [&'static str; 2],
    /// Unfolded, folded.
    pub fold: [&'static str; 2],
    /// A line across.
    pub line: &'static str,
    /// Only ASCII can be shown.
    pub is_ascii: bool,
}

/// For terminals in UTF-8.
const UNICODE: Glyphs = Glyphs {
    levels: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    full: "█",
    empty: "░",
    cut: "…",
    sorted: ["▼", "▲"],
    fold: ["▾", "▸"],
    line: "─",
    is_ascii: false,
};

/// For all others.
const ASCII: Glyphs = Glyphs {
    levels: [" ", "_", ".", "-", "=", "+", "*", "%", "#"],
    full: "#",
    empty: ".",
    cut: "~",
    sorted: ["v", "^"],
    fold: ["-", "+"],
    line: "-",
    is_ascii: true,
};

impl Theme {
    /// A set of colours, with characters that the terminal has.
    pub fn new(name: ThemeName, is_utf8: bool) -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let reverse = plain.add_modifier(Modifier::REVERSED);
        let on = |back, front| Style::new().bg(back).fg(front).add_modifier(Modifier::BOLD);
        let glyphs = if is_utf8 { &UNICODE } else { &ASCII };
        let mono = Self {
            dim: plain.add_modifier(Modifier::DIM),
            title: bold,
            header: reverse,
            selected: reverse,
            good: plain,
            warn: bold,
            bad: bold.add_modifier(Modifier::UNDERLINED),
            accent: bold,
            alarm: reverse.add_modifier(Modifier::BOLD),
            badges: [bold.add_modifier(Modifier::UNDERLINED), bold],
            glyphs,
        };
        match name {
            ThemeName::Mono => mono,
            ThemeName::Terminal => Self {
                dim: plain.fg(Color::DarkGray),
                good: plain.fg(Color::Green),
                warn: bold.fg(Color::Yellow),
                bad: bold.fg(Color::Red),
                accent: bold.fg(Color::Blue),
                header: on(Color::Blue, Color::White),
                alarm: on(Color::Red, Color::White),
                badges: [
                    on(Color::Yellow, Color::Black),
                    on(Color::Cyan, Color::Black),
                ],
                ..mono
            },
            ThemeName::ColorBlind => {
                // The palette of Okabe and Ito in the nearest of 256 colours.
                let (vermilion, orange, sky, blue) = (166, 214, 74, 25);
                let indexed = Color::Indexed;
                Self {
                    dim: plain.fg(Color::DarkGray),
                    good: plain.fg(indexed(sky)),
                    warn: bold.fg(indexed(orange)),
                    bad: bold.fg(indexed(vermilion)),
                    accent: bold.fg(indexed(sky)),
                    header: on(indexed(blue), Color::White),
                    alarm: on(indexed(vermilion), Color::Black),
                    badges: [
                        on(indexed(orange), Color::Black),
                        on(indexed(sky), Color::Black),
                    ],
                    ..mono
                }
            }
        }
    }

    /// How a badge looks.
    pub fn badge(&self, badge: Badge) -> Style {
        match badge {
            Badge::Leak | Badge::Culprit => self.alarm,
            Badge::Victim | Badge::Full => self.badges[0],
            Badge::Growing | Badge::Storm => self.badges[1],
            Badge::Ok | Badge::Gone => self.dim,
        }
    }

    /// How a part of a limit looks, 0 to 1 and above.
    pub fn usage(&self, ratio: f64) -> Style {
        match ratio {
            _ if ratio >= 0.95 => self.bad,
            _ if ratio >= 0.8 => self.warn,
            _ => self.good,
        }
    }
}

/// Whether the locale of the environment is UTF-8; the first of these that is set says it (locale(7)).
pub fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_says_what_the_locale_is() {
        let locale = |set: &[(&str, &str)]| {
            is_utf8(|name| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(locale(&[("LANG", "de_DE.UTF-8")]));
        assert!(locale(&[("LC_ALL", ""), ("LANG", "C.utf8")]));
        assert!(!locale(&[("LC_ALL", "C"), ("LANG", "C.UTF-8")]));
        assert!(!locale(&[]));
    }

    #[test]
    fn without_colours_there_are_none() {
        let theme = Theme::new(ThemeName::Mono, true);
        for badge in [Badge::Leak, Badge::Victim, Badge::Growing, Badge::Ok] {
            let style = theme.badge(badge);
            assert_eq!((style.fg, style.bg), (None, None));
        }
        for style in [theme.dim, theme.bad, theme.warn, theme.header, theme.alarm] {
            assert_eq!((style.fg, style.bg), (None, None));
        }
    }
}
