//! Brakes in force and what happened to them, counted from the stream.

use std::collections::HashSet;

use crate::{brake::BrakePhase, stream::BrakeEvent};

/// Brakes in force, and how often each phase was reported.
#[derive(Clone, Debug, Default)]
pub struct BrakeCounts {
    active: HashSet<u64>,
    phases: [u64; BrakePhase::ALL.len()],
}

impl BrakeCounts {
    /// Takes in an event. A phase that a later version added is not counted.
    pub fn take(&mut self, brake: &BrakeEvent) {
        let Some(phase) = brake.phase.known() else {
            return;
        };
        self.phases[phase as usize] += 1;
        let id = brake.owner.cgroup.id;
        match phase {
            BrakePhase::Applied | BrakePhase::SetBack | BrakePhase::Renewed => {
                self.active.insert(id);
            }
            _ if phase.is_end() => {
                self.active.remove(&id);
            }
            _ => {}
        }
    }

    /// Whether a cgroup is braked.
    pub fn is_active(&self, cgroup_id: u64) -> bool {
        self.active.contains(&cgroup_id)
    }

    /// Each phase with how often it was reported.
    pub fn phases(&self) -> impl Iterator<Item = (BrakePhase, u64)> {
        BrakePhase::ALL.into_iter().zip(self.phases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{brake::BrakeActor, stream::OwnerRef};

    #[test]
    fn a_brake_is_active_from_its_first_to_its_last_phase() {
        let mut counts = BrakeCounts::default();
        let mut take = |phase: BrakePhase| {
            counts.take(&BrakeEvent {
                owner: OwnerRef::example(1, None),
                phase: phase.into(),
                by: BrakeActor::Agent.into(),
                limit: None,
                before: None,
                until: None,
                why: String::new(),
            });
            counts.is_active(1)
        };
        assert!(!take(BrakePhase::WouldApply));
        assert!(take(BrakePhase::Applied));
        assert!(take(BrakePhase::Failed));
        assert!(!take(BrakePhase::Released));
        assert!(take(BrakePhase::Renewed));
        assert!(!take(BrakePhase::Gone));
        assert!(!counts.is_active(2));
        let applied = counts
            .phases()
            .find(|(phase, _)| *phase == BrakePhase::Applied);
        assert_eq!(applied, Some((BrakePhase::Applied, 1)));
    }
}
