//! Who a cgroup belongs to: container, pod, systemd unit.

mod path;

pub use self::path::{Container, Identity, Role, identify};
