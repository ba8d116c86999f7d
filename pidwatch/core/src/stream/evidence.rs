//! What an owner's tasks show, piece by piece.

use serde::{Deserialize, Serialize};

use super::{Word, numbers::rounded};
use crate::detect::evidence::{self, EvidenceKind};

/// A piece of evidence.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EvidenceEntry {
    /// What it is about.
    pub kind: Word<EvidenceKind>,
    /// In words.
    pub text: String,
    /// How many tasks it is about.
    pub tasks: u64,
    /// Share of the tasks old enough to tell that are as it says, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// In how many different pools they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<u64>,
    /// How long the growth has lasted, how old the oldest zombie is, for how long stale tasks have not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
}

impl From<&evidence::Evidence> for EvidenceEntry {
    fn from(evidence: &evidence::Evidence) -> Self {
        Self {
            kind: evidence.kind.into(),
            text: evidence.text.clone(),
            tasks: evidence.tasks,
            share: evidence.share.map(rounded),
            pools: evidence.pools,
            age_s: evidence.age.map(|age| rounded(age.as_secs_f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_that_scripts_rely_on() {
        use EvidenceKind::{Busy, Connections, Growth, Joint, Names, Pool, Stale, Zombies};
        let all = [
            Growth,
            Stale,
            Zombies,
            Names,
            Joint,
            Busy,
            Pool,
            Connections,
        ];
        let text = serde_json::to_string(&all.map(Word::from)).unwrap();
        let expected =
            r#"["growth","stale","zombies","names","joint","busy","pool","connections"]"#;
        assert_eq!(text, expected);
    }
}
