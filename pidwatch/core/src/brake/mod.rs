//! The brake: lowers a leaking owner's `pids.max` to its current usage, for a limited time.
//!
//! Existing tasks keep running; new ones fail in this owner only. In: the limit and usage read from a cgroup.
//! Out: the limit to write. Pure: the caller does the I/O.
//!
//! Invariant: after the lease, `pids.max` is the previous limit or the last value that another program wrote,
//! even if pidwatch was killed at any point (the module `lease` has the rules; its tests explore every order of events).

mod guard;
mod lease;
mod phase;
mod pids_max;

pub use self::guard::{Candidate, Protected, protected};
pub use self::lease::{Ending, Lease, Step};
pub use self::phase::{BrakeActor, BrakePhase};
pub use self::pids_max::PidsMax;

/// Why a brake is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrakeRefusal {
    /// The owner is protected.
    #[error("{0}")]
    Protected(Protected),
    /// Its usage has reached its own limit.
    #[error("its usage has already reached its own pids.max of {0}")]
    AlreadyFull(u64),
    /// The requested limit is below the usage.
    #[error("it has {usage} tasks; a limit of {at} would also refuse replacements")]
    BelowUsage {
        /// The requested limit.
        at: u64,
        /// Its tasks.
        usage: u64,
    },
    /// The requested limit is not below the current one.
    #[error("its pids.max is already {limit}; a brake must be lower, not {at}")]
    NotLower {
        /// The requested limit.
        at: u64,
        /// The current limit.
        limit: u64,
    },
}

/// The limit to write for an owner with `usage` tasks and the limit `current`; `at` is the requested value, by
/// default the usage.
///
/// # Errors
/// When the value is below the usage, or not below the current limit.
pub fn limit_for(at: Option<u64>, usage: u64, current: PidsMax) -> Result<u64, BrakeRefusal> {
    if let Some(at) = at.filter(|&at| at < usage) {
        return Err(BrakeRefusal::BelowUsage { at, usage });
    }
    let value = at.unwrap_or(usage);
    match current {
        PidsMax::Tasks(limit) if limit <= usage => Err(BrakeRefusal::AlreadyFull(limit)),
        PidsMax::Tasks(limit) if limit <= value => Err(BrakeRefusal::NotLower { at: value, limit }),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brake_is_below_the_limit_and_not_below_what_is_used() {
        use PidsMax::{Tasks, Unlimited};
        assert_eq!(limit_for(None, 300, Unlimited), Ok(300));
        assert_eq!(limit_for(None, 300, Tasks(1000)), Ok(300));
        assert_eq!(limit_for(Some(500), 300, Tasks(1000)), Ok(500));
        assert_eq!(
            limit_for(Some(200), 300, Unlimited),
            Err(BrakeRefusal::BelowUsage {
                at: 200,
                usage: 300
            })
        );
        assert_eq!(
            limit_for(Some(1000), 300, Tasks(1000)),
            Err(BrakeRefusal::NotLower {
                at: 1000,
                limit: 1000
            })
        );
        // Usage exceeds the limit where the limit was lowered after the tasks were created.
        for usage in [300, 310] {
            assert_eq!(
                limit_for(None, usage, Tasks(300)),
                Err(BrakeRefusal::AlreadyFull(300))
            );
        }
    }
}
