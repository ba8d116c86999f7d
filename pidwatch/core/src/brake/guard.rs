//! Owners that are never braked.
//!
//! A brake on a system component turns a leak into an outage. The rules use paths and names only, so they also
//! apply where no API server can be asked.

use std::fmt;

use crate::identity::Identity;

/// An owner to be braked.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its cgroup.
    pub path: &'a [u8],
    /// What its path identifies.
    pub identity: &'a Identity,
    /// Its Kubernetes namespace, if known.
    pub namespace: Option<&'a str>,
    /// Whether it belongs to a static pod.
    pub is_static_pod: bool,
    /// Cgroups of this process and of the one that asks.
    pub callers: &'a [&'a [u8]],
    /// Configured exceptions: units, namespaces or cgroup paths.
    pub listed: &'a [String],
}

/// Why an owner is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protected {
    /// Not a container, pod or unit.
    Group,
    /// A system unit.
    System(String),
    /// A pod in a system namespace.
    Namespace(String),
    /// A pod in an unknown namespace.
    UnknownNamespace,
    /// A static pod.
    StaticPod,
    /// This process or the one that asks runs in it.
    Caller,
    /// A configured exception.
    Listed(String),
}

impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group => {
                f.write_str("it is not a container, pod or unit; a brake would stop everything below it")
            }
            Self::System(unit) => write!(f, "the node depends on {unit}"),
            Self::Namespace(name) => write!(f, "the cluster depends on the namespace {name}"),
            Self::UnknownNamespace => f.write_str(
                "its namespace is unknown and might be kube-system: the container runtime did not report it; set \
                 --cri-socket",
            ),
            Self::StaticPod => f.write_str("it is a static pod; the cluster depends on those"),
            Self::Caller => f.write_str("pidwatch or the session that asks runs in it, and could not release it"),
            Self::Listed(name) => write!(f, "`{name}` is listed as never to be braked"),
        }
    }
}

/// System units: init, logs, udev, logins, network, time, storage, cloud agents, container runtimes, Kubernetes, and
/// pidwatch itself.
const SYSTEM_UNITS: [&str; 50] = [
    "NetworkManager.service",
    "amazon-ssm-agent.service",
    "auditd.service",
    "chronyd.service",
    "containerd.service",
    "cri-docker.service",
    "crio.service",
    "dbus-broker.service",
    "dbus.service",
    "docker.service",
    "etcd.service",
    "firewalld.service",
    "google-guest-agent.service",
    "init.scope",
    "iscsid.service",
    "k0scontroller.service",
    "k0sworker.service",
    "k3s-agent.service",
    "k3s.service",
    "kube-apiserver.service",
    "kube-controller-manager.service",
    "kube-proxy.service",
    "kube-scheduler.service",
    "kubelet.service",
    "multipathd.service",
    "networking.service",
    "ntpd.service",
    "pidwatch.service",
    "podman.service",
    "polkit.service",
    "rke2-agent.service",
    "rke2-server.service",
    "rpcbind.service",
    "rsyslog.service",
    "snap.microk8s.daemon-containerd.service",
    "snap.microk8s.daemon-kubelite.service",
    "ssh.service",
    "sshd.service",
    "systemd-journald.service",
    "systemd-logind.service",
    "systemd-machined.service",
    "systemd-networkd.service",
    "systemd-oomd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "systemd-userdbd.service",
    "waagent.service",
    "walinuxagent.service",
    "wpa_supplicant.service",
];

/// Namespaces of Kubernetes itself and of network plugins that do not run there.
const SYSTEM_NAMESPACES: [&str; 4] = [
    "calico-system",
    "kube-flannel",
    "kube-system",
    "tigera-operator",
];

