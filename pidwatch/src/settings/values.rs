//! What an option's text means: times, sizes, sockets.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    identity::Sockets,
    recording::Speed,
    values::{parse_duration, parse_size},
};

/// A container runtime's socket, or `none`.
///
/// # Errors
/// When it is no absolute path.
pub fn parse_socket(text: &str) -> Result<PathBuf, String> {
    // As the kubelet and crictl write it.
    let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
    if path.is_absolute() || text == NO_SOCKET {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "`{text}` is no absolute path of a socket, nor `{NO_SOCKET}`"
        ))
    }
}

/// Instead of a socket: nobody is asked.
const NO_SOCKET: &str = "none";

/// Whom `--cri-socket` says to ask.
pub(super) fn sockets(given: Vec<PathBuf>) -> Sockets {
    if given.is_empty() {
        Sockets::Usual
    } else {
        let is_socket = |path: &PathBuf| path != Path::new(NO_SOCKET);
        Sockets::These(given.into_iter().filter(is_socket).collect())
    }
}

/// A number of bytes as [`parse_size`] takes it, or `0` for nothing.
///
/// # Errors
/// As [`parse_size`].
pub fn parse_room(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    parse_size(text)
}

/// How fast a recording is shown: `max`, or how many times as fast as it happened.
///
/// # Errors
/// When it is neither `max` nor a number above 0.
pub fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse() {
        Ok(speed) if speed > 0.0 && f64::is_finite(speed) => Ok(Speed::Times(speed)),
        _ => Err(format!("`{text}` is neither `max` nor a number above 0")),
    }
}

/// A window: at least as long as the kernel side's own.
///
/// # Errors
/// When it is no time or too short.
pub fn parse_window(text: &str) -> Result<Duration, String> {
    let window = parse_duration(text)?;
    if window < crate::probe::WINDOW {
        return Err(format!("a window is at least {:?}", crate::probe::WINDOW));
    }
    Ok(window)
}

/// Bytes of the ring: the kernel takes powers of two of whole pages only.
///
/// # Errors
/// When it is another number; the nearest good ones are named.
pub fn parse_ring_size(text: &str) -> Result<u32, String> {
    const MAX: u32 = 1 << 30;
    let page = rustix::param::page_size() as u32;
    let bytes: u32 = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of bytes"))?;
    if bytes >= page && bytes <= MAX && bytes.is_power_of_two() {
        return Ok(bytes);
    }
    let nearest = bytes
        .clamp(page, MAX)
        .checked_next_power_of_two()
        .unwrap_or(MAX)
        .min(MAX);
    Err(format!(
        "the kernel's ring buffer takes a power of two from {page} to {MAX} bytes; the next one \
         is {nearest}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_at_least_the_kernel_sides() {
        assert!(parse_window("99ms").is_err());
        assert!(parse_window("100ms").is_ok());
    }

    #[test]
    fn a_ring_that_the_kernel_would_refuse_is_refused_with_the_next_good_size() {
        assert_eq!(parse_ring_size("4096"), Ok(4096));
        assert!(parse_ring_size("5000").unwrap_err().contains("8192"));
        assert!(parse_ring_size("3").unwrap_err().contains("4096"));
        assert!(parse_ring_size("0").is_err());
        assert!(parse_ring_size("4294967295").is_err());
        assert!(parse_ring_size("many").unwrap_err().contains("many"));
    }

    #[test]
    fn sockets_are_paths_or_none() {
        let given = |texts: &[&str]| -> Result<_, String> {
            let parsed: Result<_, _> = texts.iter().map(|text| parse_socket(text)).collect();
            Ok(sockets(parsed?))
        };
        assert_eq!(given(&[]), Ok(Sockets::Usual));
        assert_eq!(given(&["none"]), Ok(Sockets::These(Vec::new())));
        let paths = ["/run/a.sock", "/run/b.sock"].map(PathBuf::from).to_vec();
        assert_eq!(
            given(&["/run/a.sock", "unix:///run/b.sock"]),
            Ok(Sockets::These(paths))
        );
        for bad in ["a.sock", "", "tcp://1.2.3.4:5"] {
            assert!(
                given(&[bad]).unwrap_err().contains("no absolute path"),
                "{bad}"
            );
        }
    }
}
