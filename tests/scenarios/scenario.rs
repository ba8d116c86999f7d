//! A scenario: a promise, how to try it, and on which machines that is worth its time.
//!
//! In: the place that each scenario states. Out: whether it runs on this machine. The machines are this
//! host and the guests of `cargo xtask test`: every kernel with cgroup v2, one of them with v1 too, and
//! the oldest and the newest under systemd. Guests are emulated and slow, so each runs only what it can
//! make come out otherwise.

use std::time::Duration;

use anyhow::Result;
use pidwatch_tests::cgroup::Layout;
use pidwatch_tests::env::{Env, Kernel};

/// The kernel whose guests try what depends on the layout of cgroups, or takes a container runtime.
const ONE: Kernel = (6, 12);

/// The machines that a scenario runs on, by what its outcome depends on.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    host: bool,
    guests: Guests,
}

#[derive(Debug, Clone, Copy)]
enum Guests {
    None,
    OneKernel,
    EachKernel,
    EachLayout,
    All,
    UnderSystemd,
}

/// No kernel has a part in it and no layout of cgroups: once, on this host.
pub const HOST: Place = Place::on_host(Guests::None);
/// The kernel has a part in it: its hooks, what it charges, what it refuses.
pub const KERNELS: Place = Place::on_host(Guests::EachKernel);
/// How cgroups are mounted has a part in it, and the kernel has none: v1, v2, and what this host has.
pub const LAYOUTS: Place = Place::on_host(Guests::EachLayout);
/// Both have.
pub const EVERYWHERE: Place = Place::on_host(Guests::All);
/// A limit of the whole machine is lowered: where nothing else runs.
pub const GUESTS: Place = Place::in_guests(Guests::All);
/// Real containers: the kernel has a part in them, and a small one.
pub const CONTAINERS: Place = Place::on_host(Guests::OneKernel);
/// Real containers, and a limit of the whole machine.
pub const GUEST_WITH_CONTAINERS: Place = Place::in_guests(Guests::OneKernel);
/// The unit, where systemd is the first process.
pub const UNDER_SYSTEMD: Place = Place::in_guests(Guests::UnderSystemd);

impl Place {
    const fn on_host(guests: Guests) -> Self {
        Self { host: true, guests }
    }

    const fn in_guests(guests: Guests) -> Self {
        Self {
            host: false,
            guests,
        }
    }

    fn includes(self, env: &Env) -> bool {
        let is_v2 = env.hierarchy.layout == Layout::V2;
        if !env.guest {
            return self.host;
        }
        match self.guests {
            Guests::UnderSystemd => env.systemd,
            _ if env.systemd => false,
            Guests::None => false,
            Guests::OneKernel => is_v2 && env.kernel == ONE,
            Guests::EachKernel => is_v2,
            Guests::EachLayout => !is_v2 || env.kernel == ONE,
            Guests::All => true,
        }
    }
}

/// One promise, and how to try it.
#[derive(Debug)]
pub struct Scenario {
    pub module: &'static str,
    pub name: &'static str,
    pub limit: Duration,
    pub run: fn(&Env) -> Result<()>,
    pub place: Place,
    /// The first kernel that has it, and the first that has it no more.
    pub kernels: (Option<Kernel>, Option<Kernel>),
    /// The layout that it takes, if one.
    pub layout: Option<Layout>,
    /// Takes more than some seconds: `cargo xtask test --quick` leaves it out.
    pub is_slow: bool,
}

impl Scenario {
    /// May take longer than the usual two minutes.
    pub fn minutes(mut self, minutes: u64) -> Self {
        self.limit = Duration::from_secs(60 * minutes);
        self
    }

    /// Takes more than some seconds.
    pub fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    /// Only from this kernel on.
    pub fn since(mut self, kernel: Kernel) -> Self {
        self.kernels.0 = Some(kernel);
        self
    }

    /// Only on kernels older than this.
    pub fn before(mut self, kernel: Kernel) -> Self {
        self.kernels.1 = Some(kernel);
        self
    }

    /// Only where cgroups are mounted like this.
    pub fn with(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// Whether it runs on this machine.
    pub fn applies(&self, env: &Env) -> bool {
        let (since, before) = self.kernels;
        self.place.includes(env)
            && since.is_none_or(|first| env.kernel >= first)
            && before.is_none_or(|first| env.kernel < first)
            && self
                .layout
                .is_none_or(|layout| env.hierarchy.layout == layout)
    }
}

/// A function as a scenario, under its own name, with its place.
macro_rules! scenario {
    ($place:ident, $run:ident) => {
        $crate::scenario::Scenario {
            module: module_path!().rsplit("::").next().unwrap_or_default(),
            name: stringify!($run),
            limit: std::time::Duration::from_mins(2),
            run: $run,
            place: $crate::scenario::$place,
            kernels: (None, None),
            layout: None,
            is_slow: false,
        }
    };
}
pub(crate) use scenario;
