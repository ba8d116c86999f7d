//! Owners as lines have them. Each is made once, and again only when its path or its names change: a row of
//! a window costs no text.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    cgroup::CgroupId,
    identity::{self, Identity, Names},
    stream::OwnerRef,
};

/// Owners by their cgroups; boxed, since many slots of a table are empty.
#[derive(Debug, Default)]
pub(super) struct SharedOwners(HashMap<CgroupId, Box<(identity::Owner, Arc<OwnerRef>)>>);

impl SharedOwners {
    /// The owner of a cgroup that has this path now, if it was made; `names` are those that it has by now.
    pub fn get(
        &self,
        id: CgroupId,
        path: &[u8],
        names: impl FnOnce(&Identity) -> Option<Arc<Names>>,
    ) -> Option<Arc<OwnerRef>> {
        let (known, shared) = &**self.0.get(&id)?;
        let is_same = known.path.as_deref() == Some(path) && names(&known.identity) == known.names;
        is_same.then(|| shared.clone())
    }

    /// An owner as lines have it, made if need be; `keep` it for the next line.
    pub fn share(&mut self, owner: identity::Owner, keep: bool) -> Arc<OwnerRef> {
        if let Some((known, shared)) = self.0.get(&owner.id).map(|known| &**known)
            && *known == owner
        {
            return shared.clone();
        }
        let shared = Arc::new(OwnerRef::from(&owner));
        if keep {
            let id = owner.id;
            self.0.insert(id, Box::new((owner, shared.clone())));
        }
        shared
    }

    /// A cgroup of which no line tells any more.
    pub fn forget(&mut self, id: CgroupId) {
        self.0.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_made_again_when_its_path_or_its_names_change() {
        let id = CgroupId(7);
        let owner = |path: &[u8]| identity::Owner::new(id, Some(path.into()));
        let names = || Names {
            pod: Some("web-1".into()),
            ..Names::default()
        };
        let mut owners = SharedOwners::default();
        let first = owners.share(owner(b"/a"), true);
        assert!(Arc::ptr_eq(&first, &owners.share(owner(b"/a"), true)));
        let same = owners.get(id, b"/a", |_| None).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        assert!(owners.get(id, b"/b", |_| None).is_none());
        let named = Some(Arc::new(names()));
        assert!(owners.get(id, b"/a", |_| named).is_none());
        assert_eq!(owners.share(owner(b"/b"), false).path(), Some("/b"));
        assert!(owners.get(id, b"/b", |_| None).is_none(), "it was not kept");
        owners.forget(id);
        assert!(owners.get(id, b"/a", |_| None).is_none());
    }
}
