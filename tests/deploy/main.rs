//! What is in `deploy/`, tried with the tools that will read it: promtool, Helm, Kubernetes' schemas.
//!
//! Ordinary tests. A tool that is not there fails its tests with the way to get it; `cargo xtask
//! test` gets them all and names the Python that has them in `PIDWATCH_PYTHON`.

mod alerts;
mod chart;
mod metrics;
mod queries;
mod release;
mod tools;
mod unit;
