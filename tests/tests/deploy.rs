//! What is in `deploy/`, tried with the tools that will read it: promtool, Helm, Kubernetes' schemas.
//!
//! Ordinary tests. A tool that is not there fails its tests with the way to get it; `cargo xtask
//! test` installs them all and names the Python that has them in `PIDWATCH_PYTHON`.

#[path = "deploy/alerts.rs"]
mod alerts;
#[path = "deploy/chart.rs"]
mod chart;
#[path = "deploy/metrics.rs"]
mod metrics;
#[path = "deploy/queries.rs"]
mod queries;
#[path = "deploy/release.rs"]
mod release;
#[path = "deploy/tools.rs"]
mod tools;
#[path = "deploy/unit.rs"]
mod unit;
