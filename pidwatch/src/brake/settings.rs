//! How the agent brakes by itself.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::values::parse_duration;

/// What the agent does about a leak that is about to exhaust a limit that others share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BrakeMode {
    /// Nothing.
    #[default]
    Off,
    /// Report what `on` would do.
    DryRun,
    /// Lower its pids.max.
    On,
}

/// Owners that are never braked.
#[derive(Args, Clone, Debug, Default)]
pub struct BrakeExceptions {
    /// Never brake these: systemd units, Kubernetes namespaces or cgroup paths (comma-separated).
    #[arg(
        long = "brake-never",
        value_delimiter = ',',
        value_name = "LIST",
        env = "PIDWATCH_BRAKE_NEVER"
    )]
    pub never: Vec<String>,
}

/// The automatic brake.
#[derive(Args, Clone, Debug)]
pub struct AutomaticBrake {
    /// Stop a proven leak before it exhausts a limit that others share: `on` lowers the pids.max of its cgroup to what
    /// it holds, `dry-run` only reports it.
    #[arg(
        long = "brake",
        value_enum,
        default_value_t,
        value_name = "MODE",
        env = "PIDWATCH_BRAKE"
    )]
    pub mode: BrakeMode,
    /// Brake when the limit would be exhausted within this time.
    #[arg(long = "brake-horizon", value_parser = parse_duration, default_value = "2m", value_name = "TIME", env = "PIDWATCH_BRAKE_HORIZON")]
    pub horizon: Duration,
    /// Restore the previous limit after this time, unless the brake refused tasks meanwhile.
    #[arg(long = "brake-for", value_parser = parse_duration, default_value = "15m", value_name = "TIME", env = "PIDWATCH_BRAKE_FOR")]
    pub lasts: Duration,
    /// Owners that are braked at the same time, at most.
    #[arg(
        long = "brake-max",
        default_value_t = 3,
        value_name = "N",
        env = "PIDWATCH_BRAKE_MAX"
    )]
    pub most: usize,
    /// Exceptions.
    #[command(flatten)]
    pub exceptions: BrakeExceptions,
}

impl AutomaticBrake {
    /// Nobody is braked but on request, and never these.
    pub fn on_request(exceptions: &BrakeExceptions) -> Self {
        Self {
            mode: BrakeMode::Off,
            horizon: Duration::ZERO,
            lasts: Duration::ZERO,
            most: 0,
            exceptions: exceptions.clone(),
        }
    }
}
