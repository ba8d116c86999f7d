//! What a cgroup's path says of its owner, without asking anyone. Pure.
//!
//! Every runtime puts its containers at places of its own; those known here are in the table of the
//! tests. The path is read from the outside in, and the first container or unit is the owner: whoever
//! may make cgroups chooses every name below, so nothing there changes who it is. What is not certain
//! is left out: a name that only looks like a container's is none.

/// What a path says. Names are as the path has them, escaped by nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The Kubernetes pod's UID; of a static (mirror) pod the hash of its manifest.
    pub pod_uid: Option<String>,
    /// The container.
    pub container: Option<Container>,
    /// The systemd unit, where it is not a container's scope.
    pub unit: Option<String>,
    /// Bytes of the path up to the end of the part that names the owner; 0 where none does.
    pub named: usize,
}

impl Identity {
    /// Whether a container runtime may have names for it.
    pub fn may_have_names(&self) -> bool {
        self.pod_uid.is_some() || self.container.is_some()
    }

    /// Whether everything below the named part belongs to one owner: a slice only groups units.
    pub fn is_anchored(&self) -> bool {
        let is_unit = |unit: &String| !is_slice(unit);
        self.may_have_names() || self.unit.as_ref().is_some_and(is_unit)
    }
}

/// Path of the owner that a cgroup belongs to: its container, its pod (of what is no container's) or
/// its unit; `None` where the path names none, and the cgroup stands for itself.
pub fn anchor(path: &[u8]) -> Option<&[u8]> {
    let identity = identify(path);
    identity.is_anchored().then(|| &path[..identity.named])
}

/// A container as its runtime names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `containerd`, `cri-o`, `docker`, `podman`, `lxc`, `nspawn`, `nomad`, `ecs`; `None` when the
    /// path does not tell.
    pub runtime: Option<&'static str>,
    /// Its id or, where the runtime has none, its name.
    pub id: String,
    /// What the cgroup is to the container.
    pub role: Role,
}

/// What a cgroup is to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Its processes live here.
    Payload,
    /// The runtime's own process for it (conmon, lxc's monitor, Kata's VM).
    Helper,
}

/// Units of container runtimes. Where a runtime and the kubelet disagree on who makes cgroups, containers
/// come to lie below the runtime's unit; only the runtime makes cgroups directly below it.
const RUNTIME_UNITS: [&str; 9] = [
    "containerd.service",
    "crio.service",
    "docker.service",
    "kubelet.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "snap.microk8s.daemon-containerd.service",
];

/// Where Kata's own processes lie.
const KATA_OVERHEAD: &str = "kata_overhead";

/// Reads a path. The work ends at the owner's part, however long the path is.
pub fn identify(path: &[u8]) -> Identity {
    let mut found = Identity::default();
    let mut before = "";
    let mut end = 0;
    for bytes in path.split(|&byte| byte == b'/') {
        end += bytes.len() + 1;
        if bytes.is_empty() {
            continue;
        }
        let named = end - 1;
        // No runtime and no unit has a name that is not UTF-8.
        let part = std::str::from_utf8(bytes).unwrap_or_default();
        let in_pod = found.pod_uid.is_some();
        if let Some(uid) = pod_uid(before, part).filter(|_| !in_pod) {
            // containerd told to use systemd's names without systemd: all in one part.
            let id = part.rsplit(':').next().filter(|id| is_id(id));
            found = Identity {
                pod_uid: Some(uid),
                container: id.map(|id| payload(runtime_of_prefix(part), id)),
                unit: None,
                named,
            };
            if found.container.is_some() {
                return found;
            }
        } else if let Some(container) = container(before, part, in_pod) {
            return Identity {
                pod_uid: found.pod_uid,
                container: Some(container),
                unit: None,
                named,
            };
        } else if in_pod {
            // A pod's containers lie directly in it, those of Kata's runtime one level below.
            if part != KATA_OVERHEAD {
                return found;
            }
        } else if found.is_anchored() {
            // Below a runtime's unit.
            if !is_slice(part) && !is_class(part) {
                return found;
            }
        } else if is_unit(part) {
            // A slice groups units; it is the answer only where there is nothing else.
            found.unit = Some(part.to_owned());
            found.named = named;
            let is_runtime = before == "system.slice" && RUNTIME_UNITS.contains(&part);
            if !is_slice(part) && !is_runtime {
                return found;
            }
        }
        before = part;
    }
    found
}

fn payload(runtime: Option<&'static str>, id: &str) -> Container {
    Container {
        runtime,
        id: id.to_owned(),
        role: Role::Payload,
    }
}

fn helper(runtime: Option<&'static str>, id: &str) -> Container {
    Container {
        role: Role::Helper,
        ..payload(runtime, id)
    }
}

