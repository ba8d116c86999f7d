//! pidwatch's own diagnostics, and its kernel side's, as lines on standard error.

use log::{LevelFilter, Log, Metadata, Record};

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = record.level().as_str().to_ascii_lowercase();
        eprintln!("pidwatch: {level}: {}", record.args());
    }

    fn flush(&self) {}
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
