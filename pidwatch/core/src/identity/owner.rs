//! A cgroup and whose it is: the name that people know it by.

use std::sync::Arc;

use super::{Identity, Names, Role, identify};
use crate::{cgroup::CgroupId, escape};

/// A cgroup as it is named in outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub id: CgroupId,
    /// Its path, any bytes but NUL; `None` when it went before it could be learnt.
    pub path: Option<Box<[u8]>>,
    /// Whose it is, as the path says.
    pub identity: Identity,
    /// Whose it is, as a container runtime says; `None` when none has said so, or not yet.
    pub names: Option<Arc<Names>>,
}

impl Owner {
    /// A cgroup, and whose it is by its path.
    pub fn new(id: CgroupId, path: Option<Box<[u8]>>) -> Self {
        let identity = path.as_deref().map(identify).unwrap_or_default();
        Self {
            id,
            path,
            identity,
            names: None,
        }
    }

    /// The owner that it is a part of, as the path says: the container or unit with everything below;
    /// `None` where it is that itself, or belongs to none.
    pub fn anchor(&self) -> Option<&[u8]> {
        let path = self.path.as_deref()?;
        let named = self.identity.named;
        (self.identity.is_anchored() && named < path.len()).then(|| &path[..named])
    }

    /// Whether it is a container, pod or unit itself, and lies in no other container or unit: those make as many cgroups in
    /// them as they like.
    pub fn is_outermost(&self) -> bool {
        let Some(path) = self.path.as_deref() else {
            return false;
        };
        let is_whole = self.identity.is_anchored() && self.identity.named == path.len();
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.map(|(at, _)| identify(&path[..at]));
        let is_others =
            |of: &Identity| of.container.is_some() || of.is_anchored() && of.pod_uid.is_none();
        is_whole && !above.any(|of| is_others(&of))
    }

    /// Who it is, whatever cgroup stands for it at the moment.
    pub fn key(&self) -> OwnerKey {
        let Some(path) = self.path.as_deref() else {
            return OwnerKey::Cgroup(self.id);
        };
        let pod = self.identity.pod_uid.as_deref();
        let role = self.identity.container.as_ref().map(|of| of.role);
        if let (Some(pod), Some(names), Some(role)) = (pod, self.names.as_deref(), role)
            && let Some(container) = &names.container
        {
            return OwnerKey::Container {
                pod: pod.into(),
                container: container.clone(),
                role,
            };
        }
        OwnerKey::Path(self.anchor().unwrap_or(path).into())
    }

    /// What people call it, safe to show: `namespace/pod/container`, `runtime:container`, its unit or
    /// its path. Of a cgroup within a container or a unit with the way to it from there.
    pub fn name(&self) -> String {
        let Some(path) = self.path.as_deref() else {
            return format!("(gone cgroup {})", self.id.0);
        };
        let (name, below) = path.split_at(self.identity.named.min(path.len()));
        match self.known_as() {
            Some(name) => escape::for_terminal(name.as_bytes()) + &inside(below),
            None if name.is_empty() => escape::for_terminal(path),
            None => escape::for_terminal(name) + &inside(below),
        }
    }

    fn known_as(&self) -> Option<String> {
        let Identity {
            pod_uid,
            container,
            unit,
            ..
        } = &self.identity;
        let pod = self.names.as_deref().and_then(|names| {
            let pod = format!("{}/{}", names.namespace.as_ref()?, names.pod.as_ref()?);
            Some((pod, names.container.as_deref()))
        });
        match (container, unit) {
            (Some(container), _) => {
                let id = short(&container.id);
                let role = match container.role {
                    Role::Payload => "",
                    Role::Helper => " (its runtime)",
                };
                match (pod, container.runtime) {
                    (Some((pod, name)), _) => Some(format!("{pod}/{}{role}", name.unwrap_or(id))),
                    // The path tells the pod, too.
                    (None, _) if pod_uid.is_some() => None,
                    (None, Some(runtime)) => Some(format!("{runtime}:{id}{role}")),
                    (None, None) => None,
                }
            }
            (None, Some(unit)) => Some(unit.clone()),
            (None, None) => Some(pod?.0),
        }
    }
}

/// Who an owner is. A container that was replaced in its pod, and a cgroup that was made anew at the same
/// path, are the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKey {
    /// A pod's container, by its name in it.
    Container {
        /// The pod's UID.
        pod: Box<str>,
        /// The container's name.
        container: Box<str>,
        /// The container, or what its runtime runs for it.
        role: Role,
    },
    /// What lies at this path, with everything below.
    Path(Box<[u8]>),
    /// A cgroup that went before its path could be learnt.
    Cgroup(CgroupId),
}

/// As much of an id as people use.
fn short(id: &str) -> &str {
    const ENOUGH: usize = 12;
    if id.len() == 64 { &id[..ENOUGH] } else { id }
}

/// Longest way inside of an owner that is shown, in characters.
const LONGEST_INSIDE: usize = 96;

