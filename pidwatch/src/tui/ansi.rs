//! Frames as bytes for a terminal (ECMA-48, with xterm's colours).
//!
//! In: the cells that changed. Out: where the cursor goes, how text looks, text. Asks the terminal
//! nothing: its size is told, and no answer is waited for.

use std::io::{self, Write};

use ratatui::{
    backend::{Backend, ClearType, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
    style::{Color, Modifier},
};

/// Writes frames.
#[derive(Debug)]
pub struct Ansi<W> {
    out: W,
    /// Columns and rows of the terminal.
    pub size: Size,
}

impl<W: Write> Ansi<W> {
    /// For a terminal of this size.
    pub fn new(out: W, size: Size) -> Self {
        Self { out, size }
    }
}

/// How text looks.
type CellStyle = (Color, Color, Modifier);

const PLAIN: CellStyle = (Color::Reset, Color::Reset, Modifier::empty());

/// Attributes of ECMA-48 (SGR) that are drawn.
const ATTRIBUTES: [(Modifier, u8); 8] = [
    (Modifier::BOLD, 1),
    (Modifier::DIM, 2),
    (Modifier::ITALIC, 3),
    (Modifier::UNDERLINED, 4),
    (Modifier::SLOW_BLINK, 5),
    (Modifier::RAPID_BLINK, 6),
    (Modifier::REVERSED, 7),
    (Modifier::CROSSED_OUT, 9),
];

/// From one look to another: what is gone is taken back with all the rest.
fn dress(out: &mut impl Write, from: CellStyle, to: CellStyle) -> io::Result<()> {
    let (foreground, background, attributes) = to;
    write!(out, "\x1b[")?;
    let mut first = true;
    let mut code = |out: &mut dyn Write, code: std::fmt::Arguments<'_>| {
        let separator = if std::mem::take(&mut first) { "" } else { ";" };
        write!(out, "{separator}{code}")
    };
    let (mut known_foreground, mut known_background, mut known) = from;
    if !attributes.contains(known) {
        code(out, format_args!("0"))?;
        (known_foreground, known_background, known) = PLAIN;
    }
    for (attribute, number) in ATTRIBUTES {
        if (attributes - known).contains(attribute) {
            code(out, format_args!("{number}"))?;
        }
    }
    for (color, before, kind) in [
        (foreground, known_foreground, 3),
        (background, known_background, 4),
    ] {
        if color == before {
            continue;
        }
        match (color, palette(color)) {
            (Color::Rgb(r, g, b), _) => code(out, format_args!("{kind}8;2;{r};{g};{b}"))?,
            (_, Some(index)) => code(out, format_args!("{kind}8;5;{index}"))?,
            (_, None) => code(out, format_args!("{kind}9"))?,
        }
    }
    write!(out, "m")
}

/// A colour's number among xterm's 256; `None` for the terminal's own.
fn palette(color: Color) -> Option<u8> {
    Some(match color {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
        Color::Indexed(index) => index,
        Color::Reset | Color::Rgb(..) => return None,
    })
}

impl<W: Write> Backend for Ansi<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut look = PLAIN;
        let mut next = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                self.set_cursor_position((x, y))?;
            }
            // A wide character is followed by a cell that is skipped: the place is given anew then.
            next = Some((x + 1, y));
            let wanted = (cell.fg, cell.bg, cell.modifier);
            if wanted != look {
                dress(&mut self.out, look, wanted)?;
                look = wanted;
            }
            self.out.write_all(cell.symbol().as_bytes())?;
        }
        self.out.write_all(b"\x1b[0m")
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25h")
    }

    /// Nobody is asked, and nothing here depends on it.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        // Counted from 1.
        write!(self.out, "\x1b[{};{}H", u32::from(y) + 1, u32::from(x) + 1)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.out.write_all(match clear_type {
            ClearType::All => b"\x1b[2J",
            ClearType::AfterCursor => b"\x1b[J",
            ClearType::BeforeCursor => b"\x1b[1J",
            ClearType::CurrentLine => b"\x1b[2K",
            ClearType::UntilNewLine => b"\x1b[K",
        })
    }

    fn size(&self) -> io::Result<Size> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn drawn(cells: &[(u16, u16, &str, Style)]) -> String {
        let cells: Vec<_> = cells
            .iter()
            .map(|(x, y, symbol, style)| {
                let mut cell = Cell::default();
                cell.set_symbol(symbol).set_style(*style);
                (*x, *y, cell)
            })
            .collect();
        let mut out = Vec::new();
        Ansi::new(&mut out, Size::new(80, 24))
            .draw(cells.iter().map(|(x, y, cell)| (*x, *y, cell)))
            .unwrap();
        String::from_utf8(out).unwrap().replace('\x1b', "^")
    }

    #[test]
    fn the_cursor_is_placed_where_cells_do_not_follow_each_other() {
        let plain = Style::new();
        assert_eq!(
            drawn(&[
                (0, 0, "a", plain),
                (1, 0, "b", plain),
                (0, 1, "c", plain),
                (5, 1, "日", plain),
                (7, 1, "d", plain),
            ]),
            "^[1;1Hab^[2;1Hc^[2;6H日^[2;8Hd^[0m"
        );
    }

    #[test]
    fn a_look_is_written_once_and_taken_back() {
        let alarm = Style::new().fg(Color::White).bg(Color::Red).bold();
        let reverse = Style::new().reversed();
        let exact = Style::new().fg(Color::Rgb(1, 2, 3)).bg(Color::Indexed(200));
        assert_eq!(
            drawn(&[
                (0, 0, "a", alarm),
                (1, 0, "b", alarm),
                (2, 0, "c", alarm.underlined()),
                (3, 0, "d", reverse),
                (4, 0, "e", exact),
                (5, 0, "f", Style::new()),
            ]),
            "^[1;1H^[1;38;5;15;48;5;1mab^[4mc^[0;7md^[0;38;2;1;2;3;48;5;200me^[39;49mf^[0m"
        );
    }
}
