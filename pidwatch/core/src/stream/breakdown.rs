//! A count by kind.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use super::Word;

/// How often each kind occurred; one that did not is left out. In JSON an object, whose order is kept
/// when it is read and written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown<K>(Vec<(Word<K>, u64)>);

impl<K> Default for Breakdown<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Breakdown<K> {
    /// Every kind that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (&Word<K>, u64)> {
        self.0.iter().map(|(kind, count)| (kind, *count))
    }

    /// All together.
    pub fn total(&self) -> u64 {
        let counts = self.0.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }
}

impl<K: PartialEq> Breakdown<K> {
    /// How often one kind occurred.
    pub fn get(&self, kind: K) -> u64 {
        let same = |(known, _): &&(Word<K>, u64)| *known == kind;
        self.0.iter().find(same).map_or(0, |(_, count)| *count)
    }
}

impl<K> FromIterator<(K, u64)> for Breakdown<K> {
    fn from_iter<I: IntoIterator<Item = (K, u64)>>(counts: I) -> Self {
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        Self(counts.map(|(kind, count)| (kind.into(), count)).collect())
    }
}

impl<K: Serialize> Serialize for Breakdown<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(kind, count)| (kind, count)))
    }
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for Breakdown<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts<K>(std::marker::PhantomData<K>);

        impl<'de, K: Deserialize<'de>> Visitor<'de> for Counts<K> {
            type Value = Breakdown<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("counts by kind")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut counts = Vec::new();
                while let Some(count) = map.next_entry()? {
                    counts.push(count);
                }
                Ok(Breakdown(counts))
            }
        }

        deserializer.deserialize_map(Counts(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Reason;

    #[test]
    fn what_a_later_version_counts_is_kept_in_its_place() {
        let text = r#"{"pids_max":2,"cosmic_rays":3,"memory":1}"#;
        let counts: Breakdown<Reason> = serde_json::from_str(text).unwrap();
        assert_eq!((counts.get(Reason::PidsMax), counts.total()), (2, 6));
        assert_eq!(counts.get(Reason::PidMax), 0);
        assert_eq!(serde_json::to_string(&counts).unwrap(), text);
    }

    #[test]
    fn what_did_not_occur_is_left_out() {
        let counts: Breakdown<_> = [(Reason::PidsMax, 0), (Reason::Memory, 4)]
            .into_iter()
            .collect();
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"memory":4}"#);
    }
}
