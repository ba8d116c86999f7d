//! Of users and their processes.

use super::finding::{Finding, HIGH, Severity, percent};
use crate::{
    escape,
    limits::{
        memory::Want,
        survey::{Bound, Survey, Unreaped},
        table::Chains,
    },
};

/// Dead children that are more than a moment's delay.
const SOME_ZOMBIES: u64 = 10;
const MANY_ZOMBIES: u64 = 1000;
/// The share of a limit that dead children may have before it is their doing that it will be full.
const LARGE: f64 = 0.2;
const MOST: f64 = 0.5;

pub(super) fn near_their_limits(survey: &Survey, found: &mut Vec<Finding>) {
    for user in &survey.users {
        if let Bound::At(nproc) = user.nproc
            && nproc > 0
            && user.tasks as f64 >= HIGH * nproc as f64
        {
            found.push(Finding {
                id: "user-limit-usage",
                severity: if user.tasks >= nproc {
                    Severity::Critical
                } else {
                    Severity::Warning
                },
                object: format!("user {}", user.uid),
                message: format!(
                    "{}{} tasks of RLIMIT_NPROC {nproc} ({}), as {}[{}] has it",
                    if user.is_whole { "" } else { "at least " },
                    user.tasks,
                    percent(user.tasks as f64 / nproc as f64),
                    escape::for_terminal(&user.comm),
                    user.pid
                ),
                advice: format!(
                    "prlimit --pid {} --nproc={}; to keep it: LimitNPROC= of its unit, or nproc in \
                     /etc/security/limits.d",
                    user.pid,
                    nproc.max(user.tasks).saturating_mul(2)
                ),
            });
        }
    }
    let Some(most) = survey.node_most() else {
        return;
    };
    let binds = |nproc: Bound| nproc.value().is_some_and(|nproc| nproc <= most);
    // A user with a lower limit than init's is stopped by it.
    let never = !survey.users.iter().any(|user| binds(user.nproc));
    if let Some(Bound::At(nproc)) = survey.init_nproc
        && nproc > most
        && never
    {
        found.push(Finding {
            id: "ulimit-never-binds",
            severity: Severity::Info,
            object: "RLIMIT_NPROC".to_owned(),
            message: format!(
                "`ulimit -u` of the node's init and of every user that was seen is above what {} allows \
                 ({nproc}, {most}): it can never be what stops a fork, whatever the error message says",
                survey.node_binding(),
            ),
            advice: "look at kernel.pid_max and pids.max instead".to_owned(),
        });
    }
}

/// Parents that do not reap. How bad that is depends on what it takes of the limit that is hit first.
pub(super) fn unreaped(survey: &Survey, found: &mut Vec<Finding>) {
    for parent in &survey.unreaped {
        if parent.zombies < SOME_ZOMBIES {
            continue;
        }
        let limit = limit_of(survey, parent);
        let share = limit.as_ref().map_or(0.0, |limit| {
            parent.zombies as f64 / limit.value.max(1) as f64
        });
        let is_near = limit
            .as_ref()
            .is_some_and(|limit| limit.usage as f64 >= HIGH * limit.value as f64);
        let comm = escape::for_terminal(&parent.comm);
        let names: Vec<_> = parent
            .names
            .iter()
            .map(|(name, count)| format!("{count} {}", escape::for_terminal(name)))
            .collect();
        let mut message = match &parent.cgroup {
            Some(path) => format!("in {} it ", escape::for_terminal(path)),
            None => String::new(),
        };
        message += &format!(
            "does not reap {} children that have ended ({}): each still holds a PID",
            parent.zombies,
            names.join(", ")
        );
        if let Some(limit) = limit {
            message += &format!(
                ". They are {} of {}, of which {} is used",
                percent(share),
                limit.name,
                percent(limit.usage as f64 / limit.value.max(1) as f64)
            );
        }
        found.push(Finding {
            id: "unreaped-zombies",
            severity: if share >= MOST && is_near {
                Severity::Critical
            } else if share >= LARGE || parent.zombies >= MANY_ZOMBIES {
                Severity::Warning
            } else {
                Severity::Info
            },
            object: format!("{comm}[{}]", parent.parent),
            message,
            advice: format!(
                "restart it (its children then go to init, which reaps); in a container run an \
                 init as PID 1 (tini, `docker run --init`, shareProcessNamespace: true); kill -CHLD {} \
                 may remind it",
                parent.parent
            ),
        });
    }
}

/// The limit that a cgroup hits first.
struct BindingLimit {
    name: String,
    value: u64,
    usage: u64,
}

fn limit_of(survey: &Survey, parent: &Unreaped) -> Option<BindingLimit> {
    let node = || {
        Some(BindingLimit {
            name: survey.node_binding().to_owned(),
            value: survey.node_most()?,
            usage: survey.node.tasks?,
        })
    };
    let cgroup = parent.cgroup.as_deref().and_then(|path| {
        let mut all = survey.cgroups.iter();
        all.find(|cgroup| *cgroup.path == *path)
    });
    let chains = Chains::of(survey);
    let of_cgroups = cgroup.into_iter().flat_map(|cgroup| {
        let chain = [cgroup].into_iter().chain(chains.above(&cgroup.path));
        chain.filter_map(|cgroup| {
            Some(BindingLimit {
                name: format!("pids.max of {}", escape::for_terminal(&cgroup.path)),
                value: cgroup.max.value()?,
                usage: cgroup.usage?,
            })
        })
    });
    let all = of_cgroups.chain(node());
    all.min_by_key(|limit| limit.value.saturating_sub(limit.usage))
}

/// Processes that cannot start a thread, and of whom no clone is refused.
pub(super) fn memory(survey: &Survey, found: &mut Vec<Finding>) {
    for limit in &survey.memory {
        let twice = limit.value.saturating_mul(2);
        let (id, name, advice) = match limit.want {
            Want::Mappings => (
                "max-map-count-usage",
                "mappings of vm.max_map_count",
                format!(
                    "sysctl -w vm.max_map_count={twice}; to keep it: echo 'vm.max_map_count = {twice}' >> \
                     /etc/sysctl.d/90-pidwatch.conf"
                ),
            ),
            Want::AddressSpace => (
                "address-space-usage",
                "bytes of RLIMIT_AS (`ulimit -v`)",
                format!(
                    "prlimit --pid {} --as={twice}; to keep it: LimitAS= of its unit, or as in \
                     /etc/security/limits.d",
                    limit.pid
                ),
            ),
        };
        found.push(Finding {
            id,
            severity: if limit.is_full() {
                Severity::Critical
            } else {
                Severity::Warning
            },
            object: format!("{}[{}]", escape::for_terminal(&limit.comm), limit.pid),
            message: format!(
                "{} {name} {} ({}): at the end of it no thread starts (\"Resource temporarily \
                 unavailable\"), and no clone is refused, since mapping its stack fails before",
                limit.usage,
                limit.value,
                percent(limit.usage as f64 / limit.value.max(1) as f64)
            ),
            advice,
        });
    }
}
