//! pidwatch: which container leaks tasks, which limit stops the node and when, and who suffers.
//!
//! Data flows one way: kernel hooks -> map and ring -> [`probe`] -> [`model`] (with [`cgroup`] and [`limits`]) ->
//! [`detect`] -> [`incident`] -> [`stream`] -> [`output`]. [`node`] wires it; commands consume its lines.

pub use pidwatch_core::{
    clock, detect, escape, history, incident, limits, model, output, policy, report, stream,
    thresholds, values,
};

pub mod agent;
pub mod brake;
pub mod cgroup;
pub mod cli;
pub mod commands;
pub mod connect;
pub mod filter;
pub mod identity;
pub mod node;
pub mod probe;
pub mod procfs;
pub mod recording;
pub mod runtime;
pub mod slice;
pub mod survey;
pub mod tui;
