//! What the load generator tells of itself, for those who compare with it.

pub mod truth;
