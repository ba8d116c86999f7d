//! What the tasks of a cgroup are called, and which of them are of one kind.

/// Names of a cgroup's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledTaskNames {
    /// How many tasks' names were read.
    pub sampled: u64,
    /// The commonest patterns, and how many of the sampled tasks have each. A number in a name is
    /// `*`: `http-nio-*-exec-*`. Any bytes.
    pub patterns: Vec<(Vec<u8>, u64)>,
    /// The process with the most threads, by its name, PID and number of threads.
    pub largest: (Vec<u8>, u32, u64),
}

/// A task's name with every number as `*`: tasks of one kind have one pattern.
pub fn pattern(name: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(name.len());
    for &byte in name {
        if !byte.is_ascii_digit() {
            pattern.push(byte);
        } else if pattern.last() != Some(&b'*') {
            pattern.push(b'*');
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_name_are_stars() {
        assert_eq!(pattern(b"http-nio-8080-exec-12"), b"http-nio-*-exec-*");
        assert_eq!(pattern(b"pool-1-thread-7"), b"pool-*-thread-*");
        assert_eq!(pattern(b"java"), b"java");
        assert_eq!(pattern(b""), b"");
    }
}
