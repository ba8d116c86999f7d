//! Which owners are shown.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use globset::{GlobBuilder, GlobMatcher};

use crate::{
    cli::args::FilterArgs,
    identity::{Names, Owner},
    stream::{Event, Line},
};

/// Which cgroups to show: those that match every pattern given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    path: Option<GlobMatcher>,
    namespace: Option<GlobMatcher>,
    pod: Option<GlobMatcher>,
}

impl Filter {
    /// Whether a cgroup is to be shown. What is unknown of it matches no pattern.
    pub fn matches(&self, owner: &Owner) -> bool {
        let matches = |glob: &Option<GlobMatcher>, text: Option<&[u8]>| {
            glob.as_ref()
                .is_none_or(|glob| text.is_some_and(|text| glob.is_match(OsStr::from_bytes(text))))
        };
        let names = owner.names.as_deref();
        let name = |name: fn(&Names) -> &Option<Box<str>>| {
            names.and_then(|names| name(names).as_deref().map(str::as_bytes))
        };
        matches(&self.path, owner.path.as_deref())
            && matches(&self.namespace, name(|names| &names.namespace))
            && matches(&self.pod, name(|names| &names.pod))
    }

    /// Whether a line of the stream is to be shown: those about no cgroup always are.
    pub fn matches_line(&self, line: &Line) -> bool {
        let owner = match &line.event {
            Event::Rate(rate) => &rate.owner,
            Event::CloneFailed(failed) => &failed.owner,
            Event::State(state) => &state.owner,
            Event::Cgroup(change) => &change.owner,
            Event::Started(_) | Event::Incident(_) | Event::Lost { .. } | Event::Node(_) => {
                return true;
            }
        };
        self.matches(&owner.into())
    }

    /// Of the command line.
    ///
    /// # Errors
    /// When a pattern is none; the text names the option, the pattern and the cause.
    pub fn of(args: FilterArgs) -> Result<Self, String> {
        let FilterArgs {
            cgroup,
            namespace,
            pod,
        } = args;
        Ok(Self {
            path: glob("cgroup", cgroup)?,
            namespace: glob("namespace", namespace)?,
            pod: glob("pod", pod)?,
        })
    }
}

/// A pattern; `*` also matches `/`.
fn glob(option: &str, pattern: Option<String>) -> Result<Option<GlobMatcher>, String> {
    let compile = |pattern: String| {
        GlobBuilder::new(&pattern)
            .backslash_escape(true)
            .build()
            .map(|glob| glob.compile_matcher())
            .map_err(|error| format!("--{option} {pattern}: {}", error.kind()))
    };
    pattern.map(compile).transpose()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cgroup::CgroupId;

    #[test]
    fn a_star_matches_everything_below() {
        let filter = Filter {
            path: glob("cgroup", Some("/kube*".into())).unwrap(),
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
            namespace: glob("namespace", Some("shop*".into())).unwrap(),
            pod: glob("pod", Some("web-?".into())).unwrap(),
            ..Filter::default()
        };
        assert!(filter.matches(&owner("shop-eu", "web-1")));
        assert!(!filter.matches(&owner("shop-eu", "web-10")));
        assert!(!filter.matches(&owner("bank", "web-1")));
        assert!(!filter.matches(&Owner::new(CgroupId(1), None)));
        assert!(
            glob("pod", Some("[".into()))
                .unwrap_err()
                .contains("--pod [")
        );
    }
}
