//! What a report says, as data: its JSON form, and what the writers put into words and pictures.
//!
//! Numbers of seconds count from [`Report::from`]. What is not known is left out.

use jiff::Timestamp;
use serde::Serialize;

use super::words::Words;
use crate::{
    detect::State,
    incident::What,
    limits::{Basis, Errno, Reason},
    stream::{LimitUse, OwnerRef, TaskNames, Word},
};

/// The post-mortem of a recording.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// Release of its kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Version of pidwatch that watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pidwatch: Option<String>,
    /// `v1`, `hybrid` or `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_layout: Option<String>,
    /// The first moment of the recording.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// All of it in one paragraph.
    pub summary: Words,
    /// The worst first.
    pub incidents: Vec<Case>,
    /// The node's limits, with the most that was used of them.
    pub limits: Vec<CaseLimit>,
    /// Who held or created the most, and everybody who has a part in an incident.
    pub owners: Vec<OwnerLine>,
    /// Creations refused that belong to no incident.
    pub other_failures: Vec<Symptom>,
    /// What is to be known beside the incidents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<ReportFinding>,
    /// The node's tasks.
    pub tasks: PointSeries,
    /// How far to trust this.
    pub trust: Trust,
}

/// A value over time: seconds from the report's beginning, value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PointSeries(pub Vec<(f64, f64)>);

/// How bad an incident was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseSeverity {
    /// Nothing was refused.
    NearMiss,
    /// Only who grew was refused.
    Contained,
    /// Others were refused.
    Outage,
}

impl CaseSeverity {
    /// For a headline.
    pub fn label(self) -> &'static str {
        match self {
            Self::NearMiss => "Near miss",
            Self::Contained => "Contained",
            Self::Outage => "Outage",
        }
    }
}

/// A limit with the most that was used of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseLimit {
    /// Its name as people set it.
    pub name: String,
    /// The cgroup whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The user whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The PID namespace whose it is, by its inode number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u32>,
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The most that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// The part of it that was used at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// One incident.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// Its own.
    pub id: String,
    /// How bad.
    pub severity: CaseSeverity,
    /// It was not over when the recording ended.
    pub open: bool,
    /// What it was about.
    pub limit: CaseLimit,
    /// What happened, in one paragraph.
    pub summary: Words,
    /// When what happened.
    pub moments: Moments,
    /// How long what took.
    pub durations: Durations,
    /// What happened when, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// Creations refused in all.
    pub failures: u64,
    /// Who was refused, by kind, most often first.
    pub symptoms: Vec<Symptom>,
    /// The cause in words.
    pub cause: Words,
    /// Who ate the headroom, the largest share first.
    pub culprits: Vec<CaseCulprit>,
    /// Who was refused though it did not grow, most often first.
    pub victims: Vec<CaseVictim>,
    /// Why it was not stopped.
    pub findings: Vec<ReportFinding>,
    /// What to do.
    pub actions: Vec<RecommendedAction>,
    /// What would have told in time.
    pub alert: Alert,
    /// What was used of the limit, and the limit.
    pub usage: PointSeries,
    /// The limit over time.
    pub value: PointSeries,
    /// Creations refused: from when, how long, the culprits', the others'.
    pub refused: Vec<(f64, f64, u64, u64)>,
    /// The part of the recording to look at.
    pub view: (f64, f64),
}

/// When what happened; what did not or is not known is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moments {
    /// The growth began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_sign: Option<Timestamp>,
    /// It was called a leak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flagged: Option<Timestamp>,
    /// A creation was refused for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<Timestamp>,
    /// The most of the limit was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<Timestamp>,
    /// A creation was refused for the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Timestamp>,
    /// Nobody leaked any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eased: Option<Timestamp>,
    /// It was told to be over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Durations {
    /// From the first sign to the flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_flag_s: Option<f64>,
    /// From the flag to the first failure; negative where the failure came first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning_s: Option<f64>,
    /// From the first failure to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_s: Option<f64>,
    /// From the first sign until it was over, or the recording was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_s: Option<f64>,
}

/// What an entry of a timeline is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EntryKind {
    /// A moment of the incident's own timeline.
    Incident(Word<What>),
    /// What the report adds to it.
    Report(Derived),
}

/// What a report finds in the curves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Derived {
    /// The most that was used of the limit.
    Peak,
    /// The last refused creation.
    LastFailure,
    /// The culprits no longer leak.
    Eased,
    /// The limit was set to another value.
    Raised,
    /// A culprit was braked, or released.
    Brake,
}

