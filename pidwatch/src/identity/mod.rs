//! Who a cgroup belongs to: container, pod, systemd unit.
//!
//! `path` reads it from the path alone. What only a container runtime knows (names of pods and
//! containers) is asked for in the background by `cri` and kept in `names`: a look-up there never
//! waits.

mod cri;
mod errand;
mod execs;
mod names;
mod owner;
mod path;

pub use self::{
    cri::{Resolver, Sockets},
    errand::Errands,
    execs::Execs,
    names::{Counters, Names},
    owner::{Owner, OwnerKey},
    path::{Container, Identity, Role, anchor, identify},
};
