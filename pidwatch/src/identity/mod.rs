//! Who a cgroup belongs to, with the names that only a container runtime knows.
//!
//! `cri` asks for them in the background: a look-up never waits.

mod cri;

pub use pidwatch_core::identity::*;

pub use self::cri::{Resolver, Sockets};
