//! Scores the detector on the labelled corpus, side by side with what people use today.
//!
//! In: nothing but seeds. Out: the tables of docs/detection.md as Markdown, and a failure when a
//! hard target is missed: every leak found, nobody else called leaking, the culprit named.

mod baseline;
mod bench;
mod benign;
mod case;
mod corpus;
mod leaks;
mod owner;
mod part;
mod play;
mod random;
mod recorded;
mod recorded_tasks;
mod score;
mod step;
mod tasks;
mod tradeoff;

use std::process::ExitCode;

use clap::Parser;
use pidwatch_core::detect::DetectSettings;

use corpus::Selection;
use play::{Depth, Sight, play};

/// Scores the detector on the labelled corpus.
#[derive(Parser)]
struct Options {
    /// One case of each kind
    #[arg(long)]
    quick: bool,
    /// Another corpus, of the same kinds
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only kinds with this in their name; tells each flag
    #[arg(long)]
    only: Option<String>,
    /// Only cases that the detector may be tuned by
    #[arg(long)]
    seen: bool,
    /// Nothing but how long the detector takes and how much memory
    #[arg(long)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.bench {
        bench::bench();
        return ExitCode::SUCCESS;
    }
    let selection = Selection {
        seed: options.seed,
        only: options.only.clone(),
        is_quick: options.quick,
        is_seen_only: options.seen,
        is_every_third: false,
    };
    let settings = DetectSettings::default();
    let all = |depth, sight| -> Vec<_> {
        let cases = selection.cases();
        cases
            .map(|case| play(case, &settings, depth, sight))
            .collect()
    };
    let outcomes = all(Depth::Whole, Sight::Tasks);
    let without = all(Depth::Flags, Sight::Curve);
    if outcomes.is_empty() {
        eprintln!("error: no kind has that in its name");
        return ExitCode::FAILURE;
    }
    if options.only.is_some() {
        score::tell_each(&outcomes);
    }
    score::tables(&outcomes, &without);
    if !options.quick && options.only.is_none() && options.seed == 0 {
        tradeoff::curves(&selection);
        bench::bench();
    }
    let missed = score::missed(&outcomes);
    println!();
    for target in &missed {
        println!("missed: {target}");
    }
    let leaks: usize = outcomes.iter().map(|outcome| outcome.episodes.len()).sum();
    let days = score::days(&outcomes.iter().collect::<Vec<_>>());
    println!(
        "{} cases, {leaks} leaks, {days:.0} owner-days without one: {} hard targets missed",
        outcomes.len(),
        missed.len()
    );
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
