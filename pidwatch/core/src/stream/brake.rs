//! A phase of a brake.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OwnerRef, Word};
use crate::brake::{BrakeActor, BrakePhase, PidsMax};

/// What happened to the brake on an owner.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BrakeEvent {
    /// Whose.
    #[serde(flatten)]
    pub owner: Arc<OwnerRef>,
    /// What happened.
    pub phase: Word<BrakePhase>,
    /// Who brakes.
    pub by: Word<BrakeActor>,
    /// The brake's `pids.max`; absent where none was or would be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The `pids.max` that is restored at the end: a number, or `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PidsMax>,
    /// End of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// In words.
    pub why: String,
}
