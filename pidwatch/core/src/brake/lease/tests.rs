//! Model check: every order of events, with a crash after every write.
//!
//! The state is what survives a crash: the lease file and `pids.max`. Each action of pidwatch is a list of writes,
//! and a crash may follow any of them. Once the lease has ended and was evaluated, `pids.max` is the last value
//! that another program wrote.

use super::*;
use PidsMax::{Tasks, Unlimited};

const END: u64 = 100;

/// The state that survives a crash.
#[derive(Clone, Debug)]
struct World {
    now: u64,
    file: Option<Lease>,
    pids_max: PidsMax,
    /// The last limit that another program wrote.
    theirs: PidsMax,
    history: Vec<String>,
}

/// One write by pidwatch.
#[derive(Clone, Debug)]
enum Write {
    Save(Lease),
    Limit(PidsMax),
    Remove,
}

impl World {
    fn new(pids_max: PidsMax) -> Self {
        Self {
            now: 0,
            file: None,
            pids_max,
            theirs: pids_max,
            history: vec![format!("limit {pids_max}")],
        }
    }

    /// Performs the writes up to the crash.
    fn carry_out(&mut self, what: &str, writes: &[Write], until_crash: usize) {
        self.history.push(format!("{what}, {until_crash} writes"));
        for write in writes.iter().take(until_crash) {
            match write.clone() {
                Write::Save(lease) => self.file = Some(lease),
                Write::Limit(limit) => self.pids_max = limit,
                Write::Remove => self.file = None,
            }
        }
    }

    fn brake(&self, limit: u64) -> Vec<Write> {
        let mut lease = self.file.clone().unwrap_or_else(|| {
            let cgroup = (7, "/a".into(), "a".into());
            Lease::new(cgroup, self.pids_max, limit, BootTime::from_nanos(END))
        });
        lease.brake_at(limit, self.pids_max);
        vec![Write::Save(lease), Write::Limit(Tasks(limit))]
    }

    fn evaluate(&self) -> Vec<Write> {
        let Some(mut lease) = self.file.clone() else {
            return Vec::new();
        };
        let step = lease.evaluate(BootTime::from_nanos(self.now), Some(self.pids_max));
        let limit = Tasks(lease.limit());
        match step {
            Step::Keep => Vec::new(),
            Step::SetBack(_) => vec![Write::Save(lease), Write::Limit(limit)],
            Step::Restore(before) => {
                vec![Write::Save(lease), Write::Limit(before), Write::Remove]
            }
            Step::Remove(_) => vec![Write::Remove],
        }
    }

    fn release(&self) -> Vec<Write> {
        let Some(mut lease) = self.file.clone() else {
            return Vec::new();
        };
        lease.ends_at(BootTime::from_nanos(self.now));
        let mut writes = vec![Write::Save(lease.clone())];
        let after = Self {
            file: Some(lease),
            ..self.clone()
        };
        writes.extend(after.evaluate());
        writes
    }

    /// Identifies the state, whatever led to it.
    fn state(&self) -> (u64, Option<Lease>, PidsMax, PidsMax) {
        (self.now, self.file.clone(), self.pids_max, self.theirs)
    }

    /// Every possible next state.
    fn next(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        let acts = [
            ("brake at 30", self.brake(30)),
            ("brake at 40", self.brake(40)),
            ("evaluate", self.evaluate()),
            ("release", self.release()),
        ];
        for (what, writes) in acts {
            // A brake must be below the current limit (`limit_for`).
            let is_own = self
                .file
                .as_ref()
                .is_some_and(|lease| lease.is_own(self.pids_max));
            if what.starts_with("brake") && !is_own && self.pids_max <= Tasks(40) {
                continue;
            }
            for crash in 1..=writes.len() {
                let mut world = self.clone();
                world.carry_out(what, &writes, crash);
                worlds.push(world);
            }
        }
        for limit in [Tasks(10), Tasks(90), Unlimited] {
            let mut world = self.clone();
            world.pids_max = limit;
            world.theirs = limit;
            world
                .history
                .push(format!("another program writes {limit}"));
            worlds.push(world);
        }
        if self.now < END {
            let mut world = self.clone();
            world.now = END;
            world.history.push("the lease is over".into());
            worlds.push(world);
        }
        worlds
    }

    /// Ends the lease and evaluates it until it is removed.
    fn settle(mut self) -> Self {
        self.now = END;
        let mut rounds = 0;
        while self.file.is_some() {
            let writes = self.evaluate();
            self.carry_out("settle", &writes, writes.len());
            rounds += 1;
            assert!(rounds <= 2, "still not settled: {self:#?}");
        }
        self
    }
}

#[test]
fn after_the_lease_the_limit_is_the_last_that_another_program_wrote() {
    let mut worlds = vec![World::new(Unlimited), World::new(Tasks(90))];
    let mut seen = Vec::new();
    // Explores every reachable state.
    while let Some(world) = worlds.pop() {
        let end = world.clone().settle();
        assert_eq!(end.pids_max, end.theirs, "{:#?}", end.history);
        assert!(
            world.pids_max <= world.theirs,
            "above: {:#?}",
            world.history
        );
        for next in world.next() {
            if !seen.contains(&next.state()) {
                seen.push(next.state());
                worlds.push(next);
            }
        }
    }
    assert!(seen.len() > 100, "{} worlds", seen.len());
}

#[test]
fn another_program_s_limit_is_lowered_during_the_lease_and_kept_after_it() {
    let cgroup = (7, "/a".into(), "a".into());
    let mut lease = Lease::new(cgroup, Tasks(500), 30, BootTime::from_nanos(END));
    let now = BootTime::from_nanos(1);
    assert_eq!(lease.evaluate(now, Some(Tasks(30))), Step::Keep);
    assert_eq!(
        lease.evaluate(now, Some(Unlimited)),
        Step::SetBack(Unlimited)
    );
    assert_eq!(lease.before, Unlimited);
    assert_eq!(lease.evaluate(now, Some(Tasks(20))), Step::Keep, "lower");
    let end = BootTime::from_nanos(END);
    assert_eq!(
        lease.evaluate(end, Some(Tasks(20))),
        Step::Remove(Ending::Replaced(Tasks(20)))
    );
    assert_eq!(
        lease.evaluate(end, Some(Tasks(30))),
        Step::Restore(Unlimited)
    );
    assert_eq!(lease.evaluate(end, None), Step::Remove(Ending::Gone));
}

#[test]
fn a_lease_recognises_its_own_limits() {
    let cgroup = (7, "/a".into(), "a".into());
    let mut lease = Lease::new(cgroup, Tasks(500), 30, BootTime::from_nanos(END));
    lease.brake_at(34, Tasks(30));
    assert!(lease.is_own(Tasks(30)) && lease.is_own(Tasks(34)));
    assert!(!lease.is_own(Tasks(500)) && !lease.is_own(Unlimited));
    assert_eq!(lease.before, Tasks(500));
    assert_eq!(lease.limit(), 34);
}
