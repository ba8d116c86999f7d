//! Limits to set: the kubelet's, those of the node, of a PID namespace and of a user.

use hashbrown::HashMap;

use super::figures::{normal, shared_bound};
use crate::{
    limits::{
        advice::{self, allowance, is_pod},
        survey::PID_MAX_LIMIT,
    },
    report::{
        model::{Case, RecommendedAction, When},
        scene::Scene,
        story::is_node_wide,
        words::{code, count, number, strong, words},
    },
    stream::{LimitId, OwnerRef},
};

/// The least `podPidsLimit`, where there is room for it.
const LEAST_POD: u64 = 2 * advice::LEAST;

/// A limit for every pod, and the kubelet's own share.
pub fn kubelet(scene: &Scene<'_>, case: &Case) -> Option<RecommendedAction> {
    let uid = |owner: &OwnerRef| owner.k8s.as_ref().and_then(|k8s| k8s.pod_uid.clone());
    let grown: Vec<_> = case.culprits.iter().map(|c| uid(&c.owner)).collect();
    let mut pods: HashMap<String, u64> = HashMap::new();
    for track in scene.all.owners.values() {
        if let Some(uid) = uid(&track.owner).filter(|uid| !grown.contains(&Some(uid.clone()))) {
            *pods.entry(uid).or_default() += track.peak;
        }
    }
    let largest = pods.into_values().max().unwrap_or(0);
    let before = case.culprits.iter().filter(|c| c.owner.k8s.is_some());
    let before = before.filter_map(|c| normal(scene, c)).max();
    let usual = largest.max(before.unwrap_or(0));
    let bound = case.culprits.iter().map(|c| shared_bound(case, c)).min()?;
    let node = value(scene, "kernel.pid_max").unwrap_or(PID_MAX_LIMIT);
    let bound = bound.min(node);
    let limit = allowance(usual, bound)?.max(LEAST_POD.min(bound / 2));
    // One that is there already, and as low, has not helped.
    let limits = case.culprits.iter().flat_map(|c| c.limits.iter().flatten());
    let mut of_pods = limits.filter(|limit| {
        let path = limit.cgroup.as_deref();
        path.is_some_and(|path| is_pod(path.as_bytes()))
    });
    if of_pods.any(|of_pod| of_pod.value <= limit) {
        return None;
    }
    Some(RecommendedAction {
        id: "pod-pids-limit",
        when: When::ToStay,
        title: words![
            "Give every pod a limit, and the system its share: ",
            code("podPidsLimit")
        ],
        why: words![
            strong(number(limit)),
            format!(
                " is above the largest well-behaved pod of this recording ({}) and below what all share \
                 ({}). It holds for pods that start after the kubelet is restarted. ",
                count(usual, "task"),
                number(bound)
            ),
            code("evictionHard"),
            " replaces the defaults as a whole, so they stand here too; merge ",
            code("systemReserved"),
            " with what is there."
        ],
        commands: Vec::new(),
        config: Some(format!(
            "# /var/lib/kubelet/config.yaml, then: systemctl restart kubelet\npodPidsLimit: {limit}\nsystemReserved:\n  pid: \
             \"1000\"\nevictionHard:\n  pid.available: \"10%\"\n  memory.available: \"100Mi\"\n  \
             nodefs.available: \"10%\"\n  nodefs.inodesFree: \"5%\"\n  imagefs.available: \"15%\"\n"
        )),
    })
}

/// The last value of one of the node's limits.
fn value(scene: &Scene<'_>, name: &'static str) -> Option<u64> {
    let track = scene.all.limits.get(&LimitId::of_node(name))?;
    Some(track.value.last()? as u64)
}

/// A higher limit of a PID namespace: it is set from within (Linux 6.14).
pub fn raise_inside(case: &Case) -> Option<RecommendedAction> {
    let inum = case.limit.pid_namespace?;
    let now = case.limit.value?;
    let value = now.saturating_mul(2).min(PID_MAX_LIMIT);
    (value > now).then(|| RecommendedAction {
        id: "raise-namespace-limit",
        when: When::ToStay,
        title: words![
            "If the load is meant to be, raise ",
            code(&case.limit.name),
            format!(" of PID namespace {inum} from {} to {}", number(now), number(value))
        ],
        why: words![
            "The limit is the namespace's own, and the node's has nothing to do with it. A process inside \
             sets it; it bounds nobody outside."
        ],
        commands: Vec::new(),
        config: Some(format!(
            "# in the container, or: nsenter --target PID --pid --mount (PID of a process in it)\n\
             sysctl -w kernel.pid_max={value}"
        )),
    })
}

/// A higher limit of the node, where it is low without need.
pub fn raise(scene: &Scene<'_>, case: &Case) -> Option<RecommendedAction> {
    if !is_node_wide(&case.limit) {
        return None;
    }
    let now = case.limit.value?;
    let (value, why) = match case.limit.name.as_str() {
        "kernel.pid_max" => {
            let threads_max = value(scene, "kernel.threads-max");
            let value = threads_max.unwrap_or(PID_MAX_LIMIT).min(PID_MAX_LIMIT);
            let why = match threads_max {
                Some(threads_max) if threads_max <= PID_MAX_LIMIT => words![
                    "As high as ",
                    code("kernel.threads-max"),
                    format!(
                        " ({}), which follows from the memory: ",
                        number(threads_max)
                    ),
                    "an ID costs nothing, only tasks do."
                ],
                _ => words!["The most that the kernel takes: an ID costs nothing, only tasks do."],
            };
            (value, why)
        }
        "kernel.threads-max" => (
            now.saturating_mul(2),
            words![
                "Twice as high. Each task takes 16 KiB of kernel stack at least, so look at the free \
                 memory first."
            ],
        ),
        _ => return None,
    };
    if value <= now {
        return None;
    }
    let mut why = why;
    why.push(" It buys time; it stops no leak.");
    let name = &case.limit.name;
    Some(RecommendedAction {
        id: "raise-node-limit",
        when: When::ToStay,
        title: words![
            "Raise ",
            code(name),
            format!(" from {} to {}", number(now), number(value))
        ],
        why,
        commands: vec![
            format!("sysctl -w {name}={value}"),
            format!("echo '{name} = {value}' > /etc/sysctl.d/90-pidwatch.conf"),
        ],
        config: None,
    })
}

pub fn user_limit(case: &Case) -> RecommendedAction {
    let uid = case
        .limit
        .uid
        .map_or_else(|| "UID".to_owned(), |uid| uid.to_string());
    let value = case
        .limit
        .value
        .map_or(4096, |value| (value * 2).next_power_of_two());
    RecommendedAction {
        id: "user-limit",
        when: When::ToStay,
        title: words![
            "If the load is meant to be, raise the limit of user ",
            uid.clone()
        ],
        why: words![
            "The limit counts all tasks of the user on the node, in every container that shares the \
             ID: a user of its own for each service parts them."
        ],
        commands: vec![format!(
            "for p in $(pgrep -U {uid}); do prlimit --pid $p --nproc={value}; done"
        )],
        config: Some(format!(
            "# in the unit:\n[Service]\nLimitNPROC={value}\n# or for sessions, in \
             /etc/security/limits.d/90-nproc.conf:\n#{uid} - nproc {value}\n"
        )),
    }
}
