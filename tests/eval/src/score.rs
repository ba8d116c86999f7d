//! From outcomes to tables, in Markdown.

use super::baseline;
use super::play::{Episode, Outcome};

/// Share of the true time to exhaustion that a forecast may be off.
const FORECAST_ERROR: f64 = 0.2;

/// The outcomes of a part of the corpus.
pub struct Part<'a> {
    name: &'a str,
    outcomes: Vec<&'a Outcome>,
    /// Without evidence.
    without: Vec<&'a Outcome>,
}

/// Tells each flag and episode.
pub fn tell_each(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let name = format!("{} {}", outcome.class, outcome.number);
        for episode in &outcome.episodes {
            println!("{name}: {episode:?}");
        }
        for (state, flags) in [("growing", &outcome.growing), ("leaking", &outcome.leaking)] {
            for flag in flags {
                let (owner, at, why) = (flag.owner, flag.at, &flag.why);
                println!("{name}: false {state}: owner {owner} at {at} s: {why}");
            }
        }
    }
}

/// Prints all tables.
/// The second are of the same cases, without a look at tasks.
pub fn tables(outcomes: &[Outcome], without: &[Outcome]) {
    for (name, is_unseen) in [
        ("cases that tuning looked at", false),
        ("unseen cases", true),
    ] {
        let of = outcomes
            .iter()
            .filter(|outcome| outcome.is_unseen == is_unseen);
        let part = Part {
            name,
            outcomes: of.collect(),
            without: without
                .iter()
                .filter(|outcome| outcome.is_unseen == is_unseen)
                .collect(),
        };
        if part.outcomes.is_empty() {
            continue;
        }
        part.leaks();
        part.evidence();
        part.forecasts();
        part.benign();
        part.rules();
    }
}

/// What the hard targets miss, in words.
pub fn missed(outcomes: &[Outcome]) -> Vec<String> {
    let mut missed = Vec::new();
    for outcome in outcomes {
        let name = format!("{} {}", outcome.class, outcome.number);
        for flag in &outcome.leaking {
            missed.push(format!(
                "{name}: owner {} called leaking at {} s: {}",
                flag.owner, flag.at, flag.why
            ));
        }
        for episode in &outcome.episodes {
            let Episode { owner, from, .. } = episode;
            if episode.leaking.is_none() {
                missed.push(format!(
                    "{name}: the leak of {owner} from {from} s on not found"
                ));
            }
            if !episode.is_named_right {
                missed.push(format!("{name}: others named beside {owner}"));
            }
        }
    }
    missed
}

