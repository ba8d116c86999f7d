//! The value of a `pids.max` file.

use std::{fmt, num::ParseIntError, str::FromStr};

use crate::serde_text::serde_as_text;

/// Content of `pids.max`: a number of tasks, or `max`. Ordered by how much it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PidsMax {
    /// A number of tasks.
    Tasks(u64),
    /// `max`: no limit.
    Unlimited,
}

impl fmt::Display for PidsMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks(tasks) => tasks.fmt(f),
            Self::Unlimited => f.write_str("max"),
        }
    }
}

impl FromStr for PidsMax {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match text.trim() {
            "max" => Ok(Self::Unlimited),
            number => number.parse().map(Self::Tasks),
        }
    }
}

impl From<Option<u64>> for PidsMax {
    fn from(limit: Option<u64>) -> Self {
        limit.map_or(Self::Unlimited, Self::Tasks)
    }
}

serde_as_text!(PidsMax);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_kernel_writes() {
        assert_eq!("max\n".parse(), Ok(PidsMax::Unlimited));
        assert_eq!("0\n".parse(), Ok(PidsMax::Tasks(0)));
        assert!("-1".parse::<PidsMax>().is_err());
        assert!(PidsMax::Tasks(u64::MAX) < PidsMax::Unlimited);
        assert_eq!(PidsMax::Tasks(7).to_string(), "7");
        assert_eq!(PidsMax::Unlimited.to_string(), "max");
    }
}
