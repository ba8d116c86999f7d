//! A finding: what is wrong, how bad, and the change to make.

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
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
pub(super) const HIGH: f64 = 0.8;

/// A share as people write it.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}
