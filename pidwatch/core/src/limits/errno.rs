//! Errors of failed creations: number and name.

use std::{fmt, str::FromStr};

use crate::serde_text::serde_as_text;

/// An error number of the kernel. In text it has the name of the kernel's headers (`EAGAIN`), or is
/// `errno 123` where it has none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub u32);

impl Errno {
    /// A limit is reached, or one of several other causes.
    pub const EAGAIN: Self = Self(libc::EAGAIN as u32);
    /// The operation is forbidden.
    pub const EPERM: Self = Self(libc::EPERM as u32);
    /// Access is forbidden.
    pub const EACCES: Self = Self(libc::EACCES as u32);

    const NAMES: [(i32, &str); 9] = [
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EUSERS, "EUSERS"),
        (libc::EPERM, "EPERM"),
        (libc::EBADF, "EBADF"),
        (libc::EACCES, "EACCES"),
        (libc::EBUSY, "EBUSY"),
        (libc::EINVAL, "EINVAL"),
    ];
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter();
        match names.find(|(number, _)| *number as u32 == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// A text that is no error known here.
#[derive(Debug, thiserror::Error)]
#[error("unknown error name")]
pub struct UnknownErrno;

impl FromStr for Errno {
    type Err = UnknownErrno;

    fn from_str(text: &str) -> Result<Self, UnknownErrno> {
        let mut names = Self::NAMES.iter();
        if let Some((number, _)) = names.find(|(_, name)| *name == text) {
            return Ok(Self(*number as u32));
        }
        let number = text.strip_prefix("errno ").ok_or(UnknownErrno)?;
        number.parse().map(Self).map_err(|_| UnknownErrno)
    }
}

serde_as_text!(Errno);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_back_from_its_name() {
        for number in 0..200 {
            let errno = Errno(number);
            assert_eq!(errno.to_string().parse::<Errno>().unwrap(), errno);
        }
        assert_eq!(Errno::EAGAIN.to_string(), "EAGAIN");
        assert_eq!(Errno(38).to_string(), "errno 38");
        for text in ["", "ENOSYS", "errno", "errno -1", "11"] {
            assert!(text.parse::<Errno>().is_err(), "{text}");
        }
    }
}
