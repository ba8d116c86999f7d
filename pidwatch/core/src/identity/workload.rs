//! What made a pod: a Deployment, a StatefulSet, a DaemonSet or a Job, by the labels that its controller gives it.
//!
//! Pure. The controllers' labels are in k8s.io/api (apps/v1 and batch/v1: `pod-template-hash`,
//! `controller-revision-hash`, `statefulset.kubernetes.io/pod-name`, `batch.kubernetes.io/job-name`); names of pods are
//! made as in k8s.io/apiserver (pkg/storage/names/generate.go): a prefix, a hyphen and five characters.

use std::fmt;

use super::bounded::bounded;

/// Of a Deployment's pods: the hash of its ReplicaSet.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Of pods of a DaemonSet or StatefulSet: which revision they are of.
const REVISION_HASH: &str = "controller-revision-hash";
/// Of a StatefulSet's pods: their own name.
const STATEFUL_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Of a Job's pods: its name. The second is older.
const JOB_NAMES: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// The labels that tell a workload.
pub const WORKLOAD_LABELS: [&str; 5] = [
    TEMPLATE_HASH,
    REVISION_HASH,
    STATEFUL_NAME,
    JOB_NAMES[0],
    JOB_NAMES[1],
];

/// Length of what is put behind a generated name, and its characters (k8s.io/apimachinery, pkg/util/rand).
const SUFFIX: usize = 5;
const SUFFIX_CHARS: &str = "bcdfghjklmnpqrstvwxz2456789";

/// What kind of object a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A Job, also one of a CronJob.
    Job,
}

impl WorkloadKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
    ];

    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What made a pod; unique in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name. Text from outside, cut to 256 bytes.
    pub name: Box<str>,
}

impl Workload {
    /// Of the pod with this name and these labels; `None` where they do not tell, as of a name that was too long to be
    /// generated whole.
    pub fn of<'a>(pod: &'a str, label: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let of = |kind, name: &str| {
            let name = bounded(name)?;
            Some(Self { kind, name })
        };
        if let Some(job) = JOB_NAMES.into_iter().find_map(&label) {
            return of(WorkloadKind::Job, job);
        }
        if label(STATEFUL_NAME) == Some(pod) {
            let (name, ordinal) = pod.rsplit_once('-')?;
            let is_ordinal = !ordinal.is_empty() && ordinal.bytes().all(|c| c.is_ascii_digit());
            return is_ordinal.then(|| of(WorkloadKind::StatefulSet, name))?;
        }
        let prefix = generated_from(pod)?;
        if let Some(hash) = label(TEMPLATE_HASH) {
            let name = prefix.strip_suffix(hash)?.strip_suffix('-')?;
            return of(WorkloadKind::Deployment, name);
        }
        label(REVISION_HASH)?;
        of(WorkloadKind::DaemonSet, prefix)
    }
}

/// What a generated name begins with, without the hyphen.
fn generated_from(pod: &str) -> Option<&str> {
    let (prefix, suffix) = pod.rsplit_once('-')?;
    let is_generated = suffix.len() == SUFFIX && suffix.chars().all(|c| SUFFIX_CHARS.contains(c));
    is_generated.then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pod: &str, labels: &[(&str, &str)]) -> Option<(&'static str, String)> {
        let label = |key: &str| {
            let found = labels.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| *value)
        };
        let workload = Workload::of(pod, label)?;
        Some((workload.kind.name(), workload.name.into()))
    }

    fn assert_tells(pod: &str, labels: &[(&str, &str)], expected: Option<(&str, &str)>) {
        let expected = expected.map(|(kind, name)| (kind, name.to_owned()));
        assert_eq!(of(pod, labels), expected, "{pod} {labels:?}");
    }

    #[test]
    fn the_controllers_labels_tell_the_workload() {
        assert_tells(
            "cart-7d9f8b6c5-x2k4p",
            &[("pod-template-hash", "7d9f8b6c5")],
            Some(("Deployment", "cart")),
        );
        assert_tells(
            "a-b-7d9f8b6c5-x2k4p",
            &[("pod-template-hash", "7d9f8b6c5")],
            Some(("Deployment", "a-b")),
        );
        assert_tells(
            "db-12",
            &[
                ("statefulset.kubernetes.io/pod-name", "db-12"),
                ("controller-revision-hash", "db-6f5d8"),
            ],
            Some(("StatefulSet", "db")),
        );
        assert_tells(
            "calico-node-x8k2p",
            &[
                ("controller-revision-hash", "6f5d8c"),
                ("pod-template-generation", "1"),
            ],
            Some(("DaemonSet", "calico-node")),
        );
        assert_tells(
            "backup-29384756-zx4kt",
            &[
                ("batch.kubernetes.io/job-name", "backup-29384756"),
                ("job-name", "backup-29384756"),
            ],
            Some(("Job", "backup-29384756")),
        );
        assert_tells(
            "backup-zx4kt",
            &[("job-name", "backup")],
            Some(("Job", "backup")),
        );
        // Made by hand, static, or of a controller that is not known.
        assert_tells("cart", &[], None);
        assert_tells("cart-7d9f8b6c5-x2k4p", &[], None);
        // Cut, or no generated name.
        assert_tells(
            "a-name-of-which-the-hash-was-cut-7d9f-x2k4p",
            &[("pod-template-hash", "7d9f8b6c5")],
            None,
        );
        assert_tells(
            "cart-7d9f8b6c5-aeiou",
            &[("pod-template-hash", "7d9f8b6c5")],
            None,
        );
        assert_tells(
            "db-x",
            &[("statefulset.kubernetes.io/pod-name", "db-x")],
            None,
        );
        for kind in WorkloadKind::ALL {
            assert_eq!(WorkloadKind::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn hostile_labels_and_names_are_bounded() {
        let long = "x".repeat(1_000_000);
        let (_, name) = of("a", &[("job-name", &long)]).unwrap();
        assert_eq!(name.len(), 256);
        for pod in ["", "-", "--", "-bcdfg", "\u{202e}-bcdfg"] {
            let _ = of(pod, &[("pod-template-hash", ""), ("job-name", "")]);
            let _ = of(pod, &[("pod-template-hash", "")]);
        }
    }
}
