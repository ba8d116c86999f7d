//! What the tasks of a cgroup are called.

/// Names of a cgroup's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNames {
    /// How many tasks' names were read.
    pub sampled: u64,
    /// The commonest patterns, and how many of the sampled tasks have each. A number in a name is
    /// `*`: `http-nio-*-exec-*`. Any bytes.
    pub patterns: Vec<(Vec<u8>, u64)>,
    /// The process with the most threads, by its name, PID and number of threads.
    pub largest: (Vec<u8>, u32, u64),
}
