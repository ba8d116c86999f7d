//! How a hook was attached.

use super::{Hook, Mechanism};

/// How a hook came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// The hook.
    pub hook: Hook,
    /// What it is attached by; `None` when nothing worked.
    pub mechanism: Option<Mechanism>,
    /// Why a better mechanism was not possible.
    pub error: Option<String>,
}
