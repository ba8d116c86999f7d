//! The state of each owner as it is reported: its own or, where one of its parts does worse, that part's. One
//! leak is flagged once, on the container or unit that is blamed for it. Pure.
//!
//! In: the detector's verdicts on owners and on parts. Out: changes of owners, each with the part that it comes
//! from.

use hashbrown::{HashMap, HashSet};

use crate::{
    cgroup::CgroupId,
    detect::{State, StateChange, Verdict},
};

/// A part that brings this share of what its owner grows by is named beside it.
const MOST_INSIDE: f64 = 0.5;

/// An owner as it is now.
#[derive(Clone, Copy, Debug)]
struct Flag {
    state: State,
    /// Whose verdict it is: the owner's or a part's.
    source: CgroupId,
    /// The part that grows most, and how fast.
    part: Option<(CgroupId, f64)>,
    /// How fast what has that verdict grows.
    per_s: f64,
}

impl Flag {
    fn inside(&self, owner: CgroupId) -> Option<CgroupId> {
        if self.source != owner {
            return Some(self.source);
        }
        let part = self.part.filter(|(_, per_s)| *per_s > 0.0);
        let part = part.filter(|(_, per_s)| *per_s >= MOST_INSIDE * self.per_s);
        part.map(|(part, _)| part)
    }
}

/// An owner in another state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flagged {
    pub change: StateChange,
    /// The part that it comes from.
    pub inside: Option<CgroupId>,
}

/// All owners that are not `ok`.
#[derive(Debug, Default)]
pub(super) struct Flags {
    reported: HashMap<CgroupId, Flag>,
    /// By owner, how it or a part came to be `ok`, or gone.
    ends: HashMap<CgroupId, StateChange>,
    /// Owners and parts that are in doubt for a new reason.
    doubts: HashSet<CgroupId>,
}

impl Flags {
    /// Whose verdict holds for an owner; `None` while it is `ok`.
    pub fn source(&self, owner: CgroupId) -> Option<CgroupId> {
        self.reported.get(&owner).map(|flag| flag.source)
    }

