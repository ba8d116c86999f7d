//! What one second changes in the tasks of a part: the only thing that parts and task lists share.

/// What happens in one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    pub created: u64,
    /// Ended, zombies among them.
    pub ended: u64,
    /// Of those that ended, how many nobody reaps; negative: earlier ones that are reaped now.
    pub unreaped: i64,
    /// Moved in from elsewhere (or out, where negative) without a creation.
    pub moved: i64,
}

impl Step {
    /// What takes a level from one value to another.
    pub fn between(from: u64, to: u64) -> Self {
        Self {
            created: to.saturating_sub(from),
            ended: from.saturating_sub(to),
            ..Self::default()
        }
    }
}
