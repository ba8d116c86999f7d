//! Lines of the stream, made of what was found.

use std::sync::Arc;

use tokio::time::Instant;

use super::Node;
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    identity,
    stream::{CgroupEvent, Change, Event, Line, OwnerRef},
};

impl Node {
    /// A line of this node.
    pub(super) fn line(&self, time: BootTime, event: Event) -> Line {
        Line {
            time: self.clock.at(time),
            node: self.name.clone(),
            event,
        }
    }

    /// That a cgroup came, went or was named.
    pub(super) fn changed(
        &mut self,
        owner: identity::Owner,
        change: Change,
        time: BootTime,
    ) -> Line {
        let owner = self.share(owner);
        let change = change.into();
        self.line(time, Event::Cgroup(CgroupEvent { owner, change }))
    }

    /// An owner as lines have it.
    pub(super) fn share(&mut self, owner: identity::Owner) -> Arc<OwnerRef> {
        let is_known = self.is_known(owner.id);
        self.owners.share(owner, is_known)
    }

    /// The owner of a cgroup as lines have it.
    pub(super) fn shared_owner(&mut self, id: CgroupId, now: Instant) -> Arc<OwnerRef> {
        if let Some(node) = self.tree.get(id) {
            let names = |identity: &_| self.names.look_up(id, identity);
            if let Some(shared) = self.owners.get(id, &node.path, names) {
                return shared;
            }
        }
        let owner = self.owner(id, now);
        self.share(owner)
    }
}
