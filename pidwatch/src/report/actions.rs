//! What to do about an incident: exact commands with reasoned values. Pure.
//!
//! A path in a command is the cgroup's as the stream has it, quoted for a shell. Where a value or a
//! name is not known, the command asks for it instead of guessing.

use super::{
    collect::LimitKey,
    model::{Action, Case, Culprit, When},
    scene::Scene,
    story::{is_node_wide, what_it_makes},
    words::{code, count, number, strong, words},
};
use crate::{escape, limits::survey::PID_MAX_LIMIT, stream::Owner};

/// Culprits that get commands.
const CULPRITS: usize = 3;
/// The least that a container is given: what small services of the common runtimes start with,
/// several times over.
const LEAST_ALLOWANCE: u64 = 512;
/// A limit is set to so many times what was normal.
const ROOM: u64 = 4;
/// The longest path that a command is written for (PATH_MAX of the kernel).
const LONGEST_PATH: usize = 4096;

/// What to do, the most urgent first.
pub fn actions(scene: &Scene<'_>, case: &Case) -> Vec<Action> {
    let mut all = Vec::new();
    for culprit in case.culprits.iter().take(CULPRITS) {
        all.extend(brake(scene, case, culprit));
    }
    if let Some(culprit) = case.culprits.first() {
        all.extend(look(scene, culprit));
        all.extend(restart(culprit));
    }
    if case.culprits.is_empty() {
        all.push(who_holds(case));
    }
    for culprit in case.culprits.iter().take(CULPRITS) {
        all.extend(own_limit(scene, case, culprit));
    }
    let pods = case
        .culprits
        .iter()
        .any(|culprit| culprit.owner.k8s.is_some());
    if pods {
        all.push(kubelet(scene, case));
    }
    all.extend(raise(scene, case));
    if case.limit.name == "RLIMIT_NPROC" {
        all.push(user_limit(case));
    }
    if let Some(culprit) = case.culprits.first() {
        all.push(mend(culprit));
    }
    all
}

/// A file of a cgroup, quoted for a shell.
fn file(scene: &Scene<'_>, owner: &Owner, name: &str) -> Option<String> {
    let path = owner.cgroup.path.as_deref()?;
    if path.len() > LONGEST_PATH {
        return None;
    }
    let layout = scene
        .all
        .started
        .as_ref()
        .map(|started| &*started.cgroup_layout);
    let mount = match layout {
        Some("v2") | None => "/sys/fs/cgroup",
        Some(_) => "/sys/fs/cgroup/pids",
    };
    let path = path.trim_end_matches('/');
    Some(escape::for_shell(
        format!("{mount}{path}/{name}").as_bytes(),
    ))
}

/// A unit that systemd manages and that is no container's.
fn unit(owner: &Owner) -> Option<String> {
    let unit = owner.unit.as_deref()?;
    (owner.runtime.is_none() && owner.k8s.is_none()).then(|| escape::for_shell(unit.as_bytes()))
}

/// Rounded up to two digits that matter: 1,496 to 1,500.
fn rounded_up(n: u64) -> u64 {
    let step = 10u64.pow(n.max(1).ilog10().saturating_sub(1));
    n.div_ceil(step) * step
}

/// Whether it still holds what it took.
fn goes_on(case: &Case, culprit: &Culprit) -> bool {
    let last = culprit.tasks_last.unwrap_or(0);
    case.open && last > culprit.tasks_before.unwrap_or(0) && 2 * last > culprit.tasks_peak
}

/// What an owner may be given: several times what was normal, and never so much that two such owners
/// fill what they share.
fn allowance(case: &Case, culprit: &Culprit) -> u64 {
    let normal = culprit.tasks_before.unwrap_or(0);
    let wanted = (normal * ROOM).max(LEAST_ALLOWANCE).next_power_of_two();
    let half = case.limit.value.unwrap_or(u64::MAX) / 2;
    wanted.min(half.max(normal + normal / 2 + 1))
}

