//! What of the program's own file is kept in memory.
//!
//! Starting takes code that nothing runs again: reading the kernel's types, loading, the command line.
//! With what the kernel maps around every page that is touched, all of the file comes to count as
//! resident.

use rustix::{mm::Advice, param::page_size};

unsafe extern "C" {
    /// Where the file is mapped; made by the linker (GNU ld and lld alike).
    static __executable_start: u8;
    /// The end of its code; likewise.
    static etext: u8;
}

/// Gives back the pages of code. What runs again is mapped again, from the page cache.
pub fn release_code() {
    let start = (&raw const __executable_start).addr();
    let end = (&raw const etext).addr() / page_size() * page_size();
    let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else {
        return;
    };
    let begin = (&raw const __executable_start).cast_mut().cast();
    // SAFETY: the range is of this program's file, from its first page to the end of its code, mapped
    // privately and never written to (data that is relocated or written lies behind it), so that
    // MADV_DONTNEED changes no byte that is read from it (madvise(2)).
    let released = unsafe { rustix::mm::madvise(begin, length, Advice::LinuxDontNeed) };
    if let Err(error) = released {
        tracing::debug!("the code of the start stays in memory: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_still_runs() {
        let before = page_size();
        release_code();
        assert_eq!(page_size(), before);
        assert_eq!(format!("{:?}", Some(1)), "Some(1)");
    }
}
