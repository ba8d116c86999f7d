//! Of users and their processes.

use super::finding::{Finding, HIGH, Severity, percent};
use crate::{
    escape,
    limits::survey::{Bound, Survey},
};

/// Dead children that are more than a moment's delay.
const SOME_ZOMBIES: u64 = 10;
const MANY_ZOMBIES: u64 = 1000;

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
                    "{} tasks of RLIMIT_NPROC {nproc} ({}), as {}[{}] has it",
                    user.tasks,
                    percent(user.tasks as f64 / nproc as f64),
                    escape::for_terminal(&user.comm),
                    user.pid
                ),
                advice: format!(
                    "prlimit --pid {} --nproc={}; to keep it: LimitNPROC= of its unit, or nproc in \
                     /etc/security/limits.d",
                    user.pid,
                    nproc.saturating_mul(2)
                ),
            });
        }
    }
    let Some(most) = survey.node_most() else {
        return;
    };
    if let Some(Bound::At(nproc)) = survey.init_nproc
        && nproc > most
    {
        found.push(Finding {
            id: "ulimit-never-binds",
            severity: Severity::Info,
            object: "RLIMIT_NPROC".to_owned(),
            message: format!(
                "`ulimit -u` is {nproc}, above {} ({most}): it can never be what stops a fork, \
                 whatever the error message says",
                survey.node_binding()
            ),
            advice: "look at kernel.pid_max and pids.max instead".to_owned(),
        });
    }
}

pub(super) fn unreaped(survey: &Survey, found: &mut Vec<Finding>) {
    for parent in &survey.unreaped {
        if parent.zombies < SOME_ZOMBIES {
            continue;
        }
        let comm = escape::for_terminal(&parent.comm);
        found.push(Finding {
            id: "unreaped-zombies",
            severity: if parent.zombies >= MANY_ZOMBIES {
                Severity::Warning
            } else {
                Severity::Info
            },
            object: format!("{comm}[{}]", parent.parent),
            message: format!(
                "does not reap {} children that have ended: each still holds a PID",
                parent.zombies
            ),
            advice: format!(
                "restart it (its children then go to init, which reaps); in a container run an \
                 init as PID 1 (`docker run --init`, shareProcessNamespace: true); kill -CHLD {} \
                 may remind it",
                parent.parent
            ),
        });
    }
}
