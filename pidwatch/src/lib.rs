//! pidwatch: which container leaks tasks, which limit stops the node and when, and who suffers.
//!
//! Data flows one way: kernel hooks -> map and ring -> [`probe`] -> [`model`] (with [`cgroup`] and [`limits`]) ->
//! [`detect`] -> [`incident`] -> [`snapshot`] -> [`output`]. [`node`] wires it; commands consume what it gives.

pub mod agent;
pub mod alarm;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod detect;
pub mod diagnostics;
pub mod escape;
pub mod footprint;
pub mod generate;
pub mod history;
pub mod identity;
pub mod incident;
pub mod limits;
pub mod model;
pub mod node;
pub mod output;
pub mod post_mortem;
pub mod probe;
pub mod record;
pub mod recording;
pub mod replay;
pub mod report;
pub mod settings;
pub mod snapshot;
pub mod state_file;
pub mod stream;
pub mod thresholds;
pub mod trace;
pub mod tui;
pub mod watch;
