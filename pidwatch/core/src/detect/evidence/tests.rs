//! What follows from tasks of every kind that was seen.

use std::time::Duration;

use super::*;

const NOBODY: Need = Need {
    proof: 100,
    zombies: Some(450),
};

/// A thread of process 7 that has lived so long and not run for so long, seconds.
fn thread(name: &str, age: u64, idle: u64) -> Task {
    let mut comm = [0; 16];
    let name = &name.as_bytes()[..name.len().min(15)];
    comm[..name.len()].copy_from_slice(name);
    Task {
        process: 7,
        is_process: false,
        parent: 1,
        comm,
        age: Duration::from_secs(age),
        idle: Some(Duration::from_secs(idle)),
        wait: Wait::Other,
        zombie: None,
    }
}

/// One that ended so long ago.
fn zombie(ended: u64) -> Task {
    Task {
        is_process: true,
        zombie: Some(Zombie {
            ended: Some(Duration::from_secs(ended)),
        }),
        ..thread("true", ended, ended)
    }
}

fn seen(tasks: impl IntoIterator<Item = Task>) -> TaskSummary {
    let scope = ExaminationScope {
        born_within: Duration::from_mins(10),
        were_old: None,
    };
    let mut tally = TaskTally::new(scope, &EvidenceSettings::default());
    for task in tasks {
        tally.add(&task);
    }
    tally.finish()
}

fn judged(tasks: impl IntoIterator<Item = Task>) -> Judgement {
    judge(&seen(tasks), false, NOBODY, &EvidenceSettings::default())
}

fn kinds(judgement: &Judgement) -> Vec<EvidenceKind> {
    let evidence = judgement.evidence.iter();
    evidence.map(|evidence| evidence.kind).collect()
}

/// One a second for ten minutes, that last ran when `idle` says of their age.
fn growth(name: impl Fn(u64) -> String, idle: impl Fn(u64) -> u64) -> Vec<Task> {
    let ages = (0..600).rev().enumerate();
    ages.map(|(n, age)| thread(&name(n as u64), age, idle(age)))
        .collect()
}

#[test]
fn threads_that_never_ran_again_are_a_leak() {
    let judgement = judged(growth(|_| "java".into(), |age| age));
    assert_eq!(judgement.weight, Weight::Leak);
    assert_eq!(kinds(&judgement), [EvidenceKind::Stale]);
    assert_eq!(
        judgement.evidence[0].text,
        "600 threads `java`, 100 % of the old ones have not run for 2 min"
    );
}

#[test]
fn threads_that_ran_within_the_minute_are_a_pool_at_work() {
    let judgement = judged(growth(|_| "python3".into(), |age| age % 7));
    assert_eq!(judgement.weight, Weight::Busy);
    assert_eq!(kinds(&judgement), [EvidenceKind::Busy]);
}

#[test]
fn young_threads_say_nothing() {
    let young = (0..50).map(|age| thread("python3", age, 0));
    assert_eq!(judged(young), Judgement::default());
}

#[test]
fn the_idle_workers_of_one_pool_are_in_doubt() {
    let judgement = judged(growth(|n| format!("pool-1-thread-{n}"), |age| age));
    assert_eq!(judgement.weight, Weight::Undecided);
    assert_eq!(kinds(&judgement), [EvidenceKind::Pool]);
}

#[test]
fn different_pools_are_a_leak_before_they_are_stale() {
    let young = (0..120).map(|age| thread(&format!("pool-{}-thread-1", 500 - age), age, age));
    let judgement = judged(young);
    assert_eq!(judgement.weight, Weight::Leak);
    assert_eq!(kinds(&judgement), [EvidenceKind::Names]);
    assert_eq!(judgement.evidence[0].pools, Some(120));
    // Even with a heartbeat.
    let timers = growth(|n| format!("Timer-{n}"), |age| age % 5);
    assert_eq!(kinds(&judged(timers)), [EvidenceKind::Names]);
    let stale = growth(|n| format!("pool-{n}-thread-1"), |age| age);
    let stale = judged(stale);
    assert!(
        stale.evidence[0].text.ends_with("600 different pools"),
        "{stale:?}"
    );
}

#[test]
fn a_pool_that_has_filled_and_idles_is_no_leak() {
    let since_filled = |seconds: u64| {
        let tasks = growth(|_| "java".into(), |age| age);
        judged(tasks.into_iter().map(move |task| Task {
            age: task.age + Duration::from_secs(seconds),
            idle: task.idle.map(|idle| idle + Duration::from_secs(seconds)),
            ..task
        }))
    };
    assert_eq!(since_filled(0).weight, Weight::Leak);
    assert_eq!(since_filled(120), Judgement::default());
    // Beside what comes and goes.
    let mut tasks = growth(|_| "java".into(), |age| age);
    for task in &mut tasks {
        task.age += Duration::from_mins(2);
        task.idle = Some(task.age);
    }
    tasks.extend((0..100).map(|n| thread("java", n, n % 3)));
    assert_eq!(judged(tasks).weight, Weight::Undecided);
}

