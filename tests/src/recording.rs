//! Sums over the events that pidwatch printed.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{env::Env, truth::Kinds};

/// One line of the stream.
#[derive(Debug, Clone)]
pub struct Event {
    /// `CLOCK_REALTIME` when it was read, in nanoseconds.
    pub arrived_ns: u64,
    /// The line.
    pub json: Value,
}

impl Event {
    /// Its `type`.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap_or_default()
    }

    /// The id of the cgroup that it is about.
    pub fn cgroup(&self) -> Option<u64> {
        self.json["cgroup"]["id"].as_u64()
    }

    /// The path of the cgroup that it is about.
    pub fn path(&self) -> Option<&str> {
        self.json["cgroup"]["path"].as_str()
    }

    /// A number of it, by JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.json.pointer(pointer).and_then(Value::as_u64)
    }

    /// A text of it, by JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.json.pointer(pointer).and_then(Value::as_str)
    }
}

/// What was counted in one cgroup.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Tasks created.
    pub created: Kinds,
    /// Tasks that ended.
    pub exited: Kinds,
    /// Tasks that gave their PID back.
    pub freed: u64,
    /// Refused creations by reason.
    pub failed: BTreeMap<String, u64>,
    /// Creations refused for another reason than want.
    pub rejected: u64,
}

impl Counts {
    fn read(json: &Value) -> Self {
        let kinds = |name: &str| Kinds {
            processes: json[name]["processes"].as_u64().unwrap_or(0),
            threads: json[name]["threads"].as_u64().unwrap_or(0),
        };
        let failed = json["failed"].as_object().into_iter().flatten();
        Self {
            created: kinds("created"),
            exited: kinds("exited"),
            freed: json["freed"].as_u64().unwrap_or(0),
            failed: failed
                .filter_map(|(reason, number)| Some((reason.clone(), number.as_u64()?)))
                .filter(|&(_, number)| number > 0)
                .collect(),
            rejected: json["rejected"].as_u64().unwrap_or(0),
        }
    }

    /// Adds another window, or another cgroup.
    pub fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.exited += other.exited;
        self.freed += other.freed;
        self.rejected += other.rejected;
        for (reason, number) in &other.failed {
            *self.failed.entry(reason.clone()).or_default() += number;
        }
    }

    /// Refused creations of all reasons.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Where frees that no hook saw are told as lost.
const FREE: &str = "sched_process_free";

/// The events of one run.
#[derive(Debug, Default)]
pub struct Recording {
    /// In the order of their arrival.
    pub events: Vec<Event>,
    /// What was written to standard error.
    pub stderr: String,
}

impl Recording {
    /// The events of one type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl DoubleEndedIterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.kind() == kind)
    }

    /// The last lines, as they came.
    pub fn last(&self, number: usize) -> String {
        let skipped = self.events.len().saturating_sub(number);
        self.events[skipped..]
            .iter()
            .fold(String::new(), |text, event| {
                text + "\n" + &event.json.to_string()
            })
    }

    /// The rate events of one cgroup.
    pub fn rates(&self, id: u64) -> impl DoubleEndedIterator<Item = &Event> {
        self.of_type("rate")
            .filter(move |event| event.cgroup() == Some(id))
    }

    /// The clone_failed events of one cgroup.
    pub fn failures(&self, id: u64) -> impl DoubleEndedIterator<Item = &Event> {
        self.of_type("clone_failed")
            .filter(move |event| event.cgroup() == Some(id))
    }

    /// What the last rate event of a cgroup says in `total`; nothing yet: zero.
    pub fn total(&self, id: u64) -> Counts {
        self.rates(id)
            .next_back()
            .map(|event| Counts::read(&event.json["total"]))
            .unwrap_or_default()
    }

    /// What was counted in each cgroup: the sum of its windows, which must be its last total.
    pub fn counts(&self) -> Result<HashMap<u64, Counts>> {
        let mut sums: HashMap<u64, Counts> = HashMap::new();
        let mut totals: HashMap<u64, Counts> = HashMap::new();
        for event in self.of_type("rate") {
            let Some(id) = event.cgroup() else { continue };
            sums.entry(id).or_default().add(&Counts::read(&event.json));
            totals.insert(id, Counts::read(&event.json["total"]));
        }
        for (id, sum) in &sums {
            ensure!(
                totals.get(id) == Some(sum),
                "cgroup {id}: the windows add up to {sum:?}, the last total is {:?}",
                totals.get(id)
            );
        }
        Ok(sums)
    }

    /// What was counted in one cgroup.
    pub fn counts_of(&self, id: u64) -> Result<Counts> {
        Ok(self.counts()?.remove(&id).unwrap_or_default())
    }

    /// What was told as lost, by place.
    pub fn lost(&self) -> BTreeMap<String, u64> {
        let mut lost = BTreeMap::new();
        for event in self.of_type("lost") {
            let place = event.text("/where").unwrap_or_default().to_owned();
            *lost.entry(place).or_default() += event.number("/count").unwrap_or(0);
        }
        lost
    }

    /// Frees of one cgroup, and those told as lost: no cgroup is told with them.
    pub fn freed_or_lost(&self, id: u64) -> u64 {
        self.total(id).freed + self.lost_at(FREE)
    }

    /// Asserts that so many frees of one cgroup were counted or told as lost.
    pub fn assert_freed(&self, id: u64, truth: u64) {
        let (freed, lost) = (self.total(id).freed, self.lost_at(FREE));
        assert!(
            freed <= truth && freed + lost >= truth,
            "{freed} of {truth} frees counted, {lost} told as lost"
        );
    }

    /// Asserts that nothing was missed.
    ///
    /// The kernels of some hosts keep BPF programs out of the context of their init, and with it out
    /// of the RCU callbacks that run while it is interrupted; frees of that kind must be told. The kernel
    /// counts none of them in `recursion_misses`: there, on 6.18, a perf counter of the tracepoint said
    /// 25,248 while the program's `run_cnt` said 25,208.
    pub fn assert_nothing_missed(&self, env: &Env) {
        let mut lost = self.lost();
        if !env.guest
            && let Some(unseen) = lost.remove(FREE)
        {
            println!("    frees that the kernel raised no program for: {unseen}");
        }
        assert_eq!(lost, BTreeMap::new(), "lost");
    }

    /// What was told as lost at places whose name contains `place`.
    pub fn lost_at(&self, place: &str) -> u64 {
        self.lost()
            .iter()
            .filter(|(name, _)| name.contains(place))
            .map(|(_, count)| count)
            .sum()
    }
}
