//! Of PID namespaces with a `pid_max` of their own.

use super::finding::{Finding, HIGH, Severity, percent};
use crate::{
    escape,
    limits::survey::{PID_MAX_LIMIT, Survey},
};

pub(super) fn near_their_limits(survey: &Survey, found: &mut Vec<Finding>) {
    let node = survey.node.pid_max.unwrap_or(PID_MAX_LIMIT);
    for space in &survey.pid_namespaces {
        let ratio = space
            .pid_max
            .map(|value| space.tasks as f64 / value.max(1) as f64);
        if !space.is_full && ratio.is_none_or(|ratio| ratio < HIGH) {
            continue;
        }
        let tasks = space.tasks;
        let used = match (space.pid_max, ratio) {
            (Some(value), Some(ratio)) => {
                format!(
                    "{tasks} tasks of its own kernel.pid_max {value} ({})",
                    percent(ratio)
                )
            }
            _ => format!("{tasks} tasks, and its own kernel.pid_max is used up"),
        };
        let raised = space.pid_max.unwrap_or(tasks).saturating_mul(4).min(node);
        let pid = space.pid;
        found.push(Finding {
            id: "pid-namespace-usage",
            severity: if space.is_full {
                Severity::Critical
            } else {
                Severity::Warning
            },
            object: format!("PID namespace {}", space.inum),
            message: format!(
                "{used}: when it is full every fork in it fails with EAGAIN, though the node has room. \
                 Its first process is {}[{pid}]",
                escape::for_terminal(&space.comm)
            ),
            advice: if space.is_full {
                format!(
                    "end what is not needed in it; then nsenter --target {pid} --pid --mount sysctl -w \
                     kernel.pid_max={raised} (which takes a free ID in it)"
                )
            } else {
                format!("nsenter --target {pid} --pid --mount sysctl -w kernel.pid_max={raised}")
            },
        });
    }
}
