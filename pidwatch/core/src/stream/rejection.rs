//! Errors of creations that no limit refused, as they are counted.

use std::{fmt, str::FromStr};

use pidwatch_common::totals::REJECTIONS;

use crate::{
    limits::{Errno, UnknownErrno},
    serde_text::serde_as_text,
};

/// The error of a rejected creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// One that is counted apart.
    By(Errno),
    /// Any of the rest.
    Other,
}

impl Rejection {
    const OTHER: &str = "other";

    /// Every one, in the order of [`crate::model::Counts::rejected_by`].
    pub const ALL: [Self; REJECTIONS.len() + 1] = {
        let mut all = [Self::Other; REJECTIONS.len() + 1];
        let mut i = 0;
        while i < REJECTIONS.len() {
            all[i] = Self::By(Errno(REJECTIONS[i]));
            i += 1;
        }
        all
    };

    /// A security policy forbids the creation, a seccomp filter for instance.
    pub fn is_forbidden(self) -> bool {
        matches!(self, Self::By(Errno::EPERM | Errno::EACCES))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(errno) => errno.fmt(f),
            Self::Other => f.write_str(Self::OTHER),
        }
    }
}

impl FromStr for Rejection {
    type Err = UnknownErrno;

    fn from_str(text: &str) -> Result<Self, UnknownErrno> {
        match text {
            Self::OTHER => Ok(Self::Other),
            errno => errno.parse().map(Self::By),
        }
    }
}

serde_as_text!(Rejection);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Word;

    #[test]
    fn every_error_is_read_back_and_an_unknown_one_is_kept() {
        for rejection in Rejection::ALL {
            let text = serde_json::to_string(&rejection).unwrap();
            let read: Word<Rejection> = serde_json::from_str(&text).unwrap();
            assert_eq!(read, rejection, "{text}");
        }
        let later: Word<Rejection> = serde_json::from_str("\"ENOSYS\"").unwrap();
        assert_eq!(later, Word::Later("ENOSYS".into()));
    }
}
