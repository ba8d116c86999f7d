//! pidwatch's own diagnostics, and its kernel side's, as lines on standard error, or kept for a screen
//! that has none.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What libraries have to say in detail is not asked for; the kernel side logs under the
        // name of its crate, pidwatch_ebpf.
        metadata.level() <= Level::Warn || metadata.target().starts_with("pidwatch")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = record.level().as_str().to_ascii_lowercase();
        // A reader that has gone is no reason to panic.
        let _ = writeln!(io::stderr(), "pidwatch: {level}: {}", record.args());
    }

    fn flush(&self) {}
}

/// Also what is good to know: for who runs for long.
pub fn tell_more() {
    log::set_max_level(log::max_level().max(LevelFilter::Info));
}

/// The last thing that was said and not shown.
static LAST: Mutex<Option<String>> = Mutex::new(None);

struct Kept;

impl Log for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = crate::escape::for_terminal(record.args().to_string().as_bytes());
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }

    fn flush(&self) {}
}

/// What a person should know, for whoever has a screen to show it on.
#[derive(Debug)]
pub struct Messages(());

impl Messages {
    /// The last message that was not taken yet.
    pub fn take(&self) -> Option<String> {
        LAST.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Keeps what a person should know: standard error is where the screen is.
pub fn collect() -> Messages {
    // A second call (in tests) changes nothing.
    if log::set_logger(&Kept).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
    Messages(())
}

/// Sends the log to standard error. With `kernel` everything, which the kernel side's part needs;
/// otherwise what a person should know.
pub fn init(kernel: bool) {
    // A second call (in tests) changes nothing.
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(if kernel {
            LevelFilter::Trace
        } else {
            LevelFilter::Warn
        });
    }
}
