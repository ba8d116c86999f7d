//! A value with a fixed set of names, as a stream has it.
//!
//! A later version may have added names: what this one does not know is kept and written again as it
//! was, and never taken for something else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value of this version's set, or a name that it does not know.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// One of this version's.
    Known(T),
    /// A later version's, by its name.
    Later(Box<str>),
}

impl<T: Copy> Word<T> {
    /// The value; `None` for a later version's.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Later(_) => None,
        }
    }

    /// Its name, given how this version names its own values.
    pub fn name(&self, own: impl FnOnce(T) -> &'static str) -> &str {
        match self {
            Self::Known(value) => own(*value),
            Self::Later(name) => name,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Later(name) => f.write_str(name),
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(value) if value == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cgroup::LayoutKind,
        detect::State,
        incident::{Phase, What},
        limits::{Basis, Reason},
    };

    #[test]
    fn values_are_written_by_the_names_that_they_have_everywhere() {
        fn written<T: Copy + Serialize>(all: &[T], name: impl Fn(T) -> &'static str) {
            for value in all {
                assert_eq!(serde_json::json!(value), name(*value));
            }
        }
        written(&Reason::ALL, Reason::name);
        written(&Basis::ALL, Basis::name);
        written(&State::ALL, State::name);
        written(&Phase::ALL, Phase::name);
        written(&What::ALL, What::name);
        let layouts = [LayoutKind::V1, LayoutKind::Hybrid, LayoutKind::V2];
        written(&layouts, LayoutKind::name);
    }

    #[test]
    fn a_name_of_a_later_version_is_kept() {
        let words: Vec<Word<Phase>> = serde_json::from_str(r#"["closed","paused"]"#).unwrap();
        assert_eq!(
            words,
            [Word::Known(Phase::Closed), Word::Later("paused".into())]
        );
        assert_eq!(
            serde_json::to_string(&words).unwrap(),
            r#"["closed","paused"]"#
        );
        assert_eq!(
            (words[0].known(), words[1].known()),
            (Some(Phase::Closed), None)
        );
    }
}
