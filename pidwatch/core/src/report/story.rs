//! What happened and why, in sentences: for somebody who was not there.

use super::{
    model::{Case, CaseCreator, CaseCulprit, CaseLimit, CaseSeverity, CaseVictim},
    scene::Scene,
    words::{Words, code, count, lasting, number, pace, percent, shortened, shown, strong, words},
};
use crate::escape;

/// Victims and culprits named in a sentence.
const NAMED: usize = 3;
/// Who created less is not worth a word.
const LEAST_SHARE: f64 = 0.1;
/// Characters of a verdict that are shown.
const VERDICT: usize = 240;
/// A part of what was created that is all for a reader.
const NEARLY_ALL: f64 = 0.9;

/// A limit by name, with whose it is.
pub fn limit_name(limit: &CaseLimit) -> Words {
    let mut words = words![code(&limit.name)];
    if let Some(cgroup) = &limit.cgroup {
        words.append(words![" of ", code(cgroup)]);
    }
    if let Some(uid) = limit.uid {
        words.push(format!(" of user {uid}"));
    }
    if let Some(inum) = limit.pid_namespace {
        words.push(format!(" of PID namespace {inum}"));
    }
    words
}

/// What a limit bounds, for those who do not know it.
pub fn limit_meaning(limit: &CaseLimit) -> Words {
    if limit.pid_namespace.is_some() {
        return "the IDs that processes and threads of this PID namespace share".into();
    }
    match limit.name.as_str() {
        "kernel.pid_max" => "the IDs that processes and threads of the whole node share".into(),
        "kernel.threads-max" => "the processes and threads that the whole node may have".into(),
        "pids.max" => "the processes and threads that this cgroup and all below it may have".into(),
        "RLIMIT_NPROC" => "the processes and threads that this user may have".into(),
        _ => "a bound on processes and threads".into(),
    }
}

/// Whether a limit is everybody's on the node.
pub fn is_node_wide(limit: &CaseLimit) -> bool {
    limit.name.starts_with("kernel.") && limit.pid_namespace.is_none()
}

/// One paragraph, for a manager.
pub fn summary(scene: &Scene<'_>, case: &Case) -> Words {
    let mut words = effect(scene, case);
    words.push(" ");
    words.append(blame(case));
    words.push(" ");
    words.append(outcome(scene, case));
    words
}

/// Who felt what.
fn effect(scene: &Scene<'_>, case: &Case) -> Words {
    let node = code(&scene.all.node);
    let long = case.durations.failing_s.unwrap_or(0.0);
    let mut words = match (case.severity, case.moments.first_failure) {
        (CaseSeverity::NearMiss, _) => {
            return words![
                "Nothing was refused on ",
                node,
                ", but ",
                limit_meaning(&case.limit).to_string(),
                if case.open {
                    " are running out."
                } else {
                    " were running out."
                }
            ];
        }
        (_, Some(time)) if long >= 1.0 => words![
            "From ",
            scene.clock.show(time),
            " UTC on, for ",
            strong(lasting(long)),
            ", "
        ],
        (_, Some(time)) => words!["At ", scene.clock.show(time), " UTC "],
        (_, None) => Words::default(),
    };
    words.push(code(&scene.all.node));
    words.append(words![
        " refused ",
        strong(count(case.failures, "request")),
        " to start a process or thread"
    ]);
    match case.severity {
        CaseSeverity::Outage => {
            let theirs: u64 = case.victims.iter().map(|victim| victim.failures).sum();
            words.push(if theirs < case.failures {
                ", also to "
            } else {
                ", all of them to "
            });
            words.append(victims(&case.victims));
            words.push(if case.culprits.is_empty() {
                "."
            } else {
                ", which had done nothing wrong."
            });
        }
        _ if case.culprits.is_empty() => {
            words.push(", all of them to ");
            words.append(victims(&case.victims));
            words.push(".");
        }
        _ => words.push(", none of them to anybody but the cause itself."),
    }
    words
}

