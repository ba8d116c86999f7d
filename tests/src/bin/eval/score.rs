//! From outcomes to tables.

use super::play::Outcome;

pub fn tell_each(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let Outcome { class, number, .. } = outcome;
        for episode in &outcome.episodes {
            println!("{class} {number}: {episode:?} full {:?}", outcome.full);
        }
        for (state, flags) in [("growing", &outcome.growing), ("leaking", &outcome.leaking)] {
            for flag in flags {
                println!(
                    "{class} {number}: false {state}: owner {} at {}: {}",
                    flag.owner, flag.at, flag.why
                );
            }
        }
    }
}

pub fn tables(outcomes: &[Outcome]) {
    let mut classes: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !classes.contains(&outcome.class) {
            classes.push(outcome.class);
        }
    }
    for class in classes {
        let of: Vec<_> = outcomes.iter().filter(|o| o.class == class).collect();
        let days: f64 = of.iter().map(|o| o.calm_s as f64 / 86_400.0).sum();
        let g: usize = of.iter().map(|o| o.growing.len()).sum();
        let l: usize = of.iter().map(|o| o.leaking.len()).sum();
        let b: Vec<u64> = (0..3)
            .map(|i| of.iter().map(|o| o.baselines[i]).sum())
            .collect();
        let eps: Vec<_> = of.iter().flat_map(|o| &o.episodes).collect();
        let found = eps.iter().filter(|e| e.leaking.is_some()).count();
        let named = eps.iter().filter(|e| e.is_named_right).count();
        let mut late: Vec<i64> = eps
            .iter()
            .filter_map(|e| Some(e.leaking? as i64 - e.three_percent.unwrap_or(0).max(30) as i64))
            .collect();
        late.sort();
        let mut growing: Vec<u64> = eps.iter().filter_map(|e| e.growing).collect();
        growing.sort();
        let mut used: Vec<f64> = eps
            .iter()
            .filter(|e| e.leaking.is_some())
            .map(|e| e.used)
            .collect();
        used.sort_by(f64::total_cmp);
        let fc: Vec<f64> = eps
            .iter()
            .flat_map(|e| e.forecasts.iter().copied())
            .collect();
        let within = fc.iter().filter(|e| e.abs() <= 0.2).count();
        let first: Vec<f64> = eps
            .iter()
            .filter_map(|e| e.forecasts.first().copied())
            .collect();
        let firstok = first.iter().filter(|e| e.abs() <= 0.2).count();
        println!(
            "{class}: {days:.1} days, false growing {g} leaking {l}, base {b:?}; episodes {} found {found} named {named}",
            eps.len()
        );
        if !eps.is_empty() {
            println!(
                "    growing {growing:?}\n    leaking late {late:?}\n    used {used:.3?}\n    forecasts ok {within}/{} first {firstok}/{}",
                fc.len(),
                first.len()
            );
        }
    }
}
