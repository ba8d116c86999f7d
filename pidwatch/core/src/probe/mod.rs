//! What the kernel side reports, as data: its events, and by which mechanisms it is attached.

mod event;
mod mechanism;
mod status;

use std::time::Duration;

pub use self::{
    event::{Charge, Failure, KernelEvent, SyscallName, TotalsCause, Who, decode, decode_losses},
    mechanism::{Choice, Hook, KernelVersion, Mechanism},
    status::ProbeStatus,
};

/// The longest that RCU keeps a reaped task before it is freed: on an idle machine ten seconds
/// (CONFIG_RCU_LAZY, `LAZY_FLUSH_JIFFIES` in kernel/rcu/tree_nocb.h, 6.2), and some for the rest.
pub const LONGEST_FREE: Duration = Duration::from_secs(12);
