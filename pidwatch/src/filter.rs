//! Which owners are shown.

use std::str::FromStr;

use clap::Args;
use globset::{GlobBuilder, GlobMatcher};

use crate::stream::{Event, IncidentEvent, K8s, Line, OwnerRef};

/// A pattern of a path or name; `*` also matches `/`.
#[derive(Clone, Debug)]
pub struct GlobPattern(GlobMatcher);

impl FromStr for GlobPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        GlobBuilder::new(text)
            .backslash_escape(true)
            .build()
            .map(|glob| Self(glob.compile_matcher()))
            .map_err(|error| error.kind().to_string())
    }
}

/// Which cgroups to show: those that match every pattern given.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only cgroups whose path matches; `*` also matches `/`.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_CGROUP")]
    cgroup: Option<GlobPattern>,
    /// Only owners in a Kubernetes namespace that matches; what belongs to no pod, or to one whose names
    /// are not known (yet), is left out.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_NAMESPACE")]
    namespace: Option<GlobPattern>,
    /// Only pods whose name matches.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_POD")]
    pod: Option<GlobPattern>,
}

impl Filter {
    /// Whether a cgroup is to be shown. What is unknown of it matches no pattern.
    pub fn matches(&self, owner: &OwnerRef) -> bool {
        self.matches_parts(owner.path(), owner.k8s.as_ref())
    }

    fn matches_parts(&self, path: Option<&str>, k8s: Option<&K8s>) -> bool {
        let matches = |pattern: &Option<GlobPattern>, text: Option<&str>| {
            pattern
                .as_ref()
                .is_none_or(|GlobPattern(glob)| text.is_some_and(|text| glob.is_match(text)))
        };
        let name = |name: fn(&K8s) -> &Option<String>| k8s.and_then(|k8s| name(k8s).as_deref());
        matches(&self.cgroup, path)
            && matches(&self.namespace, name(|k8s| &k8s.namespace))
            && matches(&self.pod, name(|k8s| &k8s.pod_name))
    }

    /// Whether an incident is to be shown: its limit is of a cgroup that is, or one that is has a part in it.
    pub fn matches_incident(&self, incident: &IncidentEvent) -> bool {
        let culprits = incident.culprits.iter().map(|culprit| &culprit.owner);
        let victims = incident.victims.iter().map(|victim| &victim.owner);
        self.is_empty()
            || incident.cgroup.is_some() && self.matches_parts(incident.cgroup.as_deref(), None)
            || culprits.chain(victims).any(|owner| self.matches(owner))
    }

    /// Whether everything is shown.
    fn is_empty(&self) -> bool {
        self.cgroup.is_none() && self.namespace.is_none() && self.pod.is_none()
    }

    /// Whether a line of the stream is to be shown: those about no cgroup always are.
    pub fn matches_line(&self, line: &Line) -> bool {
        match &line.event {
            Event::Rate(rate) => self.matches(&rate.owner),
            Event::CloneFailed(failed) => {
                self.matches(&failed.owner) || self.matches(failed.sufferer())
            }
            Event::State(state) => self.matches(&state.owner),
            Event::Brake(brake) => self.matches(&brake.owner),
            Event::Cgroup(change) => self.matches(&change.owner),
            Event::Incident(incident) => self.matches_incident(incident),
            Event::Started(_) | Event::Lost { .. } | Event::Node(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::CgroupRef;

    fn owner(path: Option<&str>, k8s: Option<(&str, &str)>) -> OwnerRef {
        OwnerRef {
            cgroup: CgroupRef {
                id: 1,
                path: path.map(str::to_owned),
            },
            k8s: k8s.map(|(namespace, pod)| K8s {
                namespace: Some(namespace.to_owned()),
                pod_name: Some(pod.to_owned()),
                ..K8s::default()
            }),
            runtime: None,
            unit: None,
        }
    }

    #[test]
    fn a_star_matches_everything_below() {
        let filter = Filter {
            cgroup: "/kube*".parse().ok(),
            ..Filter::default()
        };
        let owner = |path| owner(path, None);
        assert!(filter.matches(&owner(Some("/kubepods/pod1/abc"))));
        assert!(!filter.matches(&owner(Some("/system.slice"))));
        assert!(!filter.matches(&owner(None)));
        assert!(Filter::default().matches(&owner(None)));
    }

    #[test]
    fn an_owner_without_names_is_in_no_namespace() {
        let owner = |namespace, pod| owner(None, Some((namespace, pod)));
        let filter = Filter {
            namespace: "shop*".parse().ok(),
            pod: "web-?".parse().ok(),
            ..Filter::default()
        };
        assert!(filter.matches(&owner("shop-eu", "web-1")));
        assert!(!filter.matches(&owner("shop-eu", "web-10")));
        assert!(!filter.matches(&owner("bank", "web-1")));
        assert!(!filter.matches(&self::owner(None, None)));
        assert!("[".parse::<GlobPattern>().unwrap_err().contains("class"));
    }
}
