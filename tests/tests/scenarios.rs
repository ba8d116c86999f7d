//! The scenarios: what pidwatch promises, as sentences, tried on the machine that this runs on.
//!
//! A program with the arguments of Rust's own test harness (a filter, `--list`, `--exact`, ...).
//! Scenarios that do not apply to this machine are not there at all; each module says why at the
//! place where it chooses. They run one after the other whatever `--test-threads` says: limits and
//! losses are the whole machine's.

#[path = "scenarios/agent.rs"]
mod agent;
#[path = "scenarios/agent_bad_days.rs"]
mod agent_bad_days;
#[path = "scenarios/agent_cost.rs"]
mod agent_cost;
#[path = "scenarios/alerting.rs"]
mod alerting;
#[path = "scenarios/bad_days.rs"]
mod bad_days;
#[path = "scenarios/check.rs"]
mod check;
#[path = "scenarios/compatibility.rs"]
mod compatibility;
#[path = "scenarios/exact.rs"]
mod exact;
#[path = "scenarios/failures.rs"]
mod failures;
#[path = "scenarios/footprint.rs"]
mod footprint;
#[path = "scenarios/image.rs"]
mod image;
#[path = "scenarios/kubernetes.rs"]
mod kubernetes;
#[path = "scenarios/layout.rs"]
mod layout;
#[path = "scenarios/leaks.rs"]
mod leaks;
#[path = "scenarios/lifecycle.rs"]
mod lifecycle;
#[path = "scenarios/names.rs"]
mod names;
#[path = "scenarios/prometheus.rs"]
mod prometheus;
#[path = "scenarios/runtime.rs"]
mod runtime;
#[path = "scenarios/systemd.rs"]
mod systemd;
#[path = "scenarios/terminal.rs"]
mod terminal;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use pidwatch_tests::deadline::Watchdog;
use pidwatch_tests::env::Env;

/// One promise, and how to try it.
struct Scenario {
    module: &'static str,
    name: &'static str,
    limit: Duration,
    run: fn(&Env) -> Result<()>,
}

impl Scenario {
    /// A scenario that may take longer than the usual two minutes.
    fn minutes(mut self, minutes: u64) -> Self {
        self.limit = Duration::from_secs(60 * minutes);
        self
    }

    fn trial(self, env: Arc<Env>) -> Trial {
        let name = format!("{}::{}", self.module, self.name);
        Trial::test(name.clone(), move || {
            env.ensure_complete()
                .map_err(|error| Failed::from(format!("{error:#}")))?;
            println!();
            let began = Instant::now();
            let watchdog = Watchdog::start(self.limit);
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(&env)));
            let late = watchdog.stop();
            println!("    took {:.1} s", began.elapsed().as_secs_f64());
            // The harness ends its line now; what was printed since it began that line must not
            // keep name and outcome apart.
            print!("test {name} ... ");
            let _ = std::io::stdout().flush();
            if late {
                return Err(format!("not finished within {:?}", self.limit).into());
            }
            match outcome {
                Ok(outcome) => outcome.map_err(|error| format!("{error:#}").into()),
                Err(_) => Err(last_panic().into()),
            }
        })
    }
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// What the last panic said and where, so that the summary at the end tells it too: of a guest's
/// console nothing else may be seen.
fn last_panic() -> String {
    LAST_PANIC
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

fn note_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
        print(info);
    }));
}

/// A function as a scenario, under its own name.
macro_rules! scenario {
    ($run:ident) => {
        $crate::Scenario {
            module: module_path!().rsplit("::").next().unwrap_or_default(),
            name: stringify!($run),
            limit: std::time::Duration::from_secs(120),
            run: $run,
        }
    };
}
pub(crate) use scenario;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    note_panics();
    let env = match Env::detect(env!("CARGO_BIN_EXE_pidwatch-load")) {
        Ok(env) => Arc::new(env),
        Err(error) => {
            eprintln!("cannot run the scenarios: {error:#}");
            std::process::exit(1);
        }
    };
    // Guests are slow: one under systemd is for its unit.
    let chosen = if env.systemd {
        vec![systemd::scenarios()]
    } else {
        vec![
            layout::scenarios(&env),
            lifecycle::scenarios(&env),
            exact::scenarios(&env),
            failures::scenarios(&env),
            leaks::scenarios(&env),
            footprint::scenarios(&env),
            bad_days::scenarios(&env),
            check::scenarios(&env),
            compatibility::scenarios(&env),
            names::scenarios(&env),
            runtime::scenarios(&env),
            image::scenarios(&env),
            alerting::scenarios(&env),
            agent::scenarios(&env),
            agent_bad_days::scenarios(&env),
            kubernetes::scenarios(&env),
            prometheus::scenarios(&env),
            agent_cost::scenarios(&env),
            terminal::scenarios(&env),
        ]
    };
    let trials = chosen
        .into_iter()
        .flatten()
        .map(|scenario| scenario.trial(env.clone()))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
