//! A creation that failed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LimitId, LimitUse, OwnerRef, Word};
use crate::{
    escape,
    limits::{Basis, Errno, FailedClone, Reason},
};

/// A creation that failed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CloneFailure {
    /// Whose.
    #[serde(flatten)]
    pub owner: Arc<OwnerRef>,
    /// How it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
    /// The error.
    pub errno: Word<Errno>,
    /// Why.
    pub reason: Word<Reason>,
    /// How that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Word<Basis>>,
    /// The limit that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitUse>,
    /// Who called.
    pub proc: Caller,
    /// The container or pod that the caller, a container runtime's, works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<OwnerRef>>,
    /// Failures of the cgroup that were not shown since the last one.
    pub suppressed: u64,
}

impl CloneFailure {
    /// Who suffers from it.
    pub fn sufferer(&self) -> &Arc<OwnerRef> {
        self.on_behalf_of.as_ref().unwrap_or(&self.owner)
    }

    /// The limit that refused, as far as is known.
    pub fn refused_by(&self) -> Option<LimitId> {
        if let Some(limit) = &self.limit {
            return Some(limit.limit_id());
        }
        let (name, uid) = match self.reason.known()? {
            Reason::PidMax => ("kernel.pid_max", None),
            Reason::ThreadsMax => ("kernel.threads-max", None),
            Reason::RlimitNproc => ("RLIMIT_NPROC", Some(self.proc.uid)),
            _ => return None,
        };
        Some(LimitId {
            uid,
            ..LimitId::of_node(name)
        })
    }
}

impl From<&FailedClone> for CloneFailure {
    fn from(failed: &FailedClone) -> Self {
        let FailedClone {
            owner,
            failure,
            verdict,
            limit_owner,
            suppressed,
            exec_probe,
            on_behalf_of,
        } = failed;
        Self {
            owner: Arc::new(owner.into()),
            syscall: failure.syscall.map(|name| name.to_string()),
            errno: Errno(failure.errno).into(),
            reason: verdict.reason.into(),
            evidence: verdict.basis.map(Into::into),
            limit: verdict.limit.map(|limit| {
                LimitUse::of(
                    &limit,
                    limit_owner.as_ref().and_then(|of| of.path.as_deref()),
                )
            }),
            proc: Caller {
                comm: escape::for_json(&failure.comm),
                pid: failure.pid,
                tid: failure.tid,
                uid: failure.uid,
                parent: failure.parent.as_ref().map(|parent| Parent {
                    comm: escape::for_json(&parent.comm),
                    pid: parent.pid,
                }),
                exec_probe: *exec_probe,
            },
            on_behalf_of: on_behalf_of.as_ref().map(|owner| Arc::new(owner.into())),
            suppressed: *suppressed,
        }
    }
}

/// A process's parent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Parent {
    /// Its name.
    pub comm: String,
    /// Its thread group.
    pub pid: u32,
}

/// A task, by the numbers of the initial namespaces.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Caller {
    /// Its name.
    pub comm: String,
    /// Its thread group.
    pub pid: u32,
    /// Itself.
    pub tid: u32,
    /// Its user.
    pub uid: u32,
    /// Its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// It is an exec probe's, or was started by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec_probe: bool,
}