/// A container's id: 64 hexadecimal digits (containerd, CRI-O, docker, podman).
fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `8-4-4-4-12` hexadecimal digits with `separator` between them, or a static pod's 32 without.
fn uid(text: &str, separator: char) -> Option<String> {
    if text.len() == 32 && is_hex(text) {
        return Some(text.to_owned());
    }
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split(separator).collect();
    let fits = parts.len() == lengths.len()
        && parts
            .iter()
            .zip(lengths)
            .all(|(part, length)| part.len() == length && is_hex(part));
    fits.then(|| parts.join("-"))
}

/// `pod<uid>` below kubepods (cgroupfs driver), `[kubelet-]kubepods[-burstable]-pod<uid_>.slice`
/// (systemd driver).
fn pod_uid(before: &str, part: &str) -> Option<String> {
    if is_class(before)
        && let Some(text) = part.strip_prefix("pod")
    {
        return uid(text, '-');
    }
    // What follows the slice in one part is looked at by the caller.
    let slice = part.split(':').next()?.strip_suffix(".slice")?;
    let (class, text) = slice.rsplit_once("-pod")?;
    class
        .split('-')
        .any(|word| word == "kubepods")
        .then(|| uid(text, '_'))?
}

/// Cgroups of the kubelet that group pods (cgroupfs driver).
fn is_class(part: &str) -> bool {
    matches!(part, "kubepods" | "burstable" | "besteffort" | "guaranteed")
}

/// Prefixes of scopes (and of cgroupfs names) with the runtime that makes them.
const PREFIXES: [(&str, &str, Role); 7] = [
    ("cri-containerd-", "containerd", Role::Payload),
    ("crio-conmon-", "cri-o", Role::Helper),
    ("crio-", "cri-o", Role::Payload),
    ("docker-", "docker", Role::Payload),
    ("libpod-conmon-", "podman", Role::Helper),
    ("libpod-", "podman", Role::Payload),
    ("nerdctl-", "containerd", Role::Payload),
];

fn runtime_of_prefix(part: &str) -> Option<&'static str> {
    let name = part.split(':').nth(1)?;
    PREFIXES
        .iter()
        .find(|(prefix, ..)| prefix.trim_end_matches('-') == name)
        .map(|(_, runtime, _)| *runtime)
}

fn container(before: &str, part: &str, in_pod: bool) -> Option<Container> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, runtime, role) in PREFIXES {
        if let Some(id) = name.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some(Container {
                runtime: Some(runtime),
                id: id.to_owned(),
                role,
            });
        }
    }
    if is_id(part) {
        return match before {
            "docker" | "buildkit" => Some(payload(Some("docker"), part)),
            KATA_OVERHEAD => Some(helper(None, part)),
            // The cgroupfs driver: containerd, docker and Kata all use the bare id.
            _ => Some(payload(None, part)),
        };
    }
    if let Some(id) = part.strip_prefix("kata_").filter(|id| is_id(id)) {
        return Some(helper(None, id));
    }
    // LXC: `lxc.payload.name`, `lxc.monitor.name`, and before 4.0 `lxc/name`.
    if let Some(id) = part.strip_prefix("lxc.payload.") {
        return Some(payload(Some("lxc"), id));
    }
    if let Some(id) = part.strip_prefix("lxc.monitor.") {
        return Some(helper(Some("lxc"), id));
    }
    match before {
        "lxc" | "lxc.payload" => return Some(payload(Some("lxc"), part)),
        "lxc.monitor" => return Some(helper(Some("lxc"), part)),
        _ => {}
    }
    // systemd-nspawn: `machine-name.scope`, `systemd-nspawn@name.service`.
    if before == "machine.slice" {
        let name = part
            .strip_prefix("systemd-nspawn@")
            .and_then(|rest| rest.strip_suffix(".service"))
            .or_else(|| part.strip_prefix("machine-")?.strip_suffix(".scope"));
        if let Some(name) = name {
            return Some(payload(Some("nspawn"), name));
        }
    }
    // Nomad: `<allocation>.<task>.scope` below nomad.slice, `<allocation>-<task>` below nomad.
    if matches!(
        before,
        "nomad.slice" | "share.slice" | "reserve.slice" | "nomad"
    ) && name.is_char_boundary(36)
        && let (allocation, task) = name.split_at(36)
        && uid(allocation, '-').is_some()
        && task.starts_with(['.', '-'])
    {
        return Some(payload(Some("nomad"), name));
    }
    // ECS on EC2: `/ecs/<task>/<container>`; the container's id is 32 digits, a dash and a number.
    let is_ecs = part.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32 && is_hex(task) && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_ecs && !in_pod {
        return Some(payload(Some("ecs"), part));
    }
    None
}

