//! Who a cgroup belongs to: container, pod, systemd unit.
//!
//! `path` reads it from the path alone; `names` keeps what container runtimes said of it, and
//! `workload` reads what made a pod from its labels.

mod bounded;
mod errand;
mod execs;
#[cfg(test)]
pub(crate) mod hostile;
pub mod names;
mod owner;
mod path;
mod workload;

pub use self::{
    bounded::{MAX_NAME, bounded},
    errand::Errands,
    execs::Execs,
    names::{Counters, Names},
    owner::{Owner, OwnerKey},
    path::{Container, Identity, Role, anchor, identify},
    workload::{WORKLOAD_LABELS, Workload, WorkloadKind},
};
