//! What pidwatch knows and decides, without where it comes from and how it is shown.
//!
//! Events of the kernel side come in as data ([`probe`]) -> [`model`] -> [`detect`] -> [`incident`] ->
//! [`stream`] -> [`output`], [`report`]. Time is an argument. Nothing here
//! loads BPF, asks a runtime, draws a screen or waits.

pub mod brake;
pub mod cgroup;
pub mod clock;
pub mod detect;
pub mod escape;
pub mod history;
pub mod identity;
pub mod incident;
pub mod limits;
pub mod model;
pub mod output;
pub mod policy;
pub mod probe;
pub mod report;
mod serde_text;
pub mod stream;
pub mod thresholds;
pub mod values;
