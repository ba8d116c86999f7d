//! Whose a line is: a cgroup, and what is known of who it belongs to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    cgroup::CgroupId,
    escape,
    identity::{self, Names, OwnerKey, Workload, WorkloadKind},
};

/// A cgroup, and whose it is as far as is known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OwnerRef {
    /// The cgroup.
    pub cgroup: CgroupRef,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s: Option<K8s>,
    /// Its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Its systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A cgroup.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CgroupRef {
    /// Its id: the inode number of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct K8s {
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The container's name in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// What made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadRef>,
}

/// What made a pod.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct WorkloadRef {
    /// Its kind, as the API calls it: [`WorkloadKind`], or one of another version.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl From<&Workload> for WorkloadRef {
    fn from(workload: &Workload) -> Self {
        Self {
            kind: workload.kind.name().to_owned(),
            name: workload.name.as_ref().to_owned(),
        }
    }
}

impl WorkloadRef {
    fn known(&self) -> Option<Workload> {
        Some(Workload {
            kind: WorkloadKind::named(&self.kind)?,
            name: self.name.as_str().into(),
        })
    }
}

impl K8s {
    fn of(owner: &identity::Owner) -> Option<Self> {
        let names = owner.names.as_deref();
        let by_path = owner.identity.pod_uid.as_deref();
        let text = |name: fn(&Names) -> &Option<Box<str>>| {
            names.and_then(|names| name(names).as_deref().map(str::to_owned))
        };
        (names.is_some() || by_path.is_some()).then(|| Self {
            namespace: text(|names| &names.namespace),
            pod_name: text(|names| &names.pod),
            pod_uid: by_path
                .map(str::to_owned)
                .or_else(|| text(|names| &names.pod_uid)),
            container_name: text(|names| &names.container),
            workload: names
                .and_then(|names| names.workload.as_ref())
                .map(Into::into),
        })
    }
}

/// A container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// The runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The container's id.
    pub container_id: String,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
}

impl Runtime {
    fn of(owner: &identity::Owner) -> Option<Self> {
        let container = owner.identity.container.as_ref()?;
        let names = owner.names.as_deref();
        let said = names.and_then(|names| names.runtime.as_deref());
        Some(Self {
            name: container.runtime.or(said).map(str::to_owned),
            container_id: container.id.clone(),
            container_image: names.and_then(|names| names.image.as_deref().map(str::to_owned)),
        })
    }
}

impl OwnerRef {
    /// Its cgroup's id.
    pub fn id(&self) -> CgroupId {
        CgroupId(self.cgroup.id)
    }

    /// The path of its cgroup.
    pub fn path(&self) -> Option<&str> {
        self.cgroup.path.as_deref()
    }

    /// What people call it, safe to show: see [`identity::Owner::name`].
    pub fn name(&self) -> String {
        identity::Owner::from(self).name()
    }

    /// The same of a cgroup inside of it, by its path.
    pub fn name_with_part(&self, inside: Option<&str>) -> String {
        let Some(inside) = inside else {
            return self.name();
        };
        let owner = identity::Owner::from(self);
        let part = identity::Owner::new(owner.id, Some(inside.as_bytes().into()));
        let names = owner.names;
        identity::Owner { names, ..part }.name()
    }

    /// Whether a container runtime has said more of it than its path does.
    pub fn has_names(&self) -> bool {
        let k8s = self.k8s.as_ref();
        k8s.is_some_and(|k8s| k8s.pod_name.is_some() || k8s.container_name.is_some())
            || self
                .runtime
                .as_ref()
                .is_some_and(|runtime| runtime.container_image.is_some())
    }

    /// Who it is, whatever cgroup stands for it at the moment; `None` for a cgroup inside of an owner.
    pub fn key(&self) -> Option<OwnerKey> {
        let owner = identity::Owner::from(self);
        owner.anchor().is_none().then(|| owner.key())
    }

    /// The UID of its pod, if it has one.
    pub fn pod_uid(&self) -> Option<&str> {
        self.k8s.as_ref()?.pod_uid.as_deref()
    }
}

/// What people call the cgroup at a path as far as the path says, safe to show.
pub fn name_of_path(path: &str) -> String {
    identity::Owner::new(CgroupId::default(), Some(path.as_bytes().into())).name()
}

impl From<&OwnerRef> for identity::Owner {
    fn from(owner: &OwnerRef) -> Self {
        let path = owner.cgroup.path.as_ref();
        let path = path.map(|path| path.as_bytes().into());
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let names = owner
            .k8s
            .as_ref()
            .filter(|k8s| k8s.pod_name.is_some())
            .map(|k8s| Names {
                runtime: owner
                    .runtime
                    .as_ref()
                    .and_then(|runtime| text(&runtime.name)),
                namespace: text(&k8s.namespace),
                pod: text(&k8s.pod_name),
                pod_uid: text(&k8s.pod_uid),
                container: text(&k8s.container_name),
                workload: k8s.workload.as_ref().and_then(WorkloadRef::known),
                image: owner
                    .runtime
                    .as_ref()
                    .and_then(|runtime| text(&runtime.container_image)),
            });
        Self {
            names: names.map(Arc::new),
            ..Self::new(CgroupId(owner.cgroup.id), path)
        }
    }
}

impl From<&identity::Owner> for OwnerRef {
    fn from(owner: &identity::Owner) -> Self {
        Self {
            cgroup: CgroupRef {
                id: owner.id.0,
                path: owner.path.as_deref().map(escape::for_json),
            },
            k8s: K8s::of(owner),
            runtime: Runtime::of(owner),
            unit: owner.identity.unit.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_named_as_far_as_its_path_says() {
        let json = |path: Option<&str>| serde_json::to_value(&*OwnerRef::example(1, path)).unwrap();
        let id = "0123456789abcdef".repeat(4);
        let path = format!("/kubepods/burstable/pod0c1d2e3f405162738495a6b7c8d9eafb/crio-{id}");
        let owner = json(Some(&path));
        assert_eq!(owner["k8s"]["podUid"], "0c1d2e3f405162738495a6b7c8d9eafb");
        assert_eq!(owner["runtime"]["name"], "cri-o");
        assert_eq!(owner["runtime"]["containerId"], id);
        assert_eq!(
            json(Some("/system.slice/ssh.service"))["unit"],
            "ssh.service"
        );
        assert_eq!(json(None), serde_json::json!({"cgroup": {"id": 1}}));
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        let owner = identity::Owner::new(CgroupId(1), Some((*b"/a\xff").into()));
        assert_eq!(OwnerRef::from(&owner).path(), Some("/a\\xff"));
    }
}
