//! The scenarios: what pidwatch promises, as sentences, tried on the machine that this runs on.
//!
//! A program with the arguments of Rust's own test harness (a filter, `--list`, `--exact`, ...). With
//! PIDWATCH_TEST_QUICK in its environment it leaves out those that take more than some seconds.
//! Scenarios that do not apply to this machine are not there at all ([`scenario::Place`]). They run one
//! after the other whatever `--test-threads` says: limits and losses are the whole machine's.

mod agent;
mod agent_bad_days;
mod agent_cost;
mod alerting;
mod automatic_brake;
mod bad_days;
mod brake;
mod check;
mod compatibility;
mod evidence;
mod exact;
mod exhaustion;
mod failures;
mod footprint;
mod image;
mod kubernetes;
mod layout;
mod leaks;
mod lifecycle;
mod names;
mod owners;
mod prometheus;
mod recordings;
mod runtime;
mod scenario;
mod systemd;
mod terminal;
mod verdicts;
mod zombies;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use pidwatch_tests::deadline::Watchdog;
use pidwatch_tests::env::Env;

use scenario::Scenario;

fn trial(scenario: Scenario, env: Arc<Env>) -> Trial {
    let name = format!("{}::{}", scenario.module, scenario.name);
    Trial::test(name.clone(), move || {
        env.ensure_complete()
            .map_err(|error| Failed::from(format!("{error:#}")))?;
        println!();
        let began = Instant::now();
        let watchdog = Watchdog::start(scenario.limit);
        let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&env)));
        let late = watchdog.stop();
        println!("    took {:.1} s", began.elapsed().as_secs_f64());
        // The harness ends its line now; what was printed since it began that line must not
        // keep name and outcome apart.
        print!("test {name} ... ");
        let _ = std::io::stdout().flush();
        if late {
            return Err(format!("not finished within {:?}", scenario.limit).into());
        }
        match outcome {
            Ok(outcome) => outcome.map_err(|error| format!("{error:#}").into()),
            Err(_) => Err(last_panic().into()),
        }
    })
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

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    note_panics();
    let env = match Env::detect() {
        Ok(env) => Arc::new(env),
        Err(error) => {
            eprintln!("cannot run the scenarios: {error:#}");
            std::process::exit(1);
        }
    };
    let all = [
        layout::scenarios(),
        lifecycle::scenarios(),
        evidence::scenarios(),
        exact::scenarios(),
        zombies::scenarios(),
        failures::scenarios(),
        exhaustion::scenarios(),
        leaks::scenarios(),
        recordings::scenarios(),
        footprint::scenarios(),
        bad_days::scenarios(),
        automatic_brake::scenarios(),
        brake::scenarios(),
        check::scenarios(),
        compatibility::scenarios(),
        names::scenarios(),
        owners::scenarios(),
        verdicts::scenarios(),
        runtime::scenarios(),
        image::scenarios(),
        alerting::scenarios(),
        agent::scenarios(),
        agent_bad_days::scenarios(),
        kubernetes::scenarios(),
        prometheus::scenarios(),
        agent_cost::scenarios(),
        terminal::scenarios(),
        systemd::scenarios(),
    ];
    let is_quick = std::env::var_os("PIDWATCH_TEST_QUICK").is_some();
    let trials = all
        .into_iter()
        .flatten()
        .filter(|scenario| scenario.applies(&env) && !(is_quick && scenario.is_slow))
        .map(|scenario| trial(scenario, env.clone()))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