fn victims(victims: &[CaseVictim]) -> Words {
    let mut parts: Vec<Words> = victims
        .iter()
        .take(NAMED)
        .map(|victim| {
            let what = if victim.exec_probe {
                format!(" ({}, exec probes among them)", number(victim.failures))
            } else {
                format!(" ({})", number(victim.failures))
            };
            words![code(&victim.name), what]
        })
        .collect();
    if victims.len() > NAMED {
        parts.push(format!("{} more", victims.len() - NAMED).into());
    }
    Words::list(parts)
}

/// Whose doing it was.
fn blame(case: &Case) -> Words {
    let limit = limit_name(&case.limit);
    let value = case.limit.value.map(number);
    let used = match (case.limit.ratio, value) {
        (Some(ratio), Some(value)) if ratio >= 0.99 => words![", all ", value, " of them"],
        (Some(ratio), Some(value)) => words![", ", percent(ratio), " of ", value],
        (None, Some(value)) => words![" (", value, ")"],
        _ => Words::default(),
    };
    let Some(first) = case.culprits.first() else {
        let mut words = match case.severity {
            CaseSeverity::Contained => words![
                "Nothing leaked: its load was larger than its limit, or the limit too low. What was \
                 used up is "
            ],
            _ => words!["No single owner was to blame: what was used up is "],
        };
        words.append(limit);
        words.append(used);
        words.push(".");
        return words;
    };
    let mut words: Words = "The cause is ".into();
    let names = case.culprits.iter().take(NAMED);
    words.append(Words::list(names.map(|culprit| code(&culprit.name).into())));
    if case.culprits.len() > NAMED {
        words.push(format!(" and {} more", case.culprits.len() - NAMED));
    }
    let tasks: u64 = case.culprits.iter().map(|culprit| culprit.tasks_peak).sum();
    match case
        .culprits
        .iter()
        .filter_map(|c| c.growth_per_s)
        .sum::<f64>()
    {
        growth if growth > 0.0 => words.append(words![
            format!(
                ", which kept starting {} and never ended them: ",
                what_it_makes(first)
            ),
            strong(format!("+{}", pace(growth))),
            format!(", up to {}, and so used up ", number(tasks)),
        ]),
        _ => words.push(format!(
            ", which holds {} and so uses up ",
            count(tasks, "task")
        )),
    }
    words.append(limit_meaning(&case.limit));
    words.push(" (");
    words.append(limit);
    words.append(used);
    words.push(").");
    words
}

/// What a culprit creates, in a word.
pub fn what_it_makes(culprit: &CaseCulprit) -> &'static str {
    let (Some(processes), Some(threads)) = (culprit.created_processes, culprit.created_threads)
    else {
        return "tasks";
    };
    let all = (processes + threads).max(1) as f64;
    if threads as f64 >= NEARLY_ALL * all {
        "threads"
    } else if processes as f64 >= NEARLY_ALL * all {
        "processes"
    } else {
        "processes and threads"
    }
}

/// How it was seen, and how it ended.
fn outcome(scene: &Scene<'_>, case: &Case) -> Words {
    let mut words = Words::default();
    match (case.durations.to_flag_s, case.durations.warning_s) {
        (to_flag, Some(warning)) if warning >= 0.5 => {
            words.push("pidwatch had named it ");
            words.push(strong(format!("{} before", lasting(warning))));
            words.push(" the first refusal");
            if let Some(to_flag) = to_flag {
                words.push(format!(", {} after it began", lasting(to_flag)));
            }
            words.push(". ");
        }
        (_, Some(warning)) => words.push(format!(
            "pidwatch named it {} after the first refusal. ",
            lasting(-warning)
        )),
        (Some(to_flag), None) => words.push(format!(
            "pidwatch named it {} after it began. ",
            lasting(to_flag)
        )),
        (None, None) => {}
    }
    let now = case.culprits.first().and_then(|culprit| culprit.tasks_last);
    match (case.open, case.moments.eased, case.moments.closed) {
        (false, Some(eased), _) => {
            words.push(format!("The growth ended at {}", scene.clock.show(eased)));
            words.push(match now {
                Some(0) => "; nothing of it is left.".to_owned(),
                Some(now) => format!("; it has {} now.", count(now, "task")),
                None => ".".to_owned(),
            });
        }
        (false, None, Some(closed)) => words.push(format!(
            "It was calm again by {}.",
            scene.clock.show(closed)
        )),
        (true, Some(eased), _) => words.push(format!(
            "The growth ended at {}; the recording ends before the incident is closed.",
            scene.clock.show(eased)
        )),
        _ => words.push(strong("It was not over when the recording ended.")),
    }
    words
}