/// The line that keeps it from growing.
fn brake(scene: &Scene<'_>, case: &Case, culprit: &Culprit) -> Option<Action> {
    let file = file(scene, &culprit.owner, "pids.max")?;
    if !goes_on(case, culprit) {
        let current = self::file(scene, &culprit.owner, "pids.current")?;
        let is_gone = scene.track(&culprit.owner)?.removed.is_some();
        return Some(Action {
            id: "brake",
            when: When::Now,
            title: words!["Stop the growth of ", code(&culprit.name)],
            why: words![
                "The emergency brake: it works on with the tasks that it has at that moment, gets no \
                 more, and what others give back stays theirs. Lift it with the second line.",
                if is_gone {
                    " Its cgroup is gone; where its successor's is, the flag says, and "
                } else {
                    ""
                },
                if is_gone {
                    code("pidwatch check")
                } else {
                    "".into()
                },
                if is_gone { "." } else { "" }
            ],
            commands: vec![
                format!("cat {current} > {file}"),
                format!("echo max > {file}"),
            ],
            config: None,
        });
    }
    let last = culprit.tasks_last?;
    let room = case.limit.value?.saturating_sub(case.limit.peak?) / 2;
    let value = rounded_up(last).min(last + room);
    Some(Action {
        id: "brake",
        when: When::Now,
        title: words!["Stop the growth of ", code(&culprit.name)],
        why: words![
            "The emergency brake. ",
            strong(number(value)),
            format!(
                " is what it has now ({}{}): it works on with the tasks it has, gets no more, and \
                 what others give back stays theirs. Lift it with the second line.",
                number(last),
                if value > last { ", rounded up" } else { "" }
            )
        ],
        commands: vec![
            format!("echo {value} > {file}"),
            format!("echo max > {file}"),
        ],
        config: None,
    })
}

/// What it is that grows.
fn look(scene: &Scene<'_>, culprit: &Culprit) -> Option<Action> {
    let procs = file(scene, &culprit.owner, "cgroup.procs")?;
    let mut commands = vec![format!(
        "for p in $(cat {procs}); do cat /proc/$p/task/*/comm; done | sed 's/[0-9][0-9]*/N/g' | \
         sort | uniq -c | sort -rn | head"
    )];
    let java = culprit
        .creators
        .iter()
        .find(|creator| creator.comm == "java");
    if let Some(creator) = java {
        commands.push(format!("jcmd {} Thread.print > threads.txt", creator.pid));
    }
    Some(Action {
        id: "name-what-leaks",
        when: When::Now,
        title: words![
            "Before anything is restarted, see what ",
            code(&culprit.name),
            " is full of"
        ],
        why: words![
            "The names of its threads, grouped, name the pool that leaks; after a restart they are \
             gone. Where forks fail, run it from a shell that is still open, and brake first."
        ],
        commands,
        config: None,
    })
}

/// Gives back what it holds.
fn restart(culprit: &Culprit) -> Option<Action> {
    let owner = &culprit.owner;
    let is_plain = |text: &&String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !text.is_empty() && text.bytes().all(plain)
    };
    let quoted = |text: &String| escape::for_shell(text.as_bytes());
    let mut commands = Vec::new();
    if let Some(k8s) = &owner.k8s {
        match (&k8s.namespace, &k8s.pod_name, &k8s.pod_uid) {
            (Some(space), Some(pod), _) => {
                let (space, pod) = (quoted(space), quoted(pod));
                commands.push(format!("kubectl -n {space} describe pod {pod}"));
                commands.push(format!("kubectl -n {space} delete pod {pod}"));
            }
            (_, _, Some(uid)) if is_plain(&uid) => commands.push(format!(
                "kubectl get pods -A -o jsonpath='{{range .items[?(@.metadata.uid==\"{uid}\")]}}\
                 kubectl -n {{.metadata.namespace}} delete pod {{.metadata.name}}{{\"\\n\"}}{{end}}'"
            )),
            _ => {}
        }
    }
    if let Some(runtime) = &owner.runtime
        && owner.k8s.is_none()
    {
        let id = quoted(&runtime.container_id);
        match runtime.name.as_deref() {
            Some(name @ ("docker" | "podman")) => commands.push(format!("{name} restart {id}")),
            Some("containerd" | "cri-o") => commands.push(format!("crictl stop {id}")),
            Some("lxc") => commands.push(format!("lxc-stop --reboot {id}")),
            _ => {}
        }
    } else if let Some(unit) = unit(owner) {
        commands.push(format!("systemctl restart {unit}"));
    }
    if commands.is_empty() {
        return None;
    }
    Some(Action {
        id: "restart",
        when: When::Now,
        title: words!["Have ", code(&culprit.name), " give its tasks back"],
        why: words![
            "Only their end frees them. The leak starts anew with it, so set the limits below first."
        ],
        commands,
        config: None,
    })
}

fn who_holds(case: &Case) -> Action {
    let command = match case.limit.uid {
        Some(uid) => format!("ps -L -U {uid} -o pid=,comm= | sort | uniq -c | sort -rn | head"),
        None => "pidwatch check".to_owned(),
    };
    Action {
        id: "who-holds",
        when: When::Now,
        title: "See who holds what is used".into(),
        why: "Nobody stood out in the recording; the load may simply be larger than the limit."
            .into(),
        commands: vec![command],
        config: None,
    }
}

