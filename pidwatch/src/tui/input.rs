//! From bytes of the terminal to keys and gestures.
//!
//! In: bytes as they come. Out: [`Input`]s. The sequences are terminput's; here is only when one is
//! whole. Pure: that a lone Escape is one, and not the beginning of a sequence, is told by whoever knows
//! the time ([`InputParser::idle`]).

use terminput::{Event, KeyCode, KeyEventKind, KeyModifiers, MouseEventKind, ScrollDirection};

use super::keys::{Gesture, KeyPress, Mouse};

/// A longer sequence is none that a terminal sends.
const LONGEST: usize = 64;
/// Around what is pasted.
const PASTE: (&[u8], &[u8]) = (b"\x1b[200~", b"\x1b[201~");
/// More is not pasted into a filter.
const LONGEST_PASTE: usize = 4096;

/// What came from the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A key.
    Key(KeyPress),
    /// A gesture of the mouse.
    Mouse(Mouse),
    /// Text that was pasted.
    Paste(String),
}

/// Bytes that are not a whole sequence yet.
#[derive(Debug, Default)]
pub struct InputParser {
    waiting: Vec<u8>,
}

impl InputParser {
    /// Takes bytes, gives what they mean.
    pub fn push(&mut self, bytes: &[u8], inputs: &mut Vec<Input>) {
        for &byte in bytes {
            self.waiting.push(byte);
            self.step(inputs);
        }
    }

    /// Whether a lone Escape waits for what may follow.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nothing more comes: what waits is what it is.
    pub fn idle(&mut self, inputs: &mut Vec<Input>) {
        if self.waiting == [0x1b] {
            inputs.push(Input::Key(KeyPress::Esc));
        }
        self.waiting.clear();
    }

    fn step(&mut self, inputs: &mut Vec<Input>) {
        let waiting = &self.waiting;
        if let Some(text) = waiting.strip_prefix(PASTE.0) {
            if let Some(text) = text.strip_suffix(PASTE.1) {
                inputs.push(Input::Paste(String::from_utf8_lossy(text).into_owned()));
                self.waiting.clear();
            } else if text.len() > LONGEST_PASTE {
                self.waiting.clear();
            }
            return;
        }
        if PASTE.0.starts_with(waiting) {
            return;
        }
        // Escape twice: the first was one, the second may begin a sequence.
        if waiting == b"\x1b\x1b" {
            inputs.push(Input::Key(KeyPress::Esc));
            self.waiting.pop();
            return;
        }
        match Event::parse_from(waiting) {
            Ok(None) if waiting.len() < LONGEST => return,
            Ok(Some(event)) => inputs.extend(input(&event)),
            // No sequence that anybody knows: nothing is done.
            Ok(None) | Err(_) => {}
        }
        self.waiting.clear();
    }
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let is_ctrl = key.modifiers.contains(KeyModifiers::CTRL);
            let is_shift = key.modifiers.contains(KeyModifiers::SHIFT);
            if key.modifiers.contains(KeyModifiers::ALT) {
                return None;
            }
            let key = match key.code {
                KeyCode::Char(c) if is_ctrl => KeyPress::Ctrl(c.to_ascii_lowercase()),
                KeyCode::Char(c) => KeyPress::Char(c),
                KeyCode::Enter => KeyPress::Enter,
                KeyCode::Esc => KeyPress::Esc,
                KeyCode::Tab if is_shift => KeyPress::BackTab,
                KeyCode::Tab => KeyPress::Tab,
                KeyCode::Backspace => KeyPress::Backspace,
                KeyCode::Up => KeyPress::Up,
                KeyCode::Down => KeyPress::Down,
                KeyCode::Left => KeyPress::Left,
                KeyCode::Right => KeyPress::Right,
                KeyCode::PageUp => KeyPress::PageUp,
                KeyCode::PageDown => KeyPress::PageDown,
                KeyCode::Home => KeyPress::Home,
                KeyCode::End => KeyPress::End,
                KeyCode::F(n) => KeyPress::F(n),
                _ => return None,
            };
            Some(Input::Key(key))
        }
        Event::Mouse(mouse) => {
            let gesture = match mouse.kind {
                MouseEventKind::Down(terminput::MouseButton::Left) => Gesture::Click,
                MouseEventKind::Scroll(ScrollDirection::Up) => Gesture::WheelUp,
                MouseEventKind::Scroll(ScrollDirection::Down) => Gesture::WheelDown,
                _ => return None,
            };
            Some(Input::Mouse(Mouse {
                gesture,
                column: mouse.column,
                row: mouse.row,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(chunks: &[&[u8]]) -> Vec<Input> {
        let (mut parser, mut inputs) = (InputParser::default(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, &mut inputs);
        }
        parser.idle(&mut inputs);
        inputs
    }

    #[test]
    fn keys_are_told_apart_however_their_bytes_come() {
        use KeyPress::{BackTab, Char, Ctrl, Down, Enter, Esc, PageDown, Tab, Up};
        let table: [(&[&[u8]], &[KeyPress]); 11] = [
            (&[b"q"], &[Char('q')]),
            (&[b"jk"], &[Char('j'), Char('k')]),
            (&[b"G"], &[Char('G')]),
            (&[b"\x1b[A\x1b[B"], &[Up, Down]),
            (&[b"\x1b", b"[", b"A"], &[Up]),
            (&[b"\x1bOA"], &[Up]),
            (&[b"\x1b[6~\r\t\x1b[Z"], &[PageDown, Enter, Tab, BackTab]),
            (&[b"\x1b"], &[Esc]),
            (&[b"\x1b\x1b"], &[Esc, Esc]),
            (&[b"\x03\x1a"], &[Ctrl('c'), Ctrl('z')]),
            (&["日".as_bytes()], &[Char('日')]),
        ];
        for (chunks, expected) in table {
            let expected: Vec<_> = expected.iter().copied().map(Input::Key).collect();
            assert_eq!(inputs(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn gestures_are_where_they_were_made() {
        let at = |gesture| {
            Input::Mouse(Mouse {
                gesture,
                column: 4,
                row: 9,
            })
        };
        assert_eq!(
            inputs(&[b"\x1b[<0;5;10M\x1b[<0;5;10m"]),
            [at(Gesture::Click)]
        );
        assert_eq!(inputs(&[b"\x1b[<64;5;10M"]), [at(Gesture::WheelUp)]);
        assert_eq!(inputs(&[b"\x1b[<65;5;10M"]), [at(Gesture::WheelDown)]);
    }

    #[test]
    fn what_is_pasted_is_no_keys() {
        let pasted = inputs(&[b"\x1b[200~qq\x1b[201~j"]);
        assert_eq!(
            pasted,
            [Input::Paste("qq".into()), Input::Key(KeyPress::Char('j'))]
        );
    }

    #[test]
    fn what_nobody_knows_does_nothing_and_holds_nothing_up() {
        for noise in [&b"\x1b[99;99;99z"[..], b"\x1bOz", b"\x1b[?1;2c", b"\xff"] {
            let found = inputs(&[noise, b"q"]);
            assert_eq!(
                found.last(),
                Some(&Input::Key(KeyPress::Char('q'))),
                "{noise:?}"
            );
        }
        let endless = [b"\x1b[".to_vec(), b"1".repeat(500)].concat();
        let (mut parser, mut found) = (InputParser::default(), Vec::new());
        parser.push(&endless, &mut found);
        assert!(parser.waiting.len() <= LONGEST);
    }
}
