//! Pages of lines that are scrolled: what a person reads from the top.

use ratatui::{layout::Rect, style::Style};
use unicode_width::UnicodeWidthStr;

use super::canvas::{Canvas, area, beginning, number, wrap};
use crate::tui::{app::Areas, theme::Theme};

/// Before what goes on from the line above.
const INDENT: &str = "      ";

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineStyle {
    /// As text.
    #[default]
    Plain,
    /// Matters less.
    Dim,
    /// A title.
    Title,
    /// Bad.
    Bad,
    /// On its way.
    Warn,
}

impl LineStyle {
    fn style(self, theme: &Theme) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Dim => theme.dim,
            Self::Title => theme.title,
            Self::Bad => theme.bad,
            Self::Warn => theme.warn,
        }
    }
}

#[derive(Debug)]
enum PageLine {
    Text(LineStyle, String),
    /// A name in so many columns, then the rest.
    Pair(u16, String, String),
    Usage(String, u64, u64),
}

/// A page.
#[derive(Debug, Default)]
pub struct PageLines(Vec<PageLine>);

impl PageLines {
    /// A line.
    pub fn look(&mut self, look: LineStyle, text: impl Into<String>) {
        self.0.push(PageLine::Text(look, text.into()));
    }

    /// A line of text.
    pub fn plain(&mut self, text: impl Into<String>) {
        self.look(LineStyle::Plain, text);
    }

    /// A line that matters less.
    pub fn dim(&mut self, text: impl Into<String>) {
        self.look(LineStyle::Dim, text);
    }

    /// A title, with space before it.
    pub fn title(&mut self, text: impl Into<String>) {
        if !self.0.is_empty() {
            self.plain("");
        }
        self.look(LineStyle::Title, text);
    }

    /// A text in as many lines as it takes.
    pub fn wrapped(&mut self, look: LineStyle, text: &str, width: u16) {
        for line in wrap(text, usize::from(width)) {
            self.look(look, line);
        }
    }

    /// Something in so many columns, and what there is to say of it.
    pub fn pair(&mut self, columns: u16, name: impl Into<String>, text: impl Into<String>) {
        self.0
            .push(PageLine::Pair(columns, name.into(), text.into()));
    }

    /// A limit with its bar.
    pub fn usage(&mut self, name: &str, usage: u64, value: u64) {
        self.0.push(PageLine::Usage(name.into(), usage, value));
    }

    /// A line of `check`: what is severe stands out, and what is longer than the screen goes on below.
    pub fn check(&mut self, line: &str, width: u16) {
        let look = match line.split_whitespace().next() {
            Some("CRITICAL" | "critical") => LineStyle::Bad,
            Some("WARNING" | "warning") => LineStyle::Warn,
            Some(_) if !line.starts_with(' ') => LineStyle::Title,
            _ => LineStyle::Plain,
        };
        let width = usize::from(width);
        if line.width() <= width {
            self.look(look, line);
            return;
        }
        // Where a column or a word ends.
        let begin = beginning(line, width);
        let cut = begin.rfind(' ').filter(|&at| at > width / 2);
        let (begin, rest) = line.split_at(cut.unwrap_or(begin.len()));
        self.look(look, begin.trim_end());
        for part in wrap(rest.trim_start(), width.saturating_sub(INDENT.len())) {
            self.look(look, format!("{INDENT}{part}"));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Draws those that are in sight.
    pub fn draw(&self, canvas: &mut Canvas<'_>, place: Rect, scroll: usize, areas: &mut Areas) {
        areas.list = area(place);
        areas.lines = self.len();
        let height = usize::from(place.height);
        let scroll = scroll.min(self.len().saturating_sub(height));
        for (i, line) in self.0.iter().skip(scroll).take(height).enumerate() {
            let (x, y, width) = (place.x, place.y + i as u16, place.width);
            match line {
                PageLine::Text(look, text) => {
                    let style = look.style(canvas.theme);
                    canvas.text(x, y, width, text, style);
                }
                PageLine::Pair(columns, name, text) => {
                    let columns = (*columns).min(width);
                    canvas.name(x, y, columns, name, canvas.theme.accent);
                    let rest = width.saturating_sub(columns + 1);
                    canvas.text(x + columns + 1, y, rest, text, Style::new());
                }
                PageLine::Usage(name, usage, value) => {
                    limit(canvas, (x, y, width), name, (*usage, *value));
                }
            }
        }
        let below = self.len().saturating_sub(scroll + height);
        if below > 0 && height > 1 {
            let more = format!(" {below} more lines below ");
            let y = place.bottom() - 1;
            canvas.right(place.x, y, place.width, &more, canvas.theme.header);
        }
    }
}

/// A limit's name, its bar and its numbers in one row.
pub fn limit(
    canvas: &mut Canvas<'_>,
    (x, y, width): (u16, u16, u16),
    name: &str,
    (usage, value): (u64, u64),
) {
    let ratio = usage as f64 / value.max(1) as f64;
    let numbers = format!(
        "{}/{} {:>3.0}%",
        number(usage),
        number(value),
        ratio * 100.0
    );
    let for_numbers = 24.min(width / 2);
    let for_name = ((width - for_numbers) / 2).min(48);
    let for_bar = width.saturating_sub(for_numbers + for_name + 2).min(60);
    canvas.name(x, y, for_name, name, Style::new());
    canvas.bar(x + for_name + 1, y, for_bar, ratio);
    let style = canvas.theme.usage(ratio);
    canvas.right(x + for_name + for_bar + 2, y, for_numbers, &numbers, style);
}
