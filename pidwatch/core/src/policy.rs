//! Whom the automatic brake stops. Pure.
//!
//! A brake on an innocent is an outage that pidwatch causes. It therefore takes proof by what the tasks do, not by how
//! many there are, and a limit that others share and that is nearly exhausted.

use std::{fmt, time::Duration};

use crate::{
    brake::Protected,
    detect::{State, Verdict, evidence::EvidenceKind},
};

/// An owner that may have to be stopped.
#[derive(Clone, Debug)]
pub struct Suspect<'a> {
    /// What the detector says of it.
    pub verdict: &'a Verdict,
    /// Whether the limit that it will exhaust is one that others share: the node's, or that of a cgroup above it.
    pub is_limit_shared: bool,
    /// Whether it is a victim in an open incident.
    pub is_victim: bool,
    /// Why it is never braked.
    pub protected: Option<Protected>,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing yet.
    Wait,
    /// Brake it.
    Brake,
    /// It would be braked, but for this.
    Spare(Spared),
}

/// Why an owner is spared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// It suffers from a limit itself.
    Victim,
    /// It is protected.
    Protected(Protected),
    /// So many owners are braked at a time.
    TooMany(usize),
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Victim => f.write_str("it is a victim of an open incident"),
            Self::Protected(reason) => reason.fmt(f),
            Self::TooMany(most) => write!(f, "{most} owners are braked already (--brake-max)"),
        }
    }
}

/// Decides about an owner while `braked` of at most `most` owners are braked.
pub fn decide(suspect: &Suspect<'_>, horizon: Duration, braked: usize, most: usize) -> Decision {
    let Suspect { verdict, .. } = suspect;
    let is_near = verdict
        .exhaustion
        .is_some_and(|ahead| ahead.in_s <= horizon.as_secs_f64());
    let mut evidence = verdict.evidence.iter();
    let is_proven = evidence.any(|piece| is_own_proof(piece.kind));
    if verdict.state != State::Leaking || !is_proven || !is_near || !suspect.is_limit_shared {
        return Decision::Wait;
    }
    if let Some(reason) = &suspect.protected {
        return Decision::Spare(Spared::Protected(reason.clone()));
    }
    if suspect.is_victim {
        return Decision::Spare(Spared::Victim);
    }
    if braked >= most {
        return Decision::Spare(Spared::TooMany(most));
    }
    Decision::Brake
}

/// Growth alone and joint growth prove nothing about a single owner.
fn is_own_proof(kind: EvidenceKind) -> bool {
    kind.is_proof() && kind != EvidenceKind::Joint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::BootTime,
        detect::{Exhaustion, evidence::Evidence},
        limits::{Limit, LimitOwner},
    };

    const HORIZON: Duration = Duration::from_mins(2);

    fn verdict(state: State, kinds: &[EvidenceKind], in_s: Option<f64>) -> Verdict {
        let piece = |&kind| Evidence {
            kind,
            text: String::new(),
            tasks: 100,
            share: None,
            pools: None,
            age: None,
        };
        let limit = Limit {
            name: "kernel.pid_max",
            value: 1000,
            usage: 900,
            owner: LimitOwner::Node,
        };
        Verdict {
            state,
            since: BootTime::from_seconds(1),
            tasks: 100,
            growth_per_s: Some(1.0),
            confidence: None,
            exhaustion: in_s.map(|in_s| Exhaustion {
                limit,
                in_s,
                low_s: in_s,
                high_s: in_s,
            }),
            evidence: kinds.iter().map(piece).collect(),
            why: String::new(),
        }
    }

    fn of(verdict: &Verdict) -> Suspect<'_> {
        Suspect {
            verdict,
            is_limit_shared: true,
            is_victim: false,
            protected: None,
        }
    }

    fn brakes(suspect: &Suspect<'_>) -> bool {
        matches!(decide(suspect, HORIZON, 0, 3), Decision::Brake)
    }

    #[test]
    fn a_proven_leak_is_braked_shortly_before_a_shared_limit_is_exhausted() {
        for kind in [
            EvidenceKind::Zombies,
            EvidenceKind::Names,
            EvidenceKind::Stale,
        ] {
            let leak = verdict(State::Leaking, &[EvidenceKind::Growth, kind], Some(119.0));
            assert!(brakes(&of(&leak)), "{kind:?}");
            let own = Suspect {
                is_limit_shared: false,
                ..of(&leak)
            };
            assert_eq!(decide(&own, HORIZON, 0, 3), Decision::Wait, "its own limit");
        }
    }

    #[test]
    fn whatever_is_missing_it_waits() {
        let proof = [EvidenceKind::Stale];
        for state in State::ALL {
            let other = verdict(state, &proof, Some(1.0));
            assert_eq!(brakes(&of(&other)), state == State::Leaking, "{state:?}");
        }
        for in_s in [None, Some(121.0), Some(f64::INFINITY)] {
            assert!(
                !brakes(&of(&verdict(State::Leaking, &proof, in_s))),
                "{in_s:?}"
            );
        }
        // Everything that is no proof about this owner, together.
        let none = [
            EvidenceKind::Growth,
            EvidenceKind::Joint,
            EvidenceKind::Busy,
            EvidenceKind::Pool,
            EvidenceKind::Connections,
        ];
        assert!(!brakes(&of(&verdict(State::Leaking, &none, Some(1.0)))));
    }

    #[test]
    fn victims_and_protected_owners_are_spared_and_few_are_braked_at_a_time() {
        let leak = verdict(State::Leaking, &[EvidenceKind::Names], Some(1.0));
        let spared = |suspect: &Suspect<'_>, braked| match decide(suspect, HORIZON, braked, 3) {
            Decision::Spare(spared) => spared,
            other => panic!("{other:?}"),
        };
        let victim = Suspect {
            is_victim: true,
            ..of(&leak)
        };
        assert_eq!(spared(&victim, 0), Spared::Victim);
        let system = Suspect {
            protected: Some(Protected::StaticPod),
            ..of(&leak)
        };
        assert_eq!(spared(&system, 0), Spared::Protected(Protected::StaticPod));
        assert_eq!(spared(&of(&leak), 3), Spared::TooMany(3));
        assert!(brakes(&of(&leak)));
    }
}