/// The cause, with its figures, for an engineer.
pub fn cause(case: &Case) -> Words {
    let mut words = limit_name(&case.limit);
    words.push(", ");
    words.append(limit_meaning(&case.limit));
    words.push(match (case.limit.peak, case.limit.value) {
        (Some(peak), Some(value)) => {
            format!(": at most {} of {} in use", number(peak), number(value))
        }
        (None, Some(value)) => format!(": {}", number(value)),
        _ => ": how much of it was used is not known".to_owned(),
    });
    words.push(". ");
    for culprit in case.culprits.iter().take(NAMED) {
        words.append(one_culprit(culprit));
    }
    if case.culprits.is_empty() {
        words.push("Nobody grew like a leak, and nobody held half of it.");
    }
    words
}

fn one_culprit(culprit: &CaseCulprit) -> Words {
    let mut words = words![code(&culprit.name)];
    match (culprit.growth_per_s, culprit.tasks_before) {
        (Some(growth), before) => {
            words.push(format!(" grew by {}", pace(growth)));
            words.push(match before {
                Some(before) => format!(
                    " from {} to {}",
                    number(before),
                    count(culprit.tasks_peak, "task")
                ),
                None => format!(" to {}", count(culprit.tasks_peak, "task")),
            });
            words.push(format!(
                ", {} of all growth below this limit",
                percent(culprit.share)
            ));
        }
        (None, _) => words.push(format!(
            " held {}, {} of what was used",
            count(culprit.tasks_peak, "task"),
            percent(culprit.share)
        )),
    }
    if let (Some(processes), Some(threads)) = (culprit.created_processes, culprit.created_threads) {
        words.push(format!(
            "; on the way it created {} and {}",
            count(threads, "thread"),
            match processes {
                1 => "1 process".to_owned(),
                n => format!("{} processes", number(n)),
            }
        ));
    }
    words.push(". ");
    let is_counted = culprit
        .creators
        .iter()
        .any(|creator| creator.share.is_some());
    if !culprit.creators.is_empty() {
        words.push(if is_counted {
            "Created by "
        } else {
            "Refused yet another, and so most likely its source: "
        });
        let told = |creator: &&CaseCreator| creator.share.is_none_or(|share| share >= LEAST_SHARE);
        let creators = culprit.creators.iter().filter(told).map(|creator| {
            let name = shown(&creator.comm);
            let mut one = words![code(&format!("{name}[{}]", creator.pid))];
            if let Some(share) = creator.share.filter(|share| *share < NEARLY_ALL) {
                one.push(format!(" ({})", percent(share)));
            }
            one
        });
        words.append(Words::list(creators));
        words.push(". ");
    }
    words.append(task_names(culprit));
    if let Some(verdict) = &culprit.verdict {
        let verdict = shortened(&escape::for_terminal(verdict.as_bytes()), VERDICT);
        words.push(format!("The verdict at the flag: \"{verdict}\". "));
    }
    words
}

/// What its tasks are called: `38 of 40 that were looked at: http-nio-exec-*`.
fn task_names(culprit: &CaseCulprit) -> Words {
    let Some(names) = &culprit.task_names else {
        return Words::default();
    };
    let patterns = names.patterns.iter().take(NAMED).map(|pattern| {
        let share = pattern.count as f64 / names.sampled.max(1) as f64;
        words![code(&pattern.name), format!(" ({})", percent(share))]
    });
    let largest = &names.largest;
    let comm = shown(&largest.comm);
    let mut words = words![format!(
        "Of {} that were looked at, most are called ",
        count(names.sampled, "task")
    )];
    words.append(Words::list(patterns));
    words.append(words![
        "; the process with the most threads is ",
        code(&format!("{comm}[{}]", largest.pid)),
        format!(", with {} then. ", number(largest.threads))
    ]);
    words
}
