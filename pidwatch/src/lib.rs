//! pidwatch: which container leaks tasks, which limit stops the node and when, and who suffers.
//!
//! Data flows one way: kernel hooks -> map and ring -> [`probe`] -> [`model`] (with [`cgroup`] and [`limits`]) ->
//! [`detect`] -> [`incident`] -> [`snapshot`] -> [`output`]. [`node`] wires it; commands consume what it gives.

pub mod agent;
pub mod cgroup;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod connect;
pub mod detect;
pub mod escape;
pub mod event;
pub mod filter;
pub mod history;
pub mod identity;
pub mod incident;
pub mod limits;
pub mod model;
pub mod node;
pub mod output;
pub mod probe;
pub mod procfs;
pub mod recording;
pub mod report;
pub mod runtime;
pub mod slice;
pub mod snapshot;
pub mod stream;
pub mod survey;
pub mod thresholds;
pub mod tui;
pub mod values;
