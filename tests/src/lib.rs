//! Harness of the black-box tests: what runs pidwatch, what makes the load, and what is compared.
//!
//! The scenarios in `tests/scenarios/` read as sentences; this library is their vocabulary. It
//! relies on nothing of pidwatch but its command line and its JSON stream: the truth about how many
//! tasks were created, ended or refused comes from the load itself ([`truth::Truth`], printed by
//! the program `pidwatch-load`), and is compared without any tolerance.
//!
//! | module | what it is |
//! |---|---|
//! | [`env`] | where the programs are, host or guest, which kernel |
//! | [`agent`] | a running agent, and HTTP to it |
//! | [`cgroup`] | cgroups that vanish, with what is in them, when the scenario ends |
//! | [`containerd`] | a real container runtime, its own for the scenario |
//! | [`cri`], [`cri_container`] | calls to a container runtime |
//! | [`fake_api`] | an API server that takes events, and as strictly as the real one |
//! | [`fake_runtime`] | a container runtime that answers rightly, hostilely, late or never |
//! | [`load`] | runs `pidwatch-load` |
//! | [`manifest`] | the deployed DaemonSet, as a runtime is asked for it |
//! | [`monitoring`] | Prometheus with the alert rules, and Alertmanager |
//! | [`pidwatch`] | runs pidwatch and collects its events |
//! | [`recording`] | sums over collected events |
//! | [`stepwise`] | kills a program after a step of its choice |
//! | [`surroundings`] | missing root, capabilities, mounts, limits: the bad days |
//! | [`sysctl`] | limits of the whole machine, lowered for a scenario |
//! | [`systemd`] | pidwatch's unit and others, under the real one |
//! | [`deadline`] | bounds every scenario in time |

#![expect(
    clippy::missing_errors_doc,
    reason = "every function here fails when what it tries to do fails, and the scenario with it"
)]

pub mod agent;
pub mod cgroup;
pub mod containerd;
pub mod cri;
pub mod cri_container;
pub mod deadline;
pub mod env;
pub mod fake_api;
pub mod fake_runtime;
pub mod load;
pub mod manifest;
pub mod monitoring;
pub mod pidwatch;
pub mod recording;
pub mod stepwise;
pub mod surroundings;
pub mod sysctl;
pub mod systemd;
pub mod tmux;

pub use pidwatch_load::truth;