/// Why an owner is protected; `None` if it may be braked.
pub fn protected(of: &Candidate<'_>) -> Option<Protected> {
    let unit = of.identity.unit.as_deref();
    let is_named = of.identity.named == of.path.len();
    if !of.identity.is_anchored() || !is_named {
        return Some(Protected::Group);
    }
    if let Some(unit) = unit.filter(|unit| SYSTEM_UNITS.contains(unit)) {
        return Some(Protected::System(unit.to_owned()));
    }
    if let Some(name) = of.namespace.filter(|name| SYSTEM_NAMESPACES.contains(name)) {
        return Some(Protected::Namespace(name.to_owned()));
    }
    if of.identity.pod_uid.is_some() && of.namespace.is_none() {
        return Some(Protected::UnknownNamespace);
    }
    if of.is_static_pod {
        return Some(Protected::StaticPod);
    }
    if of.callers.iter().any(|caller| is_within(caller, of.path)) {
        return Some(Protected::Caller);
    }
    let path = std::str::from_utf8(of.path).ok();
    let is_listed = |name: &&String| {
        let name = Some(name.as_str());
        name == unit || name == of.namespace || name == path
    };
    let listed = of.listed.iter().find(is_listed);
    listed.map(|name| Protected::Listed(name.clone()))
}

/// Whether `path` is `above` or below it.
fn is_within(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::identify;

    fn of(path: &str, namespace: Option<&str>, caller: &str) -> Option<Protected> {
        protected(&Candidate {
            path: path.as_bytes(),
            identity: &identify(path.as_bytes()),
            namespace,
            is_static_pod: false,
            callers: &[b"/agent.scope", caller.as_bytes()],
            listed: &["monitoring".into(), "db.service".into()],
        })
    }

    #[test]
    fn system_components_are_protected() {
        let id = "0123456789abcdef".repeat(4);
        let docker = format!("/docker/{id}");
        assert_eq!(of(&docker, None, "/init.scope"), None);
        assert_eq!(of("/system.slice/web.service", None, "/"), None);
        assert_eq!(
            of("/system.slice/kubelet.service", None, "/"),
            Some(Protected::System("kubelet.service".into()))
        );
        assert_eq!(
            of("/init.scope", None, "/"),
            Some(Protected::System("init.scope".into()))
        );
        assert_eq!(
            of(&docker, Some("kube-system"), "/"),
            Some(Protected::Namespace("kube-system".into()))
        );
        for group in ["/", "/system.slice", "/kubepods", "/a/b"] {
            assert_eq!(of(group, None, "/x"), Some(Protected::Group), "{group}");
        }
        let inside = format!("{docker}/init.scope");
        assert_eq!(of(&inside, None, "/x"), Some(Protected::Group));
    }

    #[test]
    fn a_pod_in_an_unknown_namespace_is_protected() {
        let id = "0123456789abcdef".repeat(4);
        let pod = "/kubepods/burstable/pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
        let container = format!("{pod}/{id}");
        assert_eq!(of(&container, None, "/"), Some(Protected::UnknownNamespace));
        assert_eq!(of(&container, Some("shop"), "/"), None);
        assert_eq!(of(pod, Some("shop"), "/"), None);
    }

    #[test]
    fn the_callers_own_session_is_protected() {
        let session = "/user.slice/user-0.slice/session-1.scope";
        assert_eq!(of(session, None, session), Some(Protected::Caller));
        let below = format!("{session}/x");
        assert_eq!(of(session, None, &below), Some(Protected::Caller));
        assert_eq!(of("/agent.scope", None, "/x"), Some(Protected::Caller));
        let other = "/user.slice/user-0.slice/session-11.scope";
        assert_eq!(of(session, None, other), None);
    }

    #[test]
    fn exceptions_are_units_namespaces_and_paths() {
        let id = "0123456789abcdef".repeat(4);
        let docker = format!("/docker/{id}");
        let listed = |name: &str| Some(Protected::Listed(name.into()));
        assert_eq!(of(&docker, Some("monitoring"), "/"), listed("monitoring"));
        assert_eq!(
            of("/system.slice/db.service", None, "/"),
            listed("db.service")
        );
    }
}