#[test]
fn workers_that_are_used_again_idle_together_and_are_no_leak() {
    // One pool has filled, and the load of another was highest a minute ago: all of that have idled since.
    let mut tasks = growth(|_| "java".into(), |age| age);
    for task in &mut tasks {
        task.age += Duration::from_mins(2);
        task.idle = Some(task.age);
    }
    tasks.extend((0..100).map(|n| thread("java", 65 + n % 15, 65)));
    assert_eq!(judged(tasks), Judgement::default());
}

#[test]
fn connections_that_somebody_has_numbered_are_no_pools() {
    let at_work = growth(|n| format!("conn-{n}-read-1"), |age| age % 7);
    assert_eq!(judged(at_work).weight, Weight::Busy);
}

#[test]
fn what_waits_for_quiet_clients_is_in_doubt() {
    let mut tasks = growth(|_| "server".into(), |age| age);
    for task in &mut tasks {
        task.wait = Wait::Connection;
    }
    let judgement = judged(tasks.clone());
    assert_eq!(judgement.weight, Weight::Undecided);
    assert_eq!(kinds(&judgement), [EvidenceKind::Connections]);
    // As it is where that cannot be read.
    for task in &mut tasks {
        task.wait = Wait::Unknown;
    }
    assert_eq!(judged(tasks).weight, Weight::Undecided);
}

#[test]
fn a_leak_beside_a_pool_at_work_is_found() {
    let mut tasks = growth(|_| "leaky".into(), |age| age);
    tasks.extend(growth(|n| format!("http-nio-8080-exec-{n}"), |age| age % 7));
    let judgement = judged(tasks);
    assert_eq!(kinds(&judgement), [EvidenceKind::Stale]);
}

#[test]
fn a_name_never_raises_the_threshold() {
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let prefixes = [
        "http-nio-1-exec-",
        "pool-1-thread-",
        "Thread-",
        "kworker/",
        "",
    ];
    for _ in 0..200 {
        // A leak in all of its disguises; some of it with a heartbeat.
        let beats = random(10);
        let names: Vec<String> = (0..600)
            .map(|_| {
                let (prefix, most) = (prefixes[random(5) as usize], 1 << random(12));
                format!("{prefix}{}", random(most))
            })
            .collect();
        let idle: Vec<u64> = (0..600).map(|_| random(10)).collect();
        let disguised = growth(
            |n| names[n as usize].clone(),
            |age| if idle[age as usize] < beats { 1 } else { age },
        );
        let plain = growth(
            |_| "leak".into(),
            |age| if idle[age as usize] < beats { 1 } else { age },
        );
        if judged(plain).weight != Weight::Busy {
            assert_ne!(judged(disguised).weight, Weight::Busy);
        }
    }
}

#[test]
fn a_name_is_escaped() {
    let judgement = judged(growth(|_| "a\x1b[2J\nb".into(), |age| age));
    let text = &judgement.evidence[0].text;
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn zombies_are_a_leak_once_no_batch_would_still_wait() {
    let batch = |seconds: u64| judged((0..seconds * 2).map(|n| zombie(n / 2)));
    assert_eq!(batch(220).weight, Weight::Undecided);
    assert_eq!(kinds(&batch(310)), [EvidenceKind::Zombies]);
    // Or when they take what no batch should.
    assert_eq!(kinds(&batch(226)), [EvidenceKind::Zombies]);
}

#[test]
fn zombies_that_are_reaped_in_the_end_are_none_of_a_leak() {
    let zombies = seen((0..620).map(|n| zombie(n / 2)));
    let settings = EvidenceSettings::default();
    assert_eq!(
        judge(&zombies, true, NOBODY, &settings).weight,
        Weight::Undecided
    );
}

#[test]
fn what_was_there_before_the_growth_is_not_of_it() {
    let before = (0..600).map(|_| thread("java", 4000, 4000));
    assert_eq!(judged(before), Judgement::default());
}

#[test]
fn fifty_thousand_names_take_bounded_room() {
    let seen = seen((0..50_000).map(|n| thread(&format!("{}x", "abc".repeat(n % 5)), 1, 1)));
    assert_eq!(
        (seen.tasks, seen.born, seen.classes.len()),
        (50_000, 50_000, 5)
    );
    let letters = |n: u64| {
        (0..8)
            .map(|i| char::from(b'a' + (n >> (3 * i) & 7) as u8))
            .collect()
    };
    let tasks = (0..50_000).map(|n| {
        let name: String = letters(n);
        thread(&name, 1, 1)
    });
    let seen = super::tests::seen(tasks);
    assert!(seen.classes.len() <= 65, "{}", seen.classes.len());
    let counted: u64 = seen.classes.iter().map(|class| class.tasks).sum();
    assert_eq!(counted, 50_000);
}