    /// Owners in a state, each with whose verdict that is.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = (CgroupId, CgroupId)> {
        let all = self.reported.iter();
        all.filter(move |(_, flag)| flag.state == state)
            .map(|(&owner, flag)| (owner, flag.source))
    }

    /// Notes a change of an owner or of one of its parts: it says why the owner is `ok` again, or in doubt for
    /// another reason than before.
    pub fn note(&mut self, owner: CgroupId, change: StateChange) {
        if change.from == change.verdict.state {
            self.doubts.insert(change.owner);
        }
        let is_end = matches!(change.verdict.state, State::Ok | State::Gone);
        // The owner's own word goes first.
        if is_end && self.ends.get(&owner).is_none_or(|end| end.owner != owner) {
            self.ends.insert(owner, change);
        }
    }

    /// Takes in all verdicts of the moment; what changed.
    pub fn update<'a>(
        &mut self,
        verdicts: impl Iterator<Item = (CgroupId, &'a Verdict)>,
        owner_of: impl Fn(CgroupId) -> CgroupId,
    ) -> Vec<Flagged> {
        let mut now: HashMap<CgroupId, (Flag, &Verdict)> = HashMap::new();
        for (id, verdict) in verdicts {
            let owner = owner_of(id);
            let per_s = verdict.growth_per_s.unwrap_or(0.0);
            let flag = Flag {
                state: verdict.state,
                source: id,
                part: (id != owner).then_some((id, per_s)),
                per_s,
            };
            let Some((known, of)) = now.get_mut(&owner) else {
                now.insert(owner, (flag, verdict));
                continue;
            };
            let parts = known.part.into_iter().chain(flag.part);
            let part = parts.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            let rank = |flag: &Flag| (flag.state, flag.source == owner);
            let is_worse = rank(&flag).cmp(&rank(known));
            let is_worse = is_worse
                .then(flag.per_s.total_cmp(&known.per_s))
                .then(known.source.cmp(&flag.source));
            if is_worse.is_gt() {
                (*known, *of) = (flag, verdict);
            }
            known.part = part;
        }
        let mut changes = Vec::new();
        for (&owner, (flag, verdict)) in &now {
            let from = self
                .reported
                .get(&owner)
                .map_or(State::Ok, |reported| reported.state);
            if from != flag.state || self.doubts.contains(&flag.source) {
                changes.push(Flagged {
                    change: StateChange {
                        owner,
                        from,
                        verdict: (*verdict).clone(),
                    },
                    inside: flag.inside(owner),
                });
            }
        }
        let reported = std::mem::take(&mut self.reported);
        self.reported = now
            .iter()
            .map(|(&owner, (flag, _))| (owner, *flag))
            .collect();
        let over = reported
            .iter()
            .filter(|(owner, _)| !now.contains_key(*owner));
        for (&owner, flag) in over {
            // Its own end was reported as it came.
            let Some(end) = self.ends.get(&owner) else {
                continue;
            };
            changes.push(Flagged {
                change: StateChange {
                    owner,
                    from: flag.state,
                    verdict: Verdict {
                        state: State::Ok,
                        ..end.verdict.clone()
                    },
                },
                inside: (end.owner != owner).then_some(end.owner),
            });
        }
        self.ends.clear();
        self.doubts.clear();
        changes.sort_by_key(|flagged| flagged.change.owner);
        changes
    }

    /// The owner's cgroup is gone; reported if it was flagged. `own`: what the detector said of it.
    pub fn gone(&mut self, owner: CgroupId, own: Option<StateChange>) -> Option<StateChange> {
        let flag = self.reported.remove(&owner);
        let of_part = self.ends.remove(&owner);
        let end = own.or(of_part)?;
        let from = flag?.state;
        Some(StateChange {
            owner,
            from,
            verdict: Verdict {
                state: State::Gone,
                ..end.verdict
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootTime;

    const OWNER: CgroupId = CgroupId(1);
    const PART: CgroupId = CgroupId(11);
    const OTHER: CgroupId = CgroupId(12);

    fn verdict(state: State, per_s: f64) -> Verdict {
        Verdict {
            state,
            since: BootTime::from_seconds(1),
            tasks: 10,
            growth_per_s: (per_s > 0.0).then_some(per_s),
            confidence: None,
            evidence: Vec::new(),
            exhaustion: None,
            why: format!("{} {per_s}", state.name()),
        }
    }

    fn owner_of(id: CgroupId) -> CgroupId {
        if id.0 > 10 { OWNER } else { id }
    }

    fn update(
        flags: &mut Flags,
        verdicts: &[(CgroupId, Verdict)],
    ) -> Vec<(State, State, Option<CgroupId>)> {
        let verdicts = verdicts.iter().map(|(id, verdict)| (*id, verdict));
        let changes = flags.update(verdicts, owner_of);
        let what = |of: &Flagged| {
            assert_eq!(of.change.owner, OWNER);
            (of.change.from, of.change.verdict.state, of.inside)
        };
        changes.iter().map(what).collect()
    }

    #[test]
    fn a_leak_of_a_part_is_its_owners_and_is_flagged_once() {
        use State::{Growing, Leaking, Ok};
        let mut flags = Flags::default();
        let leak = |id, state| (id, verdict(state, 5.0));
        // The part is seen first, whose limit is nearer.
        let changes = update(&mut flags, &[leak(PART, Growing)]);
        assert_eq!(changes, [(Ok, Growing, Some(PART))]);
        let changes = update(&mut flags, &[leak(PART, Leaking), leak(OWNER, Growing)]);
        assert_eq!(changes, [(Growing, Leaking, Some(PART))]);
        assert_eq!(flags.source(OWNER), Some(PART));
        let both = [leak(PART, Leaking), leak(OWNER, Leaking)];
        assert_eq!(update(&mut flags, &both), []);
        assert_eq!(flags.source(OWNER), Some(OWNER));
        let end = |id| StateChange {
            owner: id,
            from: Leaking,
            verdict: verdict(Ok, 0.0),
        };
        flags.note(OWNER, end(PART));
        assert_eq!(update(&mut flags, &[leak(OWNER, Leaking)]), []);
        flags.note(OWNER, end(OWNER));
        assert_eq!(update(&mut flags, &[]), [(Leaking, Ok, None)]);
        assert_eq!(flags.source(OWNER), None);
    }

    #[test]
    fn a_new_doubt_about_the_source_is_reported_once() {
        use State::{Growing, Ok};
        let mut flags = Flags::default();
        let grows = [
            (OWNER, verdict(Growing, 5.0)),
            (PART, verdict(Growing, 1.0)),
        ];
        assert_eq!(update(&mut flags, &grows), [(Ok, Growing, None)]);
        let doubt = |id| StateChange {
            owner: id,
            from: Growing,
            verdict: verdict(Growing, 5.0),
        };
        flags.note(OWNER, doubt(PART));
        assert_eq!(update(&mut flags, &grows), []);
        flags.note(OWNER, doubt(OWNER));
        assert_eq!(update(&mut flags, &grows), [(Growing, Growing, None)]);
        assert_eq!(update(&mut flags, &grows), []);
    }

    #[test]
    fn a_part_is_named_where_it_brings_most() {
        let mut flags = Flags::default();
        let all = [
            (OWNER, verdict(State::Leaking, 10.0)),
            (PART, verdict(State::Growing, 6.0)),
            (OTHER, verdict(State::Growing, 4.0)),
        ];
        let changes = update(&mut flags, &all);
        assert_eq!(changes, [(State::Ok, State::Leaking, Some(PART))]);
        let mut flags = Flags::default();
        let even = [all[0].clone(), (OTHER, verdict(State::Growing, 4.0))];
        let changes = update(&mut flags, &even);
        assert_eq!(changes, [(State::Ok, State::Leaking, None)]);
    }

    #[test]
    fn an_owner_whose_part_was_flagged_ends_with_it() {
        let mut flags = Flags::default();
        update(&mut flags, &[(PART, verdict(State::Leaking, 5.0))]);
        let gone = StateChange {
            owner: PART,
            from: State::Leaking,
            verdict: verdict(State::Gone, 0.0),
        };
        flags.note(OWNER, gone.clone());
        let changes = update(&mut flags, &[]);
        assert_eq!(changes, [(State::Leaking, State::Ok, Some(PART))]);
        // Both at once: the owner is gone.
        update(&mut flags, &[(PART, verdict(State::Leaking, 5.0))]);
        flags.note(OWNER, gone);
        let end = flags.gone(OWNER, None).unwrap();
        assert_eq!((end.from, end.verdict.state), (State::Leaking, State::Gone));
        assert_eq!(flags.gone(OWNER, None), None);
        assert_eq!(update(&mut flags, &[]), []);
    }
}
