//! How many file descriptors the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The hard limit is lower than what a command needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "{needed} file descriptors are needed and the limit is {limit}: raise it (`ulimit -Hn {needed}`, or \
     LimitNOFILE={needed} in the unit)"
)]
pub struct TooFewDescriptors {
    needed: u64,
    limit: u64,
}

/// Raises the soft limit to the hard one (RLIMIT_NOFILE, getrlimit(2)).
///
/// # Errors
/// When the hard limit is below `needed`.
pub fn raise_limit(needed: u64) -> Result<(), TooFewDescriptors> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // The soft limit may always be raised to the hard one; if not, what is there has to do.
    let _ = setrlimit(Resource::Nofile, raised);
    // No limit is no number.
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(TooFewDescriptors { needed, limit }),
        _ => Ok(()),
    }
}
