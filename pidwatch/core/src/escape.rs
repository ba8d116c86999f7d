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
                c if acts_on_terminals(c) => {
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

/// Controls, and what has no width: joiners and marks of writing direction.
pub fn acts_on_terminals(c: char) -> bool {
    c.is_control() || c.width().unwrap_or(0) == 0
}

/// A text of many lines that another program sent.
pub fn lines_for_terminal(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let parts = line.split('\t').map(|part| for_terminal(part.as_bytes()));
        parts.collect::<Vec<_>>().join("\t")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A JSON text that may be shown: what a terminal would act on or hide, which JSON allows in strings, as `\uXXXX`.
pub fn shown_json(json: Vec<u8>) -> Vec<u8> {
    // The serializer escapes what is below.
    const FIRST: u8 = 0x7f;
    if json.iter().all(|&byte| byte < FIRST) {
        return json;
    }
    let mut shown = Vec::with_capacity(json.len() + 64);
    for chunk in json.utf8_chunks() {
        let text = chunk.valid();
        let mut from = 0;
        for (at, c) in text.char_indices() {
            if u32::from(c) >= u32::from(FIRST) && acts_on_terminals(c) {
                shown.extend_from_slice(&text.as_bytes()[from..at]);
                for unit in c.encode_utf16(&mut [0; 2]) {
                    shown.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
                from = at + c.len_utf8();
            }
        }
        shown.extend_from_slice(&text.as_bytes()[from..]);
        // A serializer writes no other bytes.
        shown.extend_from_slice(chunk.invalid());
    }
    shown
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
    fn lines_of_others_keep_their_ends_and_tabs() {
        let text = "a\tb\n\n\u{1b}[2Jc\u{202e}\r\n";
        let shown = "a\tb\n\n\\u{1b}[2Jc\\u{202e}\\r\n";
        assert_eq!(lines_for_terminal(text), shown);
    }

    #[test]
    fn json_is_shown_without_what_a_terminal_acts_on_and_means_the_same() {
        let text = "ü日 \u{202e}\u{9b}\u{7f}\u{1b}\u{e0001}\n\"x";
        let json = serde_json::to_vec(&[text]).unwrap();
        let shown = String::from_utf8(shown_json(json)).unwrap();
        assert!(!shown.chars().any(acts_on_terminals), "{shown:?}");
        assert!(shown.contains("ü日 \\u202e\\u009b\\u007f"), "{shown}");
        let [read]: [String; 1] = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, text);
        let plain = serde_json::to_vec_pretty(&["a"]).unwrap();
        assert_eq!(shown_json(plain.clone()), plain);
    }

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
