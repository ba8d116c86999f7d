//! An incident that is open, and what the tracker asks of the node about it.

use hashbrown::{HashMap, HashSet};

use super::{Incident, LimitKey, Victim};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    detect::Verdict,
    identity::{Owner, OwnerKey},
    limits::LimitOwner,
};

/// Victims and culprits that are kept by name; the rest is in the sums.
pub(super) const MOST_OWNERS: usize = 64;

/// What the tracker asks of the node.
pub trait NodeView {
    /// A cgroup by its name.
    fn owner(&self, id: CgroupId) -> Owner;
    /// The container or unit that a cgroup belongs to, or the cgroup itself.
    fn blamed(&self, id: CgroupId) -> Owner;
    /// What is known of an owner that is not `ok`.
    fn verdict(&self, id: CgroupId) -> Option<&Verdict>;
    /// What owners hold below a limit, the largest first; asked only where nothing grows.
    fn holders(&self, limit: &LimitKey) -> Vec<(CgroupId, u64)>;
    /// The limit as it is now, with its usage.
    fn usage(&self, limit: &LimitKey) -> Option<(u64, u64)>;
}

/// An open incident.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) incident: Incident,
    /// Failures by owner, culprits' too: who is a culprit may turn out later.
    pub(super) refused: HashMap<OwnerKey, Victim>,
    /// Whose creations fail, and when the last one did.
    pub(super) failing: HashMap<CgroupId, (BootTime, Owner)>,
    /// Whose leak is in the timeline.
    pub(super) flagged: HashSet<OwnerKey>,
    /// When it was last told.
    pub(super) told: BootTime,
    /// When something last kept it open.
    pub(super) alive: BootTime,
    /// Something that is worth telling at once.
    pub(super) has_news: bool,
    /// There are failures that were not told, and it is time.
    pub(super) is_due: bool,
    pub(super) failures_told: u64,
}

/// Takes in the limit as it was seen. A user's differs from process to process: the first that refused is
/// the incident's, and another process' limit is no change of it.
pub(super) fn seen(incident: &mut Incident, value: u64, usage: u64) {
    let is_users = matches!(incident.limit.owner, LimitOwner::User(_));
    if !is_users || incident.value.is_none_or(|first| first == value) {
        incident.value = Some(value);
        incident.usage = Some(usage);
    }
    incident.peak = incident.peak.max(Some(usage));
}