impl Part<'_> {
    /// Rows by class, in the order of the corpus.
    fn classes(&self, is_leak: bool) -> Vec<(&'static str, Vec<&Outcome>)> {
        let mut classes: Vec<(&'static str, Vec<&Outcome>)> = Vec::new();
        for outcome in &self.outcomes {
            if outcome.is_leak != is_leak {
                continue;
            }
            match classes.iter_mut().find(|(name, _)| *name == outcome.class) {
                Some((_, of)) => of.push(outcome),
                None => classes.push((outcome.class, vec![outcome])),
            }
        }
        classes
    }

    fn leaks(&self) {
        println!("\n### Leaks, {}\n", self.name);
        println!(
            "| | leaks | found | culprit right | growing after, s: median / p90 / worst | in time | \
             leaking after, s: median / p90 / worst | headroom used: median / worst | in time |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let row = |name: &str, episodes: &[&Episode]| {
            let growing = episodes.iter().filter_map(|episode| episode.growing);
            let leaking = episodes.iter().filter_map(|episode| episode.leaking);
            let found = || episodes.iter().filter(|episode| episode.leaking.is_some());
            let used = spread(found().map(|episode| 100.0 * episode.used));
            let used = used.map_or("-".into(), |[median, _, worst]| {
                format!("{median:.1} % / {worst:.1} %")
            });
            let named = episodes.iter().filter(|episode| episode.is_named_right);
            println!(
                "| {name} | {} | {} | {} | {} | {} | {} | {used} | {} |",
                episodes.len(),
                found().count(),
                named.count(),
                seconds(growing),
                share(
                    episodes
                        .iter()
                        .filter_map(|episode| growing_in_time(episode))
                ),
                seconds(leaking),
                share(episodes.iter().map(|episode| leaking_in_time(episode))),
            );
        };
        let mut all = Vec::new();
        for (name, outcomes) in self.classes(true) {
            let of: Vec<&Episode> = outcomes.iter().flat_map(|of| &of.episodes).collect();
            row(name, &of);
            all.extend(of);
        }
        row("**all**", &all);
        println!("\n`leaking` in time, by the limit that is hit first:\n");
        let is_split = |episode: &&&Episode| episode.share_of > 1;
        let alone = || all.iter().filter(|episode| !is_split(episode));
        let by_limit = |name: &str, least: u64, most: u64| {
            let of = alone().filter(|of| (least..most).contains(&of.pids_max.unwrap_or(u64::MAX)));
            println!("- {name}: {}", share(of.map(|of| leaking_in_time(of))));
        };
        by_limit("`pids.max` below 4,096", 0, 4096);
        by_limit("`pids.max` of 4,096 to 16,384", 4096, u64::MAX);
        let of_node = alone().filter(|of| of.pids_max.is_none());
        println!(
            "- the node's: {}",
            share(of_node.map(|of| leaking_in_time(of)))
        );
        let split = all.iter().filter(is_split);
        println!(
            "- the node's, split over replicas: {}",
            share(split.map(|of| leaking_in_time(of)))
        );
        for (name, outcomes) in self.classes(true) {
            if name != "the incident" {
                continue;
            }
            let lead = outcomes.iter().flat_map(|of| &of.episodes).map(|episode| {
                let full = episode.full.unwrap_or(0);
                full.saturating_sub(episode.leaking.unwrap_or(full))
            });
            let lead: Vec<String> = lead.map(|seconds| seconds.to_string()).collect();
            println!(
                "\nThe incident: seconds from `leaking` to the first failure (more than 480 are asked for): {}.",
                lead.join(", ")
            );
        }
    }

    /// What evidence does: each kind of leak with it and without.
    fn evidence(&self) {
        println!(
            "\n### With evidence and without, {}\n\n| | leaking after, s: median / p90 / worst | headroom used: \
             median / p90 | without evidence: after, s | headroom used |\n|---|---|---|---|---|",
            self.name
        );
        let of = |outcomes: &[&Outcome], class: Option<&str>| -> String {
            let of_class = outcomes
                .iter()
                .filter(|outcome| class.is_none_or(|class| outcome.class == class));
            let episodes: Vec<&Episode> = of_class.flat_map(|of| &of.episodes).collect();
            let found = || episodes.iter().filter(|episode| episode.leaking.is_some());
            let used = spread(found().map(|episode| 100.0 * episode.used));
            let used = used.map_or("-".into(), |[median, p90, _]| {
                format!("{median:.1} % / {p90:.1} %")
            });
            format!(
                "{} | {used}",
                seconds(found().filter_map(|episode| episode.leaking))
            )
        };
        for (name, _) in self.classes(true) {
            let (with, without) = (
                of(&self.outcomes, Some(name)),
                of(&self.without, Some(name)),
            );
            println!("| {name} | {with} | {without} |");
        }
        let (with, without) = (of(&self.outcomes, None), of(&self.without, None));
        println!("| **all** | {with} | {without} |");
    }

    fn forecasts(&self) {
        println!(
            "\n### Forecasts of steady leaks, {}\n\n| | leaks | first forecast within 20 % | \
             all within 20 % | error: median / p90 |\n|---|---|---|---|---|",
            self.name
        );
        for (name, outcomes) in self.classes(true) {
            let episodes = outcomes.iter().flat_map(|of| &of.episodes);
            let of: Vec<&Vec<f64>> = episodes
                .map(|episode| &episode.forecasts)
                .filter(|forecasts| !forecasts.is_empty())
                .collect();
            if of.is_empty() {
                continue;
            }
            let is_near = |error: &f64| error.abs() <= FORECAST_ERROR;
            let all = || of.iter().copied().flatten();
            let error = spread(all().map(|error| 100.0 * error.abs()));
            let error = error.map_or("-".into(), |[median, p90, _]| {
                format!("{median:.0} % / {p90:.0} %")
            });
            println!(
                "| {name} | {} | {} | {} | {error} |",
                of.len(),
                share(of.iter().map(|forecasts| is_near(&forecasts[0]))),
                share(all().map(is_near)),
            );
        }
    }

    fn benign(&self) {
        let [usage, predict, forks] = baseline::NAMES;
        println!(
            "\n### Owners that do not leak, {}\n\nFlags an owner-day.\n\n| | owner-days | leaking | \
             growing | {usage} | {predict} | {forks} |\n|---|---|---|---|---|---|---|",
            self.name
        );
        let row = |name: &str, outcomes: &[&Outcome]| {
            let days = days(outcomes);
            let rate = |flags: usize| match flags {
                0 => "0".to_owned(),
                flags => format!("{:.2}", flags as f64 / days),
            };
            let of_rule = |rule: usize| {
                let flags = outcomes
                    .iter()
                    .map(|outcome| outcome.baselines[rule] as usize);
                rate(flags.sum())
            };
            println!(
                "| {name} | {days:.1} | {} | {} | {} | {} | {} |",
                rate(outcomes.iter().map(|outcome| outcome.leaking.len()).sum()),
                rate(outcomes.iter().map(|outcome| outcome.growing.len()).sum()),
                of_rule(0),
                of_rule(1),
                of_rule(2),
            );
        };
        let mut all = Vec::new();
        for (name, outcomes) in self.classes(false) {
            row(name, &outcomes);
            all.extend(outcomes);
        }
        row("**all**", &all);
        let beside: Vec<&Outcome> = self.classes(true).into_iter().flat_map(|of| of.1).collect();
        row("before and beside leaks", &beside);
    }

    fn rules(&self) {
        println!(
            "\n### Side by side, {}\n\n| | found before the limit is full | culprit right among \
             others | false flags an owner-day | after, s: median / p90 / worst | headroom used: \
             median / p90 |\n|---|---|---|---|---|---|",
            self.name
        );
        let row = |name: &str,
                   outcomes: &[&Outcome],
                   flag: &dyn Fn(&Episode) -> Option<(u64, f64)>,
                   named: &dyn Fn(&Episode) -> bool,
                   wrong: usize| {
            let episodes = || outcomes.iter().flat_map(|of| &of.episodes);
            let among = outcomes
                .iter()
                .filter(|outcome| outcome.owners > 1 && outcome.is_leak)
                .flat_map(|outcome| &outcome.episodes);
            let before_full = |episode: &Episode| {
                flag(episode).filter(|(at, _)| episode.full.is_none_or(|full| *at < full))
            };
            let flags = || episodes().filter_map(before_full);
            let used = spread(flags().map(|(_, used)| 100.0 * used));
            let used = used.map_or("-".into(), |[median, p90, _]| {
                format!("{median:.1} % / {p90:.1} %")
            });
            println!(
                "| {name} | {} | {} | {:.3} | {} | {used} |",
                share(episodes().map(|episode| before_full(episode).is_some())),
                share(among.map(|of| before_full(of).is_some() && named(of))),
                wrong as f64 / days(outcomes),
                seconds(flags().map(|(at, _)| at)),
            );
        };
        let leaking = |episode: &Episode| Some((episode.leaking?, episode.used));
        for (name, outcomes) in [
            ("pidwatch, `leaking`", &self.outcomes),
            ("the same without evidence", &self.without),
        ] {
            let wrong = outcomes.iter().map(|outcome| outcome.leaking.len()).sum();
            row(name, outcomes, &leaking, &|of| of.is_named_right, wrong);
        }
        for (rule, name) in baseline::NAMES.iter().enumerate() {
            let wrong: u64 = self.outcomes.iter().map(|of| of.baselines[rule]).sum();
            let flag = |episode: &Episode| episode.baselines[rule];
            row(
                name,
                &self.outcomes,
                &flag,
                &|of| of.baselines_named[rule],
                wrong as usize,
            );
        }
    }
}

