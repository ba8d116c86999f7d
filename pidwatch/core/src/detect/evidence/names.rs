//! What a task's name says of the pool that it is in.
//!
//! Pools are numbered, and so are the workers of each: `pool-7-thread-3`, `HikariPool-2 co`. A name has
//! 15 bytes at most (`TASK_COMM_LEN` of include/linux/sched.h less its end), and what did not fit is cut.

use hashbrown::HashSet;

/// Bytes of a name that may be cut.
const FULL: usize = 15;
/// Different numbers that are kept of a kind.
const MOST_NUMBERS: usize = 1024;
/// Numbers of pools are handed out in turn: they lie at most so many times as far apart as there are. Ports
/// and hashes lie farther.
const SPREAD: u64 = 4;

/// Names that programs give to threads by themselves, with a number for each thread and not for a pool: of
/// threads that belong to none.
const SINGLE: [&[u8]; 1] = [b"Thread-"];
/// Of these each has a thread of its own.
const POOL_OF_ONE: [&[u8]; 1] = [b"Timer-"];
/// Patterns of pools that nobody has named: a number is handed out for each.
const UNNAMED_POOLS: [&[u8]; 2] = [b"pool-*-thread", b"Timer-*"];
/// What stands before a number, and at the end of a name that was cut there.
const SEPARATORS: &[u8] = b"*-_#:. ";

/// The names of one pattern.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    first: HashSet<u64>,
    how: Option<Numbered>,
}

/// What the first number in a name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Numbered {
    /// Threads of no pool, or nothing at all.
    Nothing,
    /// The workers of one pool.
    Workers,
    /// Pools: another number follows, or would if the name were not cut.
    Pools,
}

impl Numbers {
    /// Takes a name in.
    pub fn add(&mut self, name: &[u8]) {
        self.how = self.how.max(Some(numbered(name)));
        if let Some(number) = first_number(name)
            && self.first.len() < MOST_NUMBERS
        {
            self.first.insert(number);
        }
    }

    /// In how many different pools they are; `None` where the names do not tell.
    pub fn pools(&self) -> Option<u64> {
        let different = self.first.len() as u64;
        match self.how? {
            Numbered::Pools => Some(different.max(1)),
            // The same number in all is not theirs: a line in a source file.
            Numbered::Workers if different > 1 => Some(1),
            Numbered::Workers | Numbered::Nothing => None,
        }
    }

    /// Whether the numbers were handed out in turn.
    pub fn are_in_turn(&self) -> bool {
        let (Some(least), Some(most)) = (self.first.iter().min(), self.first.iter().max()) else {
            return false;
        };
        most - least < SPREAD * self.first.len() as u64
    }
}

/// What the names of one kind have in common, however much of them was cut: `pool-*-thread` of
/// `pool-*-thread-*`.
pub fn stem(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().rposition(|byte| !SEPARATORS.contains(byte));
    &pattern[..end.map_or(0, |last| last + 1)]
}

/// Whether a pattern is that of pools that programs number by themselves.
pub fn is_unnamed_pool(pattern: &[u8]) -> bool {
    UNNAMED_POOLS.iter().any(|known| pattern.starts_with(known))
}

fn numbered(name: &[u8]) -> Numbered {
    if SINGLE.iter().any(|prefix| name.starts_with(prefix)) {
        return Numbered::Nothing;
    }
    if POOL_OF_ONE.iter().any(|prefix| name.starts_with(prefix)) {
        return Numbered::Pools;
    }
    match (runs(name), name.len() >= FULL) {
        (0, false) => Numbered::Nothing,
        (1, false) => Numbered::Workers,
        // Without a number, or with the pool's alone, because the worker's was cut.
        (_, true) | (2.., _) => Numbered::Pools,
    }
}

/// Runs of digits.
fn runs(name: &[u8]) -> usize {
    let is_digit = u8::is_ascii_digit;
    let begins = name
        .windows(2)
        .filter(|two| !is_digit(&two[0]) && is_digit(&two[1]));
    begins.count() + usize::from(name.first().is_some_and(is_digit))
}

fn first_number(name: &[u8]) -> Option<u64> {
    let begin = name.iter().position(u8::is_ascii_digit)?;
    let digits = name[begin..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number: u64, digit| {
        number
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: impl IntoIterator<Item = String>) -> Numbers {
        let mut numbers = Numbers::default();
        for name in names {
            numbers.add(&name.as_bytes()[..name.len().min(FULL)]);
        }
        numbers
    }

    fn pools(names: impl IntoIterator<Item = String>) -> Option<u64> {
        numbers(names).pools()
    }

    #[test]
    fn pools_are_counted_and_not_their_workers() {
        let many = (0..300).map(|n| format!("pool-{}-thread-{}", 7 + n / 3, n % 3));
        assert_eq!(pools(many), Some(100));
        assert_eq!(
            pools((0..300).map(|n| format!("pool-7-thread-{n}"))),
            Some(1)
        );
        assert_eq!(
            pools((0..300).map(|n| format!("http-nio-8080-exec-{n}"))),
            Some(1)
        );
        assert_eq!(pools((0..300).map(|n| format!("Timer-{n}"))), Some(300));
        assert_eq!(pools((0..300).map(|n| format!("worker-{n}"))), Some(1));
        assert_eq!(
            pools((0..300).map(|n| format!("report-executor-{n}"))),
            Some(1)
        );
    }

    #[test]
    fn names_that_are_no_pools_tell_nothing() {
        assert_eq!(pools((0..300).map(|n| format!("Thread-{n}"))), None);
        assert_eq!(
            pools((0..300).map(|n| format!("Thread-{n} (handle_2)"))),
            None
        );
        assert_eq!(pools((0..300).map(|_| "app.rb:12".to_owned())), None);
        assert_eq!(pools((0..300).map(|_| "python3".to_owned())), None);
        assert_eq!(pools([]), None);
    }

    #[test]
    fn ports_are_not_handed_out_in_turn() {
        assert!(numbers((1..90).map(|n| format!("pool-{n}-thread-1"))).are_in_turn());
        assert!(!numbers((1..90).map(|n| format!("peer-{}-1", 1024 + 700 * n))).are_in_turn());
        assert!(!numbers([]).are_in_turn());
    }

    #[test]
    fn cut_names_have_the_stem_of_whole_ones() {
        for pattern in ["pool-*-thread-*", "pool-*-thread-", "pool-*-thread"] {
            assert_eq!(stem(pattern.as_bytes()), b"pool-*-thread");
        }
        assert_eq!(stem(b"*"), b"");
        assert_eq!(stem(b""), b"");
    }

    #[test]
    fn a_number_of_any_length_is_one() {
        assert_eq!(first_number(b"99999999999999"), Some(99_999_999_999_999));
        assert!(first_number(&[b'9'; 40]).is_some());
        assert_eq!(runs(b"a1b22c"), 2);
        assert_eq!(runs(b"1"), 1);
        assert_eq!(runs(b""), 0);
    }
}
