//! What the measurements run, how long and with what.

use std::path::PathBuf;

use clap::Args;

/// How long and with what.
#[derive(Args)]
pub struct Options {
    /// Alternating pairs of untraced and traced runs
    #[arg(long, default_value_t = 40)]
    pub pairs: usize,
    /// Threads that each of the two processes of a storm creates and joins
    #[arg(long, default_value_t = 10_000)]
    pub threads: u64,
}

/// Programs that the measurements run.
pub struct Programs {
    pub pidwatch: PathBuf,
    pub load: PathBuf,
    /// Loader of the minimal pair and its object.
    pub minimal: (PathBuf, PathBuf),
}