/// `growing` within 10 s from 10 tasks/s on, within a minute from 1/s on, within an hour else; where
/// the leak is a steady one.
pub fn growing_in_time(episode: &Episode) -> Option<bool> {
    let allowed = match episode.steady_per_s? {
        10.0.. => 10,
        0.999.. => 60,
        _ => 3600,
    };
    Some(episode.growing.is_some_and(|after| after <= allowed))
}

/// `leaking` before 3 % of the headroom are used, or within 30 s.
pub fn leaking_in_time(episode: &Episode) -> bool {
    let allowed = episode.three_percent.unwrap_or(u64::MAX).max(30);
    episode.leaking.is_some_and(|after| after <= allowed)
}

/// Days of owners that did not leak.
pub fn days(outcomes: &[&Outcome]) -> f64 {
    outcomes
        .iter()
        .map(|outcome| outcome.calm_s as f64 / 86_400.0)
        .sum()
}

/// Median, 90th percentile and worst.
pub fn spread(values: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(last as f64 * share).round() as usize];
    Some([at(0.5), at(0.9), at(1.0)])
}

fn seconds(values: impl Iterator<Item = u64>) -> String {
    spread(values.map(|seconds| seconds as f64)).map_or("-".into(), |[median, p90, worst]| {
        format!("{median:.0} / {p90:.0} / {worst:.0}")
    })
}

/// `7 of 9`.
fn share(of: impl Iterator<Item = bool>) -> String {
    let (mut met, mut all) = (0, 0);
    for is_met in of {
        all += 1;
        met += usize::from(is_met);
    }
    if all == 0 {
        "-".into()
    } else {
        format!("{met} of {all}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_p90_and_worst() {
        assert_eq!(spread((0..=10).map(f64::from)), Some([5.0, 9.0, 10.0]));
        assert_eq!(spread(std::iter::empty()), None);
    }

    #[test]
    fn targets_are_by_rate_and_by_headroom() {
        let mut episode = Episode {
            steady_per_s: Some(1.0),
            growing: Some(60),
            leaking: Some(40),
            three_percent: Some(20),
            ..Episode::default()
        };
        assert_eq!(growing_in_time(&episode), Some(true));
        assert!(!leaking_in_time(&episode));
        episode.three_percent = None;
        assert!(leaking_in_time(&episode));
        episode.steady_per_s = Some(10.0);
        assert_eq!(growing_in_time(&episode), Some(false));
    }
}
