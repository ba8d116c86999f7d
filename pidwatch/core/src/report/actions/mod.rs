//! What to do about an incident: exact commands with reasoned values. Pure.
//!
//! A path in a command is the cgroup's as the stream has it, quoted for a shell. Where a value or a
//! name is not known, the command asks for it instead of guessing.

mod figures;
mod limits;

use self::{
    figures::{normal, own_of, rounded_up, shared_bound},
    limits::{kubelet, raise, raise_inside, user_limit},
};
use super::{
    model::{Case, CaseCulprit, RecommendedAction, When},
    scene::Scene,
    story::what_it_makes,
    words::{code, count, number, strong, words},
};
use crate::{
    cgroup::LayoutKind,
    limits::advice::{self, allowance, is_pod, raised, word},
    stream::{LimitUse, OwnerRef, Word},
};

/// Culprits that get commands.
const CULPRITS: usize = 3;
/// What to do, the most urgent first.
pub fn actions(scene: &Scene<'_>, case: &Case) -> Vec<RecommendedAction> {
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
    all.extend(find_parent(scene, case));
    all.extend(raise_own(scene, case));
    for culprit in case.culprits.iter().take(CULPRITS) {
        all.extend(own_limit(scene, case, culprit));
    }
    let pods = case
        .culprits
        .iter()
        .any(|culprit| culprit.owner.k8s.is_some());
    if pods {
        all.extend(kubelet(scene, case));
    }
    all.extend(raise(scene, case).or_else(|| raise_inside(case)));
    if case.limit.name == "RLIMIT_NPROC" {
        all.push(user_limit(case));
    }
    if let Some(culprit) = case.culprits.first() {
        all.push(mend(culprit));
    }
    all
}

/// A file of a cgroup, quoted for a shell.
fn file(scene: &Scene<'_>, path: Option<&str>, name: &str) -> Option<String> {
    let layout = scene
        .all
        .started
        .as_ref()
        .map(|started| started.cgroup_layout.clone());
    let mount = match layout {
        Some(Word::Known(LayoutKind::V2)) | None => "/sys/fs/cgroup",
        Some(_) => "/sys/fs/cgroup/pids",
    };
    advice::file(mount.as_ref(), path?.as_bytes(), name)
}

fn file_of(scene: &Scene<'_>, owner: &OwnerRef, name: &str) -> Option<String> {
    file(scene, owner.cgroup.path.as_deref(), name)
}

/// A unit that systemd manages and that is no container's.
fn unit(owner: &OwnerRef) -> Option<String> {
    let unit = owner.unit.as_deref()?;
    (owner.runtime.is_none() && owner.k8s.is_none())
        .then(|| word(unit))
        .flatten()
}

/// Whether it still holds what it took.
fn goes_on(case: &Case, culprit: &CaseCulprit) -> bool {
    let last = culprit.tasks_last.unwrap_or(0);
    case.open && last > culprit.tasks_before.unwrap_or(0) && 2 * last > culprit.tasks_peak
}

