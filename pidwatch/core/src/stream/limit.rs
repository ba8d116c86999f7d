//! Limits, as other lines have them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::numbers::rounded;
use crate::{
    detect, escape,
    limits::{Limit, LimitOwner},
};

/// A limit and what of it is used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitUse {
    /// Its name as people set it.
    pub name: Cow<'static, str>,
    /// The limit.
    pub value: u64,
    /// What it counts.
    pub usage: u64,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The user whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The PID namespace whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u32>,
}

impl LimitUse {
    /// A limit; `path` is that of the cgroup whose it is.
    pub fn of(limit: &Limit, path: Option<&[u8]>) -> Self {
        let (uid, pid_namespace) = user_or_namespace(limit.owner);
        Self {
            name: limit.name.into(),
            value: limit.value,
            usage: limit.usage,
            cgroup: path.map(escape::for_json),
            uid,
            pid_namespace,
        }
    }

    /// Which limit it is.
    pub fn limit_id(&self) -> LimitId {
        LimitId {
            name: self.name.clone(),
            cgroup: self.cgroup.clone(),
            uid: self.uid,
            pid_namespace: self.pid_namespace,
        }
    }

    /// Whose it is.
    pub fn holder(&self) -> LimitHolder<'_> {
        LimitHolder::of(
            &self.name,
            self.cgroup.as_deref(),
            self.uid,
            self.pid_namespace,
        )
    }
}

/// Which limit a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitId {
    /// Its name as people set it.
    pub name: Cow<'static, str>,
    /// The cgroup whose it is.
    pub cgroup: Option<String>,
    /// The user whose it is.
    pub uid: Option<u32>,
    /// The PID namespace whose it is.
    pub pid_namespace: Option<u32>,
}

impl LimitId {
    /// One of the node's.
    pub fn of_node(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            cgroup: None,
            uid: None,
            pid_namespace: None,
        }
    }

    /// Whose it is.
    pub fn holder(&self) -> LimitHolder<'_> {
        LimitHolder::of(
            &self.name,
            self.cgroup.as_deref(),
            self.uid,
            self.pid_namespace,
        )
    }
}

/// Whose a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitHolder<'a> {
    /// The node's.
    Node,
    /// A cgroup's, by its path; `None` where that is not known.
    Cgroup(Option<&'a str>),
    /// A user's.
    User(u32),
    /// A PID namespace's, by its inode number.
    PidNamespace(u32),
}

impl<'a> LimitHolder<'a> {
    pub(super) fn of(
        name: &str,
        cgroup: Option<&'a str>,
        uid: Option<u32>,
        pid_namespace: Option<u32>,
    ) -> Self {
        match (uid, pid_namespace, cgroup) {
            (Some(uid), ..) => Self::User(uid),
            (None, Some(inum), _) => Self::PidNamespace(inum),
            (None, None, Some(path)) => Self::Cgroup(Some(path)),
            (None, None, None) if Limit::is_of_cgroups(name) => Self::Cgroup(None),
            (None, None, None) => Self::Node,
        }
    }
}

/// The user or the PID namespace whose a limit is, if one's.
pub(super) fn user_or_namespace(owner: LimitOwner) -> (Option<u32>, Option<u32>) {
    match owner {
        LimitOwner::User(uid) => (Some(uid), None),
        LimitOwner::PidNamespace(inum) => (None, Some(inum)),
        LimitOwner::Node | LimitOwner::Cgroup(_) => (None, None),
    }
}

/// JSON has no infinity, and nobody plans beyond this.
const CENTURY_S: f64 = 3.2e9;

/// A limit that will be hit.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitForecast {
    /// Its name.
    pub limit: Cow<'static, str>,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The PID namespace whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u32>,
    /// The limit.
    pub value: u64,
    /// What of it is used.
    pub usage: u64,
    /// Seconds until then.
    pub in_s: f64,
    /// At the earliest.
    pub in_s_low: f64,
    /// At the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_s_high: Option<f64>,
}

impl LimitForecast {
    /// Which limit it is of.
    pub fn limit_id(&self) -> LimitId {
        LimitId {
            cgroup: self.cgroup.clone(),
            pid_namespace: self.pid_namespace,
            ..LimitId::of_node(self.limit.clone())
        }
    }

    /// Seconds until then; `None` where it is not to be foreseen.
    pub fn foreseen_s(&self) -> Option<f64> {
        Some(self.in_s).filter(|in_s| *in_s < CENTURY_S)
    }

    /// A forecast; `path` is that of the cgroup whose limit it is.
    pub fn of(exhaustion: &detect::Exhaustion, path: Option<&[u8]>) -> Self {
        let told = LimitUse::of(&exhaustion.limit, path);
        Self {
            limit: told.name,
            cgroup: told.cgroup,
            pid_namespace: told.pid_namespace,
            value: told.value,
            usage: told.usage,
            in_s: rounded(exhaustion.in_s.min(CENTURY_S)),
            in_s_low: rounded(exhaustion.low_s.min(CENTURY_S)),
            in_s_high: Some(exhaustion.high_s)
                .filter(|high| *high < CENTURY_S)
                .map(rounded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_whose_it_is() {
        let read = |rest: &str| -> LimitUse {
            let text = format!(r#"{{"value":2,"usage":1,{rest}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        for (text, expected) in [
            (r#""name":"kernel.pid_max""#, LimitHolder::Node),
            (
                r#""name":"pids.max","cgroup":"/a""#,
                LimitHolder::Cgroup(Some("/a")),
            ),
            (r#""name":"pids.max""#, LimitHolder::Cgroup(None)),
            (r#""name":"RLIMIT_NPROC","uid":7"#, LimitHolder::User(7)),
            (
                r#""name":"pid_max","pid_namespace":9"#,
                LimitHolder::PidNamespace(9),
            ),
        ] {
            let limit = read(text);
            assert_eq!(limit.holder(), expected, "{text}");
            assert_eq!(limit.limit_id().holder(), expected, "{text}");
        }
    }
}