/// The way from an owner to a cgroup inside of it, safe to show: without slices, which only group, with
/// ids cut as people cut them.
fn inside(below: &[u8]) -> String {
    let mut parts = below
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
        .peekable();
    let mut way = String::new();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() && part.ends_with(b".slice") {
            continue;
        }
        way.push('/');
        way += &escape::for_terminal(&with_short_id(part));
    }
    let length = way.chars().count();
    if length > LONGEST_INSIDE {
        let half = LONGEST_INSIDE / 2;
        let start: String = way.chars().take(half).collect();
        let end: String = way.chars().skip(length - half).collect();
        way = format!("{start}\u{2026}{end}");
    }
    way
}

/// A part of a path, its container's id cut.
fn with_short_id(part: &[u8]) -> Vec<u8> {
    const ID: usize = 64;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut windows = part.windows(ID);
    match windows.position(|window| window.iter().all(is_digit)) {
        Some(at) => [&part[..at + 12], &part[at + ID..]].concat(),
        None => part.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_container_or_unit_is_not_outermost() {
        let id = "0123456789abcdef".repeat(4);
        let pod = "/kubepods/burstable/pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
        let is_outermost =
            |path: &str| Owner::new(CgroupId(1), Some(path.as_bytes().into())).is_outermost();
        for path in [
            pod.to_owned(),
            format!("{pod}/{id}"),
            format!("/docker/{id}"),
            "/system.slice/web.service".to_owned(),
        ] {
            assert!(is_outermost(&path), "{path}");
        }
        for path in [
            "/".to_owned(),
            "/system.slice".to_owned(),
            "/system.slice/web.service/below".to_owned(),
            format!("{pod}/{id}/docker/{id}"),
            format!("/docker/{id}{pod}"),
            format!("/docker/{id}{pod}/{id}"),
            "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service".to_owned(),
        ] {
            assert!(!is_outermost(&path), "{path}");
        }
    }

    fn owner(path: &str, names: Option<(&str, &str, Option<&str>)>) -> Owner {
        let names = names.map(|(namespace, pod, container)| {
            Arc::new(Names {
                namespace: Some(namespace.into()),
                pod: Some(pod.into()),
                container: container.map(Into::into),
                ..Names::default()
            })
        });
        Owner {
            names,
            ..Owner::new(CgroupId(7), Some(path.as_bytes().into()))
        }
    }

    #[test]
    fn an_owner_is_called_as_its_users_call_it() {
        let id = "0123456789abcdef".repeat(4);
        let pod = "/kubepods/burstable/pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
        let slice = "/kubepods.slice/kubepods-pod3f2a7c1e_9b40_4d1c_8a55_0c9e6f1b2d37.slice";
        let web = Some(("shop", "web-1", None));
        let app = Some(("shop", "web-1", Some("app")));
        #[rustfmt::skip]
        let table = [
            (format!("{pod}/{id}"), app, "shop/web-1/app"),
            (format!("{pod}/{id}/init.scope"), app, "shop/web-1/app/init.scope"),
            (format!("{slice}/crio-{id}.scope/container"), app, "shop/web-1/app/container"),
            (format!("{slice}/crio-conmon-{id}.scope"), app, "shop/web-1/app (its runtime)"),
            (format!("{pod}/{id}"), web, "shop/web-1/0123456789ab"),
            (pod.to_owned(), web, "shop/web-1"),
            (slice.to_owned(), web, "shop/web-1"),
            (pod.to_owned(), None, pod),
            (format!("/docker/{id}"), None, "docker:0123456789ab"),
            ("/lxc.payload.web/system.slice".to_owned(), None, "lxc:web/system.slice"),
            ("/system.slice/ssh.service".to_owned(), None, "ssh.service"),
            ("/system.slice/ssh.service/sub".to_owned(), None, "ssh.service/sub"),
            ("/a".to_owned(), None, "/a"),
            ("/a/b/c".to_owned(), None, "/a/b/c"),
            ("/".to_owned(), None, "/"),
            (format!("/docker/{id}/docker/{id}"), None, "docker:0123456789ab/docker/0123456789ab"),
            (format!("/docker/{id}/kubelet.slice/kubelet-pod1.slice/cri-containerd-{id}.scope"), None, "docker:0123456789ab/cri-containerd-0123456789ab.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope".to_owned(), None, "user@1000.service/app-x.scope"),
            (format!("{pod}/{id}/kubepods/podx/{id}"), app, "shop/web-1/app/kubepods/podx/0123456789ab"),
            (format!("{pod}/{id}"), Some(("a\u{1b}[2J", "b\n", Some("\u{202e}c"))), "a\\u{1b}[2J/b\\n/\\u{202e}c"),
        ];
        for (path, names, expected) in table {
            assert_eq!(owner(&path, names).name(), expected, "{path}");
        }
        assert_eq!(Owner::new(CgroupId(7), None).name(), "(gone cgroup 7)");
    }
}
