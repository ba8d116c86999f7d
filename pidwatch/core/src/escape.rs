//! Text from outside (comm, cgroup names) made safe to show: it may hold any bytes, and somebody
//! else's terminal reads it.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// For people: control characters, and whatever a terminal would act on or hide, as escapes.
pub fn for_terminal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                // Controls, and what has no width: joiners and marks of writing direction.
                c if c.is_control() || c.width().unwrap_or(0) == 0 => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// For machines: valid UTF-8 as it is (JSON has escapes of its own), other bytes as `\xNN`.
pub fn for_json(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// For a shell (bash, dash from 0.5.11 for `$'...'`): one word that means these bytes, and safe to
/// show.
pub fn for_shell(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-:@%+=,".contains(byte);
    let shown = for_terminal(bytes);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        shown
    } else if shown.as_bytes() == bytes && !bytes.contains(&b'\'') {
        format!("'{shown}'")
    } else {
        let mut text = "$'".to_owned();
        for byte in bytes {
            match byte {
                b'\'' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                b' '..=b'~' => text.push(char::from(*byte)),
                other => {
                    let _ = write!(text, "\\x{other:02x}");
                }
            }
        }
        text.push('\'');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        assert_eq!(for_terminal(b"plain \"quoted\""), "plain \"quoted\"");
        assert_eq!(for_terminal(b"a\nb\tc"), "a\\nb\\tc");
        assert_eq!(for_terminal(b"\x1b[31mred"), "\\u{1b}[31mred");
        assert_eq!(
            for_terminal("\u{202e}txt\u{200d}".as_bytes()),
            "\\u{202e}txt\\u{200d}"
        );
        assert_eq!(for_terminal("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(for_terminal(b"bad \xff\xfe"), "bad \\xff\\xfe");
        assert_eq!(for_terminal("日本".as_bytes()), "日本");
    }

    #[test]
    fn a_shell_gets_one_word_that_means_the_same() {
        assert_eq!(
            for_shell(b"/sys/fs/cgroup/a.slice"),
            "/sys/fs/cgroup/a.slice"
        );
        assert_eq!(for_shell(b"/a b\\x2d;$x"), "'/a b\\x2d;$x'");
        assert_eq!(for_shell(b"it's\n\xff"), "$'it\\'s\\x0a\\xff'");
        assert_eq!(for_shell(b""), "''");
    }

    #[test]
    fn json_keeps_what_is_text() {
        assert_eq!(for_json(b"a\nb"), "a\nb");
        assert_eq!(for_json(b"\xff/x"), "\\xff/x");
    }
}
