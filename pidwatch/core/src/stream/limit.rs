//! Limits, as other lines have them.

use serde::{Deserialize, Serialize};

use super::numbers::rounded;
use crate::{
    detect, escape, identity,
    limits::{Limit, LimitOwner},
};

/// A limit and what of it is used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitUse {
    /// Its name as people set it.
    pub name: String,
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
    /// A limit; `owner` is the cgroup whose it is.
    pub fn of(limit: &Limit, owner: Option<&identity::Owner>) -> Self {
        let path = owner.and_then(|owner| owner.path.as_deref());
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
}

/// The user or the PID namespace whose a limit is, if one's.
pub(super) fn user_or_namespace(owner: LimitOwner) -> (Option<u32>, Option<u32>) {
    match owner {
        LimitOwner::User(uid) => (Some(uid), None),
        LimitOwner::PidNamespace(inum) => (None, Some(inum)),
        LimitOwner::Node | LimitOwner::Cgroup(_) => (None, None),
    }
}

/// A limit that will be hit.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Exhaustion {
    /// Its name.
    pub limit: String,
    /// The cgroup whose limit it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
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

impl Exhaustion {
    pub(super) fn of(exhaustion: &detect::Exhaustion, owner: Option<&identity::Owner>) -> Self {
        let told = LimitUse::of(&exhaustion.limit, owner);
        // JSON has no infinity, and nobody plans beyond this.
        const CENTURY_S: f64 = 3.2e9;
        Self {
            limit: told.name,
            cgroup: told.cgroup,
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