/// The lines that keep it from growing, and give back what was there. None where its own limit holds it.
fn brake(scene: &Scene<'_>, case: &Case, culprit: &CaseCulprit) -> Option<RecommendedAction> {
    let path = culprit.owner.cgroup.path.as_deref()?;
    let file = file_of(scene, &culprit.owner, "pids.max")?;
    let own = own_of(culprit);
    let charged = scene.track(&culprit.owner).and_then(|track| track.charged);
    let held = charged.unwrap_or(0).max(culprit.tasks_last.unwrap_or(0));
    let is_held = |limit: &LimitUse| limit.value <= held.max(culprit.tasks_peak);
    if case.limit.cgroup.as_deref() == Some(path) || own.flatten().is_some_and(is_held) {
        return None;
    }
    let lift = match own {
        Some(Some(limit)) => format!("echo {} > {file}", limit.value),
        Some(None) => format!("echo max > {file}"),
        // Whatever it is.
        None => format!("cat {file}"),
    };
    let how = match own {
        Some(_) => " Lift it with the last line, which gives back the limit that was there.",
        None => {
            " Which limit it had is not in the recording: the first line prints it; to lift the brake, write \
             that back."
        }
    };
    let in_order = |brake: String, lift: String| match own {
        Some(_) => vec![brake, lift],
        None => vec![lift, brake],
    };
    if !goes_on(case, culprit) {
        let current = file_of(scene, &culprit.owner, "pids.current")?;
        let is_gone = scene.track(&culprit.owner)?.removed.is_some();
        return Some(RecommendedAction {
            id: "brake",
            when: When::Now,
            title: words!["Stop the growth of ", code(&culprit.name)],
            why: words![
                "The emergency brake: it works on with the tasks that it has at that moment, gets no \
                 more, and what others give back stays theirs.",
                how,
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
            commands: in_order(format!("cat {current} > {file}"), lift),
            config: None,
        });
    }
    let room = case.limit.value?.saturating_sub(case.limit.peak?) / 2;
    let most = own.flatten().map_or(u64::MAX, |limit| limit.value);
    let value = rounded_up(held).min(held + room).min(most);
    Some(RecommendedAction {
        id: "brake",
        when: When::Now,
        title: words!["Stop the growth of ", code(&culprit.name)],
        why: words![
            "The emergency brake. ",
            strong(number(value)),
            format!(
                " is what it has now ({}{}): it works on with the tasks it has, gets no more, and \
                 what others give back stays theirs.",
                number(held),
                if value > held { ", rounded up" } else { "" }
            ),
            how
        ],
        commands: in_order(format!("echo {value} > {file}"), lift),
        config: None,
    })
}

/// What it is that grows.
fn look(scene: &Scene<'_>, culprit: &CaseCulprit) -> Option<RecommendedAction> {
    let procs = file_of(scene, &culprit.owner, "cgroup.procs")?;
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
    Some(RecommendedAction {
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
fn restart(culprit: &CaseCulprit) -> Option<RecommendedAction> {
    let owner = &culprit.owner;
    let is_plain = |text: &&String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !text.is_empty() && text.bytes().all(plain)
    };
    let mut commands = Vec::new();
    if let Some(k8s) = &owner.k8s {
        match (&k8s.namespace, &k8s.pod_name, &k8s.pod_uid) {
            (Some(space), Some(pod), _) => {
                let (space, pod) = (word(space)?, word(pod)?);
                commands.push(format!("kubectl -n {space} describe pod -- {pod}"));
                commands.push(format!("kubectl -n {space} delete pod -- {pod}"));
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
        let id = word(&runtime.container_id)?;
        match runtime.name.as_deref() {
            Some(name @ ("docker" | "podman")) => commands.push(format!("{name} restart -- {id}")),
            Some("containerd" | "cri-o") => commands.push(format!("crictl stop -- {id}")),
            Some("lxc") => commands.push(format!("lxc-stop --reboot --name={id}")),
            _ => {}
        }
    } else if let Some(unit) = unit(owner) {
        commands.push(format!("systemctl restart -- {unit}"));
    }
    if commands.is_empty() {
        return None;
    }
    Some(RecommendedAction {
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

fn who_holds(case: &Case) -> RecommendedAction {
    let command = match case.limit.uid {
        Some(uid) => format!("ps -L -U {uid} -o pid=,comm= | sort | uniq -c | sort -rn | head"),
        None => "pidwatch check".to_owned(),
    };
    RecommendedAction {
        id: "who-holds",
        when: When::Now,
        title: "See who holds what is used".into(),
        why: "Nobody stood out in the recording; the load may simply be larger than the limit."
            .into(),
        commands: vec![command],
        config: None,
    }
}

/// The command that gives an owner another limit, and where it is kept.
fn set(scene: &Scene<'_>, owner: &OwnerRef, value: u64) -> Option<(String, Option<String>)> {
    if let Some(unit) = unit(owner) {
        let set = format!("systemctl set-property -- {unit} TasksMax={value}");
        return Some((set, None));
    }
    if let Some(runtime) = owner.runtime.as_ref().filter(|_| owner.k8s.is_none())
        && let Some(name @ ("docker" | "podman")) = runtime.name.as_deref()
    {
        let id = word(&runtime.container_id)?;
        return Some((format!("{name} update --pids-limit={value} -- {id}"), None));
    }
    let file = file_of(scene, owner, "pids.max")?;
    let config = format!(
        "# where the cgroup is made, for instance in its unit:\n[Service]\nTasksMax={value}\n"
    );
    Some((format!("echo {value} > {file}"), Some(config)))
}

/// A limit of the culprit's own.
fn own_limit(scene: &Scene<'_>, case: &Case, culprit: &CaseCulprit) -> Option<RecommendedAction> {
    let path = culprit.owner.cgroup.path.as_deref()?;
    let has_own = own_of(culprit).flatten().is_some();
    if has_own || path == "/" || culprit.owner.k8s.is_some() {
        return None;
    }
    let normal = normal(scene, culprit)?;
    let value = allowance(normal, shared_bound(case, culprit))?;
    let (command, config) = set(scene, &culprit.owner, value)?;
    Some(RecommendedAction {
        id: "own-limit",
        when: When::ToStay,
        title: words!["Give ", code(&culprit.name), " a limit of its own"],
        why: words![
            strong(number(value)),
            match normal {
                0..=1 =>
                    " is ample for most services; it had nothing to compare with before it grew. "
                        .to_owned(),
                n => format!(
                    " leaves room over the {} it had before it grew. ",
                    count(n, "task")
                ),
            },
            "At its own limit it fails alone, early, and with its own name in the message."
        ],
        commands: vec![command],
        config,
    })
}

/// A limit that is too low for a load that leaks nothing.
fn raise_own(scene: &Scene<'_>, case: &Case) -> Option<RecommendedAction> {
    let wanted = wanted(case)?;
    let (path, max) = (case.limit.cgroup.as_deref()?, case.limit.value?);
    let value = rounded_up(raised(max, 0).max(wanted + wanted / 2));
    let victims = case.victims.iter().map(|victim| &victim.owner);
    let parties = victims.chain(case.culprits.iter().map(|culprit| &culprit.owner));
    let mut parties = parties.filter(|owner| owner.cgroup.path.as_deref() == Some(path));
    let (command, config) = match parties.next() {
        Some(owner) => set(scene, owner, value)?,
        None => match advice::unit(path.as_bytes()) {
            Some(unit) => (
                format!("systemctl set-property -- {unit} TasksMax={value}"),
                None,
            ),
            None => {
                let file = file(scene, Some(path), "pids.max")?;
                (format!("echo {value} > {file}"), None)
            }
        },
    };
    let why = words![
        strong(number(value)),
        format!(
            " is half as much again as was wanted at once (some {}), and at least twice the limit of {}.",
            number(wanted),
            number(max)
        ),
        if is_pod(path.as_bytes()) {
            " It is a pod's limit: the kubelet's podPidsLimit, which it sets for new pods, keeps it."
        } else {
            ""
        }
    ];
    Some(RecommendedAction {
        id: "raise-limit",
        when: When::ToStay,
        title: words![
            "If the load is meant to be, raise ",
            code("pids.max"),
            " of ",
            code(path)
        ],
        why,
        commands: vec![command],
        config,
    })
}

/// How many tasks a load that leaks nothing wanted at once: the most that were used, and the most that were
/// refused within a second. `None` where something grew, or nothing was refused.
pub fn wanted(case: &Case) -> Option<u64> {
    let grew = case.culprits.iter().any(|c| c.growth_per_s.is_some());
    if grew || case.failures == 0 || case.limit.name != "pids.max" {
        return None;
    }
    let per_s = |&(_, width, own, others): &(f64, f64, u64, u64)| {
        ((own + others) as f64 / width.max(1.0)).ceil() as u64
    };
    let refused = case.refused.iter().map(per_s).max().unwrap_or(0).max(1);
    Some(case.limit.peak.max(case.limit.value)? + refused)
}

/// Who does not reap, where what fills the limit has ended already.
fn find_parent(scene: &Scene<'_>, case: &Case) -> Option<RecommendedAction> {
    let dead = case
        .culprits
        .iter()
        .find(|culprit| mostly_zombies(scene, culprit).is_some())?;
    Some(RecommendedAction {
        id: "find-parent",
        when: When::Now,
        title: words!["Find who does not reap in ", code(&dead.name)],
        why: "A zombie cannot be killed: it is its parent that must wait for it, or end, so that init does. The \
              first line counts zombies by parent, the second tells who the parents are. In a container \
              that is mostly its first process: run an init there (tini, docker run --init, \
              shareProcessNamespace: true)."
            .into(),
        commands: vec![
            "ps -eo stat=,ppid=,comm= | awk '$1 ~ /^Z/ {print $2, $3}' | sort | uniq -c | sort -rn | head"
                .to_owned(),
            "ps -o pid,comm,args,cgroup -p $(ps -eo stat=,ppid= | awk '$1 ~ /^Z/ {print $2}' | sort -u | \
             paste -sd,)"
                .to_owned(),
        ],
        config: None,
    })
}

/// The most zombies that a culprit had, if they are most of what it has.
pub fn mostly_zombies(scene: &Scene<'_>, culprit: &CaseCulprit) -> Option<u64> {
    let zombies = scene.track(&culprit.owner)?.zombies;
    (2 * zombies >= culprit.tasks_peak.max(1)).then_some(zombies)
}

fn mend(culprit: &CaseCulprit) -> RecommendedAction {
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
    RecommendedAction {
        id: "mend",
        when: When::ToStay,
        title: words!["Mend the leak in ", code(&culprit.name)],
        why,
        commands: Vec::new(),
        config: None,
    }
}