fn is_slice(part: &str) -> bool {
    part.ends_with(".slice")
}

/// A systemd unit that has a cgroup (systemd.unit(5)).
fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".slice", ".socket", ".mount", ".swap"]
        .iter()
        .any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::hostile;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OUTER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const UID: &str = "3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37";
    const STATIC: &str = "0c1d2e3f405162738495a6b7c8d9eafb";

    /// Paths as the systems' documentation and sources have them: `I`, `O`, `U`, `W`, `S` stand for
    /// a container's id, an outer one, a pod's UID, the same with underscores, and a static pod's.
    fn fill(path: &str) -> String {
        path.split('/')
            .map(|part| {
                part.replace("{I}", ID)
                    .replace("{O}", OUTER)
                    .replace("{U}", UID)
                    .replace("{W}", &UID.replace('-', "_"))
                    .replace("{S}", STATIC)
            })
            .collect::<Vec<_>>()
            .join("/")
    }

    #[test]
    fn containers_of_every_runtime_are_known_by_their_path() {
        use Role::{Helper, Payload};
        /// Path, pod, runtime, container, role.
        type Row = (
            &'static str,
            Option<&'static str>,
            Option<&'static str>,
            &'static str,
            Role,
        );
        #[rustfmt::skip]
        let table: &[Row] = &[
            // Kubernetes, cgroupfs driver, every QoS class, static pods, --cgroup-root.
            ("/kubepods/pod{U}/{I}", Some(UID), None, ID, Payload),
            ("/kubepods/burstable/pod{U}/{I}", Some(UID), None, ID, Payload),
            ("/kubepods/besteffort/pod{U}/{I}", Some(UID), None, ID, Payload),
            ("/kubepods/burstable/pod{S}/{I}", Some(STATIC), None, ID, Payload),
            ("/kubelet/kubepods/burstable/pod{U}/{I}", Some(UID), None, ID, Payload),
            ("/kubepods/burstable/pod{U}/crio-{I}", Some(UID), Some("cri-o"), ID, Payload),
            ("/kubepods/burstable/pod{U}/crio-conmon-{I}", Some(UID), Some("cri-o"), ID, Helper),
            ("/kubepods/burstable/pod{U}/{I}/init.scope", Some(UID), None, ID, Payload),
            // Kubernetes, systemd driver.
            ("/kubepods.slice/kubepods-pod{W}.slice/cri-containerd-{I}.scope", Some(UID), Some("containerd"), ID, Payload),
            ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{W}.slice/cri-containerd-{I}.scope", Some(UID), Some("containerd"), ID, Payload),
            ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{S}.slice/crio-{I}.scope", Some(STATIC), Some("cri-o"), ID, Payload),
            ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{W}.slice/crio-conmon-{I}.scope", Some(UID), Some("cri-o"), ID, Helper),
            ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{W}.slice/docker-{I}.scope", Some(UID), Some("docker"), ID, Payload),
            ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{W}.slice/crio-{I}.scope/container", Some(UID), Some("cri-o"), ID, Payload),
            // The drivers of containerd and the kubelet differ.
            ("/system.slice/containerd.service/kubepods-burstable-pod{W}.slice:cri-containerd:{I}", Some(UID), Some("containerd"), ID, Payload),
            ("/system.slice/k3s.service/kubepods/burstable/pod{U}/{I}/docker/{O}", Some(UID), None, ID, Payload),
            // kind and docker in docker: the outer container is the owner.
            ("/docker/{O}/kubelet/kubepods/burstable/pod{U}/{I}", None, Some("docker"), OUTER, Payload),
            ("/system.slice/docker-{O}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{W}.slice/cri-containerd-{I}.scope", None, Some("docker"), OUTER, Payload),
            ("/docker/{O}/docker/{I}", None, Some("docker"), OUTER, Payload),
            ("/kubepods/burstable/pod{U}/{O}/docker/{I}", Some(UID), None, OUTER, Payload),
            // docker and its builder.
            ("/docker/{I}", None, Some("docker"), ID, Payload),
            ("/system.slice/docker-{I}.scope", None, Some("docker"), ID, Payload),
            ("/docker/buildkit/{I}", None, Some("docker"), ID, Payload),
            // podman, in pods too.
            ("/machine.slice/libpod-{I}.scope", None, Some("podman"), ID, Payload),
            ("/machine.slice/libpod-{I}.scope/container", None, Some("podman"), ID, Payload),
            ("/machine.slice/libpod-conmon-{I}.scope", None, Some("podman"), ID, Helper),
            ("/machine.slice/machine-libpod_pod_{O}.slice/libpod-{I}.scope", None, Some("podman"), ID, Payload),
            ("/libpod_parent/libpod-{I}", None, Some("podman"), ID, Payload),
            // LXC, nspawn, Nomad, ECS.
            ("/lxc/web", None, Some("lxc"), "web", Payload),
            ("/lxc.payload.web/system.slice/ssh.service", None, Some("lxc"), "web", Payload),
            ("/lxc.monitor.web", None, Some("lxc"), "web", Helper),
            ("/machine.slice/systemd-nspawn@web.service/payload", None, Some("nspawn"), "web", Payload),
            ("/nomad.slice/share.slice/{U}.web.scope", None, Some("nomad"), "3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37.web", Payload),
            ("/ecs/{S}/{S}-1234567890", None, Some("ecs"), "0c1d2e3f405162738495a6b7c8d9eafb-1234567890", Payload),
            // Sandboxes: gVisor uses the runtime's place, Kata keeps its VM beside it.
            ("/kubepods/besteffort/pod{U}/kata_overhead/{I}", Some(UID), None, ID, Helper),
            ("/kubepods/besteffort/pod{U}/kata_{I}", Some(UID), None, ID, Helper),
        ];
        for (path, pod, runtime, id, role) in table {
            let path = fill(path);
            let found = identify(path.as_bytes());
            assert_eq!(found.pod_uid.as_deref(), *pod, "{path}");
            let container = found.container.unwrap_or_else(|| panic!("none: {path}"));
            assert_eq!(container.runtime, *runtime, "{path}");
            assert_eq!(container.id, *id, "{path}");
            assert_eq!(container.role, *role, "{path}");
            assert_eq!(found.unit, None, "{path}");
        }
    }

    #[test]
    fn pods_are_known_without_a_container() {
        for path in [
            "/kubepods/burstable/pod{U}",
            "/kubepods.slice/kubepods-pod{W}.slice",
        ] {
            let found = identify(fill(path).as_bytes());
            assert_eq!(found.pod_uid.as_deref(), Some(UID), "{path}");
            assert_eq!((found.container, found.unit), (None, None), "{path}");
        }
    }

    #[test]
    fn units_are_known_by_the_outermost_that_is_no_slice() {
        for (path, unit) in [
            ("/system.slice/ssh.service", "ssh.service"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
            ),
            ("/system.slice/containerd.service/sub", "containerd.service"),
            ("/init.scope", "init.scope"),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope",
                "user@1000.service",
            ),
            ("/user.slice/user-1000.slice", "user-1000.slice"),
            (
                "/kubepods.slice/kubepods-burstable.slice",
                "kubepods-burstable.slice",
            ),
        ] {
            let found = identify(path.as_bytes());
            assert_eq!(found.unit.as_deref(), Some(unit), "{path}");
            assert_eq!((found.container, found.pod_uid), (None, None), "{path}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for path in [
            "/",
            "/docker",
            "/docker/short",
            "/kubepods/burstable/podinfo",
            "/kubepods/burstable/pod1234",
            "/podman/pod3f2a7c1e-9b40-4d1c-8a55-0c9e6f1b2d37",
            "/crio-0123.scope.d",
            "/nomad/x",
            "/machine.slice/ünïcode-and-a-name-that-is-long-enough-to-be-cut",
        ] {
            let found = identify(path.as_bytes());
            assert_eq!((found.container, found.pod_uid), (None, None), "{path}");
        }
        assert_eq!(identify(b"/docker/\xff"), Identity::default());
    }

    #[test]
    fn nothing_below_an_owner_changes_who_it_is() {
        let mut random = 0x9e37_79b9_7f4a_7c15;
        for owner in [
            "/kubepods/burstable/pod{U}/{O}",
            "/kubepods.slice/kubepods-pod{W}.slice/cri-containerd-{O}.scope",
            "/kubepods.slice/kubepods-pod{W}.slice/crio-conmon-{O}.scope",
            "/system.slice/containerd.service/kubepods-burstable-pod{W}.slice:cri-containerd:{O}",
            "/docker/{O}",
            "/machine.slice/libpod-{O}.scope",
            "/lxc.payload.db",
            "/machine.slice/machine-db.scope",
            "/nomad.slice/share.slice/{U}.db.scope",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice/user@1000.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/some/where/run.scope",
        ] {
            let owner = fill(owner).into_bytes();
            let alone = identify(&owner);
            assert!(alone.is_anchored());
            for _ in 0..2_000 {
                let mut path = owner.clone();
                path.extend(hostile::way(&mut random, UID, ID));
                assert_eq!(identify(&path), alone, "{}", path.escape_ascii());
                assert_eq!(anchor(&path), Some(&*owner));
            }
        }
    }
}
