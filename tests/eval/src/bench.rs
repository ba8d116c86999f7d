//! What the detector costs: a look at a busy node, and memory by owner.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use pidwatch_core::clock::BootTime;
use pidwatch_core::detect::evidence::{
    EvidenceSettings, ExaminationScope, Need, TaskTally, Weight, judge,
};
use pidwatch_core::detect::{Detector, Sample};

use super::case::{Node, Readings, id};
use super::owner::Owner;
use super::random::Random;
use super::score::spread;
use super::step::Step;
use super::tasks::{Manner, Tasks};

/// Owners of the node, and how many of them change each second.
const OWNERS: usize = 10_000;
const BUSY: usize = 500;
/// Seconds before it is measured, and of the measurement.
const BEFORE: u64 = 300;
const SECONDS: u64 = 300;

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands everything on to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How the busy ones change.
#[derive(Clone, Copy)]
enum Busy {
    Noise,
    Growing,
}

/// Measures and prints.
pub fn bench() {
    println!(
        "\n### Cost\n\n{OWNERS} owners of which {BUSY} change each second; one look with its \
         readings, ms over {SECONDS} s.\n\n| the busy ones | median / p90 / worst, ms | bytes by idle owner | by \
         busy owner |\n|---|---|---|---|"
    );
    for (name, busy) in [
        ("come and go", Busy::Noise),
        ("grow, all of them", Busy::Growing),
    ] {
        let (times, idle, watched) = measure(busy);
        let [median, p90, worst] = spread(times.into_iter()).unwrap_or_default();
        println!("| {name} | {median:.2} / {p90:.2} / {worst:.2} | {idle:.0} | {watched:.0} |");
    }
    let times = (0..TALLIES).map(|_| 1000.0 * tally());
    let [median, p90, worst] = spread(times).unwrap_or_default();
    println!(
        "\nTo count and judge {TASKS} tasks of one owner that a pass has read: {median:.1} / {p90:.1} / {worst:.1} ms."
    );
}

/// Tasks of an owner that grows, and how often they are counted.
const TASKS: u64 = 50_000;
const TALLIES: usize = 20;

/// Seconds that it takes to count and judge them.
fn tally() -> f64 {
    let settings = EvidenceSettings::default();
    let mut pools = Tasks::new(Manner::Pools(3));
    for at in 0..TASKS / 50 {
        pools.step(
            at,
            &Step {
                created: 50,
                ..Step::default()
            },
        );
    }
    let scope = ExaminationScope {
        born_within: Duration::from_secs(TASKS),
        were_old: None,
    };
    let mut tasks = Vec::new();
    pools.each(TASKS / 50, |task| tasks.push(*task));
    let start = Instant::now();
    let mut tally = TaskTally::new(scope, &settings);
    for task in &tasks {
        tally.add(task);
    }
    let judgement = judge(&tally.finish(), false, Need::of(None, &settings), &settings);
    let took = start.elapsed().as_secs_f64();
    assert_eq!(judgement.weight, Weight::Leak);
    took
}

fn measure(busy: Busy) -> (Vec<f64>, f64, f64) {
    let mut random = Random::new("bench", 0);
    let node = Node {
        pid_max: 4_194_304,
        threads_max: 4_000_000,
        background: 1000,
    };
    let owners: Vec<Owner> = (0..OWNERS)
        .map(|_| Owner::new(&mut random, |_| Vec::new()).under(Some(16_384)))
        .collect();
    let readings = Readings::new(node, &owners);
    let before = IN_USE.load(Ordering::Relaxed);
    let mut detector = Detector::default();
    let mut created = vec![0u64; OWNERS];
    let observe = |detector: &mut Detector, owner: usize, second: u64, tasks: u64, created: u64| {
        let sample = Sample {
            tasks,
            created,
            ended: created.saturating_sub(tasks),
            zombies: 0,
        };
        detector.observe(id(owner), BootTime::from_seconds(second), sample);
    };
    for owner in 0..OWNERS {
        observe(&mut detector, owner, 0, 30, 30);
    }
    detector.look(BootTime::from_seconds(1), &readings);
    let idle = IN_USE.load(Ordering::Relaxed) - before;
    let mut times = Vec::new();
    for second in 2..BEFORE + SECONDS {
        let mut seconds = 0.0;
        for (owner, created) in created.iter_mut().enumerate().take(BUSY) {
            *created += 20;
            let tasks = match busy {
                Busy::Noise => 30 + random.whole(0, 40),
                Busy::Growing => 30 + second * (1 + owner as u64 % 7) + random.whole(0, 5),
            };
            let start = Instant::now();
            observe(&mut detector, owner, second, tasks, *created);
            seconds += start.elapsed().as_secs_f64();
        }
        let start = Instant::now();
        detector.look(BootTime::from_seconds(second), &readings);
        seconds += start.elapsed().as_secs_f64();
        if second >= BEFORE {
            times.push(1000.0 * seconds);
        }
    }
    let all = IN_USE.load(Ordering::Relaxed) - before;
    let watched = (all - idle) as f64 / BUSY as f64;
    let idle = idle as f64 / OWNERS as f64;
    (times, idle, idle + watched)
}
