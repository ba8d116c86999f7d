//! The thresholds of evidence, each with its reason.

use std::time::Duration;

/// What counts as evidence. The shares were measured on real programs: of leaks without a heartbeat 86 to
/// 100 % of the tasks older than 150 s had not run for 120 s, of busy pools about none.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceSettings {
    /// Tasks that evidence must be about to make a growth a leak: fewer than [`super::super::DetectSettings::leak_gain`],
    /// as it no longer has to outgrow a pool, but more than the idle workers of a warm-up ...
    pub evidence_gain: u64,
    /// ... and this share of the headroom, where that is more.
    pub evidence_share: f64,
    /// And the growth has lasted so long: a program that starts is done by then.
    pub evidence_time: Duration,
    /// From this age on a task is asked whether it still runs ...
    pub stale_age: Duration,
    /// ... and is stale if it has not for so long: longer than most heartbeats and periods.
    pub stale_idle: Duration,
    /// Share of the old tasks that is stale in a leak.
    pub stale_share: f64,
    /// Old tasks that there must be to take a share of.
    pub stale_tasks: u64,
    /// Share of the stale ones that wait for a connection from which on they may be quiet clients'.
    pub connection_share: f64,
    /// So many different pools in a growth are the pools of a program, which are being filled; idle workers
    /// prove nothing then.
    pub few_pools: u64,
    /// So many different pools are made by what leaks them.
    pub many_pools: u64,
    /// A zombie is old from this age on: a parent that reaps at all has done so.
    pub zombie_age: Duration,
    /// Zombies of which none old was ever reaped are a leak when the oldest is so old (a batch that waits
    /// for its children at its end takes minutes) ...
    pub zombie_time: Duration,
    /// ... or when they fill this share of the headroom.
    pub zombie_share: f64,
    /// Share of a limit's headroom that owners below it take together, each growing like the others, to be
    /// a leak: as much as a single one takes.
    pub joint_share: f64,
    /// Share of the tasks older than a minute that ran within the last one, in a busy pool.
    pub busy_share: f64,
    /// Tasks that the growth of a busy pool must have brought to be a leak ...
    pub busy_gain: u64,
    /// ... or the share of the headroom. A leak whose tasks run now and then is found by these.
    pub busy_limit: f64,
}

impl Default for EvidenceSettings {
    fn default() -> Self {
        Self {
            evidence_gain: 100,
            evidence_share: 0.005,
            evidence_time: Duration::from_mins(1),
            stale_age: Duration::from_secs(150),
            stale_idle: Duration::from_mins(2),
            stale_share: 0.8,
            stale_tasks: 40,
            connection_share: 0.3,
            few_pools: 4,
            many_pools: 20,
            zombie_age: Duration::from_mins(1),
            zombie_time: Duration::from_mins(5),
            zombie_share: 0.3,
            joint_share: 0.5,
            busy_share: 0.9,
            busy_gain: 1500,
            busy_limit: 0.75,
        }
    }
}
