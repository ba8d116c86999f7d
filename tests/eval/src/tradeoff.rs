//! What other thresholds would give: delay against false flags.
//!
//! On the cases that tuning looked at, one in three of each kind, so that it takes seconds.

use pidwatch_core::detect::DetectSettings;

use super::corpus::Selection;
use super::play::{Depth, Episode, Outcome, Sight, play};
use super::score::{days, growing_in_time, leaking_in_time, spread};

/// Factors on how much a leak must have brought.
const LEAK: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Least gains of `growing`.
const GROWING: [u64; 5] = [10, 20, 40, 80, 160];

/// Prints both curves.
pub fn curves(selection: &Selection) {
    let selection = Selection {
        is_every_third: true,
        ..selection.clone()
    };
    println!("\n### Trade-off: `leaking`\n");
    println!(
        "`leak_gain`, `leak_share` and `most_share` by a factor.\n\n| factor | found | false flags an owner-day | \
         headroom used: median / p90 | in time |\n|---|---|---|---|---|"
    );
    for factor in LEAK {
        let default = DetectSettings::default();
        let outcomes = all(
            &selection,
            &DetectSettings {
                leak_gain: (default.leak_gain as f64 * factor) as u64,
                leak_share: default.leak_share * factor,
                most_share: (default.most_share * factor).min(0.9),
                ..default
            },
        );
        let episodes: Vec<&Episode> = outcomes.iter().flat_map(|of| &of.episodes).collect();
        let found = episodes.iter().filter(|episode| episode.leaking.is_some());
        let used = spread(found.clone().map(|episode| 100.0 * episode.used));
        let [median, p90, _] = used.unwrap_or_default();
        let wrong: usize = outcomes.iter().map(|of| of.leaking.len()).sum();
        println!(
            "| {factor} | {} of {} | {:.3} | {median:.1} % / {p90:.1} % | {} of {} |",
            found.count(),
            episodes.len(),
            wrong as f64 / days(&outcomes.iter().collect::<Vec<_>>()),
            episodes.iter().filter(|of| leaking_in_time(of)).count(),
            episodes.len(),
        );
    }
    println!(
        "\n### Trade-off: `growing`\n\n| `growing_gain` | false flags an owner-day | steady leaks \
         told in time | after, s, from 10/s on: median | from 1/s on | from 1/min on \
         |\n|---|---|---|---|---|---|"
    );
    for gain in GROWING {
        let settings = DetectSettings {
            growing_gain: gain,
            ..DetectSettings::default()
        };
        let outcomes = all(&selection, &settings);
        let episodes = || outcomes.iter().flat_map(|of| &of.episodes);
        let in_time: Vec<bool> = episodes().filter_map(growing_in_time).collect();
        let wrong: usize = outcomes.iter().map(|of| of.growing.len()).sum();
        let after = |least: f64, most: f64| {
            let steady = |of: &&Episode| {
                of.steady_per_s
                    .is_some_and(|at| (least..most).contains(&at))
            };
            let of = episodes().filter(steady).filter_map(|of| of.growing);
            spread(of.map(|after| after as f64)).map_or("-".into(), |of| format!("{:.0}", of[0]))
        };
        println!(
            "| {gain} | {:.2} | {} of {} | {} | {} | {} |",
            wrong as f64 / days(&outcomes.iter().collect::<Vec<_>>()),
            in_time.iter().filter(|is_met| **is_met).count(),
            in_time.len(),
            after(9.99, f64::INFINITY),
            after(0.99, 9.99),
            after(0.0, 0.99),
        );
    }
}

fn all(selection: &Selection, settings: &DetectSettings) -> Vec<Outcome> {
    let cases = selection.cases();
    cases
        .map(|case| play(case, settings, Depth::Flags, Sight::Tasks))
        .collect()
}
