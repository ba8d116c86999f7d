//! Why an incident was not stopped: what the stream shows, and what it cannot show. Pure.
//!
//! Each finding's id has an entry in docs/report.md.

use super::{
    actions::{mostly_zombies, wanted},
    model::{Case, CaseCulprit, CaseSeverity, ReportFinding},
    scene::Scene,
    story::{is_node_wide, limit_name},
    words::{Words, code, count, lasting, number, percent, seconds, strong, words},
};
use crate::{
    limits::Errno,
    stream::{LimitId, LimitUse},
};

/// The share of use that people alert on.
pub const USUAL_ALERT: f64 = 0.8;
/// A warning shorter than this helps nobody who has to wake up first.
const SHORT_WARNING_S: f64 = 300.0;

/// All findings about an incident, the cause first.
pub fn findings(scene: &Scene<'_>, case: &Case) -> Vec<ReportFinding> {
    let mut found = Vec::new();
    for culprit in case.culprits.iter().take(3) {
        bounds(case, culprit, &mut found);
    }
    zombies(scene, case, &mut found);
    too_low(case, &mut found);
    node_limits(scene, case, &mut found);
    message(case, &mut found);
    usual_alert(scene, case, &mut found);
    warning(case, &mut found);
    found
}

/// The `pids.max` on a culprit's way up to the root.
fn bounds(case: &Case, culprit: &CaseCulprit, found: &mut Vec<ReportFinding>) {
    let name = || code(&culprit.name);
    let Some(limits) = &culprit.limits else {
        found.push(ReportFinding {
            id: "limits-unknown",
            text: words![
                "Which limits stood above ",
                name(),
                " is ",
                strong("not known"),
                ": the recording does not say, or one of them could not be read."
            ],
        });
        return;
    };
    let own: Vec<&LimitUse> = limits
        .iter()
        .filter(|limit| limit.name == "pids.max")
        .collect();
    let is_this =
        |limit: &LimitUse| limit.name == case.limit.name && limit.cgroup == case.limit.cgroup;
    let path = culprit.owner.cgroup.path.as_deref();
    if own.is_empty() {
        found.push(ReportFinding {
            id: "no-pids-limit",
            text: words![
                strong("No pids.max"),
                " stood anywhere between ",
                name(),
                " and the root: nothing kept it from taking all that the node has."
            ],
        });
    } else if let Some(limit) = own.iter().find(|limit| is_this(limit)) {
        let is_own = limit.cgroup.as_deref() == path;
        let others = match case.victims.len() {
            0 => " lives under the ",
            1 => " and the one refused beside it live under the ",
            _ => " and those refused beside it live under the ",
        };
        let text = if is_own {
            words![
                "The ",
                code("pids.max"),
                " of ",
                name(),
                " itself stopped it, as it should: the damage stayed inside, and the node kept its \
                 headroom."
            ]
        } else {
            words![
                "The limit that stopped it is shared: ",
                name(),
                others,
                code("pids.max"),
                " of ",
                code(limit.cgroup.as_deref().unwrap_or("?")),
                ". It kept the leak from the rest of the node, but ",
                name(),
                " had no smaller limit of its own."
            ]
        };
        found.push(ReportFinding {
            id: if is_own {
                "own-limit-held"
            } else {
                "limit-shared"
            },
            text,
        });
    } else if let Some(limit) = own
        .iter()
        .min_by_key(|limit| limit.value.saturating_sub(limit.usage))
    {
        found.push(ReportFinding {
            id: "pids-limit-too-high",
            text: words![
                "The ",
                code("pids.max"),
                " of ",
                code(limit.cgroup.as_deref().unwrap_or("?")),
                format!(" ({}) is above ", number(limit.value)),
                name(),
                format!(
                    ", but still had room for {} when the leak was flagged: more than was left of ",
                    number(limit.value.saturating_sub(limit.usage))
                ),
                code(&case.limit.name),
                "."
            ],
        });
    }
}

/// What fills the limit has ended already.
fn zombies(scene: &Scene<'_>, case: &Case, found: &mut Vec<ReportFinding>) {
    for culprit in case.culprits.iter().take(3) {
        let Some(zombies) = mostly_zombies(scene, culprit) else {
            continue;
        };
        found.push(ReportFinding {
            id: "zombies",
            text: words![
                "Most of what ",
                code(&culprit.name),
                " held were ",
                strong(format!("{} zombies", number(zombies))),
                ": processes that have ended and that their parent does not wait for. Each keeps its PID \
                 and its place below the limit; none can be killed."
            ],
        });
    }
}

/// Nothing grew: the limit was too low for what was to be done.
fn too_low(case: &Case, found: &mut Vec<ReportFinding>) {
    let (Some(wanted), Some(value)) = (wanted(case), case.limit.value) else {
        return;
    };
    found.push(ReportFinding {
        id: "limit-too-low",
        text: words![
            strong("Nothing leaked"),
            ": the load came and went, and wanted some ",
            number(wanted),
            " tasks at once, where ",
            limit_name(&case.limit).to_string(),
            format!(" allows {}.", number(value))
        ],
    });
}

