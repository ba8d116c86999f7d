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

    /// What people call it, safe to show: `namespace/pod/container`, `runtime:container`, its unit or
    /// its path. Of a cgroup within a container or a unit with the way to it from there.
    pub fn name(&self) -> String {
        let Some((name, part)) = self.known_as() else {
            return match &self.path {
                Some(path) => escape::for_terminal(path),
                None => format!("(gone cgroup {})", self.id.0),
            };
        };
        let below = self
            .path
            .as_deref()
            .map_or_else(String::new, |path| escape::for_terminal(below(path, part)));
        escape::for_terminal(name.as_bytes()) + &below
    }

    /// Its name, and which part of its path it is the name of.
    fn known_as(&self) -> Option<(String, &str)> {
        let Identity {
            pod_uid,
            container,
            unit,
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
                let name = match (pod, container.runtime) {
                    (Some((pod, name)), _) => format!("{pod}/{}{role}", name.unwrap_or(id)),
                    // The path tells the pod, too.
                    (None, _) if pod_uid.is_some() => return None,
                    (None, Some(runtime)) => format!("{runtime}:{id}{role}"),
                    (None, None) => return None,
                };
                Some((name, &container.id))
            }
            (None, Some(unit)) => Some((unit.clone(), unit)),
            (None, None) => Some((pod?.0, pod_uid.as_deref()?)),
        }
    }
}

/// As much of an id as people use.
fn short(id: &str) -> &str {
    const ENOUGH: usize = 12;
    if id.len() == 64 { &id[..ENOUGH] } else { id }
}

/// What of a path is below the last of its parts in which `text` stands.
fn below<'a>(path: &'a [u8], text: &str) -> &'a [u8] {
    let mut end = path.len();
    for part in path.rsplit(|&byte| byte == b'/') {
        if part
            .windows(text.len().max(1))
            .any(|window| window == text.as_bytes())
        {
            return &path[end..];
        }
        end = end.saturating_sub(part.len() + 1);
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (format!("{pod}/{id}"), Some(("a\u{1b}[2J", "b\n", Some("\u{202e}c"))), "a\\u{1b}[2J/b\\n/\\u{202e}c"),
        ];
        for (path, names, expected) in table {
            assert_eq!(owner(&path, names).name(), expected, "{path}");
        }
        assert_eq!(Owner::new(CgroupId(7), None).name(), "(gone cgroup 7)");
    }
}