/// A limit of the culprit's own.
fn own_limit(scene: &Scene<'_>, case: &Case, culprit: &Culprit) -> Option<Action> {
    let path = culprit.owner.cgroup.path.as_deref()?;
    let has_own = culprit
        .limits
        .iter()
        .flatten()
        .any(|limit| limit.name == "pids.max" && limit.cgroup.as_deref() == Some(path));
    if has_own || path == "/" {
        return None;
    }
    let value = allowance(case, culprit);
    let normal = culprit.tasks_before.unwrap_or(0);
    let why = words![
        strong(number(value)),
        match normal {
            0..=1 => " is ample for most services; it had nothing to compare with before it grew. "
                .to_owned(),
            n => format!(
                " leaves room over the {} it had before it grew. ",
                count(n, "task")
            ),
        },
        "At its own limit it fails alone, early, and with its own name in the message."
    ];
    let (commands, config) = match unit(&culprit.owner) {
        Some(unit) => (
            vec![format!("systemctl set-property {unit} TasksMax={value}")],
            None,
        ),
        None if culprit.owner.k8s.is_some() => return None,
        None => {
            let runtime = culprit.owner.runtime.as_ref();
            let id = runtime.map(|runtime| escape::for_shell(runtime.container_id.as_bytes()));
            match (runtime.and_then(|runtime| runtime.name.as_deref()), id) {
                (Some(name @ ("docker" | "podman")), Some(id)) => (
                    vec![format!("{name} update --pids-limit {value} {id}")],
                    None,
                ),
                _ => {
                    let file = file(scene, &culprit.owner, "pids.max")?;
                    (
                        vec![format!("echo {value} > {file}")],
                        Some(format!(
                            "# where the cgroup is made, for instance in its unit:\n[Service]\n\
                             TasksMax={value}\n"
                        )),
                    )
                }
            }
        }
    };
    Some(Action {
        id: "own-limit",
        when: When::ToStay,
        title: words!["Give ", code(&culprit.name), " a limit of its own"],
        why,
        commands,
        config,
    })
}

/// A limit for every pod, and the kubelet's own share.
fn kubelet(scene: &Scene<'_>, case: &Case) -> Action {
    let is_culprit = |id: u64| {
        let mut culprits = case.culprits.iter();
        culprits.any(|culprit| culprit.owner.cgroup.id == id)
    };
    let others = scene.all.owners.values();
    let largest = others
        .filter(|track| track.owner.k8s.is_some() && !is_culprit(track.owner.cgroup.id))
        .map(|track| track.peak)
        .max()
        .unwrap_or(0);
    let before = case
        .culprits
        .iter()
        .filter_map(|culprit| culprit.tasks_before);
    let normal = largest.max(before.max().unwrap_or(0));
    let wanted = (normal * ROOM).max(2 * LEAST_ALLOWANCE).next_power_of_two();
    let node = value(scene, "kernel.pid_max").unwrap_or(PID_MAX_LIMIT);
    let limit = wanted.min((node / 8).max(LEAST_ALLOWANCE));
    Action {
        id: "pod-pids-limit",
        when: When::ToStay,
        title: words![
            "Give every pod a limit, and the system its share: ",
            code("podPidsLimit")
        ],
        why: words![
            strong(number(limit)),
            format!(
                " is {ROOM} times the largest well-behaved container of this recording ({}), rounded \
                 up. It holds for pods that start after the kubelet is restarted. ",
                count(normal, "task")
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
    }
}

/// The last value of one of the node's limits.
fn value(scene: &Scene<'_>, name: &str) -> Option<u64> {
    let track = scene.all.limits.get(&LimitKey::of_node(name))?;
    Some(track.value.last()? as u64)
}

/// A higher limit of the node, where it is low without need.
fn raise(scene: &Scene<'_>, case: &Case) -> Option<Action> {
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
    Some(Action {
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

fn user_limit(case: &Case) -> Action {
    let uid = case
        .limit
        .uid
        .map_or_else(|| "UID".to_owned(), |uid| uid.to_string());
    let value = case
        .limit
        .value
        .map_or(4096, |value| (value * 2).next_power_of_two());
    Action {
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

fn mend(culprit: &Culprit) -> Action {
    let by = match culprit.creators.first() {
        Some(creator) => words!["Look in ", code(&creator.comm), " for what"],
        None => words!["Look for what"],
    };
    let mut why = by;
    let pattern = culprit
        .task_names
        .iter()
        .flat_map(|names| &names.patterns)
        .next();
    if let Some(pattern) = pattern {
        why.append(words![" makes the threads ", code(&pattern.name), " and"]);
    }
    why.append(words![format!(
        " starts {} and neither ends nor reuses them: a pool made per request, an executor that is \
         never shut down, children that nobody waits for. Limits contain the leak, only this ends it.",
        what_it_makes(culprit)
    )]);
    Action {
        id: "mend",
        when: When::ToStay,
        title: words!["Mend the leak in ", code(&culprit.name)],
        why,
        commands: Vec::new(),
        config: None,
    }
}
