//! Findings about limits that `pidwatch brake` lowered.

use super::finding::{Finding, Severity};
use crate::{
    escape,
    limits::survey::{SeenBrake, Survey},
};

pub(super) fn left_behind(survey: &Survey, found: &mut Vec<Finding>) {
    for brake in survey.brakes.iter().filter(|brake| !brake.is_held) {
        found.push(Finding {
            id: "brake-left-behind",
            severity: Severity::Warning,
            object: object(brake),
            message: format!(
                "limited to {} tasks by a brake, and the process that would restore pids.max to {} is gone",
                brake.lease.limit(),
                brake.lease.before
            ),
            advice: release(brake),
        });
    }
}

pub(super) fn in_force(survey: &Survey, found: &mut Vec<Finding>) {
    for brake in survey.brakes.iter().filter(|brake| brake.is_held) {
        found.push(Finding {
            id: "brake-in-force",
            severity: Severity::Info,
            object: object(brake),
            message: format!(
                "limited to {} tasks by a brake; pids.max returns to {} when its lease ends",
                brake.lease.limit(),
                brake.lease.before
            ),
            advice: format!("to end it early: {}", release(brake)),
        });
    }
}

fn object(brake: &SeenBrake) -> String {
    escape::for_terminal(brake.lease.path.as_bytes())
}

/// By path: it starts with a slash, so it cannot be an option.
fn release(brake: &SeenBrake) -> String {
    let path = escape::for_shell(brake.lease.path.as_bytes());
    format!("pidwatch release {path}")
}
