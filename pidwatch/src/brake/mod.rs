//! Brakes on this node: the I/O for the rules of `pidwatch_core::brake`.
//!
//! `leases` stores one file per brake, `act` lowers and restores `pids.max`, `owner` resolves a name to a cgroup. `hold`
//! maintains a lease in a process of its own, `keeper` in a running one, which takes requests (`control`).

mod act;
mod control;
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
pub use self::control::{
    BrakeOptions, Braked, ControlRequest, ControlResponse, LONGEST, ReleaseError, Releases,
    ended_text, in_force, is_trusted, send, socket,
};
pub use self::hold::{HoldError, Holder, hold, wait_for_brake};
pub use self::keeper::{Keeper, KeeperEvent};
pub use self::leases::{LeaseError, Leases};
pub use self::limit_file::LimitFile;
pub use self::owner::{FindError, find, is_static_pod, pick};
pub use self::settings::{AutomaticBrake, BrakeExceptions, BrakeMode};
