//! Where views draw: text that never leaves its place, bars, sparklines, numbers as people read them.
//!
//! Invariant: nothing is written outside the width that is given, whatever a name holds.

pub use crate::report::words::number;
use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    history::ChartColumn,
    tui::{app::Area, theme::Theme},
    values::about,
};

/// The screen and how things look on it.
pub struct Canvas<'a> {
    /// The screen.
    pub buffer: &'a mut Buffer,
    /// How things look.
    pub theme: &'a Theme,
}

impl Canvas<'_> {
    /// All of the screen.
    pub fn area(&self) -> Rect {
        self.buffer.area
    }

    /// Writes as much of a text as fits; the columns it took.
    pub fn text(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let area = self.area();
        if y >= area.bottom() || x >= area.right() {
            return 0;
        }
        let width = width.min(area.right() - x);
        let ascii;
        let text = if self.theme.glyphs.is_ascii && !text.is_ascii() {
            ascii = in_ascii(text, self.theme);
            &ascii
        } else {
            text
        };
        let (end, _) = self
            .buffer
            .set_stringn(x, y, text, usize::from(width), style);
        end - x
    }

    /// Writes a text at the right end of its place.
    pub fn right(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) {
        let took = (text.width() as u16).min(width);
        self.text(x + width - took, y, took, text, style);
    }

    /// Writes a name, its middle cut out where it is too long: both ends tell who it is.
    pub fn name(&mut self, x: u16, y: u16, width: u16, name: &str, style: Style) -> u16 {
        let fitting = self.cut(name, usize::from(width));
        self.text(x, y, width, &fitting, style)
    }

    /// A name in so many columns.
    pub fn cut(&self, name: &str, width: usize) -> String {
        if name.width() <= width {
            return name.to_owned();
        }
        let cut = self.theme.glyphs.cut;
        let room = width.saturating_sub(1);
        // The end of a name has the container.
        let tail = room / 2;
        format!("{}{cut}{}", beginning(name, room - tail), end(name, tail))
    }

    /// Paints a part of a row.
    pub fn paint(&mut self, x: u16, y: u16, width: u16, style: Style) {
        let part = Rect::new(x, y, width, 1).intersection(self.area());
        self.buffer.set_style(part, style);
    }

    /// A bar that is full at a ratio of 1.
    pub fn bar(&mut self, x: u16, y: u16, width: u16, ratio: f64) {
        let full = (ratio.clamp(0.0, 1.0) * f64::from(width)).round() as u16;
        // Something is never shown as nothing.
        let full = if ratio > 0.0 { full.max(1) } else { 0 }.min(width);
        let glyphs = self.theme.glyphs;
        let (style, dim) = (self.theme.usage(ratio), self.theme.dim);
        self.text(x, y, full, &glyphs.full.repeat(usize::from(full)), style);
        let rest = width - full;
        self.text(
            x + full,
            y,
            rest,
            &glyphs.empty.repeat(usize::from(rest)),
            dim,
        );
    }

    /// Rates of late, from nothing to the most of them.
    pub fn rates(&mut self, x: u16, y: u16, values: &[f64], style: Style) {
        let most = values.iter().copied().fold(0.0, f64::max);
        let level = |value: f64| match value {
            _ if value <= 0.0 || most <= 0.0 => 1,
            _ => 1 + (7.0 * value / most).round() as usize,
        };
        self.levels(x, y, values.iter().map(|&value| level(value)), style);
    }

    /// Tasks of late: how they changed, but not how little.
    pub fn trend(&mut self, x: u16, y: u16, columns: &[ChartColumn], style: Style) {
        /// A change of less than this part of the whole is not drawn as a mountain.
        const FLAT: f64 = 0.1;
        let known = || columns.iter().filter_map(|column| column.tasks);
        let (least, most) = (
            known().min().unwrap_or(0) as f64,
            known().max().unwrap_or(0) as f64,
        );
        let range = (most - least).max(most * FLAT).max(4.0);
        let level = |tasks: Option<u64>| match tasks {
            Some(tasks) => 1 + (7.0 * (tasks as f64 - least) / range).round() as usize,
            None => 0,
        };
        self.levels(
            x,
            y,
            columns.iter().map(|column| level(column.tasks)),
            style,
        );
    }

    fn levels(&mut self, x: u16, y: u16, levels: impl Iterator<Item = usize>, style: Style) {
        let glyphs = self.theme.glyphs;
        let text: String = levels.map(|level| glyphs.levels[level.min(8)]).collect();
        self.text(x, y, u16::MAX, &text, style);
    }
}

