//! What is wrong with the limits of a node, why it matters, and the change to make. Pure.
//!
//! Each finding's id has an entry in docs/limits.md.

mod brakes;
mod cgroups;
mod finding;
mod namespaces;
mod node;
mod users;

pub use self::finding::{Finding, Severity};
use super::survey::Survey;

/// All findings, the worst first.
pub fn find(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    node::usage(survey, &mut found);
    brakes::left_behind(survey, &mut found);
    cgroups::threat(survey, &mut found);
    node::pid_max_low(survey, &mut found);
    node::threads_max_below_pid_max(survey, &mut found);
    node::not_persisted(survey, &mut found);
    node::eviction(survey, &mut found);
    cgroups::near_their_limits(survey, &mut found);
    cgroups::pods_without_limit(survey, &mut found);
    cgroups::can_exhaust(survey, &mut found);
    cgroups::sums(survey, &mut found);
    users::near_their_limits(survey, &mut found);
    namespaces::near_their_limits(survey, &mut found);
    users::unreaped(survey, &mut found);
    users::memory(survey, &mut found);
    brakes::in_force(survey, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

#[cfg(test)]
mod tests;
