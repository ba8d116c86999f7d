//! Brakes on this node: the I/O for the rules of `pidwatch_core::brake`.
//!
//! `leases` stores one file per brake, `act` lowers and restores `pids.max`, `owner` resolves a name to a
//! cgroup, `hold` waits for the end of a lease.

mod act;
mod hold;
mod keeper;
mod leases;
mod limit_file;
mod owner;
mod settings;

pub use pidwatch_core::brake::*;

pub use self::act::{
    ActError, Applied, BrakeRequest, Ended, Exhausted, apply, exhausted_above, maintain, release,
    renew, restore, would_apply,
};
pub use self::hold::{HoldError, Holder, hold, wait_for_brake};
pub use self::keeper::{Keeper, Kept};
pub use self::leases::{LeaseError, Leases};
pub use self::limit_file::LimitFile;
pub use self::owner::{FindError, find, is_static_pod};
pub use self::settings::{AutomaticBrake, BrakeMode};
