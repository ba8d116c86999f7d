//! Brakes on this node: the I/O for the rules of `pidwatch_core::brake`.
//!
//! `leases` stores one file per brake, `act` lowers and restores `pids.max`, `owner` resolves a name to a
//! cgroup, `hold` waits for the end of a lease.

mod act;
mod hold;
mod leases;
mod limit_file;
mod owner;

pub use pidwatch_core::brake::*;

pub use self::act::{ActError, Applied, BrakeRequest, Ended, apply, full_above, maintain, release};
pub use self::hold::{HoldError, Holder, hold, wait_for_brake};
pub use self::leases::{LeaseError, Leases};
pub use self::limit_file::LimitFile;
pub use self::owner::{FindError, find, is_static_pod};
