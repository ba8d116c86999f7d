//! What is wrong with the limits of a node, why it matters, and the change to make. Pure.
//!
//! Each finding's id has an entry in docs/limits.md.

mod cgroups;
mod node;
mod users;

use super::survey::Survey;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Will hurt one day.
    Warning,
    /// Hurts now or soon.
    Critical,
}

impl Severity {
    /// Name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something to change, or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its entry in docs/limits.md.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a setting, a cgroup, a user, a process.
    pub object: String,
    /// What is so, and why it matters.
    pub message: String,
    /// The exact change to make.
    pub advice: String,
}

/// From here on a limit is nearly used up; what people alert on.
const HIGH: f64 = 0.8;

/// All findings, the worst first.
pub fn find(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    node::usage(survey, &mut found);
    cgroups::threat(survey, &mut found);
    node::pid_max_low(survey, &mut found);
    node::threads_max_below_pid_max(survey, &mut found);
    node::not_persisted(survey, &mut found);
    node::eviction(survey, &mut found);
    cgroups::near_their_limits(survey, &mut found);
    cgroups::pods_without_limit(survey, &mut found);
    cgroups::can_exhaust(survey, &mut found);
    users::near_their_limits(survey, &mut found);
    users::unreaped(survey, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

#[cfg(test)]
mod tests;