/// A point of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// When.
    pub time: Timestamp,
    /// Seconds from the timeline's first.
    pub after_s: f64,
    /// What happened.
    pub what: EntryKind,
    /// In words.
    pub text: Words,
}

/// Who ate the headroom.
#[derive(Clone, Debug, Serialize)]
pub struct CaseCulprit {
    /// What people call it; not made safe.
    pub name: String,
    /// Who.
    #[serde(flatten)]
    pub owner: OwnerRef,
    /// Its share of the growth or, where nothing grew, of what was held; 0 to 1.
    pub share: f64,
    /// Its part of what was used of the limit at most; 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<f64>,
    /// Tasks a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth_per_s: Option<f64>,
    /// Tasks before it began to grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_before: Option<u64>,
    /// The most tasks it had.
    pub tasks_peak: u64,
    /// Tasks at the end of the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_last: Option<u64>,
    /// Processes it created from the first sign to its peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_processes: Option<u64>,
    /// Threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_threads: Option<u64>,
    /// Processes that created its tasks, the busiest first.
    pub creators: Vec<CaseCreator>,
    /// What its tasks were called when it was flagged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_names: Option<TaskNames>,
    /// The verdict as it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The limits above it when it was flagged, nearest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitUse>>,
    /// Its tasks.
    pub tasks: PointSeries,
}

/// A process that creates tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseCreator {
    /// Its name.
    pub comm: String,
    /// Its number in the initial PID namespace.
    pub pid: u32,
    /// Its part of what was created, 0 to 1, sampled; left out where it is only known that it was
    /// refused another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// Who was refused though it did not grow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseVictim {
    /// What people call it; not made safe.
    pub name: String,
    /// Who.
    #[serde(flatten)]
    pub owner: OwnerRef,
    /// Creations refused.
    pub failures: u64,
    /// Exec probes were among what was refused.
    pub exec_probe: bool,
    /// Its tasks.
    pub tasks: PointSeries,
}

/// A kind of refused creation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Symptom {
    /// What people call who was refused; not made safe.
    pub who: String,
    /// It is a culprit.
    pub culprit: bool,
    /// Name of the calling task; left out for those that were not looked at closely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// How it asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
    /// The error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<Word<Errno>>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word<Reason>>,
    /// How that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Word<Basis>>,
    /// The caller was an exec probe.
    pub exec_probe: bool,
    /// How often.
    pub count: u64,
}

/// Why it was not stopped, or what stops tasks and is no limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportFinding {
    /// Its entry in docs/report.md.
    pub id: &'static str,
    /// In words.
    pub text: Words,
}

/// When to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// While it goes on.
    Now,
    /// So that it does not happen again.
    ToStay,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecommendedAction {
    /// Which.
    pub id: &'static str,
    /// When.
    pub when: When,
    /// What.
    pub title: Words,
    /// Why, and why with these values.
    pub why: Words,
    /// Lines for a shell, as root on the node unless they say otherwise.
    pub commands: Vec<String>,
    /// Lines for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// Rules that would have told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// For Prometheus, as YAML.
    pub rule: String,
    /// When the first would have fired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fires: Option<Timestamp>,
    /// What that would have been worth.
    pub text: Words,
}

/// An owner's part in what happened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerRole {
    /// It used up a limit.
    Culprit,
    /// It was refused.
    Victim,
    /// Neither; the worst state that it was in.
    #[serde(untagged)]
    Was(State),
}

impl OwnerRole {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Culprit => "culprit",
            Self::Victim => "victim",
            Self::Was(state) => state.name(),
        }
    }
}

/// An owner in the table.
#[derive(Clone, Debug, Serialize)]
pub struct OwnerLine {
    /// What people call it; not made safe.
    pub name: String,
    /// Who.
    #[serde(flatten)]
    pub owner: OwnerRef,
    /// Its part in what happened, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<OwnerRole>,
    /// The most tasks it had.
    pub tasks_peak: u64,
    /// Tasks at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_last: Option<u64>,
    /// Tasks created in it.
    pub created: u64,
    /// Creations refused.
    pub failures: u64,
    /// The most zombies it had.
    pub zombies: u64,
    /// Its tasks.
    pub tasks: PointSeries,
}

/// How far to trust a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trust {
    /// Lines that were read.
    pub lines: u64,
    /// Nothing is known to be missing.
    pub complete: bool,
    /// What was lost where.
    pub lost: Vec<Lost>,
    /// What else to know.
    pub notes: Vec<Words>,
}

/// A loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lost {
    /// Where.
    #[serde(rename = "where")]
    pub place: String,
    /// How often.
    pub count: u64,
    /// What it means for what is told here.
    pub meaning: &'static str,
}
