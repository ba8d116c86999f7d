//! Server-sent events (HTML standard, 9.2): bytes in, the data of whole events out. Pure.

/// A longer event is none of ours.
const LONGEST: usize = 16 << 20;

/// Takes bytes as they come.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_return: bool,
}

/// An event is longer than any of ours: this is another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl SseParser {
    /// Takes bytes; calls with the data of each event that they complete.
    ///
    /// # Errors
    /// When an event is too long.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        for &byte in bytes {
            match byte {
                // A line ends with CR, LF or both.
                b'\n' if self.after_return => {}
                b'\n' | b'\r' => self.end_line(&mut each),
                _ => self.line.push(byte),
            }
            self.after_return = byte == b'\r';
            if self.line.len() + self.data.len() > LONGEST {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, each: &mut impl FnMut(&[u8])) {
        if self.line.is_empty() {
            if self.has_data {
                each(&self.data);
            }
            self.data.clear();
            self.has_data = false;
        } else if let Some(value) = self.line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        // The type is in the data too; comments keep the connection alive; ids are not used.
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        for chunk in chunks {
            let each = |data: &[u8]| events.push(String::from_utf8_lossy(data).into_owned());
            assert_eq!(parser.push(chunk, each), Ok(()));
        }
        events
    }

    #[test]
    fn events_are_whole_however_their_bytes_come() {
        let stream = b": hello\nevent: node\ndata: {\"a\":1}\n\ndata:x\r\ndata: y\r\n\r\nevent: none\n\ndata: cut";
        let expected = ["{\"a\":1}", "x\ny"];
        assert_eq!(events(&[stream]), expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&bytes), expected);
    }

    #[test]
    fn a_stream_without_end_takes_no_room_without_end() {
        let mut parser = SseParser::default();
        let chunk = vec![b'x'; LONGEST / 2 + 1];
        assert_eq!(parser.push(&chunk, |_| {}), Ok(()));
        assert_eq!(parser.push(&chunk, |_| {}), Err(TooLong));
    }
}
