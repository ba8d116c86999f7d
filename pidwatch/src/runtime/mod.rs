//! What the process itself needs: the one thread's runtime, signals, a timer, diagnostics, memory, file descriptors,
//! private files.

pub mod descriptors;
pub mod diagnostics;
pub mod memory;
pub mod private;
mod signals;
mod stdout;
mod timer;

use std::io;

pub use self::{signals::Signals, stdout::Stdout, timer::Timer};

/// The one thread's runtime.
///
/// # Errors
/// When there is no file descriptor left for it.
pub fn single_threaded() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
