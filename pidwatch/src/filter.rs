//! Which owners are shown.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, str::FromStr};

use clap::Args;
use globset::{GlobBuilder, GlobMatcher};

use crate::{
    cgroup::CgroupId,
    identity::{Names, Owner},
    incident::Incident,
    stream::{Event, Line},
};

/// A pattern of a path or name; `*` also matches `/`.
#[derive(Clone, Debug)]
pub struct Pattern(GlobMatcher);

impl FromStr for Pattern {
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
    cgroup: Option<Pattern>,
    /// Only owners in a Kubernetes namespace that matches; what belongs to no pod, or to one whose names
    /// are not known (yet), is left out.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_NAMESPACE")]
    namespace: Option<Pattern>,
    /// Only pods whose name matches.
    #[arg(long, value_name = "GLOB", env = "PIDWATCH_POD")]
    pod: Option<Pattern>,
}

impl Filter {
    /// Whether a cgroup is to be shown. What is unknown of it matches no pattern.
    pub fn matches(&self, owner: &Owner) -> bool {
        let matches = |pattern: &Option<Pattern>, text: Option<&[u8]>| {
            pattern.as_ref().is_none_or(|Pattern(glob)| {
                text.is_some_and(|text| glob.is_match(OsStr::from_bytes(text)))
            })
        };
        let names = owner.names.as_deref();
        let name = |name: fn(&Names) -> &Option<Box<str>>| {
            names.and_then(|names| name(names).as_deref().map(str::as_bytes))
        };
        matches(&self.cgroup, owner.path.as_deref())
            && matches(&self.namespace, name(|names| &names.namespace))
            && matches(&self.pod, name(|names| &names.pod))
    }

    /// Whether an incident is to be shown: its limit is of a cgroup that is, or one that is has a part in it.
    pub fn matches_incident(&self, incident: &Incident) -> bool {
        let limit = incident.limit.path.as_deref().map(of_path);
        let culprits = incident.culprits.iter().map(|culprit| &culprit.owner);
        let victims = incident.victims.iter().map(|victim| &victim.owner);
        self.is_empty()
            || culprits
                .chain(victims)
                .chain(&limit)
                .any(|owner| self.matches(owner))
    }

    /// Whether everything is shown.
    fn is_empty(&self) -> bool {
        self.cgroup.is_none() && self.namespace.is_none() && self.pod.is_none()
    }

    /// Whether a line of the stream is to be shown: those about no cgroup always are.
    pub fn matches_line(&self, line: &Line) -> bool {
        let owner = match &line.event {
            Event::Rate(rate) => &rate.owner,
            Event::CloneFailed(failed) => &failed.owner,
            Event::State(state) => &state.owner,
            Event::Cgroup(change) => &change.owner,
            Event::Incident(incident) => {
                let limit = incident.cgroup.as_deref().map(str::as_bytes).map(of_path);
                let culprits = incident.culprits.iter().map(|culprit| &culprit.owner);
                let victims = incident.victims.iter().map(|victim| &victim.owner);
                let mut parties = culprits.chain(victims).map(Owner::from).chain(limit);
                return self.is_empty() || parties.any(|owner| self.matches(&owner));
            }
            Event::Started(_) | Event::Lost { .. } | Event::Node(_) => return true,
        };
        self.matches(&owner.into())
    }
}

/// The cgroup at a path, of which nothing else is known.
fn of_path(path: &[u8]) -> Owner {
    Owner::new(CgroupId(0), Some(path.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cgroup::CgroupId;

    #[test]
    fn a_star_matches_everything_below() {
        let filter = Filter {
            cgroup: "/kube*".parse().ok(),
            ..Filter::default()
        };
        let owner = |path: &[u8]| Owner::new(CgroupId(1), Some(path.into()));
        assert!(filter.matches(&owner(b"/kubepods/pod1/abc")));
        assert!(!filter.matches(&owner(b"/system.slice")));
        assert!(!filter.matches(&Owner::new(CgroupId(1), None)));
        assert!(Filter::default().matches(&Owner::new(CgroupId(1), None)));
    }

    #[test]
    fn an_owner_without_names_is_in_no_namespace() {
        let owner = |namespace: &str, pod: &str| Owner {
            names: Some(Arc::new(Names {
                namespace: Some(namespace.into()),
                pod: Some(pod.into()),
                ..Names::default()
            })),
            ..Owner::new(CgroupId(1), None)
        };
        let filter = Filter {
            namespace: "shop*".parse().ok(),
            pod: "web-?".parse().ok(),
            ..Filter::default()
        };
        assert!(filter.matches(&owner("shop-eu", "web-1")));
        assert!(!filter.matches(&owner("shop-eu", "web-10")));
        assert!(!filter.matches(&owner("bank", "web-1")));
        assert!(!filter.matches(&Owner::new(CgroupId(1), None)));
        assert!("[".parse::<Pattern>().unwrap_err().contains("class"));
    }
}
