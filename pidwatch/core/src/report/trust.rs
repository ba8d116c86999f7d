//! How far to trust a report: what was lost, what was not watched, when nobody looked.

use jiff::Timestamp;

use super::{
    collect::Collected,
    model::{Case, Lost, Trust},
    words::{Clock, Words, code, count, lasting, number, seconds, shown, words},
};
use crate::stream::ProbeState;

/// Notes of one kind.
const NOTES: usize = 8;

/// What a loss means for what is told here (docs/events.md, `lost`).
fn meaning(place: &str) -> &'static str {
    match place {
        "task_newtask" => "so many creations are in no count",
        "sched_process_exit" => "so many ends are in no count",
        "sched_process_free" => "so many frees are in no count",
        "kernel_clone" | "execve" => {
            "so many returns were not looked at; a failure among them is missing"
        }
        "cgroup_map_full" => "so many events of further cgroups are in no count",
        "creation_unresolved" => "so many creations are in no cgroup's count",
        // Its name in 0.1.0, whose recordings are still read.
        "held_map_full" => "only zombies may be off",
        "pending_map_full" => "so many frees are in no count, and zombies are not known there",
        "ring_rate" => "no count is missing: it was read from the kernel's totals",
        "ring_failure" => "so many failures are counted, but without a reason",
        "ring_cgroup" => "so many cgroups came or went untold",
        place if place.starts_with("cgroup_") => "so many changes of the tree were told late",
        _ => "see docs/events.md",
    }
}

/// How far to trust a report.
pub fn trust(all: &Collected, incidents: &[Case], (from, to): (Timestamp, Timestamp)) -> Trust {
    let clock = Clock::new(from, to);
    let lost = all
        .lost
        .iter()
        .map(|(place, &count)| Lost {
            place: shown(place),
            count,
            meaning: meaning(place),
        })
        .collect();
    let mut notes: Vec<Words> = Vec::new();
    match &all.started {
        None => notes.push(
            "The beginning of the stream is missing, and with it which kernel it was and what was \
             watched."
                .into(),
        ),
        Some(started) => {
            let failed = started
                .probes
                .iter()
                .filter(|probe| probe.state == ProbeState::Failed);
            notes.extend(failed.take(NOTES).map(|probe| {
                let why = probe.error.as_deref().map_or_else(String::new, shown);
                words!["Not watched: ", code(&probe.name), format!(" ({why})")]
            }));
        }
    }
    if all.restarts > 0 {
        notes.push(
            format!(
                "pidwatch was started again {}; what happened meanwhile is not known.",
                count(all.restarts, "time")
            )
            .into(),
        );
    }
    for &(begin, end) in &all.gaps {
        notes.push(
            format!(
                "Nothing is known from {} to {} ({}).",
                clock.show(begin),
                clock.show(end),
                lasting(seconds(end) - seconds(begin))
            )
            .into(),
        );
    }
    let more = all.gap_count - all.gaps.len() as u64;
    if more > 0 {
        notes.push(format!("There are {} more.", count(more, "such gap")).into());
    }
    if all.steps_back > 0 {
        notes.push(format!("The clock was set back {}.", count(all.steps_back, "time")).into());
    }
    for case in incidents.iter().filter(|case| case.open).take(NOTES) {
        notes.push(words![
            "The recording ends while ",
            code(&case.id),
            " is open: what came later is not in it."
        ]);
    }
    let early = incidents.iter().filter(|case| {
        let sign = case.moments.first_sign.or(case.moments.first_failure);
        sign.is_some_and(|sign| seconds(sign) <= seconds(from) + 1.0)
    });
    for case in early.take(NOTES) {
        notes.push(words![
            "When the recording begins, ",
            code(&case.id),
            " is under way already: it may have begun earlier."
        ]);
    }
    if all.owners_left_out > 0 {
        notes.push(
            format!(
                "{} small and quiet cgroups are left out of the table.",
                number(all.owners_left_out)
            )
            .into(),
        );
    }
    if all.incidents_left_out > 0 {
        notes.push(
            format!(
                "{} more were left out, those with the fewest refusals.",
                count(all.incidents_left_out, "incident")
            )
            .into(),
        );
    }
    Trust {
        lines: all.lines,
        complete: false,
        lost,
        notes,
    }
}
