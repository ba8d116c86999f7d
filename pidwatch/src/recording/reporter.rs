//! A whole recording, read for a report.

use super::{ReadError, Reader};
use crate::report::{Reporter, words::count};

/// Reads all that can be read. After a good beginning a bad line is told of in the report, which is
/// worth more than none.
///
/// # Errors
/// When there is no good beginning.
pub fn reporter(mut reader: Reader) -> Result<Reporter, ReadError> {
    let mut reporter = Reporter::default();
    let (mut read, mut unread) = (0_u64, 0);
    for line in &mut reader {
        match line {
            Ok(line) => {
                reporter.push(&line);
                read += 1;
            }
            Err(ReadError::Broken { .. }) if read > 0 => unread += 1,
            Err(ReadError::Io { error, .. }) if read > 0 => {
                reporter.note(
                    format!("The recording cannot be read beyond its last line here: {error}.")
                        .into(),
                );
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if reader.was_cut() {
        reporter.note("The recording was cut off: its last moments are missing.".into());
    }
    if unread > 0 {
        let note = format!(
            "{} could not be read and are left out.",
            count(unread, "line")
        );
        reporter.note(note.into());
    }
    Ok(reporter)
}