/// How the node's limits stand to each other.
fn node_limits(scene: &Scene<'_>, case: &Case, found: &mut Vec<ReportFinding>) {
    let latest = |name: &'static str| {
        let track = scene.all.limits.get(&LimitId::of_node(name))?;
        Some(track.value.last()? as u64)
    };
    if !is_node_wide(&case.limit) {
        return;
    }
    let value = |name: &'static str| match case.limit.value.filter(|_| case.limit.name == name) {
        Some(value) => Some(value),
        None => latest(name),
    };
    match (value("kernel.pid_max"), value("kernel.threads-max")) {
        (Some(pid_max), Some(threads_max)) if pid_max < threads_max => found.push(ReportFinding {
            id: "pid-max-low",
            text: words![
                code("kernel.pid_max"),
                format!(" ({}) is lower than ", number(pid_max)),
                code("kernel.threads-max"),
                format!(
                    " ({}), which is what the node's memory has room for: it is hit first, without \
                     need.",
                    number(threads_max)
                )
            ],
        }),
        (Some(_), Some(_)) => {}
        _ => found.push(ReportFinding {
            id: "node-limits-unknown",
            text: "The node's other limits are not in the recording.".into(),
        }),
    }
}

/// The error leads people astray.
fn message(case: &Case, found: &mut Vec<ReportFinding>) {
    if case.failures == 0
        || !case
            .symptoms
            .iter()
            .any(|symptom| symptom.errno == Some(Errno::EAGAIN.into()))
    {
        return;
    }
    let mut text = words![
        "Those refused were told ",
        code("EAGAIN"),
        ", \"Resource temporarily unavailable\": the same for six limits, naming none. "
    ];
    if case.limit.name != "RLIMIT_NPROC" {
        text.append(words![
            "Programs that guess point at ",
            code("ulimit -u"),
            "; it was ",
        ]);
        text.append(limit_name(&case.limit));
        text.push(".");
    }
    found.push(ReportFinding {
        id: "message-misleads",
        text,
    });
}

/// What the usual rule would have been worth.
fn usual_alert(scene: &Scene<'_>, case: &Case, found: &mut Vec<ReportFinding>) {
    let (Some(value), Some(usage)) = (case.limit.value, scene.usage()) else {
        return;
    };
    let start = [case.moments.first_sign, case.moments.first_failure];
    let Some(start) = start.into_iter().flatten().min() else {
        return;
    };
    let Some(at) = usage.first_at_least(USUAL_ALERT * value as f64, seconds(start) - 1.0) else {
        found.push(ReportFinding {
            id: "usual-alert-silent",
            text: format!(
                "The usual rule, usage above {}, would not have fired at all.",
                percent(USUAL_ALERT)
            )
            .into(),
        });
        return;
    };
    let Some(failure) = case.moments.first_failure else {
        return;
    };
    let lead = seconds(failure) - at;
    if lead <= 0.0 && usage.within(0.0, seconds(failure) - 1.0).is_empty() {
        // Nobody looked before.
        return;
    }
    let mut text = Words::default();
    text.push(if lead > 0.0 {
        format!(
            "The usual rule, usage above {}, would have been true {} before the first refusal",
            percent(USUAL_ALERT),
            lasting(lead)
        )
    } else {
        format!(
            "The usual rule, usage above {}, was not true before the first refusal",
            percent(USUAL_ALERT)
        )
    });
    let later = case.moments.flagged.map(|flagged| at - seconds(flagged));
    if let Some(later) = later.filter(|later| *later >= 1.0) {
        text.push(format!(", {} later than the flag", lasting(later)));
    }
    text.push(", and would have named nobody.");
    found.push(ReportFinding {
        id: "usual-alert-late",
        text,
    });
}

/// How much time there was to act.
fn warning(case: &Case, found: &mut Vec<ReportFinding>) {
    let Some(warning) = case.durations.warning_s else {
        return;
    };
    let (id, text) = if warning < 0.5 {
        (
            "no-warning",
            words![
                "The first refusal came before the flag: only a limit below the node's, set \
                 beforehand, would have helped."
            ],
        )
    } else if warning < SHORT_WARNING_S {
        (
            "warning-short",
            words![
                format!(
                    "From the flag to the first refusal there were {}: ",
                    lasting(warning)
                ),
                "too little for a person who is called; a limit set beforehand acts at once."
            ],
        )
    } else {
        (
            "warning-unused",
            words![
                format!(
                    "From the flag to the first refusal there were {}: ",
                    lasting(warning)
                ),
                "enough for an alert and a person to act."
            ],
        )
    };
    let suffers = case.severity == CaseSeverity::Outage;
    if suffers || id != "warning-short" {
        found.push(ReportFinding { id, text });
    } else {
        let text = words![
            format!(
                "From the flag to the first refusal there were {}.",
                lasting(warning)
            ),
            format!(
                " {} refused all the same.",
                count(case.failures, "creation")
            )
        ];
        found.push(ReportFinding { id, text });
    }
}
