//! What test programs print, read back: libtest's own format, which libtest-mimic shares.
//!
//! In: lines of output. Out: counts. Invariant: a test program that ended without its closing line
//! never counts as passed.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Sums up the output of any number of test programs.
#[derive(Default)]
pub struct Tally {
    finished: Counts,
    /// Of the program that runs now, from its lines about single tests.
    running: Counts,
    /// Whether a program has begun and not yet printed its closing line.
    is_open: bool,
    programs: usize,
}

impl Tally {
    /// Takes one line in.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        // On a guest's console a kernel message may stand before it in the same line.
        if let Some(start) = line.find("test result: ") {
            if let Some(counts) = parse_result(&line[start..]) {
                self.finished += counts;
                self.running = Counts::default();
                self.is_open = false;
                self.programs += 1;
            }
        } else if line.starts_with("running ") && line.contains(" test") {
            self.is_open = true;
        } else if line.starts_with("test ") {
            if line.ends_with("... ok") {
                self.running.passed += 1;
            } else if line.ends_with("... FAILED") {
                self.running.failed += 1;
            }
        }
    }

    /// The sum. `succeeded` says whether the process that ran the tests ended well; when it did not
    /// and no test is known to have failed, that counts as one failure.
    pub fn counts(&self, succeeded: bool) -> Counts {
        let mut counts = self.finished;
        if self.is_open {
            counts += self.running;
        }
        let is_whole = succeeded && !self.is_open && self.programs > 0;
        if !is_whole && counts.failed == 0 {
            counts.failed = 1;
        }
        counts
    }
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; ...`
fn parse_result(line: &str) -> Option<Counts> {
    let number_before = |word: &str| {
        let (before, _) = line.split_once(word)?;
        before.trim_end().rsplit(' ').next()?.parse().ok()
    };
    Some(Counts {
        passed: number_before(" passed")?,
        failed: number_before(" failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str, succeeded: bool) -> Counts {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally.counts(succeeded)
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let text = "running 2 tests\ntest a ... ok\ntest b ... ok\n\n\
                    test result: ok. 2 passed; 0 failed; 0 ignored; finished in 0.00s\n\
                    running 2 tests\ntest c ... ok\ntest d ... FAILED\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored; finished in 0.00s\n";
        assert_eq!(
            tally(text, false),
            Counts {
                passed: 3,
                failed: 1
            }
        );
    }

    #[test]
    fn a_program_that_breaks_off_has_failed() {
        let text = "running 2 tests\ntest a ... ok\n";
        assert_eq!(
            tally(text, false),
            Counts {
                passed: 1,
                failed: 1
            }
        );
        assert_eq!(
            tally(text, true),
            Counts {
                passed: 1,
                failed: 1
            }
        );
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        assert_eq!(
            tally("", true),
            Counts {
                passed: 0,
                failed: 1
            }
        );
    }

    #[test]
    fn a_process_that_ends_badly_after_good_results_has_failed() {
        let text =
            "running 1 test\ntest a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(
            tally(text, true),
            Counts {
                passed: 1,
                failed: 0
            }
        );
        assert_eq!(
            tally(text, false),
            Counts {
                passed: 1,
                failed: 1
            }
        );
    }

    #[test]
    fn a_kernel_message_before_the_result_does_not_hide_it() {
        let text = "[   12.3] random: ready test result: ok. 4 passed; 0 failed; 0 ignored\n";
        assert_eq!(
            tally(text, true),
            Counts {
                passed: 4,
                failed: 0
            }
        );
    }
}
