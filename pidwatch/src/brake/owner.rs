//! Resolves an owner's name, as pidwatch displays it, to its cgroup.

use std::{io, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    cgroup::{CgroupId, Tree, walk},
    escape,
    identity::{Owner, Resolver, Role, Sockets, identify},
};

/// Longest wait for container runtimes.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interval between checks for their answers.
const PACE: Duration = Duration::from_millis(20);
/// Length of a short container id.
const SHORT_ID: usize = 12;
/// Longest list of matches in an error.
const LISTED: usize = 5;

/// No owner, or several.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The cgroup tree cannot be read.
    #[error("cannot read the cgroup tree at {path}: {error}; say where it is with --cgroup-root")]
    Tree {
        /// The mount.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// No match.
    #[error(
        "no owner `{0}`; expected a systemd unit, a container id, namespace/pod/container, or a cgroup path"
    )]
    Nobody(String),
    /// Several matches.
    #[error("`{name}` is ambiguous: {}", among.join(", "))]
    Several {
        /// The name.
        name: String,
        /// The matches.
        among: Vec<String>,
    },
}

/// Finds the owner with this name; asks container runtimes for the names of pods.
///
/// # Errors
/// When there is no match or more than one, or the tree cannot be read.
pub async fn find(name: &str, mount: &Path, sockets: &Sockets) -> Result<Owner, FindError> {
    let tree = walk(mount).map_err(|error| FindError::Tree {
        path: mount.display().to_string(),
        error,
    })?;
    let mut owners = owners(&tree);
    // Matches by path, unit or id, and candidates that only a container runtime can name.
    owners.retain(|owner| fits(owner, name) || is_pods_name(owner, name));
    learn_names(&mut owners, sockets).await;
    pick(owners, name)
}

/// The one owner with this name.
///
/// # Errors
/// When there is none, or more than one.
pub fn pick(mut owners: Vec<Owner>, name: &str) -> Result<Owner, FindError> {
    owners.retain(|owner| fits(owner, name));
    let shown = |owner: &Owner| {
        let path = owner.path.as_deref().unwrap_or_default();
        format!("{} ({})", owner.name(), escape::for_terminal(path))
    };
    if owners.len() > 1 {
        let mut among: Vec<_> = owners.iter().take(LISTED).map(shown).collect();
        among.sort();
        return Err(FindError::Several {
            name: escape::for_terminal(name.as_bytes()),
            among,
        });
    }
    let nobody = || FindError::Nobody(escape::for_terminal(name.as_bytes()));
    owners.pop().ok_or_else(nobody)
}

/// All cgroups.
fn owners(tree: &Tree) -> Vec<Owner> {
    let owners = tree
        .iter()
        .map(|(id, node): (CgroupId, _)| Owner::new(id, Some(node.path.clone())));
    owners.collect()
}

/// Whether only a container runtime can tell if the name matches.
fn is_pods_name(owner: &Owner, name: &str) -> bool {
    let is_name = name.contains('/') && !name.starts_with('/');
    is_name && owner.identity.pod_uid.is_some() && owner.anchor().is_none()
}

async fn learn_names(owners: &mut [Owner], sockets: &Sockets) {
    if owners.iter().all(|owner| !owner.identity.may_have_names()) {
        return;
    }
    let names = Resolver::start(sockets);
    let end = Instant::now() + PATIENCE;
    loop {
        let mut is_waiting = false;
        for owner in &mut *owners {
            if owner.names.is_none() && owner.identity.may_have_names() {
                owner.names = names.look_up(owner.id, &owner.identity);
                is_waiting |= owner.names.is_none();
            }
        }
        if !is_waiting || Instant::now() >= end {
            return;
        }
        sleep(PACE).await;
    }
}

fn fits(owner: &Owner, name: &str) -> bool {
    let Some(path) = owner.path.as_deref() else {
        return false;
    };
    if name.starts_with('/') {
        return name.trim_end_matches('/').as_bytes() == path.strip_suffix(b"/").unwrap_or(path);
    }
    // Cgroups inside an owner are not owners.
    if owner.identity.named != path.len() {
        return false;
    }
    if owner.name() == name || owner.identity.unit.as_deref() == Some(name) {
        return true;
    }
    let id = name.rsplit_once(':').map_or(name, |(_, id)| id);
    let container = owner.identity.container.as_ref();
    container.is_some_and(|container| {
        container.role == Role::Payload && id.len() >= SHORT_ID && container.id.starts_with(id)
    })
}

/// Whether a path belongs to a static pod: the UID of those is the hash of their manifest, not a UUID.
pub fn is_static_pod(path: &[u8]) -> bool {
    identify(path).pod_uid.is_some_and(|uid| !uid.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(path: &str) -> Owner {
        Owner::new(CgroupId(7), Some(path.as_bytes().into()))
    }

    #[test]
    fn an_owner_is_found_by_its_names() {
        let id = "0123456789abcdef".repeat(4);
        let docker = owner(&format!("/docker/{id}"));
        for name in [
            "docker:0123456789ab",
            "0123456789ab",
            &id,
            &format!("/docker/{id}"),
            &format!("/docker/{id}/"),
        ] {
            assert!(fits(&docker, name), "{name}");
        }
        for name in ["docker", "0123456789a", "/docker", "abcdef", "", "/"] {
            assert!(!fits(&docker, name), "{name}");
        }
        assert!(fits(&owner("/system.slice/web.service"), "web.service"));
        assert!(!fits(
            &owner("/system.slice/web.service/sub"),
            "web.service"
        ));
        assert!(fits(&owner("/"), "/"));
    }

    #[test]
    fn static_pods_are_recognised_by_their_uid() {
        let uid = "3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
        assert!(!is_static_pod(
            format!("/kubepods/burstable/pod{uid}").as_bytes()
        ));
        let hash = uid.replace('-', "");
        assert!(is_static_pod(
            format!("/kubepods/burstable/pod{hash}").as_bytes()
        ));
        assert!(!is_static_pod(b"/a"));
    }
}