/// As much of a text's beginning as fits.
pub fn beginning(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            return &text[..at];
        }
    }
    text
}

/// As much of its end.
fn end(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > width {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

/// What a terminal that is not in UTF-8 can show of a text, in as many columns.
fn in_ascii(text: &str, theme: &Theme) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_ascii() => ascii.push(c),
            '←' => ascii.push('<'),
            '→' => ascii.push('>'),
            '…' => ascii.push_str(theme.glyphs.cut),
            _ => ascii.extend(std::iter::repeat_n('?', c.width().unwrap_or(0))),
        }
    }
    ascii
}

/// Lines of a text that are no wider than this; broken at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let options = textwrap::Options::new(width.max(8))
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    let lines = textwrap::wrap(text, options).into_iter();
    lines.map(std::borrow::Cow::into_owned).collect()
}

/// Tasks of a table: seven columns at most.
pub fn tasks(n: Option<u64>) -> String {
    match n {
        None => "?".into(),
        Some(n) if n < 10_000_000 => n.to_string(),
        Some(n) => format!("{}M", n / 1_000_000),
    }
}

/// A rate a second: six columns at most.
pub fn rate(per_s: f64) -> String {
    match per_s {
        _ if per_s <= 0.0 => "-".into(),
        _ if per_s < 0.05 => "0.0".into(),
        _ if per_s < 9.95 => format!("{per_s:.1}"),
        _ if per_s < 99_999.5 => format!("{per_s:.0}"),
        _ if per_s < 9_999_500.0 => format!("{:.0}k", per_s / 1e3),
        _ => format!("{:.0}M", per_s / 1e6),
    }
}

/// A rate in a sentence.
pub fn a_second(per_s: f64) -> String {
    if per_s > 0.0 { rate(per_s) } else { "0".into() }
}

/// A time until something: seven columns at most.
pub fn time_left(seconds: f64) -> String {
    const LONG_S: f64 = 99.0 * 86_400.0;
    match seconds {
        _ if seconds < 0.5 => "now".into(),
        _ if seconds > LONG_S => ">99 d".into(),
        _ => about(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

/// A part of the screen, for the mouse.
pub fn area(rect: Rect) -> Area {
    Area {
        x: rect.x,
        y: rect.y,
        width: rect.width,
        height: rect.height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ThemeName;

    #[test]
    fn a_name_keeps_both_ends_and_its_width_whatever_it_holds() {
        let theme = Theme::new(ThemeName::Mono, true);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 40, 1));
        let canvas = Canvas {
            buffer: &mut buffer,
            theme: &theme,
        };
        assert_eq!(canvas.cut("shop/leaky/app", 14), "shop/leaky/app");
        assert_eq!(
            canvas.cut("kube-system/calico-node-x7k2p/calico-node", 24),
            "kube-system/…calico-node"
        );
        for width in 1..12 {
            let cut = canvas.cut("日本語の名前はとても長い", width);
            assert!(cut.width() <= width, "{cut} is wider than {width}");
        }
    }

    #[test]
    fn text_stays_within_its_width() {
        let theme = Theme::new(ThemeName::Mono, true);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 1));
        let mut canvas = Canvas {
            buffer: &mut buffer,
            theme: &theme,
        };
        assert_eq!(
            canvas.text(2, 0, 3, "日本", Style::new()),
            2,
            "half a character is none"
        );
        assert_eq!(canvas.text(8, 0, 99, "abcdef", Style::new()), 2);
        assert_eq!(canvas.text(10, 0, 5, "x", Style::new()), 0);
        assert_eq!(canvas.text(0, 7, 5, "x", Style::new()), 0);
    }

    #[test]
    fn lines_are_broken_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("abcdefghijkl mn", 8), ["abcdefgh", "ijkl mn"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn numbers_fit_their_columns() {
        for n in [0.0, 0.01, 0.5, 9.96, 99.5, 1e4, 99_999.4, 1e6, 1e8] {
            assert!(rate(n).len() <= 6, "{}", rate(n));
        }
        for seconds in [0.0, 59.0, 7199.0, 9e4, 1e6, 8e6, 1e12, f64::INFINITY] {
            assert!(time_left(seconds).len() <= 7, "{}", time_left(seconds));
        }
        assert!(tasks(Some(u64::from(u32::MAX))).len() <= 7);
    }
}
